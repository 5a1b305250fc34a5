"""Write the rows of a column to their places in the arrays of batches."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from millrace.errors import UsageError
from millrace.training.columns.layout import fixed_values, has_nulls
from millrace.training.columns.origin import Values
from millrace.training.columns.scale import Scale


@dataclass(frozen=True, slots=True)
class ColumnPlan:
    """A column whose rows all have one shape: its dtype and shape in batches, and the way to write them.

    ``type`` is the Arrow type of the column in batches. ``shape`` is that of a row in memory; ``axes`` is the order in
    which its axes are shown (None: as stored). ``fill`` replaces nulls, before ``scale`` is applied; None refuses them.
    ``is_copy`` tells that rows without nulls have the same bytes in Arrow's memory as in batches.

    ``columns`` are the columns of the version that the rows hold one after another; empty for the one with the plan's
    name. ``fill`` then has a value for each of them. With ``classes`` a row has the position of its value among them.
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
    columns: tuple[str, ...] = ()
    classes: pa.Array | None = None

    @property
    def row_bytes(self) -> int:
        """Return the bytes of a row in a batch."""
        return self.dtype.itemsize * prod(self.shape)

    def allocate(self, rows: int) -> np.ndarray[Any, Any]:
        """Return an uninitialized array of shape (rows, *shape)."""
        return np.empty((rows, *self.shape), self.dtype)

    def scatter(self, values: pa.Array, out: np.ndarray[Any, Any], index: Any, first_row: int, rows: int) -> None:
        """Assign ``out[index[i]] = values[first_row + i]`` for ``rows`` rows, as ``scatter_parts`` does."""
        self.scatter_parts([Values(values)], out, index, first_row, rows)

    def scatter_parts(
        self, parts: Sequence[Values], out: np.ndarray[Any, Any], index: Any, first_row: int, rows: int
    ) -> None:
        """Assign the rows from ``first_row`` on to ``out[index]``; a row has the values of all parts after another.

        ``out`` is C-contiguous, of shape (any, *shape). ``index`` holds ``rows`` different positions in it (intp).
        The GIL is released while rows are copied. Raises ``UsageError`` for a null without ``fill``.
        """
        if not rows:
            return
        places = self._rows_of(out)
        if self.classes is not None:
            texts = [part.array.slice(first_row, rows) for part in parts]
            parts = [Values(pc.index_in(array, value_set=self.classes).cast(self.type)) for array in texts]
            first_row = 0
        if self._copies_whole_rows(parts):
            # A batch may have hundreds of such columns: no object is made for a slice, and nulls are looked for once.
            stored, valid = fixed_values(parts[0].array.slice(first_row, rows))
            if valid is None:
                places[index] = self._rows_of(stored)
                return
        parts = [part.slice(first_row, rows) for part in parts]
        stored = self._column_of_matrix(parts)
        if stored is not None:
            places[index] = stored
            return
        for start, piece in self._converted(parts):
            places[index[start : start + len(piece)]] = piece

    def _copies_whole_rows(self, parts: Sequence[Values]) -> bool:
        """Return whether the rows without nulls are those in Arrow's own memory."""
        return self.is_copy and len(parts) == 1 and parts[0].positions is None

    def _column_of_matrix(self, parts: Sequence[Values]) -> Any:
        """Return the rows of one column of a matrix as items in Arrow's own memory, or None for any other rows."""
        array, positions = parts[0]
        if not self.is_copy or len(parts) > 1 or positions is None or len(positions) > 1 or has_nulls(array):
            return None
        return fixed_values(array).values[:, positions[0]].view(f"V{self.row_bytes}")

    def _rows_of(self, values: Any) -> Any:
        """Return the rows as items of one dimension, which NumPy copies as bytes, also where they are not aligned."""
        numbers = values.view(np.int64) if values.dtype.kind in "Mm" else values  # they have no buffer interface
        return np.ndarray((values.nbytes // self.row_bytes,), f"V{self.row_bytes}", numbers)

    def _converted(self, parts: Sequence[Values]) -> Iterator[tuple[int, Any]]:
        """Yield the first row of each piece, and its rows with the bytes that they have in batches.

        The next piece is written over them.
        """
        dtype = self._storage_dtype
        work_dtype = dtype if self.scale is None else np.dtype(np.float64)
        width = prod(self.shape)
        rows = len(parts[0].array)
        widest = max(width, *(part.source_width for part in parts))
        size = min(rows, max(1, self.piece_bytes // (work_dtype.itemsize * widest)))
        work = np.empty((size, width), work_dtype)
        converted = work if work_dtype == dtype else np.empty((size, width), dtype)
        for start in range(0, rows, size):
            count = min(size, rows - start)
            self._convert([part.slice(start, count) for part in parts], work[:count])
            if converted is not work:
                converted[:count] = work[:count]
            yield start, self._rows_of(converted[:count])

    @property
    def _storage_dtype(self) -> np.dtype[Any]:
        return np.dtype(np.int64) if self.dtype.kind in "Mm" else self.dtype

    def _convert(self, parts: Sequence[Values], work: Any) -> None:
        """Write the rows to ``work``, (rows, width), with nulls replaced, and normalized."""
        first = 0
        for array, positions in parts:
            stored, valid = (_selected(values, positions) for values in fixed_values(array))
            values = work[:, first : first + stored.shape[1]]
            if valid is None or valid.all():
                np.copyto(values, stored)
            else:
                # The same with copyto(where=) takes five times as long: it branches for each value.
                values[:] = np.where(valid, stored, self._checked_fill(first, stored.shape[1]))
            first += stored.shape[1]
        if self.scale is not None:
            self.scale.apply(work)

    def _checked_fill(self, first: int, width: int) -> Any:
        if self.fill is None:
            raise nulls_refused(self.name, self.type, "nulls")
        return self.fill[first : first + width] if self.columns else self.fill


def _selected(values: Any, positions: tuple[int, ...] | None) -> Any:
    """Return the values (rows, any) at these positions; a single position is not copied."""
    if values is None or positions is None:
        return values
    return values[:, positions[0], None] if len(positions) == 1 else values[:, list(positions)]


def nulls_refused(name: str, type_: pa.DataType, amount: str) -> UsageError:
    """Return the error for nulls in a column that has no value for them; ``amount`` is as in "12 nulls"."""
    return UsageError(
        f"column {name!r} of type {type_} holds {amount}",
        hint=f"give the value that replaces them, nulls={{{name!r}: VALUE}}, or use format='arrow' or --format arrow, "
        "which keeps nulls",
        column=name,
    )
