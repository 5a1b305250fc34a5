"""Errors for blocks of a CSV that do not fit the columns or their types, with the line and the option that helps."""

from __future__ import annotations

import re
from contextlib import suppress
from dataclasses import replace

import pyarrow as pa
import pyarrow.csv as pc

from millrace.compat.pyarrow.csv import as_ascii
from millrace.display import shortened
from millrace.errors import SourceFormatError, SourceTypeError
from millrace.names import column_type_option
from millrace.sources.csv.parser import CsvParser
from millrace.sources.text.blocks import Block
from millrace.sources.text.decoding import TextFiles, not_utf8
from millrace.sources.text.records import record_starts, scan_quotes

_COLUMN = re.compile(r"In CSV column #(\d+): ")
_ROW = re.compile(r"Row #(\d+): ")


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
        # pyarrow counts columns in the file, and rows without blank lines.
        number, row = _COLUMN.search(str(error)), _ROW.search(str(error))
        column = block.columns[int(number[1])] if number else None
        kind = types.get(column or "", pa.null())
        if "invalid UTF8" in str(error) or not _is_utf8_where(kind, block):
            return self.not_utf8(block)
        return self._wrong_type(block, column, int(row[1]) - 1 if row else None, kind)

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

        data = as_ascii(block.data)
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
            f"{name}, line {line}: {rows[0].actual_columns} columns instead of {rows[0].expected_columns}",
            hint="correct that line, or check --delimiter",
            file=name,
            line=line,
        )

    def _wrong_type(self, block: Block, column: str | None, row: int | None, kind: pa.DataType) -> SourceTypeError:
        """Return the error for a value that does not have its column's type.

        It names the line, both types, and the option that fixes it.
        """
        name, start, actual = self._name(block), 0, "of another type"
        if row is not None and column is not None:
            start, stop = record_range(block, row, self._delimiter)
            record = replace(block, data=block.data[start:stop])
            value = self._parser.parse(record, {column: pa.binary()}, [column])[0][0].as_py()
            inferred = self._parser.parse(record, {}, [column]).schema[0].type
            text = (value or b"").decode("utf-8", "replace")
            actual = f"{shortened(text)!r} ({inferred})"
        line = self._text.line_of(block, start)
        column = column or "?"
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
    with suppress(UnicodeDecodeError):
        block.data.decode()
        return True
    return not (pa.types.is_string(kind) or pa.types.is_large_string(kind))
