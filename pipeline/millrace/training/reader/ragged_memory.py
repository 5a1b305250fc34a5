"""The memory of rows that differ in size: at most so many bytes for a number of rows."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Self

import numpy as np

from millrace.training.order import Order


class RaggedMemory:
    """The ragged columns of the rows of some lanes: ``rows`` and ``sizes`` are those of the parts of chunks in them."""

    def __init__(self, rows: Sequence[int], sizes: Sequence[int]) -> None:
        parts = sorted(zip(rows, sizes, strict=True), key=lambda part: part[1] / part[0], reverse=True)
        self._rows, self._bytes = np.cumsum([(0, 0), *parts], axis=0).T

    @classmethod
    def of(cls, order: Order, lanes: Iterable[int], size: Callable[[int, int], int]) -> Self:
        """Return the memory of the rows of these lanes; ``size`` gives the bytes of some rows of a chunk at most."""
        fragments = [order.lane_fragments(lane) for lane in lanes]
        parts = [fragment for each in fragments for fragment in each.between(0, len(each))]
        return cls([part.rows for part in parts], [size(part.chunk, part.rows) for part in parts])

    def bytes_max(self, rows: int) -> int:
        """Return the most bytes that this number of consecutive rows takes, over the ends of epochs.

        Each epoch has another order. So rows at the end of an epoch and at the beginning of a later one may be those of
        the same, largest chunks.
        """
        epoch_rows, epoch_bytes = int(self._rows[-1]), int(self._bytes[-1])
        if not epoch_bytes:
            return 0
        epochs, rest = divmod(rows, epoch_rows)
        bounds = [epochs * epoch_bytes + self._two_ends(rest)]
        if epochs:
            bounds.append((epochs - 1) * epoch_bytes + self._two_ends(epoch_rows + rest))
        return max(bounds)

    def _two_ends(self, rows: int) -> int:
        """Return the most bytes of rows of two epochs, which may be the same rows."""
        return int(np.ceil(2 * np.interp(rows / 2, self._rows, self._bytes)))
