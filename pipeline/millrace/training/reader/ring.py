"""The memory of one column's batches: a ring of slots that is reused, unless a batch in it is kept."""

from __future__ import annotations

import itertools
import mmap
import weakref
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import numpy as np

from millrace.training.columns import ColumnPlan
from millrace.training.reader.places import RingShape

PAGE_BYTES = mmap.PAGESIZE


def ring_bytes(plan: ColumnPlan, shape: RingShape) -> int:
    """Return the memory of a column's ring."""
    return -(-max(1, shape.rows * plan.row_bytes) // PAGE_BYTES) * PAGE_BYTES


class Ring:
    """Batch slots of one column. ``rows`` is the whole ring, into which the threads write.

    A batch is an array of its own on the memory, so that views, tensors and Arrow buffers of it hold that array. A weak
    reference then tells whether a batch is kept.
    """

    def __init__(self, plan: ColumnPlan, shape: RingShape) -> None:
        self._plan = plan
        self._shape = shape
        self._memory = _memory(ring_bytes(plan, shape))
        self._batches: list[weakref.ref[Any] | None] = [None] * shape.slots
        self._slots, self._slot_bytes = shape.slots, shape.slot_rows * plan.row_bytes
        self._row_shape, self._dtype = plan.shape, plan.dtype
        self.rows: np.ndarray = np.ndarray((shape.rows, *plan.shape), plan.dtype, self._memory)

    def batch(self, slot: int, rows: int) -> np.ndarray:
        """Return the first rows of a slot as an array that is kept if any view of it is."""
        place = slot % self._slots
        batch: np.ndarray = np.ndarray((rows, *self._row_shape), self._dtype, self._memory, place * self._slot_bytes)
        self._batches[place] = weakref.ref(batch)
        return batch

    def is_kept(self, slot: int) -> bool:
        """Return whether the last batch of a slot is still referenced."""
        batch = self._batches[slot % self._slots]
        return batch is not None and batch() is not None

    def replacement(self, first_slot: int, end_slot: int) -> Ring:
        """Return a new ring with the rows of the slots [first_slot, end_slot); this one is left to the kept batches.

        The memory of the other batches is given back to the system, so a kept batch costs its own size only.
        """
        ring = Ring(self._plan, self._shape)
        for first, end in self._runs(first_slot, end_slot):
            ring.rows[first:end] = self.rows[first:end]
        self._give_back()
        return ring

    def _runs(self, first_slot: int, end_slot: int) -> Iterator[tuple[int, int]]:
        """Yield the rows of consecutive slots as ranges: two if they pass the end of the ring."""
        slots, rows = self._shape.slots, self._shape.slot_rows
        first, end = first_slot % slots, first_slot % slots + (end_slot - first_slot)
        yield first * rows, min(end, slots) * rows
        if end > slots:
            yield 0, (end - slots) * rows

    def _give_back(self) -> None:
        kept = [slot for slot in range(self._shape.slots) if self.is_kept(slot)]
        edges = [-1, *kept, self._shape.slots]
        for before, after in itertools.pairwise(edges):
            first = -(-(before + 1) * self._slot_bytes // PAGE_BYTES) * PAGE_BYTES
            end = after * self._slot_bytes // PAGE_BYTES * PAGE_BYTES
            if end > first:
                self._memory.madvise(mmap.MADV_DONTNEED, first, end - first)


def _memory(size_bytes: int) -> mmap.mmap:
    """Return private memory, in huge pages where the system has them: fewer page faults before the first batch."""
    memory = mmap.mmap(-1, size_bytes, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    with suppress(OSError):
        memory.madvise(mmap.MADV_HUGEPAGE)
    return memory
