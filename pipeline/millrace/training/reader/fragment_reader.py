"""Read the fragments of windows in the threads of a pool: fetch each chunk once, write its rows to their places."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol

import pyarrow as pa

from millrace.dataset import ColumnPlace, ScanStats
from millrace.store import ChunkRef
from millrace.training.columns import ColumnPlan, Origin, Plan, RaggedPlan, Values, origins_of
from millrace.training.order import Fragment, Order
from millrace.training.reader.arena import Arena
from millrace.training.reader.places import Index
from millrace.training.reader.window_load import WindowLoad


class Sizes(Protocol):
    """The part of ``dataset.DecodedSizes`` that the reader uses."""

    def bytes_max(self, ref: ChunkRef, rows: int) -> int:
        """Return the bytes of any ``rows`` rows of a chunk at most."""


class Source(Protocol):
    """The part of ``dataset.ChunkSource`` that the reader uses."""

    stats: ScanStats
    """Chunks by the tier that they came from."""

    places: Mapping[str, ColumnPlace]
    """The places of columns that are not in the batches under their own name, because matrices stay together."""

    @property
    def schema(self) -> pa.Schema:
        """The columns of the batches."""

    def borrow(self, ref: ChunkRef) -> AbstractContextManager[pa.RecordBatch]:
        """Give the batch of a chunk, whose memory is reused after the block."""

    def bytes_in_flight(self, ref: ChunkRef) -> int:
        """Return the bytes that one ``borrow`` takes."""

    def decoded_sizes(self, types: Mapping[str, pa.DataType]) -> Sizes:
        """Return the sizes of the columns of ``types`` at most, decoded to these types."""


class FragmentReader:
    """A function for the threads of a pool. ``chunks`` has the chunks of the rank's lanes by their index in the split.

    ``finished`` counts fragments, so that the consumer can tell slow from stuck.
    """

    def __init__(
        self, order: Order, chunks: Mapping[int, ChunkRef], source: Source, arena: Arena, plans: Sequence[Plan]
    ) -> None:
        self._order = order
        self._chunks = chunks
        self._source = source
        self._arena = arena
        self._fixed = [(_origins(plan, source), plan) for plan in plans if isinstance(plan, ColumnPlan)]
        self._ragged = [(_origins(plan, source)[0], plan) for plan in plans if isinstance(plan, RaggedPlan)]
        self._ragged_plans = [plan for _, plan in self._ragged]
        self.finished = 0

    def read(self, load: WindowLoad, number: int) -> None:
        """Read one fragment of a window. Errors stay in the window, for the batch that needs the chunk."""
        indices: list[Index] = []
        fragment = load.window.fragments[number]
        chunk = self._chunks[fragment.chunk]
        try:
            if not load.cancelled:
                indices = load.indices(self._order, number)
                self._write(load, number, fragment, indices)
        except Exception as error:  # noqa: BLE001  (raised in the consumer)
            load.fail(indices, chunk, error)
        finally:
            self.finished += 1
            load.finish(chunk, self._ragged_plans)

    def _write(self, load: WindowLoad, number: int, fragment: Fragment, indices: list[Index]) -> None:
        delivered = [index for index in indices if load.is_delivered(index)]
        if not delivered:
            load.keep(number, [pa.nulls(fragment.rows, plan.type) for plan in self._ragged_plans])
            return
        with self._source.borrow(self._chunks[fragment.chunk]) as batch:
            pieces = [_collected(batch, origin, plan, fragment) for origin, plan in self._ragged]
            load.keep(number, pieces)
            with self._arena.writing() as rings:
                if not load.cancelled:
                    self._scatter(batch, fragment, delivered, rings)

    def _scatter(self, batch: pa.RecordBatch, fragment: Fragment, indices: list[Index], rings: list[Any]) -> None:
        for (origins, plan), ring in zip(self._fixed, rings, strict=True):
            parts = [Values(batch.column(column), positions) for column, positions in origins]
            for index in indices:
                plan.scatter_parts(parts, ring, index, fragment.first_row, fragment.rows)


def _origins(plan: Plan, source: Source) -> tuple[Origin, ...]:
    names = plan.columns if isinstance(plan, ColumnPlan) and plan.columns else (plan.name,)
    return origins_of(names, source.schema, source.places)


def _collected(batch: pa.RecordBatch, origin: Origin, plan: RaggedPlan, fragment: Fragment) -> pa.Array:
    """Return the rows of a fragment of a column that batches hold as an Arrow array."""
    values = Values(batch.column(origin.column), origin.positions)
    rows = values.slice(fragment.first_row, fragment.rows).as_column()
    return plan.collect(rows, 0, fragment.rows)
