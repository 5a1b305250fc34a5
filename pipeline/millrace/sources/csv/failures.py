"""The values of a CSV that do not fit their types, by pyarrow's errors and by patterns of their texts."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as compute
import pyarrow.csv as pc

from millrace.sources.options import SourceOptions
from millrace.sources.text.misfits import Failure

INTEGER: Final = r"^[ \t]*[+-]?([0-9]+|0[xX][0-9a-fA-F]+)[ \t]*$"
"""The pattern of texts that may be integers."""
REASON_CHARACTERS: Final = 200
_COLUMN: Final = re.compile(r"In CSV column #(\d+): ")
_ROW: Final = re.compile(r"Row #(\d+): ")
_VALUE: Final = re.compile(r"conversion error to (.+?): invalid value '(.*)'", re.DOTALL)
_DATE: Final = r"^[ \t]*[0-9]{4}"


class TextPatterns:
    """The patterns of the texts of each type, and the spellings of null, by the options of a source."""

    def __init__(self, options: SourceOptions) -> None:
        self._decimal = options.decimal
        nulls = pc.ConvertOptions().null_values if options.null_values is None else options.null_values
        self._nulls = pa.array([text.encode() for text in nulls], pa.binary())
        self._reads_dates = not options.date_format

    def rows_unlike(self, texts: pa.Array, pattern: str) -> list[int]:
        """Return the rows of the texts that do not match the pattern and are no spelling of null."""
        unlike = compute.invert(compute.fill_null(compute.match_substring_regex(texts, pattern), True))
        rows = np.flatnonzero(unlike.to_numpy(zero_copy_only=False))
        is_null = compute.is_in(texts.take(rows), value_set=self._nulls).to_numpy(zero_copy_only=False)
        unlike_rows: list[int] = rows[~is_null.astype(bool)].tolist()
        return unlike_rows

    def of(self, kind: pa.DataType) -> str | None:
        """Return a pattern that every text of the type matches; None where there is none."""
        if pa.types.is_integer(kind):
            return INTEGER
        if pa.types.is_floating(kind):
            return rf"(?i)^[ \t]*[+-]?({re.escape(self._decimal)}?[0-9]|inf|nan)"
        is_date = pa.types.is_date(kind) or pa.types.is_timestamp(kind)
        return _DATE if is_date and self._reads_dates else None


def failure_of(message: str, columns: Sequence[str]) -> Failure:
    """Return the failure that an error of pyarrow names; ``columns`` are those of the file."""
    # pyarrow counts columns in the file, and rows without blank lines.
    number, row = _COLUMN.search(message), _ROW.search(message)
    at = int(row[1]) - 1 if row else None
    column = columns[int(number[1])] if number else ""
    if "invalid UTF8" in message:
        return Failure(at, column, "invalid UTF-8", is_value=False)
    if value := _VALUE.search(message):
        return Failure(at, column, f"{value[2][:REASON_CHARACTERS]!r} is not {value[1]}", is_value=True)
    text = _ROW.sub("", _COLUMN.sub("", message))[:REASON_CHARACTERS]
    return Failure(at, column, text, is_value=number is not None)
