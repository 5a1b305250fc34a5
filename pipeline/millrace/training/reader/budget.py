"""The memory of a read: how many slots and threads a bound in bytes allows, and the least bound that works."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

from millrace.errors import UsageError
from millrace.parallel import worker_count
from millrace.store import ChunkRef
from millrace.training.columns import ColumnPlan, Plan, RaggedPlan
from millrace.training.order import BatchPlan, Order, Tail
from millrace.training.reader.arena import Arena
from millrace.training.reader.fragment_reader import Source
from millrace.training.reader.places import RingShape
from millrace.training.reader.ragged_memory import RaggedMemory

_PERMUTATION_BYTES = 40
"""For each row of a window: its position, its place, and the arrays of which they are made."""
_WAITING_THREADS = 2
_BATCHES = 2
"""Batches of ragged rows that are joined from those of windows: the consumer's, and the next one."""


def read_threads() -> int:
    """Return the threads of a read: more than the cores, because threads wait for the network."""
    return worker_count() + _WAITING_THREADS


@dataclass(frozen=True)
class Demand:
    """The facts that decide the memory of a rank's read.

    ``lane_rows`` are the rows of each lane of the rank, ``lane_window_rows`` those of its largest window.
    ``window_slots`` are the slots that a window may span. ``chunk_bytes`` are those that a thread needs to read a
    chunk. ``ahead`` counts batches that wait transformed.
    """

    plans: Sequence[Plan]
    shape: RingShape
    batches: int
    lane_rows: Sequence[int]
    lane_window_rows: Sequence[int]
    window_slots: int
    chunk_bytes: int
    ragged: RaggedMemory
    ahead: int

    @property
    def window_rows(self) -> int:
        """The rows of the largest window."""
        return max(self.lane_window_rows, default=0)

    @property
    def slots_min(self) -> int:
        """The slots of one window, of the batch that the consumer uses, and of those that wait transformed."""
        return self.window_slots + 1 + self.ahead

    @property
    def slots_default(self) -> int:
        """The slots of two windows, so that the next one is read while the batches of one are consumed."""
        return 2 * self.window_slots + 1 + self.ahead

    def total_bytes(self, slots: int, threads: int) -> int:
        """Return the memory of a read: rings, ragged rows, what the threads need, and batches that wait transformed."""
        shape = replace(self.shape, slots=slots)
        fixed = [plan for plan in self.plans if isinstance(plan, ColumnPlan)]
        thread_bytes = self.chunk_bytes + _PERMUTATION_BYTES * self.window_rows
        return (
            Arena.bytes_of(fixed, shape)
            + self._ragged_bytes(slots, threads)
            + threads * thread_bytes
            + self.waiting_bytes
        )

    def _ragged_bytes(self, slots: int, threads: int) -> int:
        """Return the bytes of the windows in memory, of a copy of those that threads order, and of joined batches."""
        rows = sum(map(partial(self._lane_rows_read, slots), self.lane_rows, self.lane_window_rows))
        return (
            self.ragged.bytes_max(rows)
            + self.ragged.bytes_max(threads * self.window_rows)
            + _BATCHES * self.ragged.bytes_max(self.shape.slot_rows)
        )

    def _lane_rows_read(self, slots: int, lane_rows: int, window_rows: int) -> int:
        """Return the rows of the windows of a lane that are in memory: all that end within ``slots - 1`` slots."""
        rows = window_rows + (slots - 1) * self.shape.lane_batch_rows
        if window_rows < lane_rows:
            return rows
        epochs = -(-(slots - 1) // max(1, self.batches))
        return min(rows, epochs * lane_rows)

    @property
    def waiting_bytes(self) -> int:
        """The memory of the batches that wait transformed, if they are as large as before."""
        row_bytes = sum(plan.row_bytes for plan in self.plans if isinstance(plan, ColumnPlan))
        return self.ahead * (self.shape.slot_rows * row_bytes + self.ragged.bytes_max(self.shape.slot_rows))


@dataclass(frozen=True)
class Budget:
    """The slots and threads of a read, and the bytes that they need at most."""

    slots: int
    threads: int
    bytes: int


def budget_of(demand: Demand, prefetch_bytes: int | None, threads: int) -> Budget:
    """Return the budget within ``prefetch_bytes`` (None: two windows), with at most ``threads`` threads.

    Raises ``UsageError`` with the least number of bytes if one window does not fit.
    """
    if prefetch_bytes is None:
        slots = demand.slots_default
        return Budget(slots, threads, demand.total_bytes(slots, threads))
    least_bytes = demand.total_bytes(demand.slots_min, 1)
    if prefetch_bytes < least_bytes:
        raise UsageError(
            f"prefetch_bytes {prefetch_bytes} is too small for one window",
            hint=f"use at least {least_bytes}, or a smaller window_chunks or batch, or fewer columns",
            prefetch_bytes=prefetch_bytes,
            expected=least_bytes,
        )
    fitting = [
        count for count in range(1, threads + 1) if demand.total_bytes(demand.slots_min, count) <= prefetch_bytes
    ]
    used = fitting[-1]
    slots = _most_slots(demand, prefetch_bytes, used)
    return Budget(slots, used, demand.total_bytes(slots, used))


def _most_slots(demand: Demand, prefetch_bytes: int, threads: int) -> int:
    """Return the largest number of slots that fits; the smallest does."""
    low, high = demand.slots_min, demand.slots_min + 1
    while demand.total_bytes(high, threads) <= prefetch_bytes and high - demand.slots_min < _SLOTS_MAX:
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if demand.total_bytes(middle, threads) <= prefetch_bytes else (low, middle)
    return low


_SLOTS_MAX = 1 << 20


def demand_of(
    order: Order,
    plan: BatchPlan,
    lanes: range,
    plans: Sequence[Plan],
    chunks: Mapping[int, ChunkRef],
    source: Source,
    *,
    ahead: int,
) -> Demand:
    """Return the demand of a rank's lanes; ``plan`` is that of a whole epoch."""
    lane_window_rows = [order.window_rows_max(lane) for lane in lanes]
    slots = -(-(max(lane_window_rows, default=0) - 1) // plan.lane_batch_rows) + 1 + (plan.tail is Tail.PAD)
    in_flight = {chunk: source.bytes_in_flight(ref) for chunk, ref in chunks.items()}
    sizes = source.decoded_sizes({column.name: column.type for column in plans if isinstance(column, RaggedPlan)})
    return Demand(
        plans=plans,
        shape=RingShape(1, lanes, plan.lane_batch_rows, plan.tail),
        batches=plan.batches,
        lane_rows=[order.lane_rows(lane) for lane in lanes],
        lane_window_rows=lane_window_rows,
        window_slots=max(1, min(slots, plan.batches)),
        chunk_bytes=max(in_flight.values(), default=0),
        ragged=RaggedMemory.of(order, lanes, lambda chunk, rows: sizes.bytes_max(chunks[chunk], rows)),
        ahead=ahead,
    )
