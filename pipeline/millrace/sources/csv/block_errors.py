"""Errors for blocks of a CSV that do not fit the columns or their types, with the line and the option that helps."""

from __future__ import annotations

import re
from contextlib import suppress
from dataclasses import dataclass, replace

import pyarrow as pa
import pyarrow.csv as pc

from millrace.compat.pyarrow.csv import keep_mark
from millrace.display import shortened
from millrace.errors import SourceFormatError, SourceTypeError
from millrace.names import column_type_option
from millrace.sources.csv.parser import CsvParser
from millrace.sources.text.blocks import Block
from millrace.sources.text.decoding import TextFiles, not_utf8
from millrace.sources.text.records import record_starts, scan_quotes

_COLUMN = re.compile(r"In CSV column #(\d+): ")
_ROW = re.compile(r"Row #(\d+): ")


@dataclass(frozen=True)
class _Failure:
    """The reason why a block did not parse, with the column's name and the row's number in the block where known."""

    column: str | None
    row: int | None
    message: str

    @classmethod
    def of(cls, error: pa.ArrowInvalid, columns: tuple[str, ...]) -> _Failure:
        """Return the column and the row that pyarrow's message names.

        The message counts columns in the file, and rows without blank lines.
        """
        message = str(error)
        column, row = _COLUMN.search(message), _ROW.search(message)
        return cls(columns[int(column[1])] if column else None, int(row[1]) - 1 if row else None, message)


def record_range(block: Block, row: int, delimiter: str) -> tuple[int, int]:
    """Return the offsets in a block at which a row begins and ends."""
    starts = record_starts(block.data, scan_quotes(block.data, delimiter))
    return int(starts[row]), int(starts[row + 1]) if row + 1 < len(starts) else len(block.data)


class BlockErrors:
    """The errors for blocks that ``parser`` does not parse; ``text`` finds the number of a line."""

    def __init__(self, parser: CsvParser, text: TextFiles, delimiter: str) -> None:
        self._parser = parser
        self._text = text
        self._delimiter = delimiter

    def line_of(self, block: Block, row: int) -> int:
        """Return the number of the line in which a row of the block begins."""
        return self._text.line_of(block, record_range(block, row, self._delimiter)[0])

    def location(self, block: Block, row: int) -> tuple[str, int]:
        """Return the name of the file and the number of the line in which a row of the block begins."""
        return self._name(block), self.line_of(block, row)

    def unparsed(
        self, block: Block, error: pa.ArrowInvalid, types: dict[str, pa.DataType]
    ) -> SourceFormatError | SourceTypeError:
        """Return the error for a block that cannot be parsed with these types, with its line."""
        if ragged := self._ragged(block):
            return ragged
        failure = _Failure.of(error, block.columns)
        kind = types.get(failure.column or "", pa.null())
        if "invalid UTF8" in failure.message or not _is_utf8_where(kind, block):
            return self.not_utf8(block)
        return self._wrong_type(block, failure, kind)

    def not_utf8(self, block: Block) -> SourceFormatError:
        """Return the error for a block that is not UTF-8, with the line of its first wrong byte."""
        return not_utf8(block.data, self._name(block), self._text.line_of(block))

    def _name(self, block: Block) -> str:
        return self._text.files[block.file].name

    def _ragged(self, block: Block) -> SourceFormatError | None:
        """Return the error for the first row with too few or too many columns, or None if there is none."""
        rows: list[pc.InvalidRow] = []

        def keep(row: pc.InvalidRow) -> str:
            rows.append(row)
            return "error"

        data = keep_mark(block.data)
        with suppress(pa.ArrowInvalid):
            pc.read_csv(
                pa.BufferReader(data),
                read_options=pc.ReadOptions(use_threads=False, block_size=len(data) + 1, column_names=block.columns),
                parse_options=pc.ParseOptions(delimiter=self._delimiter, invalid_row_handler=keep),
                convert_options=pc.ConvertOptions(column_types=dict.fromkeys(block.columns, pa.binary())),
            )
        if not rows:
            return None
        name, line = self._name(block), self.line_of(block, (rows[0].number or 1) - 1)
        return SourceFormatError(
            f"{name}, line {line}: {rows[0].actual_columns} columns where there should be {rows[0].expected_columns}",
            hint="correct that line, or check --delimiter",
            file=name,
            line=line,
        )

    def _wrong_type(self, block: Block, failure: _Failure, kind: pa.DataType) -> SourceTypeError:
        """Return the error for a value that does not have its column's type.

        It names the line, both types, and the option that fixes it.
        """
        name, column, start, actual = self._name(block), failure.column or "?", 0, "of another type"
        if failure.row is not None and failure.column is not None:
            start, stop = record_range(block, failure.row, self._delimiter)
            record = replace(block, data=block.data[start:stop])
            value = self._parser.parse(record, {column: pa.binary()}, [column])[0][0].as_py()
            inferred = self._parser.parse(record, {}, [column]).schema[0].type
            text = (value or b"").decode("utf-8", "replace")
            actual = f"{shortened(text)!r} ({inferred})"
        line = self._text.line_of(block, start)
        return SourceTypeError(
            f"{name}, line {line}: column {column!r} was {kind} and is {actual} here",
            hint=f"give its type: {column_type_option(column)}",
            file=name,
            line=line,
            column=column,
            expected=str(kind),
        )


def _is_utf8_where(kind: pa.DataType, block: Block) -> bool:
    """Return False if a text column failed in a block that is not UTF-8, which is then the cause."""
    if not (pa.types.is_string(kind) or pa.types.is_large_string(kind)):
        return True
    try:
        block.data.decode()
    except UnicodeDecodeError:
        return False
    return True
