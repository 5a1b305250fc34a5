"""Write the rows of a column to their places in the arrays of batches."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
import pyarrow as pa

from millrace.errors import UsageError
from millrace.training.columns.layout import fixed_values
from millrace.training.columns.scale import Scale


@dataclass(frozen=True, slots=True)
class ColumnPlan:
    """A column whose rows all have one shape: its dtype and shape in batches, and the way to write them.

    ``type`` is the Arrow type of the column in batches. ``shape`` is that of a row in memory; ``axes`` is the order in
    which its axes are shown (None: as stored). ``fill`` replaces nulls, before ``scale`` is applied; None refuses them.
    ``is_copy`` tells that rows without nulls have the same bytes in Arrow's memory as in batches.
    """

    name: str
    type: pa.DataType
    dtype: np.dtype[Any]
    is_copy: bool
    shape: tuple[int, ...] = ()
    axes: tuple[int, ...] | None = None
    fill: Any = None
    scale: Scale | None = None
    piece_bytes: int = 1 << 18
    """Rows that are converted pass through buffers of this size, which fit into the L2 cache."""

    @property
    def row_bytes(self) -> int:
        """Return the bytes of a row in a batch."""
        return self.dtype.itemsize * prod(self.shape)

    def allocate(self, rows: int) -> np.ndarray[Any, Any]:
        """Return an uninitialized array of shape (rows, *shape)."""
        return np.empty((rows, *self.shape), self.dtype)

    def scatter(self, values: pa.Array, out: np.ndarray[Any, Any], index: Any, first_row: int, rows: int) -> None:
        """Assign ``out[index[i]] = values[first_row + i]`` for ``rows`` rows.

        ``out`` is C-contiguous, of shape (any, *shape). ``index`` holds ``rows`` different positions in it (intp).
        The GIL is released while rows are copied. Raises ``UsageError`` for a null without ``fill``.
        """
        if not rows:
            return
        places, array = self._rows_of(out), values.slice(first_row, rows)
        if self.is_copy:
            stored, valid = fixed_values(array)
            if valid is None:
                places[index] = self._rows_of(stored)
                return
        for start, piece in self._converted(array):
            places[index[start : start + len(piece)]] = piece

    def _rows_of(self, values: Any) -> Any:
        """Return the rows as items of one dimension, which NumPy copies as bytes, also where they are not aligned."""
        numbers = values.view(np.int64) if values.dtype.kind in "Mm" else values  # they have no buffer interface
        return np.ndarray((values.nbytes // self.row_bytes,), f"V{self.row_bytes}", numbers)

    def _converted(self, array: pa.Array) -> Iterator[tuple[int, Any]]:
        """Yield the first row of each piece, and its rows with the bytes that they have in batches.

        The next piece is written over them.
        """
        dtype = self._storage_dtype
        work_dtype = dtype if self.scale is None else np.dtype(np.float64)
        width = prod(self.shape)
        size = min(len(array), max(1, self.piece_bytes // (work_dtype.itemsize * width)))
        work = np.empty((size, width), work_dtype)
        converted = work if work_dtype == dtype else np.empty((size, width), dtype)
        for start in range(0, len(array), size):
            piece = array.slice(start, size)
            self._convert(piece, work[: len(piece)])
            if converted is not work:
                converted[: len(piece)] = work[: len(piece)]
            yield start, self._rows_of(converted[: len(piece)])

    @property
    def _storage_dtype(self) -> np.dtype[Any]:
        return np.dtype(np.int64) if self.dtype.kind in "Mm" else self.dtype

    def _convert(self, array: pa.Array, work: Any) -> None:
        """Write the rows to ``work``, (rows, width), with nulls replaced, and normalized."""
        stored, valid = fixed_values(array)
        np.copyto(work, stored)
        if valid is not None:
            np.copyto(work, self._checked_fill(), where=~valid)
        if self.scale is not None:
            self.scale.apply(work)

    def _checked_fill(self) -> Any:
        if self.fill is None:
            raise nulls_refused(self.name, self.type, "nulls")
        return self.fill


def nulls_refused(name: str, type_: pa.DataType, amount: str) -> UsageError:
    """Return the error for nulls in a column that has no value for them; ``amount`` is as in "12 nulls"."""
    return UsageError(
        f"column {name!r} of type {type_} holds {amount}",
        hint=f"give the value that replaces them, nulls={{{name!r}: VALUE}}, or use format='arrow' or --format arrow, "
        "which keeps nulls",
        column=name,
    )
