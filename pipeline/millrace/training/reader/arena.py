"""The rings of all columns of a fixed size: written by several threads, read as batches by one consumer."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np

from millrace.training.columns import ColumnPlan
from millrace.training.reader.places import RingShape
from millrace.training.reader.ring import Ring, ring_bytes


class Arena:
    """Memory for the batches of all columns in ``shape``.

    A slot is written anew only after ``claim``. A column of which the consumer keeps a batch in a claimed slot gets a
    new ring then, so a batch that is kept never changes.
    """

    def __init__(self, plans: Sequence[ColumnPlan], shape: RingShape) -> None:
        self.shape = shape
        self._rings = [Ring(plan, shape) for plan in plans]
        self._unwritten = threading.Condition()
        self._writers = 0
        self._is_replacing = False

    @staticmethod
    def bytes_of(plans: Sequence[ColumnPlan], shape: RingShape) -> int:
        """Return the memory of an arena."""
        return sum(ring_bytes(plan, shape) for plan in plans)

    @contextmanager
    def writing(self) -> Iterator[list[np.ndarray]]:
        """Give the rows of each column's ring, which is not replaced during the block."""
        with self._unwritten:
            self._unwritten.wait_for(lambda: not self._is_replacing)
            self._writers += 1
        try:
            yield [ring.rows for ring in self._rings]
        finally:
            with self._unwritten:
                self._writers -= 1
                self._unwritten.notify_all()

    @contextmanager
    def unwritten(self) -> Iterator[None]:
        """Wait until no thread writes, and let none begin during the block."""
        self._is_replacing = True
        try:
            with self._unwritten:
                self._unwritten.wait_for(lambda: not self._writers)
            yield
        finally:
            with self._unwritten:
                self._is_replacing = False
                self._unwritten.notify_all()

    def batch(self, slot: int, rows: int) -> list[np.ndarray]:
        """Return the rows of a slot, one array for each column."""
        return [ring.batch(slot, rows) for ring in self._rings]

    def claim(self, first_slot: int, end_slot: int, undelivered: range) -> None:
        """Free the slots [first_slot, end_slot) for new rows.

        The rows of the slots ``undelivered`` move into the new ring of a column whose batches are kept.
        """
        slots = range(first_slot, end_slot)
        kept = [number for number, ring in enumerate(self._rings) if any(map(ring.is_kept, slots))]
        if not kept:
            return
        with self.unwritten():
            for number in kept:
                self._rings[number] = self._rings[number].replacement(undelivered.start, undelivered.stop)
