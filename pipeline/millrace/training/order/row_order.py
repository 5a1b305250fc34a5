"""The order of the rows of a split, in every epoch."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from millrace.errors import UsageError
from millrace.training.order.keys import Purpose, permutation
from millrace.training.order.lanes import LaneCuts
from millrace.training.order.spec import OrderSpec, Shuffle
from millrace.training.order.windows import Fragments, Window, windows_of


class Order:
    """The windows of each lane and epoch, and the position of each row in its window.

    ``chunk_rows`` has the rows of each chunk of the split, in stored order; ``chunk_starts`` the first row of each.
    """

    def __init__(self, spec: OrderSpec, chunk_rows: NDArray[np.int64]) -> None:
        self.spec = spec
        chunks = self._split_chunks(len(chunk_rows))
        stored_rows = np.asarray(chunk_rows, np.int64)
        self.chunk_starts: NDArray[np.int64] = np.cumsum(stored_rows) - stored_rows
        self._cuts = LaneCuts(chunks, stored_rows[chunks], spec.lanes)
        self.rows = self._cuts.rows
        self.rows_of_lanes = tuple(self.lane_rows(lane) for lane in range(spec.lanes))

    def lane_rows(self, lane: int) -> int:
        """Return the rows of a lane, which are the same in every epoch."""
        if not 0 <= lane < self.spec.lanes:
            raise UsageError(f"lane {lane} is not one of the {self.spec.lanes} lanes", expected=self.spec.lanes)
        first, stop = self._cuts.bounds(lane)
        return stop - first

    def lane_chunks(self, lane: int) -> NDArray[np.int64]:
        """Return the indices of the chunks that the lane reads, which are the same in every epoch."""
        return self.lane_fragments(lane).chunk

    def lane_fragments(self, lane: int) -> Fragments:
        """Return the parts of chunks that the lane reads, in the order of the sequence."""
        return self._cuts.fragments(lane)

    def window_rows_max(self, lane: int) -> int:
        """Return the most rows that a window of the lane can have in any epoch."""
        rows = np.sort(self.lane_fragments(lane).rows)
        return int(rows[-self._window_chunks(len(rows)) :].sum())

    def windows(self, lane: int, epoch: int, *, from_row: int = 0) -> Iterator[Window]:
        """Yield the windows of a lane in an epoch, from the window that holds position ``from_row`` of the lane.

        If the lane has fewer rows, yield its last window, because padded rows repeat it. The time until the first
        window depends on the lane's chunks alone.
        """
        fragments = self._epoch_fragments(lane, epoch)
        return windows_of(fragments, self._window_chunks(len(fragments)), epoch=epoch, lane=lane, from_row=from_row)

    def positions(self, window: Window) -> NDArray[np.int64]:
        """Return the position in the window of each row of its fragments, taken one after another."""
        if self.spec.shuffle in (Shuffle.NONE, Shuffle.CHUNK):
            return np.arange(window.rows, dtype=np.int64)
        return permutation(
            window.rows, Purpose.ROWS, self.spec, epoch=window.epoch, lane=window.lane, window=window.index
        )

    def _split_chunks(self, chunks: int) -> NDArray[np.int64]:
        """Return the chunks of the split in the order of the sequence, which no epoch changes."""
        if self.spec.shuffle is Shuffle.NONE:
            return np.arange(chunks, dtype=np.int64)
        return permutation(chunks, Purpose.CHUNKS, self.spec)

    def _epoch_fragments(self, lane: int, epoch: int) -> Fragments:
        fragments = self.lane_fragments(lane)
        if self.spec.shuffle is Shuffle.NONE:
            return fragments
        return fragments.taken(permutation(len(fragments), Purpose.FRAGMENTS, self.spec, epoch=epoch, lane=lane))

    def _window_chunks(self, fragments: int) -> int:
        match self.spec.shuffle:
            case Shuffle.NONE | Shuffle.CHUNK:
                return 1
            case Shuffle.WINDOW:
                return self.spec.window_chunks
            case Shuffle.FULL:
                return max(1, fragments)
