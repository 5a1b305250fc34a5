"""Search for the records of a CSV that do not fit the columns or their types, and the widening of types beside them.

pyarrow gives up a whole block for one value. So values that do not look like their type are found by patterns first,
and each is parsed alone. All other rows are parsed together. Only if that fails they are parsed in parts.
"""

from __future__ import annotations

import re
from collections.abc import Container, Iterator, Sequence
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as compute
import pyarrow.csv as pc
from numpy.typing import NDArray

from millrace.arrow import Path
from millrace.compat.pyarrow.csv import keep_mark
from millrace.sources.csv.new_columns import NewColumns
from millrace.sources.csv.parser import CsvParser
from millrace.sources.options import SourceOptions
from millrace.sources.text.blocks import Block
from millrace.sources.text.misfits import Failure, Misfit, Records, search
from millrace.sources.text.records import record_starts, scan_quotes
from millrace.sources.text.row_separator import Types
from millrace.sources.text.whole_numbers import change_reason, changed_rows

_COLUMN: Final = re.compile(r"In CSV column #(\d+): ")
_ROW: Final = re.compile(r"Row #(\d+): ")
_VALUE: Final = re.compile(r"conversion error to (.+?): invalid value '(.*)'", re.DOTALL)
_INTEGER: Final = r"^-?[0-9]{1,18}$"
_DATE: Final = r"^[0-9]{4}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])"
_NUMBER_CHARACTERS: Final = frozenset('0123456789+-eE \t"infatyINFATY')
_REASON_CHARACTERS: Final = 200


class CsvRecordParser:
    """The ``RecordParser`` of CSV; columns of the names ``final`` never widen."""

    def __init__(
        self,
        parser: CsvParser,
        options: SourceOptions,
        columns: Sequence[str],
        given: Types,
        final: Container[str],
    ) -> None:
        self.given = given
        self._parser = parser
        self._delimiter = options.delimiter or ","
        self._decimal = options.decimal
        self._reads_dates = not options.date_format
        self._columns = tuple(columns)
        self._final = final
        self.dropping_columns: NewColumns | None = None

    def without_misfits(self, block: Block) -> Block:
        """Return the block with blank lines for the records that are not UTF-8 or do not fit, for inference."""
        records, broken, texts = self._divided(block)
        whole = records.without(misfit.row for misfit in broken)
        given = {name: self.given[name] for name in self._columns if name in self.given}
        unfit = self._unfit(whole, texts, given)
        return records.blanked({misfit.row for misfit in (*broken, *unfit)} | records.not_utf8())

    def misfits(self, block: Block, types: Types, exact: Container[str]) -> tuple[Records, list[Misfit], Types]:
        """Return the records, those that do not fit, and the types, widened from null and from integers.

        A column of nulls gets the type that this block alone shows. A column of integers becomes one of doubles if one
        of its values is a double.
        """
        records, broken, texts = self._divided(block)
        whole = records.without(misfit.row for misfit in broken)
        if dropped := self._dropped(whole):
            kept = whole.without(misfit.row for misfit in dropped)
            whole, texts = kept, texts.take(np.flatnonzero(np.isin(whole.numbers, kept.numbers)))
        types = self._without_nulls(whole, types)
        integers = [n for n, kind in types.items() if pa.types.is_int64(kind) and n not in self._final]
        doubles = [n for n in integers if n not in exact and self._has_double(whole, texts, n)]
        if doubles:
            types = {**types, **dict.fromkeys(doubles, pa.float64())}
        return records, sorted([*broken, *dropped, *self._unfit(whole, texts, types)]), types

    def _divided(self, block: Block) -> tuple[Records, list[Misfit], pa.Table]:
        """Return all records of a block, those that cannot be divided into its columns, and the others as bytes."""
        misfits: list[Misfit] = []

        def skip(row: pc.InvalidRow) -> str:
            reason = f"{row.actual_columns} columns instead of {row.expected_columns}"
            misfits.append(Misfit((row.number or 1) - 1, "", reason, is_value=False))
            return "skip"

        records = Records.of(block, record_starts(block.data, scan_quotes(block.data, self._delimiter)))
        data = keep_mark(block.data if block.data.endswith((b"\n", b"\r")) else block.data + b"\n")
        texts = pc.read_csv(
            pa.BufferReader(data),
            read_options=pc.ReadOptions(use_threads=False, block_size=len(data) + 1, column_names=block.columns),
            parse_options=pc.ParseOptions(delimiter=self._delimiter, invalid_row_handler=skip),
            convert_options=pc.ConvertOptions(
                column_types=dict.fromkeys(self._columns, pa.binary()),
                include_columns=self._columns,
                include_missing_columns=True,
            ),
        )
        return records, misfits, texts

    def _unfit(self, records: Records, texts: pa.Table, types: Types) -> list[Misfit]:
        """Return the records with a value that does not fit its type."""
        misfits: dict[int, Misfit] = {}
        for name, kind in types.items():
            suspects = self._unlike(texts.column(name), kind)
            if len(suspects):
                chosen = records.only(records.numbers[suspects].tolist()).without(misfits)
                misfits |= {misfit.row: misfit for misfit in self._search(chosen, {name: kind})}
        others = self._search(records.without(misfits), types)
        return [*misfits.values(), *others]

    def _unlike(self, texts: pa.ChunkedArray, kind: pa.DataType) -> NDArray[np.int64]:
        """Return the rows of the texts that do not look like a value of the type; they may still be one."""
        pattern = self._pattern(kind)
        if pattern is None or not len(texts):
            return np.empty(0, np.int64)
        # The values of a column that the file lacks are null.
        alike = compute.fill_null(compute.match_substring_regex(texts, pattern), True)
        return np.flatnonzero(~alike.to_numpy().astype(bool))

    def _pattern(self, kind: pa.DataType) -> str | None:
        if pa.types.is_integer(kind):
            return f"{_INTEGER}|^$"
        if pa.types.is_floating(kind):
            mark = re.escape(self._decimal)
            return rf"^[+-]?[0-9]+({mark}[0-9]*)?([eE][+-]?[0-9]+)?$|^$"
        is_date = pa.types.is_date(kind) or pa.types.is_timestamp(kind)
        return f"{_DATE}|^$" if is_date and self._reads_dates else None

    def parse_records(self, block: Block, types: Types) -> pa.RecordBatch:
        """Return the rows of a block whose records all fit the types."""
        return self._parser.parse(block, types, self._columns)

    def changed_values(self, block: Block, path: Path, values: pa.Array) -> Iterator[tuple[int, str]]:
        """Yield row and reason for each number of a column that differs from the text of its record."""
        column = str(path[0])
        texts = self._parser.texts(block, [column]).column(0)
        for row in changed_rows(texts, values, given=column in self.given):
            yield row, change_reason(texts[row].as_py(), values.type)

    def parse_partly(self, block: Block, types: Types, without: Container[str]) -> pa.RecordBatch | Failure:
        """Return the row of a block of one record with nulls in the columns ``without``, or the next failure."""
        kept = [name for name in self._columns if name not in without]
        failure = self._attempt(block, 1, {name: types[name] for name in kept})
        if failure is not None:
            return failure
        row = self._parser.parse(block, {name: types[name] for name in kept}, kept) if kept else None
        columns = [
            pa.nulls(1, types[name]) if row is None or name in without else row.column(name) for name in self._columns
        ]
        return pa.RecordBatch.from_arrays(columns, names=list(self._columns))

    def _without_nulls(self, records: Records, types: Types) -> Types:
        names = [n for n, kind in types.items() if pa.types.is_null(kind) and n not in self._final]
        if not names or not len(records):
            return types
        shown = self._parser.parse(records.part(0, len(records)), {}, names).schema
        # Text that is not UTF-8 is inferred as binary; its records are then misfits of a text column.
        kinds = {field.name: pa.string() if pa.types.is_binary(field.type) else field.type for field in shown}
        return types if all(map(pa.types.is_null, kinds.values())) else {**types, **kinds}

    def _dropped(self, records: Records) -> list[Misfit]:
        """Return the records with a value in a new column, if the contract drops them."""
        if self.dropping_columns is None or not len(records):
            return []
        rows = self.dropping_columns.rows(records.part(0, len(records)))
        numbers = records.numbers.tolist()
        reason = "the column is not one of the dataset"
        return [Misfit(numbers[row], column, reason, is_value=True) for row, column in rows.items()]

    def _has_double(self, records: Records, texts: pa.Table, name: str) -> bool:
        """Return whether a value of a column of integers is a double, and no integer that a double would change."""
        column = texts.column(name)
        for row in self._unlike(column, pa.int64()).tolist():
            text = column[row].as_py().decode("utf-8", "replace")
            # Most of these values are no numbers, and each parse takes as long as a hundred of these comparisons.
            if not (_NUMBER_CHARACTERS | {self._decimal}).issuperset(text):
                continue
            part = records.part(row, row + 1)
            if self._attempt(part, 1, {name: pa.int64()}) is None or self._attempt(part, 1, {name: pa.float64()}):
                continue
            value = self._parser.parse(part, {name: pa.float64()}, [name]).column(0)
            if next(self.changed_values(part, (name,), value), None) is None:
                return True
        return False

    def _search(self, records: Records, types: Types) -> list[Misfit]:
        return search(records, lambda block, rows: self._attempt(block, rows, types))

    def _attempt(self, block: Block, rows: int, types: Types) -> Failure | None:
        """Return the failure of some records in these columns, or None if they fit."""
        try:
            batch = self._parser.parse(block, types, list(types))
        except pa.ArrowInvalid as error:
            return _failure(str(error), block.columns)
        if types and batch.num_rows != rows:
            return Failure(None, "", "not one record", is_value=False)
        return None


def _failure(message: str, columns: Sequence[str]) -> Failure:
    # pyarrow counts columns in the file, and rows without blank lines.
    number, row = _COLUMN.search(message), _ROW.search(message)
    at = int(row[1]) - 1 if row else None
    column = columns[int(number[1])] if number else ""
    if "invalid UTF8" in message:
        return Failure(at, column, "invalid UTF-8", is_value=False)
    if value := _VALUE.search(message):
        return Failure(at, column, f"{value[2][:_REASON_CHARACTERS]!r} is not {value[1]}", is_value=True)
    text = _ROW.sub("", _COLUMN.sub("", message))[:_REASON_CHARACTERS]
    return Failure(at, column, text, is_value=number is not None)
