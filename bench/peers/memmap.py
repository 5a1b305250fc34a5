"""A NumPy file mapped into memory, in the page cache, with one permutation of all rows: the reader without a format."""

from __future__ import annotations

from typing import Any

import numpy as np

from bench.epochs import Batches, Epochs

__all__ = ["MemmapGather"]

_RING = 4


class MemmapGather(Epochs):
    """Gather each batch from the mapped file into one of four buffers."""

    def __init__(self, samples: str, batch_rows: int) -> None:
        super().__init__(samples)
        self._batch_rows = batch_rows
        self._x, self._y = self.samples.x, self.samples.y
        self.configuration = (f"np.take of {batch_rows} rows into {_RING} buffers in turn", "all rows permuted")

    def batches(self, epoch: int) -> Batches:
        """Yield views of the buffers."""
        order = np.random.default_rng([7, epoch]).permutation(len(self._x))
        ring = [(self._buffer(self._x), None if self._y is None else self._buffer(self._y)) for _ in range(_RING)]
        for number, begin in enumerate(range(0, len(order), self._batch_rows)):
            rows = order[begin : begin + self._batch_rows]
            x, y = ring[number % _RING]
            np.take(self._x, rows, axis=0, out=x[: len(rows)], mode="clip")  # "raise" would buffer the output
            if y is not None and self._y is not None:
                np.take(self._y, rows, out=y[: len(rows)], mode="clip")
            yield x[: len(rows)], None if y is None else y[: len(rows)]

    def _buffer(self, column: np.ndarray) -> np.ndarray[Any, Any]:
        return np.empty((self._batch_rows, *column.shape[1:]), column.dtype)
