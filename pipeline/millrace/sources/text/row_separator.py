"""Separation of the rows of a text block that fit their types from those that are set aside."""

from __future__ import annotations

from collections.abc import Container, Iterable, Sequence
from typing import NamedTuple, Protocol

import numpy as np
import pyarrow as pa

from millrace.arrow import Path
from millrace.errors import SourceTypeError
from millrace.sources.reject_log import RejectLog, raw_text
from millrace.sources.row_rules import Reaction, Reject, RejectKind
from millrace.sources.text.blocks import Block
from millrace.sources.text.decoding import TextFiles
from millrace.sources.text.misfits import Failure, Misfit, Records
from millrace.sources.text.whole_numbers import doubtful_leaves

Types = dict[str, pa.DataType]
"""The type of each column of the source by its name."""
_KINDS = {Reaction.DISCARD_ROW: RejectKind.DISCARDED_ROW, Reaction.DISCARD_VALUE: RejectKind.DISCARDED_VALUE}


class Separated(NamedTuple):
    """The records of a block, those of them that do not fit, and the types, widened where that is allowed.

    ``batch`` has the rows of the other records; it is None where they are not parsed yet.
    """

    records: Records
    misfits: list[Misfit]
    types: Types
    batch: pa.RecordBatch | None = None


class RecordParser(Protocol):
    """The parser of one text format, as far as it finds the records that do not fit."""

    @property
    def given(self) -> Container[str]:
        """Return the columns whose numbers may be rounded to their type."""
        ...

    def misfits(self, block: Block, types: Types, exact: Container[str]) -> Separated:
        """Return the records of a block, and those of them that do not fit.

        Safe to call from several threads. Columns of integers whose name is in ``exact`` do not become doubles.
        """

    def parse_records(self, block: Block, types: Types) -> pa.RecordBatch:
        """Return the rows of a block whose records all fit the types."""

    def changed_values(self, block: Block, path: Path, values: pa.Array) -> Iterable[tuple[int, str]]:
        """Yield row and reason for each number at ``path`` that differs from the text of its record."""

    def parse_partly(self, block: Block, types: Types, without: Container[str]) -> pa.RecordBatch | Failure:
        """Return the row of a block of one record with nulls in the columns ``without``, or the next failure."""


class FittingRows(NamedTuple):
    """The rows of a block that fit, with the types they were parsed with, and the misfits in the order of the records.

    ``parts`` has the same rows with their texts: the records that fit as a whole, and each record of which a value
    became null.
    """

    batch: pa.RecordBatch
    types: Types
    parts: list[tuple[Block, pa.RecordBatch]]
    records: Records
    misfits: list[Misfit]


class RowSeparator:
    """Separates the rows of blocks, and adds those that do not fit to ``log``."""

    def __init__(self, parser: RecordParser, text: TextFiles, log: RejectLog) -> None:
        self._parser = parser
        self._text = text
        self._log = log

    def separate(self, block: Block, types: Types, exact: Container[str]) -> FittingRows:
        """Return the rows that fit, in their order; safe to call from several threads."""
        records, misfits, types, batch = self._parser.misfits(block, types, exact)
        fitting = records.without(misfit.row for misfit in misfits)
        batch = self._parse(fitting, types) if batch is None else batch
        whole = fitting.part(0, len(fitting))
        if changed := self._changed(whole, batch, fitting.numbers.tolist()):
            misfits = sorted([*misfits, *changed])
            fitting = fitting.without(misfit.row for misfit in changed)
            batch, whole = self._parse(fitting, types), fitting.part(0, len(fitting))
        self._refuse_new_columns(records, misfits, types)
        rows = {misfit.row: [misfit] for misfit in misfits}
        partial = self._with_nulls(records, rows, types)
        every = [misfit for of_row in rows.values() for misfit in of_row]
        parts = [(records.only([number]).part(0, 1), row) for number, row in partial]
        if len(fitting):
            parts.insert(0, (whole, batch))
        return FittingRows(_in_order(batch, fitting, partial), types, parts, records, every)

    def _parse(self, records: Records, types: Types) -> pa.RecordBatch:
        if not len(records):
            return pa.RecordBatch.from_arrays([pa.nulls(0, kind) for kind in types.values()], names=list(types))
        return self._parser.parse_records(records.part(0, len(records)), types)

    def _changed(self, block: Block, batch: pa.RecordBatch, numbers: Sequence[int]) -> list[Misfit]:
        """Return the rows with a number that its double would change, once each."""
        changed: dict[int, Misfit] = {}
        for path, leaf in doubtful_leaves(batch, self._parser.given):
            for row, reason in self._parser.changed_values(block, path, leaf):
                changed.setdefault(row, Misfit(numbers[row], str(path[0]), reason, is_value=True))
        return list(changed.values())

    def _kind(self, misfit: Misfit, types: Types) -> RejectKind:
        if not misfit.is_value:
            return RejectKind.BAD
        reaction = self._log.rules.types if misfit.column in types else self._log.rules.columns
        return RejectKind.BAD if reaction is None else _KINDS.get(reaction, RejectKind.BAD)

    def _refuse_new_columns(self, records: Records, misfits: Iterable[Misfit], types: Types) -> None:
        """Raise ``SourceTypeError`` for the first new column if columns freeze, whatever the budget is."""
        new = [misfit for misfit in misfits if misfit.is_value and misfit.column and misfit.column not in types]
        if not new or self._log.rules.columns is not Reaction.FREEZE:
            return
        block = records.block
        name = self._text.files[block.file].name
        line = self._text.line_of(block, records.start_of(new[0].row))
        raise SourceTypeError(
            f"{name}, line {line}: the dataset does not have the column {new[0].column!r}, "
            "and the contract freezes its columns",
            hint="write the files without new columns, or change the contract: with columns: evolve they are added",
            file=name,
            line=line,
            column=new[0].column,
        )

    def refusal(self, block: Block, types: Types, error: Exception) -> SourceTypeError:
        """Return the error for a block whose rows fit alone and not together, as in a dictionary with few indices."""
        name, line = self._text.files[block.file].name, self._text.line_of(block, 0)
        column = next((column for column, kind in types.items() if pa.types.is_dictionary(kind)), None)
        kind = "" if column is None else f"; column {column!r} is {types[column]}"
        return SourceTypeError(
            f"{name}, line {line}: these rows fit their types alone, but not together{kind} ({error})",
            hint="a dictionary may have more values than its type can number: replace the dataset with plain values",
            file=name,
            line=line,
            column=column,
        )

    # --- values that become null

    def _with_nulls(
        self, records: Records, rows: dict[int, list[Misfit]], types: Types
    ) -> list[tuple[int, pa.RecordBatch]]:
        """Return number and row of each record whose misfit values become null, and add its other misfits to ``rows``.

        A record with a misfit of another kind is left out; ``rows`` then has that misfit alone.
        """
        partial = []
        for number, (misfit,) in rows.items():
            if self._kind(misfit, types) is RejectKind.DISCARDED_VALUE:
                batch = self._nulled(records.only([number]), rows[number], types)
                if batch is not None:
                    partial.append((number, batch))
        return partial

    def _nulled(self, record: Records, misfits: list[Misfit], types: Types) -> pa.RecordBatch | None:
        number, block = int(record.numbers[0]), record.part(0, 1)
        while True:
            without = {misfit.column for misfit in misfits}
            batch = self._parser.parse_partly(block, types, without)
            if isinstance(batch, Failure):
                more = [Misfit(number, batch.column, batch.reason, batch.is_value)]
            else:
                more = self._changed(block, batch, [number])
                if not more:
                    return batch
            if more[0].column in without or self._kind(more[0], types) is not RejectKind.DISCARDED_VALUE:
                misfits[:] = [Misfit(number, more[0].column, more[0].reason, is_value=False)]
                return None
            misfits += more

    # --- what is set aside

    def set_aside(self, fitting: FittingRows) -> None:
        """Add the misfits of a block to the log.

        Raises ``BadRowsError`` where the bad rows exceed the budget's number of rows.
        """
        block, records = fitting.records.block, fitting.records
        name = self._text.files[block.file].name
        if block.columns:
            self._log.headers.setdefault(name, block.columns)
        at = np.searchsorted(records.numbers, [misfit.row for misfit in fitting.misfits])
        starts, stops = records.starts[at].tolist(), records.stops[at].tolist()
        lines = self._text.lines_of(block, starts)
        for misfit, line, start, stop in zip(fitting.misfits, lines, starts, stops, strict=True):
            raw, is_complete = raw_text(block.data[start:stop])
            kind = self._kind(misfit, fitting.types)
            self._log.add(Reject(name, line, misfit.column, misfit.reason, raw, kind, is_complete))


def _in_order(batch: pa.RecordBatch, records: Records, partial: list[tuple[int, pa.RecordBatch]]) -> pa.RecordBatch:
    """Return the rows of the batch, those of ``records``, and the other rows in the order of their numbers."""
    if not partial:
        return batch
    numbers = np.append(records.numbers, [number for number, _ in partial])
    table = pa.Table.from_batches([batch, *(row for _, row in partial)]).unify_dictionaries()
    ordered = table.take(pa.array(np.argsort(numbers))).combine_chunks()
    return ordered.to_batches()[0]
