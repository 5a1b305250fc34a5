"""The memory of a read: how many slots and threads a bound in bytes allows, and the least bound that works."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from millrace.errors import UsageError
from millrace.parallel import worker_count
from millrace.store import ChunkRef
from millrace.training.columns import ColumnPlan, Plan, RaggedPlan
from millrace.training.order import BatchPlan, Order, Tail
from millrace.training.reader.arena import Arena
from millrace.training.reader.fragment_reader import Source
from millrace.training.reader.places import RingShape

_PERMUTATION_BYTES = 40
"""For each row of a window: its position, its place, and the arrays of which they are made."""
_WAITING_THREADS = 2
_TAKEN = 2
"""Copies of a window's ragged rows while they are put in order."""


def read_threads() -> int:
    """Return the threads of a read: more than the cores, because threads wait for the network."""
    return worker_count() + _WAITING_THREADS


@dataclass(frozen=True)
class Demand:
    """The facts that decide the memory of a rank's read.

    ``window_rows`` are the rows of the largest window of a lane and ``window_slots`` the slots that it may span.
    ``chunk_bytes`` are those that a thread needs to read a chunk. ``ahead`` counts batches that wait transformed.
    """

    plans: Sequence[Plan]
    shape: RingShape
    window_rows: int
    window_slots: int
    chunk_bytes: int
    ragged_row_bytes: float
    ahead: int

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
        ragged_rows = slots * shape.slot_rows + len(shape.lanes) * self.window_rows
        ragged_rows += threads * _TAKEN * self.window_rows
        thread_bytes = self.chunk_bytes + _PERMUTATION_BYTES * self.window_rows
        return (
            Arena.bytes_of(fixed, shape)
            + int(ragged_rows * self.ragged_row_bytes)
            + threads * thread_bytes
            + self.waiting_bytes
        )

    @property
    def waiting_bytes(self) -> int:
        """The memory of the batches that wait transformed, if they are as large as before."""
        row_bytes = sum(plan.row_bytes for plan in self.plans if isinstance(plan, ColumnPlan)) + self.ragged_row_bytes
        return int(self.ahead * self.shape.slot_rows * row_bytes)


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
    window_rows = max((order.window_rows_max(lane) for lane in lanes), default=0)
    slots = -(-(window_rows - 1) // plan.lane_batch_rows) + 1 + (plan.tail is Tail.PAD)
    in_flight = {chunk: source.bytes_in_flight(ref) for chunk, ref in chunks.items()}
    is_ragged = any(isinstance(column, RaggedPlan) for column in plans)
    ragged = max((in_flight[chunk] / max(1, ref.rows) for chunk, ref in chunks.items()), default=0.0)
    return Demand(
        plans=plans,
        shape=RingShape(1, lanes, plan.lane_batch_rows, plan.tail),
        window_rows=window_rows,
        window_slots=max(1, min(slots, plan.batches)),
        chunk_bytes=max(in_flight.values(), default=0),
        ragged_row_bytes=ragged if is_ragged else 0.0,
        ahead=ahead,
    )
