"""CSV as a format of sources."""

from __future__ import annotations

from contextlib import suppress
from typing import Any, Final

import pyarrow as pa
import pyarrow.csv as pc

from millrace.sources.csv.planner import plan_csv
from millrace.sources.csv.reader import read_csv
from millrace.sources.model import SourceFile
from millrace.sources.options import SourceOptions
from millrace.sources.source_format import TEXT_OPTIONS, Beginning, DetectedFormat, Doubt, Format

_CSV_OPTIONS: Final = frozenset(
    {"delimiter", "header", "decimal", "date_format", "true_value", "false_value", "skip_rows"}
)
"""The options that only a CSV has."""


def _detect(file: SourceFile, beginning: Beginning, options: SourceOptions) -> DetectedFormat | None:
    """Return CSV for text with a delimiter in every line, and for any data with an option that only a CSV has."""
    if options.encoding or _CSV_OPTIONS & options.changed():
        return DetectedFormat("csv")
    if beginning.text is None:
        return None
    text = beginning.text if beginning.is_complete else beginning.text[: beginning.text.rfind("\n") + 1]
    data = text.encode()
    try:
        # One column is converted, because pyarrow takes 9 KB for each, whatever the number of rows: 12,000 took 100 MB.
        with suppress(KeyError):
            rows = _read(data, autogenerate_column_names=True, columns=["f1"]).num_rows
            return DetectedFormat("csv", None if rows > 1 else Doubt.HEADER)
        table = _read(data)
    except pa.ArrowInvalid:
        return None
    # One column of text could be any text. A table has a delimiter in every line, or numbers below a name.
    is_number = pa.types.is_integer(table.schema.types[0]) or pa.types.is_floating(table.schema.types[0])
    is_column = table.num_rows and is_number and table.column_names[0].isidentifier()
    return DetectedFormat("csv", Doubt.COLUMN) if is_column else None


def _read(data: bytes, *, columns: list[str] | None = None, **options: Any) -> pa.Table:
    return pc.read_csv(
        pa.BufferReader(data),
        read_options=pc.ReadOptions(use_threads=False, block_size=len(data) + 1, **options),
        parse_options=pc.ParseOptions(newlines_in_values=True),
        convert_options=pc.ConvertOptions(include_columns=columns),
    )


CSV: Final = Format(
    "csv",
    "CSV",
    plan_csv,
    read_csv,
    options=TEXT_OPTIONS | _CSV_OPTIONS | {"null_values"},
    deciding_options=_CSV_OPTIONS,
    endings=(".csv", ".tsv"),
    detect=_detect,
)
