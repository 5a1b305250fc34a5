"""Read windows ahead of the consumer into the arena, and hand out its slots as batches in order."""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from itertools import count
from typing import Any

import pyarrow as pa

from millrace.errors import ChunkError, MillraceError, StoreTimeoutError
from millrace.store import ChunkRef
from millrace.training.columns import ColumnPlan, Plan, RaggedPlan
from millrace.training.order import BatchPlan, Order, Tail
from millrace.training.reader.arena import Arena
from millrace.training.reader.epochs import EpochPlans, Epochs, LaneCursor, all_epochs
from millrace.training.reader.fragment_reader import FragmentReader
from millrace.training.reader.places import RingShape
from millrace.training.reader.window_load import WindowLoad

STALLED_S = 120.0
"""Seconds without any finished chunk after which a read fails; each request has its own, shorter deadline."""


@dataclass(frozen=True)
class RankPlan:
    """The batches of one rank: which rows, which columns, and how many slots."""

    order: Order
    tail: Tail
    global_batch_rows: int
    plans: Sequence[Plan]
    shape: RingShape

    def epochs(self, epoch: int, row: int) -> EpochPlans:
        """Return the batches from a position on, without end."""
        return all_epochs(epoch, self.batch_plan(row), self.batch_plan(0))

    def batch_plan(self, row: int) -> BatchPlan:
        """Return the batches of an epoch from a row of the lanes on."""
        return BatchPlan(self.order.rows_of_lanes, self.global_batch_rows, self.tail, row)

    @property
    def fixed(self) -> list[ColumnPlan]:
        """The columns that the arena holds."""
        return [plan for plan in self.plans if isinstance(plan, ColumnPlan)]

    @property
    def ragged(self) -> list[RaggedPlan]:
        """The columns whose rows differ in size."""
        return [plan for plan in self.plans if isinstance(plan, RaggedPlan)]


class Pipeline:
    """The batches of a rank, epoch after epoch.

    ``take`` gives the next batch, in one thread at a time. ``consumed`` counts the slots whose batches the consumer has
    got; the last of them may be in use, and all before it are free. A window is read as soon as the slots of all of its
    rows are free.
    """

    def __init__(
        self,
        plan: RankPlan,
        arena: Arena,
        reader: FragmentReader,
        pool: Executor,
        *,
        epochs: EpochPlans,
        first_slot: int = 0,
        stalled_s: float = STALLED_S,
    ) -> None:
        self._plan = plan
        self._arena = arena
        self._reader = reader
        self._pool = pool
        self._stalled_s = stalled_s
        self._epochs = Epochs(epochs, plan.shape, first_slot)
        self._cursors = [LaneCursor(lane, plan.order, self._epochs) for lane in plan.shape.lanes]
        self._started: list[tuple[int, int, WindowLoad]] = []
        self._numbers = count()
        self._lane_loads: list[deque[WindowLoad]] = [deque() for _ in plan.shape.lanes]
        self._failures: dict[int, tuple[ChunkRef, Exception]] = {}
        self._fixed_names = [column.name for column in plan.fixed]
        self._ragged_names = [column.name for column in plan.ragged]
        self._epoch_number = 0
        self._ready_slot = self._next_admission = self.consumed = self.next_slot = self.end_slot = first_slot
        self.is_broken = False
        """Whether ``take`` was ended by an error or an interrupt, so that windows may be missing."""
        self.places = self._epochs.places(0)
        self._admit()

    def next_epoch(self) -> None:
        """Go on to the next epoch, after the last batch of this one."""
        self._epoch_number += 1
        self.places = self._epochs.places(self._epoch_number)

    def is_at(self, epoch: int, row: int) -> bool:
        """Return whether the next batch is the one at a position, and nothing has failed."""
        return self.position == (epoch, row) and self.next_slot == self.consumed and not self.is_broken

    @property
    def position(self) -> tuple[int, int]:
        """The epoch, and the rows of it that every lane has handed out in consumed batches."""
        batches = self.consumed - self.places.first_slot
        if batches == self.places.plan.batches:
            return self.places.epoch + 1, 0
        return self.places.epoch, self.places.plan.from_row + batches * self.places.plan.lane_batch_rows

    def step_of(self, slot: int) -> int:
        """Return the number of a batch in its epoch; the rows before the position count as batches of the same size."""
        plan = self.places.plan
        return slot - self.places.first_slot + plan.from_row // plan.lane_batch_rows

    def take(self) -> dict[str, Any]:
        """Return the next batch as one array for each column, by name.

        Raises the error of a chunk in place of the first batch that needs it, with version, chunk and step.
        """
        slot = self.next_slot
        self._drop_windows(slot)
        if self.consumed >= self._next_admission:
            self._admit()
        if slot >= self._ready_slot:
            self._wait(slot)
        arrays = self._arena.batch(slot, self.places.batch_rows(slot))
        batch: dict[str, Any] = dict(zip(self._fixed_names, arrays, strict=True))
        if self._ragged_names:
            batch |= self._ragged_columns(slot)
        self.next_slot = slot + 1
        return batch

    def cancel(self) -> None:
        """Drop all that was read ahead. When this returns no thread writes rows of this pipeline any more."""
        for _, _, load in self._started:
            load.cancelled = True
        with self._arena.unwritten():
            pass

    def _admit(self) -> None:
        """Start every window whose slots are free, those that are needed first before the others."""
        free = self.consumed - 1 + self._plan.shape.slots
        while True:
            admitted = [cursor for cursor in self._cursors if cursor.load.last_slot < free]
            if not admitted:
                break
            self._start(min(admitted, key=lambda cursor: cursor.load.first_slot))
        self._next_admission = min(cursor.load.last_slot for cursor in self._cursors) - self._plan.shape.slots + 2

    def _start(self, cursor: LaneCursor) -> None:
        load = cursor.take()
        end_slot = max(self.end_slot, load.last_slot + 1)
        self._arena.claim(self.end_slot, end_slot, range(self.next_slot, self.end_slot))
        self.end_slot = end_slot
        heapq.heappush(self._started, (load.first_slot, next(self._numbers), load))
        if self._ragged_names:
            self._lane_loads[load.window.lane - self._plan.shape.lanes.start].append(load)
        for number in range(len(load.window.fragments)):
            self._pool.submit(self._reader.read, load, number)

    def _wait(self, slot: int) -> None:
        """Wait for every window with rows of a slot; raise the error of a chunk that the slot needs."""
        while self._started and self._started[0][0] <= slot:
            load = self._started[0][2]
            self._await(load)
            for needed, chunk, error in load.failures:
                self._failures.setdefault(needed, (chunk, error))
            heapq.heappop(self._started)
        pending = [first for first, _, _ in self._started[:1]] + [cursor.load.first_slot for cursor in self._cursors]
        self._ready_slot = min([*pending, *self._failures])
        if slot in self._failures:
            chunk, error = self._failures[slot]
            raise self._named(slot, chunk, error) from error

    def _await(self, load: WindowLoad) -> None:
        """Wait for a window; raise ``StoreTimeoutError`` if no thread finishes a chunk for ``stalled_s``."""
        finished = self._reader.finished
        while not load.done.wait(self._stalled_s):
            if self._reader.finished == finished:
                raise StoreTimeoutError(
                    f"{self._plan.order.spec.version}: no chunk was read for {self._stalled_s:g} s",
                    hint="millrace doctor shows whether the nodes respond",
                    step=self.step_of(self.next_slot),
                )
            finished = self._reader.finished

    def _named(self, slot: int, chunk: ChunkRef, error: Exception) -> MillraceError:
        """Return the error of a chunk with the version and the step that needs the chunk."""
        reference, step = self._plan.order.spec.version, self.step_of(slot)
        context: dict[str, Any] = {"version": reference.partition("@")[2], "chunk": str(chunk), "step": step}
        message = f"{reference}: step {step} of epoch {self.places.epoch} needs chunk {chunk}"
        if isinstance(error, MillraceError):
            return type(error)(f"{message}: {error.message}", hint=error.hint, **{**error.context, **context})
        return ChunkError(f"{message}: {type(error).__name__}: {error}", **context)

    def _drop_windows(self, slot: int) -> None:
        """Free the ragged rows of windows before a slot, before memory is needed for further windows."""
        for loads in self._lane_loads:
            while loads and loads[0].last_slot < slot:
                loads.popleft()

    def _ragged_columns(self, slot: int) -> dict[str, pa.Array]:
        """Return the columns whose rows differ in size, joined from the rows of each lane."""
        parts: list[list[pa.Array]] = [[] for _ in self._ragged_names]
        for lane, loads in zip(self._plan.shape.lanes, self._lane_loads, strict=True):
            first, stop = self.places.plan.lane_slice(slot - self.places.first_slot, lane)
            for load in loads:
                if load.first_slot > slot:
                    break
                for column, arrays in enumerate(parts):
                    arrays += load.ragged_rows(column, first, stop)
        return {
            plan.name: pa.concat_arrays(arrays or [pa.nulls(0, plan.type)])
            for plan, arrays in zip(self._plan.ragged, parts, strict=True)
        }
