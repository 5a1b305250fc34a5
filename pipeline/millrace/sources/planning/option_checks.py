"""Checks of the given options against the format of a source."""

from __future__ import annotations

from typing import Final

from millrace.errors import UsageError
from millrace.sources.options import AUTO, SourceOptions
from millrace.sources.source_format import Format
from millrace.sources.warnings import SourceWarning

_UNUSED: Final = {"delimiter": "--delimiter", "encoding": "--encoding", "header": "--no-header"}
"""Options that change nothing for a format that does not have them."""
_REFUSALS: Final = (
    ("column_types", "the types of {label} cannot be given", "--column-type and --schema"),
    ("schema_file", "the types of {label} cannot be given", "--column-type and --schema"),
    ("null_values", "null values of {label} cannot be given", "--null-value"),
    *(
        (name, "{option} applies to CSV only, and this is {label}", "{option}")
        for name in ("decimal", "date_format", "true_value", "false_value", "skip_rows", "delimiter")
    ),
    ("records", "{option} applies to --format json only, and this is {label}", "{option}"),
    ("columns", "{label} have no columns to choose or rename", "--columns"),
    ("rename", "{label} have no columns to choose or rename", "--rename"),
)
"""Other options, with the error for a format that does not have them, and the option to leave out."""


def refuse_options(options: SourceOptions, format_: Format) -> None:
    """Raise ``UsageError`` for the first given option that the format does not have and that would change its rows."""
    given = options.changed() - format_.options
    if options.delimiter != AUTO:
        given -= {"delimiter"}
    for name, message, left_out in _REFUSALS:
        if name in given:
            option = "--" + name.replace("_", "-")
            text = message.format(option=option, label=format_.label)
            raise UsageError(text, hint=f"leave out {left_out.format(option=option)}")


def unused_option_warnings(options: SourceOptions, format_: Format) -> list[SourceWarning]:
    """Return warnings for given options that this format does not have and that change nothing."""
    given = options.changed() - format_.options
    return [
        SourceWarning("option_not_used", f"{option} changes nothing: the source is read as {format_.name}")
        for name, option in _UNUSED.items()
        if name in given and getattr(options, name) not in (AUTO, "")
    ]
