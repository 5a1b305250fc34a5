"""Names of fields in messages, in place of the command line options with the same meaning."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from millrace.declarations.source_entry import SourceEntry
from millrace.errors import MillraceError

if TYPE_CHECKING:
    from millrace.sources import SourceWarning

ENTRY_TITLES: Final[Mapping[str, str]] = {name: name for name in SourceEntry.model_fields}
"""The titles for messages about a declared source: the names of the fields of its entry."""
_FIELDS: Final = {
    "--schema": "schema_file",
    "--null-value": "null_values",
    "--column-type": "column_types",
    "--no-header": "header",
    "--keep": "prune_keep",
    "--form": "warm_form",
}
"""Command line options whose field has a different name."""

# A command keeps its options, because users type it in a shell.
_COMMAND = r"(?:millrace|\./run) [^;:,]*"
_QUOTED = r"(?<!\w)'(?:[^'\\]|\\.)*'"
_ANOTHER_RUN = r"load it(?: again)? as another run(?: \(--run-id\))?"
_OPTION = r"(?<![\w-])(?P<option>--[a-z][a-z-]*)(?![\w-])"
# A value quoted by shlex.quote. A field expects it without the shell quotes.
_SHELL_WORD = r"(?:(?<=--column-type) (?P<word>(?:'[^']*'|\"'\")+))?"


def field_words(
    text: str, titles: Mapping[str, str], source_names: Iterable[object] = (), *, is_airflow: bool = True
) -> str:
    """Replace each command line option in a message by the title of its field; return the message.

    With ``is_airflow`` a hint to load a source as another run becomes "trigger a new run", because Airflow assigns the
    id of a run.

    ``source_names`` contains names from the source, such as column names. They are not
    changed. Neither are commands and values in single quotes.
    """
    names = [re.escape(name) for name in source_names if isinstance(name, str) and name]
    run = f"(?P<run>{_ANOTHER_RUN})"
    pattern = "|".join([*sorted(names, key=len, reverse=True), _COMMAND, _QUOTED, run, _OPTION + _SHELL_WORD])

    def word(match: re.Match[str]) -> str:
        if match["run"] and is_airflow:
            return "trigger a new run"
        option = match["option"]
        title = titles.get(_FIELDS.get(option, option[2:].replace("-", "_"))) if option else None
        if title is None:
            return match[0]
        if match["word"]:
            return f'"{title}" {shlex.split(match["word"])[0]}'
        return f'"{title}" off' if option.startswith("--no-") else f'"{title}"'

    return re.sub(pattern, word, text)


def warning_in_field_words(
    warning: SourceWarning, titles: Mapping[str, str], *, is_airflow: bool = True
) -> SourceWarning:
    """Return the warning with titles of fields in place of command line options in its message."""
    source_names = (warning.column, warning.file)
    return replace(warning, message=field_words(warning.message, titles, source_names, is_airflow=is_airflow))


@contextmanager
def in_field_words(titles: Mapping[str, str], *, is_airflow: bool = True) -> Iterator[None]:
    """Replace command line options by titles of fields in the errors that leave the block, and in their causes."""
    try:
        yield
    except MillraceError as error:
        cause: BaseException | None = error
        while cause is not None:
            if isinstance(cause, MillraceError):
                source_names = list(cause.context.values())
                cause.message, cause.hint = (
                    field_words(text, titles, source_names, is_airflow=is_airflow)
                    for text in (cause.message, cause.hint)
                )
            cause = cause.__cause__ or cause.__context__
        raise
