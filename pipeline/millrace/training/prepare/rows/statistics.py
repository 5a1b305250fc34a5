"""The statistics of the features over the rows of one split, from batches, in bounded memory."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import pyarrow as pa


class TrainStatistics:
    """Statistics of columns over the batches that were added; the same batches give the same figures, to the bit.

    ``categories`` are columns of codes, of which only the nulls are counted. A NaN counts as null.
    """

    def __init__(self, columns: Iterable[str], *, categories: Iterable[str] = ()) -> None:
        coded = frozenset(categories)
        self._columns = {name: _Column(is_coded=name in coded) for name in columns}

    def add(self, batch: pa.RecordBatch) -> None:
        """Add rows; the batch may have other columns as well."""
        for name, column in self._columns.items():
            column.add(batch.column(name))

    def figures(self) -> Mapping[str, Mapping[str, Any]]:
        """Return for each column ``count``, ``nulls``, ``mean``, ``std`` (population), ``min`` and ``max``.

        A figure is None where the column has no values or codes, and where it is not finite. ``count`` is the number of
        values that are not null. A tensor counts as null where it or one of its values is null; its figures are those
        of the values of all others.
        """
        return {name: column.figures() for name, column in self._columns.items()}


class _Column:
    """The figures of one column so far; whole numbers are summed exactly, floats by Chan's formula for each batch."""

    def __init__(self, *, is_coded: bool) -> None:
        self._is_coded = is_coded
        self._rows = self._nulls = self._values = 0
        self._total: int | None = None
        self._mean = self._squares = 0.0
        self._least: Any = None
        self._most: Any = None

    def add(self, array: pa.Array) -> None:
        values, nulls = _valid_values(array)
        self._rows += len(array) - nulls
        self._nulls += nulls
        if len(values) and not self._is_coded:
            with np.errstate(over="ignore", invalid="ignore"):
                self._add_values(values)

    def _add_values(self, values: Any) -> None:
        least, most = values.min().item(), values.max().item()
        self._least = least if self._least is None else min(self._least, least)
        self._most = most if self._most is None else max(self._most, most)
        wide = values.astype(np.float64)
        if values.dtype.kind in "iub":
            total = _exact_sum(values)
            self._total = (self._total or 0) + total
            mean = total / len(values)
        else:
            mean = float(wide.mean())
        self._merge(len(values), mean, float(np.square(wide - mean).sum()))

    def _merge(self, count: int, mean: float, squares: float) -> None:
        both = self._values + count
        difference = mean - self._mean
        self._squares += squares + difference * difference * (self._values / both * count)
        self._mean += difference * (count / both)
        self._values = both

    def figures(self) -> dict[str, Any]:
        is_empty = not self._values
        mean = self._mean if self._total is None else self._total / self._values
        found = {
            "mean": mean,
            "std": None if is_empty else math.sqrt(self._squares / self._values),
            "min": self._least,
            "max": self._most,
        }
        finite = {name: None if is_empty or not math.isfinite(value) else value for name, value in found.items()}
        return {"count": self._rows, "nulls": self._nulls, **finite}


def _valid_values(array: pa.Array) -> tuple[Any, int]:
    """Return the values of the rows without a null, as one dimension of NumPy, and the number of the other rows."""
    rows = len(array)
    leaves = array
    valid = _validity(array)
    width = 1
    while pa.types.is_fixed_size_list(leaves.type):
        width *= leaves.type.list_size
        size, offset = leaves.type.list_size, leaves.offset
        leaves = leaves.values.slice(offset * size, len(leaves) * size)
        valid &= _validity(leaves).reshape(rows, -1).all(axis=1)
    filled = leaves.fill_null(False if pa.types.is_boolean(leaves.type) else 0) if leaves.null_count else leaves
    values = filled.to_numpy(zero_copy_only=False).reshape(rows, width)
    if values.dtype.kind == "f":
        valid &= ~np.isnan(values).any(axis=1)
    nulls = rows - int(valid.sum())
    return (values[valid] if nulls else values).ravel(), nulls


def _validity(array: pa.Array) -> Any:
    if not array.null_count:
        return np.ones(len(array), np.bool_)
    return array.is_valid().to_numpy(zero_copy_only=False)


def _exact_sum(values: Any) -> int:
    """Return the sum of whole numbers; halves of 32 bits cannot overflow in a batch."""
    if values.dtype.itemsize < 8:
        return int(values.sum(dtype=np.int64))
    high = int((values >> 32).astype(np.int64).sum())
    return (high << 32) + int((values & 0xFFFFFFFF).astype(np.int64).sum())
