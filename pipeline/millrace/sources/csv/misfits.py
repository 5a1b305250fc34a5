"""Search for the records of a CSV that do not fit the columns or their types, and the widening of types beside them."""

from __future__ import annotations

import re
from collections.abc import Container, Iterable, Iterator, Sequence

import pyarrow as pa

from millrace.arrow import Path
from millrace.sources.csv.new_columns import NewColumns
from millrace.sources.csv.parser import CsvParser
from millrace.sources.options import SourceOptions
from millrace.sources.text.blocks import Block
from millrace.sources.text.misfits import Failure, Misfit, Records, search
from millrace.sources.text.records import record_starts, scan_quotes
from millrace.sources.text.row_separator import Types
from millrace.sources.text.whole_numbers import change_reason, changed_rows

_COLUMN = re.compile(r"In CSV column #(\d+): ")
_ROW = re.compile(r"Row #(\d+): ")
_FIELDS = re.compile(r"Expected (\d+) columns, got (\d+)")
_VALUE = re.compile(r"conversion error to (.+?): invalid value '(.*)'", re.DOTALL)
_NUMBER_CHARACTERS = frozenset('0123456789+-eE \t"infatyINFATY')
_REASON_CHARACTERS = 200


class CsvRecordParser:
    """The ``RecordParser`` of CSV; columns of the names ``final`` never widen."""

    def __init__(
        self, parser: CsvParser, options: SourceOptions, columns: Sequence[str], given: Types,
        final: Container[str],
    ) -> None:  # fmt: skip
        self.given = given
        self._parser = parser
        self._delimiter = options.delimiter or ","
        self._number_characters = _NUMBER_CHARACTERS | {options.decimal}
        self._columns = tuple(columns)
        self._final = final
        self.dropping_columns: NewColumns | None = None

    def intact(self, block: Block) -> tuple[Records, list[Misfit]]:
        """Return all records of a block, and those of them that cannot be divided into its columns."""
        records = Records.of(block, record_starts(block.data, scan_quotes(block.data, self._delimiter)))
        return records, self._search(records, dict.fromkeys(block.columns, pa.binary()), block.columns)

    def without_misfits(self, block: Block) -> Block:
        """Return the block with blank lines for the records that are not UTF-8 or do not fit, for inference."""
        records, broken = self.intact(block)
        whole = records.without(misfit.row for misfit in broken)
        given = {name: self.given[name] for name in self._columns if name in self.given}
        unfit = self._search(whole, given, list(given)) if given else []
        return records.blanked({misfit.row for misfit in (*broken, *unfit)} | records.not_utf8())

    def misfits(self, block: Block, types: Types, exact: Container[str]) -> tuple[Records, list[Misfit], Types]:
        """Return the records, those that do not fit, and the types, widened from null and from integers.

        A column of nulls gets the type that this block alone shows. A column of integers becomes one of doubles if that
        makes any record fit.
        """
        records, broken = self.intact(block)
        whole = records.without(misfit.row for misfit in broken)
        dropped = self._dropped(whole)
        whole = whole.without(misfit.row for misfit in dropped)
        types = self._without_nulls(whole, types)
        unfit = self._search(whole, types, self._columns)
        if doubles := [name for name in self._integers(unfit, types, exact) if self._has_double(whole, unfit, name)]:
            types = {**types, **dict.fromkeys(doubles, pa.float64())}
            unfit = self._search(whole, types, self._columns)
        return records, sorted([*broken, *dropped, *unfit]), types

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
        failure = self._attempt(block, 1, {name: types[name] for name in kept}, kept)
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

    def _integers(self, misfits: Iterable[Misfit], types: Types, exact: Container[str]) -> list[str]:
        """Return the columns of integers with misfits that may become doubles."""
        names = dict.fromkeys(misfit.column for misfit in misfits if misfit.column)
        return [n for n in names if pa.types.is_int64(types[n]) and n not in self._final and n not in exact]

    def _has_double(self, records: Records, misfits: Iterable[Misfit], name: str) -> bool:
        """Return whether any misfit of a column of integers is a double."""
        chosen = records.only(misfit.row for misfit in misfits if misfit.column == name)
        texts = self._parser.parse(chosen.part(0, len(chosen)), {name: pa.binary()}, [name]).column(0).to_pylist()
        for index, text in enumerate(texts):
            # Most misfits are no numbers, and each parse takes as long as a hundred of these comparisons.
            is_possible = text is not None and self._number_characters.issuperset(text.decode("utf-8", "replace"))
            part = chosen.part(index, index + 1)
            if is_possible and self._attempt(part, 1, {name: pa.float64()}, [name]) is None:
                return True
        return False

    def _search(self, records: Records, types: Types, columns: Sequence[str]) -> list[Misfit]:
        def attempt(block: Block, rows: int) -> Failure | None:
            return self._attempt(block, rows, types, columns)

        if not len(records) or attempt(records.part(0, len(records)), len(records)) is None:
            return []
        return search(records, attempt)

    def _attempt(self, block: Block, rows: int, types: Types, columns: Sequence[str]) -> Failure | None:
        try:
            batch = self._parser.parse(block, types, columns)
        except pa.ArrowInvalid as error:
            return _failure(str(error), block.columns)
        if columns and batch.num_rows != rows:
            return Failure(None, "", "not one record", is_value=False)
        return None


def _failure(message: str, columns: Sequence[str]) -> Failure:
    # pyarrow counts columns in the file, and rows without blank lines.
    number, row = _COLUMN.search(message), _ROW.search(message)
    at = int(row[1]) - 1 if row else None
    if fields := _FIELDS.search(message):
        return Failure(at, "", f"{fields[2]} columns instead of {fields[1]}", is_value=False)
    column = columns[int(number[1])] if number else ""
    if "invalid UTF8" in message:
        return Failure(at, column, "invalid UTF-8", is_value=False)
    if value := _VALUE.search(message):
        return Failure(at, column, f"{value[2][:_REASON_CHARACTERS]!r} is not {value[1]}", is_value=True)
    text = _ROW.sub("", _COLUMN.sub("", message))[:_REASON_CHARACTERS]
    return Failure(at, column, text, is_value=number is not None)
