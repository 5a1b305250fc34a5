"""One window of a lane on its way into the arena: the tasks for its fragments, their index, their failures."""

from __future__ import annotations

import threading
from collections.abc import Sequence

import pyarrow as pa

from millrace.store import ChunkRef
from millrace.training.columns import RaggedPlan
from millrace.training.order import Order, Window
from millrace.training.reader.places import EpochPlaces, Index


class WindowLoad:
    """A window, the slots [first_slot, last_slot] of its rows, and the state of its fragments.

    ``cancelled`` tells the threads that its rows are no longer needed.
    """

    def __init__(self, window: Window, places: EpochPlaces, span: tuple[int, int]) -> None:
        self.window = window
        self.places = places
        self.first_slot, self.last_slot = span
        self.done = threading.Event()
        self.cancelled = False
        self.failures: list[tuple[int, ChunkRef, Exception]] = []
        """The first slot that needs a chunk, the chunk, and its error."""
        self.ragged: list[pa.Array] = []
        """The rows of each ragged column in the order of the window, once it is done."""
        self._lock = threading.Lock()
        self._unfinished = len(window.fragments)
        self._positions: Index | None = None
        self._indices: list[Index] = []
        self._pieces: dict[int, list[pa.Array]] = {}

    def indices(self, order: Order, fragment: int) -> list[Index]:
        """Return the places of the rows of a fragment in the rings; the first call permutes the whole window."""
        with self._lock:
            if self._positions is None:
                self._positions = order.positions(self.window)
                self._indices = self.places.indices(self.window, self._positions)
            indices = self._indices
        first = sum(earlier.rows for earlier in self.window.fragments[:fragment])
        return [index[first : first + self.window.fragments[fragment].rows] for index in indices]

    def is_delivered(self, index: Index) -> bool:
        """Return whether a batch delivers any row of an index."""
        return bool((index < self.places.ring.rows - 1).any())

    def keep(self, fragment: int, pieces: list[pa.Array]) -> None:
        """Keep the rows of the ragged columns of a fragment."""
        self._pieces[fragment] = pieces

    def fail(self, indices: list[Index], chunk: ChunkRef, error: Exception) -> None:
        """Record the error of a chunk, for the first batch that needs one of its rows."""
        slots = [self.places.slot_of(index, self.window) for index in indices]
        needed = min((slot for slot in slots if slot is not None), default=self.first_slot)
        with self._lock:
            self.failures.append((needed, chunk, error))

    def finish(self, chunk: ChunkRef, ragged: Sequence[RaggedPlan]) -> None:
        """Count a fragment as finished; the last one orders the ragged rows and wakes the consumer."""
        with self._lock:
            self._unfinished -= 1
            if self._unfinished:
                return
        try:
            if ragged and not self.failures and not self.cancelled:
                self.ragged = self._taken(ragged)
        except Exception as error:  # noqa: BLE001  (raised in the consumer)
            self.fail([], chunk, error)
        self._positions, self._indices, self._pieces = None, [], {}
        self.done.set()

    def ragged_rows(self, column: int, first: int, stop: int) -> list[pa.Array]:
        """Return the rows of a ragged column at the positions [first, stop) of the lane, as far as they are here.

        The last window of a lane repeats its rows behind the end of the lane.
        """
        start, rows, parts = self.window.first_row, self.window.rows, []
        position, end = max(first, start), min(stop, self.places.end_row(self.window))
        while position < end:
            offset = (position - start) % rows
            length = min(rows - offset, end - position)
            parts.append(self.ragged[column].slice(offset, length))
            position += length
        return parts

    def _taken(self, ragged: Sequence[RaggedPlan]) -> list[pa.Array]:
        """Return the rows of each column in order; the pieces of a column are freed before the next one is taken."""
        pieces = [self._pieces[fragment] for fragment in range(len(self.window.fragments))]
        last_first = [plan.take([columns.pop() for columns in pieces], self._positions) for plan in reversed(ragged)]
        return last_first[::-1]
