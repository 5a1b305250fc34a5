"""Cut record batches of any size into row groups of the chosen size."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from millrace.arrow import cumulative_row_bytes, held_bytes, wider_schema
from millrace.chunks.cast import cast_batch
from millrace.chunks.settings import ChunkSettings
from millrace.errors import ChunkFormatError, InvalidSettingError, SourceTypeError

Measure = Callable[[pa.RecordBatch], Any]
"""A function that returns the sizes of the rows of a batch as ``num_rows + 1`` cumulative whole numbers."""


@dataclass(frozen=True, slots=True)
class RowGroup:
    """Consecutive rows as one or more batches of one schema, in which they came; nothing is copied.

    The encoder narrows the batches before it concatenates them, so it copies less than half the bytes.
    """

    batches: tuple[pa.RecordBatch, ...]

    @property
    def schema(self) -> pa.Schema:
        """Return the schema of all batches."""
        return self.batches[0].schema

    @property
    def num_rows(self) -> int:
        """Return the number of rows in all batches."""
        return sum(batch.num_rows for batch in self.batches)

    @property
    def nbytes(self) -> int:
        """Return the bytes of Arrow data in all batches."""
        return sum(held_bytes(batch) for batch in self.batches)

    def to_batch(self) -> pa.RecordBatch:
        """Return the rows as one batch: a copy, unless it is one already. Raises ``SourceTypeError``."""
        if len(self.batches) == 1:
            return self.batches[0]
        if not self.batches[0].num_columns:
            return pa.concat_batches(self.batches)
        columns = [
            concat_column([batch.column(i) for batch in self.batches], self.schema.field(i))
            for i in range(len(self.schema))
        ]
        return pa.RecordBatch.from_arrays(columns, schema=self.schema)


def concat_column(arrays: Sequence[pa.Array], field: pa.Field) -> pa.Array:
    """Concatenate arrays of one type; raise ``SourceTypeError`` when one array of that type cannot hold all values."""
    if len(arrays) == 1:
        return arrays[0]
    try:
        return pa.concat_arrays(arrays)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        # Dictionaries that together hold more values than their index type can number, or a null, or lists. Only
        # Parquet and Arrow sources have them, and no option sets the types of those sources.
        raise SourceTypeError(
            f"column {field.name!r} of type {field.type} cannot hold the values of one row group: {error}",
            hint="write it with plain values, with a wider index type, or with one dictionary for all batches",
            column=field.name,
        ) from None


class RowGrouper:
    """An object that cuts a stream of batches into row groups; the cuts depend on rows and settings alone.

    A row group is the longest run of rows whose size is at most ``row_group_bytes``, or one row that is larger.
    ``measure`` gives the sizes, as ``cumulative_row_bytes`` does by default.

    The groups hold the same rows for every division of the rows into batches, also when a column's
    type widens between batches. Memory: the batches of one row group. Not safe for several threads.
    """

    def __init__(self, settings: ChunkSettings, *, measure: Measure | None = None) -> None:
        if settings.row_group_bytes is None:
            raise InvalidSettingError("row_group_bytes is not set", hint="choose_row_group_bytes measures it")
        self._limit = settings.row_group_bytes
        self._measure = measure
        self._pending: list[pa.RecordBatch] = []
        self._pending_bytes = 0

    def feed(self, batch: pa.RecordBatch) -> Iterator[RowGroup]:
        """Add a batch and yield the row groups that it completes.

        The caller must exhaust the iterator before the next call. Raises ``SourceTypeError`` when a column's type
        changes and neither type widens to the other.
        """
        sums = (self._measure or cumulative_row_bytes)(batch)
        start = 0
        while start < batch.num_rows:
            room = self._limit - self._pending_bytes
            stop = int(sums.searchsorted(sums[start] + room, side="right")) - 1
            if stop == batch.num_rows:
                break
            if stop == start and not self._pending:
                stop = start + 1
            self._keep(batch.slice(start, stop - start), 0)
            yield self._take()
            start = stop
        self._keep(batch.slice(start), int(sums[-1] - sums[start]))

    def finish(self) -> Iterator[RowGroup]:
        """Yield the last row group, if there are rows left."""
        if self._pending:
            yield self._take()

    def _keep(self, rows: pa.RecordBatch, row_bytes: int) -> None:
        if not rows.num_rows:
            return
        if self._pending and not self._pending[0].schema.equals(rows.schema):
            wide = wider_schema(self._pending[0].schema, rows.schema)
            self._pending = [_widen(batch, wide) for batch in self._pending]
            rows = _widen(rows, wide)
        self._pending.append(rows)
        self._pending_bytes += row_bytes

    def _take(self) -> RowGroup:
        pending, self._pending, self._pending_bytes = self._pending, [], 0
        return RowGroup(tuple(pending))


def _widen(batch: pa.RecordBatch, schema: pa.Schema) -> pa.RecordBatch:
    try:
        return cast_batch(batch, schema)
    except ChunkFormatError as error:
        raise SourceTypeError(error.message, hint="give its type with --column-type", **error.context) from None
