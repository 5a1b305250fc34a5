"""Turn a submitted form into a source and load options. Only sources below the allowed folders are accepted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from millrace.errors import UsageError
from millrace.load import LoadOptions
from millrace.names import parse_rename
from millrace.settings import Settings
from millrace.sources import BadRowBudget, SourceOptions, allowed_roots, allowed_source, local_path
from millrace.sources import parse_column_type as _column_type


def load_options(params: Mapping[str, Any], settings: Settings) -> tuple[str, LoadOptions]:
    """Return the source and the options of a submitted form. Raises ``UsageError`` for a source that is not allowed."""
    roots = allowed_roots(settings)
    schema_file = params["schema_file"]
    source = SourceOptions(
        format=None if params["format"] == "auto" else params["format"],
        connection=params["connection"],
        null_values=tuple(params["null_values"]) if params["null_values"] else None,  # an empty line is a spelling
        column_types=tuple(map(_column_type, _lines(params["column_types"]))),
        schema_file=_schema_file(schema_file, roots) if schema_file else None,
        delimiter={"\\t": "\t", "tab": "\t"}.get(params["delimiter"], params["delimiter"]),
        encoding=params["encoding"],
        header=params["header"],
        skip_rows=params["skip_rows"],
        decimal=params["decimal"],
        date_format=_lines(params["date_format"]),
        true_value=_lines(params["true_value"]),
        false_value=_lines(params["false_value"]),
        records=params["records"],
        columns=_lines(params["columns"]) or None,
        rename=tuple(map(parse_rename, _lines(params["rename"]))),
        infer_bytes=params["infer_bytes"],
        max_unit_bytes=params["max_unit_bytes"],
        split_bytes=params["split_bytes"],
        max_splits=params["max_splits"],
    )
    options = LoadOptions(
        mode=params["mode"],
        on_change=params["on_change"],
        source=source,
        codec=params["codec"],
        codec_level=params["codec_level"],
        chunk_bytes=params["chunk_bytes"],
        bad_rows=_budget(params["max_bad_rows"]),
        roots=tuple(roots),
    )
    return allowed_source(params["source"], roots), options


def _budget(text: str) -> BadRowBudget:
    try:
        return BadRowBudget.of(text.strip())
    except ValueError as error:
        raise UsageError(f"the field Bad rows is {text!r}", hint=str(error)) from None


def _schema_file(path: str, roots: Sequence[str]) -> str:
    return local_path(allowed_source(path, roots))


def _lines(given: Sequence[str] | None) -> tuple[str, ...]:
    """Return the lines of a field that are not blank; Airflow sends an emptied field as null."""
    return tuple(line for line in given or () if line.strip())
