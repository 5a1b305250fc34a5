"""Cut the sequence of rows into lanes of equal length, plus or minus one row."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from millrace.training.order.windows import Fragments


@dataclass(frozen=True)
class LaneCuts:
    """The chunks of a split in the order of the sequence, cut into lanes at ``rows * lane // lanes``.

    A cut divides at most one chunk, so at most ``lanes - 1`` cuts divide a chunk.
    """

    chunks: NDArray[np.int64]
    """The index of each chunk in the split."""
    chunk_rows: NDArray[np.int64]
    """The rows of each of them."""
    lanes: int

    @cached_property
    def ends(self) -> NDArray[np.int64]:
        """The position in the sequence at which each chunk ends."""
        return np.cumsum(self.chunk_rows)

    @property
    def rows(self) -> int:
        """The rows of the sequence."""
        return int(self.ends[-1]) if len(self.ends) else 0

    def bounds(self, lane: int) -> tuple[int, int]:
        """Return the positions [first, stop) of a lane in the sequence."""
        return self.rows * lane // self.lanes, self.rows * (lane + 1) // self.lanes

    def fragments(self, lane: int) -> Fragments:
        """Return the fragments of a lane in the order of the sequence; none is empty."""
        first, stop = self.bounds(lane)
        chunks = slice(
            int(np.searchsorted(self.ends, first, side="right")), int(np.searchsorted(self.ends, stop, side="left")) + 1
        )
        rows = self.chunk_rows[chunks]
        starts = self.ends[chunks] - rows
        first_rows = np.clip(first - starts, 0, rows)
        lengths = np.clip(stop - starts, 0, rows) - first_rows
        fragments = Fragments(self.chunks[chunks], first_rows, lengths)
        return fragments.taken(np.flatnonzero(lengths))
