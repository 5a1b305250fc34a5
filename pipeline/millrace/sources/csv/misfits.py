"""Search for the records of a CSV that do not fit the columns or their types, and the widening of types beside them.

pyarrow gives up a whole block for one value, and names its column. So a pattern finds the values of that column that
are certainly none of its type, and all other rows are parsed together. If that fails again they are parsed in parts.
"""

from __future__ import annotations

from collections.abc import Container, Iterator, Sequence
from functools import partial
from typing import Final

import pyarrow as pa
import pyarrow.csv as pc

from millrace.arrow import Path
from millrace.compat.pyarrow.csv import as_ascii
from millrace.sources.csv.failures import INTEGER, REASON_CHARACTERS, TextPatterns, failure_of
from millrace.sources.csv.new_columns import NewColumns
from millrace.sources.csv.parser import CsvParser
from millrace.sources.options import SourceOptions
from millrace.sources.row_rules import NEW_COLUMN_REASON
from millrace.sources.text.blocks import Block
from millrace.sources.text.misfits import Failure, Misfit, Records, search
from millrace.sources.text.records import record_starts, scan_quotes
from millrace.sources.text.row_separator import Separated, Types
from millrace.sources.text.whole_numbers import change_reason, changed_rows

_NUMBER_CHARACTERS: Final = frozenset('0123456789+-eE \t"infatyINFATY')


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
        self._patterns = TextPatterns(options)
        self._columns = tuple(columns)
        self._final = final
        self._misfit_rows: dict[tuple[int, int, int], set[int]] = {}
        self.dropping_columns: NewColumns | None = None

    def without_misfits(self, block: Block) -> Block:
        """Return the block with blank lines for the records that are not UTF-8 or do not fit, for inference."""
        # Inference reads the first blocks several times.
        key = (block.file, block.offset, len(block.data))
        records = self._records(block)
        if key not in self._misfit_rows:
            given = {name: self.given[name] for name in self._columns if name in self.given}
            unfit, _, _ = self._separated(records, given or {self._columns[0]: pa.binary()}, (), final=given, unfit={})
            self._misfit_rows[key] = {*unfit, *records.not_utf8()}
        return records.blanked(self._misfit_rows[key])

    def misfits(self, block: Block, types: Types, exact: Container[str]) -> Separated:
        """Return the records, those that do not fit, and the types, widened from null and from integers.

        A column of nulls gets the type that this block alone shows. A column of integers becomes one of doubles if one
        of its values is a double.
        """
        records = self._records(block)
        unfit = self._dropped(records)
        unfit, types, batch = self._separated(records, types, exact, final=self._final, unfit=unfit)
        return Separated(records, sorted(unfit.values()), types, batch)

    def divisible(self, block: Block) -> Block:
        """Return the block without the records that are not UTF-8 or cannot be divided into the columns."""
        records = self._records(block)
        records = records.without(records.not_utf8())
        whole = records.without(misfit.row for misfit in self._ragged(records)) if len(records) else records
        return whole.part(0, len(whole))

    def _records(self, block: Block) -> Records:
        return Records.of(block, record_starts(block.data, scan_quotes(block.data, self._delimiter)))

    def _separated(
        self,
        records: Records,
        types: Types,
        exact: Container[str],
        *,
        final: Container[str],
        unfit: dict[int, Misfit],
    ) -> tuple[dict[int, Misfit], Types, pa.RecordBatch | None]:
        """Return the misfits by row, ``unfit`` and more, the types, and the rows that fit (None: there are none).

        The rows are parsed together. After each failure the column that it names is examined, then all columns, and
        then the rows are parsed in parts.
        """
        examined: set[str] = set()
        while len(rest := records.without(unfit)):
            batch = self._attempt(rest.part(0, len(rest)), len(rest), types)
            if isinstance(batch, pa.RecordBatch):
                return unfit, types, batch
            column = batch.column
            names = [column] if not examined else [name for name in types if name not in examined]
            more: list[Misfit] = []
            if not column and "" not in examined:
                examined.add("")
                more = self._ragged(rest)
            elif column and column not in examined:
                examined.update(names)
                types = self._widened(rest, [name for name in names if name not in final], types, exact)
                more = self._unlike(rest, names, types)
            else:
                more = search(rest, partial(self._failure, types=types))
                if not more:
                    raise pa.ArrowInvalid(batch.reason)
            unfit = unfit | {misfit.row: misfit for misfit in more}
        return unfit, types, None

    def _ragged(self, records: Records) -> list[Misfit]:
        """Return the records that cannot be divided into the columns of their file."""
        misfits: list[Misfit] = []

        def skip(row: pc.InvalidRow) -> str:
            reason = f"{row.actual_columns} columns instead of {row.expected_columns}"
            number = int(records.numbers[(row.number or 1) - 1])
            misfits.append(Misfit(number, "", reason, is_value=False))
            return "skip"

        block = records.part(0, len(records))
        data = as_ascii(block.data)
        pc.read_csv(
            pa.BufferReader(data),
            read_options=pc.ReadOptions(use_threads=False, block_size=len(data) + 1, column_names=block.columns),
            parse_options=pc.ParseOptions(delimiter=self._delimiter, invalid_row_handler=skip),
            convert_options=pc.ConvertOptions(
                column_types={block.columns[0]: pa.binary()}, include_columns=[block.columns[0]]
            ),
        )
        return misfits

    def _unlike(self, records: Records, names: Sequence[str], types: Types) -> list[Misfit]:
        """Return the records with a value that is certainly none of its type; others may be left."""
        patterns = {name: pattern for name in names if (pattern := self._patterns.of(types[name])) is not None}
        if not patterns:
            return []
        texts = self._texts(records, list(patterns))
        misfits: dict[int, Misfit] = {}
        for name, pattern in patterns.items():
            column = texts.column(name)
            for row in self._patterns.rows_unlike(column, pattern):
                text = column[row].as_py().decode("utf-8", "replace")
                reason = f"{text[:REASON_CHARACTERS]!r} is not {types[name]}"
                misfits.setdefault(row, Misfit(int(records.numbers[row]), name, reason, is_value=True))
        return list(misfits.values())

    def _texts(self, records: Records, names: Sequence[str]) -> pa.RecordBatch:
        block = records.part(0, len(records))
        return self._parser.parse(block, dict.fromkeys(names, pa.binary()), names)

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
        row = self._attempt(block, 1, {name: types[name] for name in kept}) if kept else None
        if isinstance(row, Failure):
            return row
        columns = [
            pa.nulls(1, types[name]) if row is None or name in without else row.column(name) for name in self._columns
        ]
        return pa.RecordBatch.from_arrays(columns, names=list(self._columns))

    def _widened(self, records: Records, names: Sequence[str], types: Types, exact: Container[str]) -> Types:
        """Return the types with those of these columns widened from null and from integers as the records show."""
        wider = dict(types)
        if nulls := [name for name in names if pa.types.is_null(types[name])]:
            shown = self._parser.parse(records.part(0, len(records)), {}, nulls).schema
            # Text that is not UTF-8 is inferred as binary; its records are then misfits of a text column.
            wider |= {f.name: pa.string() if pa.types.is_binary(f.type) else f.type for f in shown}
        integers = [name for name in names if pa.types.is_int64(types[name]) and name not in exact]
        if integers:
            texts = self._texts(records, integers)
            wider |= {n: pa.float64() for n in integers if self._has_double(records, texts.column(n), n)}
        # Blocks that were parsed ahead with the same object are not parsed again.
        return types if wider == types else wider

    def _dropped(self, records: Records) -> dict[int, Misfit]:
        """Return the records with a value in a new column, if the contract drops them, and those that are ragged."""
        if self.dropping_columns is None or not len(records):
            return {}
        misfits = {misfit.row: misfit for misfit in self._ragged(records)}
        whole = records.without(misfits)
        if not len(whole):
            return misfits
        rows = self.dropping_columns.rows(whole.part(0, len(whole)))
        numbers = whole.numbers.tolist()
        dropped = [Misfit(numbers[row], column, NEW_COLUMN_REASON, is_value=True) for row, column in rows.items()]
        return misfits | {misfit.row: misfit for misfit in dropped}

    def _has_double(self, records: Records, texts: pa.Array, name: str) -> bool:
        """Return whether a value of a column of integers is a double, and no integer that a double would change."""
        for row in self._patterns.rows_unlike(texts, INTEGER):
            text = texts[row].as_py().decode("utf-8", "replace")
            # Most of these values are no numbers, and each parse takes as long as a hundred of these comparisons.
            if not (_NUMBER_CHARACTERS | {self._decimal}).issuperset(text):
                continue
            values = self._attempt(records.part(row, row + 1), 1, {name: pa.float64()})
            if isinstance(values, pa.RecordBatch):
                return True
        return False

    def _failure(self, block: Block, rows: int, *, types: Types) -> Failure | None:
        batch = self._attempt(block, rows, types)
        return None if isinstance(batch, pa.RecordBatch) else batch

    def _attempt(self, block: Block, rows: int, types: Types) -> pa.RecordBatch | Failure:
        """Return some records in these columns, or the failure if they do not fit."""
        try:
            batch = self._parser.parse(block, types, list(types))
        except pa.ArrowInvalid as error:
            return failure_of(str(error), block.columns)
        return batch if batch.num_rows == rows else Failure(None, "", "not one record", is_value=False)
