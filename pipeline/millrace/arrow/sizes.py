"""Measure rows, so that they can be cut into row groups.

A row's size depends on its values alone. Batches and their physical types depend on how the source was divided, so a
size must not depend on them. Every cell therefore counts 8 bytes, also a null, an int8, or an int64 that later becomes
a double. Data beyond 8 bytes is added: the bytes of text, the elements of a list, the decoded value of a dictionary.

The size of a row group is chosen in this unit. It is proportional to the raw Arrow size, by a factor that is about the
same for all rows of a dataset.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from millrace.arrow.nested_layout import (
    is_list_like,
    is_valid,
    is_view,
    list_children,
    list_ranges,
    runs_of_rows,
)
from millrace.arrow.types import OFFSET_TYPES, VIEWS
from millrace.compat.pyarrow.nested import is_dense_union, union_parts
from millrace.compat.pyarrow.types import holds

CELL_BYTES = 8


def cumulative_row_bytes(batch: pa.RecordBatch) -> np.ndarray[Any, np.dtype[np.int64]]:
    """Return ``num_rows + 1`` cumulative sizes (int64): rows ``[i, j)`` take ``sums[j] - sums[i]`` bytes.

    A row counts at least 8 bytes.
    """
    sums: np.ndarray[Any, np.dtype[np.int64]] = np.arange(batch.num_rows + 1, dtype=np.int64)
    sums *= CELL_BYTES * max(1, batch.num_columns)
    for column in batch.columns:
        sums += _beyond(column)
    return sums


def held_bytes(rows: pa.RecordBatch) -> int:
    """Return ``nbytes``, or the sum of ``cumulative_row_bytes`` where a column holds a dense union.

    pyarrow may read past the end of a child to compute ``nbytes`` of a dense union (see ``is_dense_union``).
    """
    if any(holds(kind, is_dense_union) for kind in rows.schema.types):
        return int(cumulative_row_bytes(rows)[-1])
    return int(rows.nbytes)


def _beyond(array: pa.Array) -> Any:
    """Return the bytes of the cells beyond 8 each, as ``len(array) + 1`` cumulative sums; 0 when there are none."""
    type_ = array.type
    if isinstance(array, pa.ExtensionArray):
        return _beyond(array.storage)
    if pa.types.is_null(type_) or not len(array):
        return 0
    measure = next((measure for matches, measure in _MEASURES if matches(type_)), _fixed_width)
    beyond = measure(array)
    return beyond if isinstance(beyond, int) or not array.null_count else _without_nulls(array, beyond)


def _without_nulls(array: pa.Array, beyond: Any) -> Any:
    """Return the sums with nulls counted as 8 bytes each, also where a producer left other bytes below a null."""
    valid = is_valid(array)
    nulls = np.flatnonzero(~valid)
    # Usually no null counts bytes beyond its cell. To detect it is several times cheaper than to correct the sums.
    if (beyond.take(nulls + 1) == beyond.take(nulls)).all():
        return beyond
    sizes = np.diff(beyond)
    sizes *= valid
    return _sums(sizes)


def _sums(sizes: Any) -> Any:
    sums = np.zeros(len(sizes) + 1, dtype=np.int64)
    np.cumsum(sizes, out=sums[1:])
    return sums


def _cell_bytes(array: pa.Array) -> Any:
    """Return the size of each cell: 8 bytes and the bytes beyond."""
    return CELL_BYTES + np.diff(_beyond(array) + np.zeros(len(array) + 1, dtype=np.int64))


def _fixed_width(array: pa.Array) -> Any:
    extra = array.type.bit_width // 8 - CELL_BYTES
    return np.arange(len(array) + 1, dtype=np.int64) * extra if extra > 0 else 0


def _text(array: pa.Array) -> Any:
    offset = np.dtype(OFFSET_TYPES[array.type])
    offsets = np.frombuffer(array.buffers()[1], offset, len(array) + 1, array.offset * offset.itemsize)
    return offsets - offsets[0] if offsets[0] else offsets


def _view(array: pa.Array) -> Any:
    lengths = np.frombuffer(array.buffers()[1], "<i4")[:: 16 // 4]
    return _sums(lengths[array.offset : array.offset + len(array)])


def _up_to(children: pa.Array, positions: Any) -> Any:
    """Return the size of all cells before each position; cells of equal size are multiplied, not added one by one."""
    beyond = _beyond(children)
    return positions * CELL_BYTES + (beyond if isinstance(beyond, int) else beyond[positions])


def _lists(array: pa.Array) -> Any:
    starts, sizes = list_ranges(array)
    first, stop = int(starts[0]), int(starts[-1] + sizes[-1])
    edges = np.append(starts, stop) - first
    return sum(_up_to(child.slice(first, stop - first), edges) for child in list_children(array))


def _list_views(array: pa.Array) -> Any:
    starts, sizes = list_ranges(array)
    starts = np.where(sizes > 0, starts, 0)
    before, after = _up_to(array.values, np.stack([starts, starts + sizes]))
    return _sums(after - before)


def _struct(array: pa.Array) -> Any:
    sums = np.arange(len(array) + 1, dtype=np.int64) * (CELL_BYTES * array.type.num_fields)
    for number in range(array.type.num_fields):
        sums += _beyond(array.field(number))
    return sums


def _dictionary(array: pa.Array) -> Any:
    beyond = _beyond(array.dictionary)
    if isinstance(beyond, int):
        return beyond
    indices = pc.fill_null(array.indices, 0) if array.indices.null_count else array.indices
    return _sums(np.diff(beyond)[np.asarray(indices)])


def _run_end_encoded(array: pa.Array) -> Any:
    return _sums(_cell_bytes(array.values)[runs_of_rows(array)] - CELL_BYTES)


def _union(array: pa.Array) -> Any:
    codes, offsets = union_parts(array)
    sizes = np.zeros(len(array), dtype=np.int64)
    for index, code in enumerate(array.type.type_codes):
        rows = codes == code
        sizes[rows] = _cell_bytes(array.field(index))[offsets[rows]]
    return _sums(sizes)


_MEASURES: tuple[tuple[Callable[[pa.DataType], bool], Callable[[pa.Array], Any]], ...] = (
    (pa.types.is_primitive, _fixed_width),  # the most frequent types first
    (is_view, _list_views),
    (is_list_like, _lists),
    (pa.types.is_struct, _struct),
    (pa.types.is_dictionary, _dictionary),
    (pa.types.is_run_end_encoded, _run_end_encoded),
    (pa.types.is_union, _union),
    (VIEWS.__contains__, _view),
    (OFFSET_TYPES.__contains__, _text),
)
