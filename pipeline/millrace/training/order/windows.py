"""Fragments of chunks, and the windows of a lane in one epoch."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


class Fragment(NamedTuple):
    """Consecutive rows of one chunk that belong to one lane."""

    chunk: int
    """The index of the chunk in the split."""
    first_row: int
    """The first row in the chunk."""
    rows: int


@dataclass(frozen=True, slots=True)
class Window:
    """Fragments of one lane whose rows are permuted together."""

    epoch: int
    lane: int
    index: int
    """The number of the window in its lane and epoch."""
    first_row: int
    """The position in the lane at which the window begins."""
    rows: int
    fragments: tuple[Fragment, ...]


@dataclass(frozen=True)
class Fragments:
    """The fragments of a lane, as arrays of equal length."""

    chunk: NDArray[np.int64]
    first_row: NDArray[np.int64]
    rows: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.rows)

    def taken(self, indices: NDArray[np.int64]) -> Fragments:
        """Return the fragments at ``indices``."""
        return Fragments(self.chunk[indices], self.first_row[indices], self.rows[indices])

    def between(self, first: int, stop: int) -> tuple[Fragment, ...]:
        """Return the fragments [first, stop)."""
        columns = (self.chunk, self.first_row, self.rows)
        return tuple(Fragment(*values) for values in zip(*(each[first:stop].tolist() for each in columns), strict=True))


def windows_of(fragments: Fragments, window_chunks: int, *, epoch: int, lane: int, from_row: int) -> Iterator[Window]:
    """Yield the windows of ``window_chunks`` fragments each, from the window that holds ``from_row``.

    Where the rows end before ``from_row``, yield the last window.
    """
    ends = np.cumsum(fragments.rows)
    if not len(ends):
        return
    row = min(from_row, int(ends[-1]) - 1)
    first_fragment = int(np.searchsorted(ends, row, side="right"))
    for index in range(first_fragment // window_chunks, -(-len(ends) // window_chunks)):
        start, stop = index * window_chunks, min((index + 1) * window_chunks, len(ends))
        first_row = int(ends[start - 1]) if start else 0
        yield Window(epoch, lane, index, first_row, int(ends[stop - 1]) - first_row, fragments.between(start, stop))
