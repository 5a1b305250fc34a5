"""Measure rows, so that they can be cut into row groups.

A row's size depends on its values alone. The batch it came in and the physical type of that batch make no difference,
because both depend on how a source was cut. Every cell therefore counts 8 bytes: a null, an int64 that later becomes a
double, an int8. Data beyond 8 bytes is added: the bytes of text, the elements of a list, the decoded value of a
dictionary. The sum is the raw Arrow size up to a factor that is about the same for all rows of a dataset. The size of a
row group is chosen in this unit.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from millrace.arrow.types import holds, is_dense_union

CELL_BYTES = 8


def cumulative_row_bytes(batch: pa.RecordBatch) -> np.ndarray[Any, np.dtype[np.int64]]:
    """Return ``num_rows + 1`` cumulative sizes (int64): rows ``[i, j)`` take ``sums[j] - sums[i]`` bytes.

    A row counts at least 8 bytes.
    """
    cells = max(1, batch.num_columns)
    total = np.arange(batch.num_rows + 1, dtype=np.int64) * (CELL_BYTES * cells)
    for column in batch.columns:
        total += _beyond(column)
    return total  # type: ignore[no-any-return]  # numpy is imported late


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
    if pa.types.is_null(type_):
        return 0
    for matches, measure in _MEASURES:
        if matches(type_):
            beyond = measure(array)
            if isinstance(beyond, int) or not array.null_count or _nulls_hold_nothing(array, beyond):
                return beyond
            return _without_nulls(array, beyond)
    extra = type_.bit_width // 8 - CELL_BYTES
    return _constant(array, extra) if extra > 0 else 0


def _nulls_hold_nothing(array: pa.Array, beyond: Any) -> bool:
    """Return whether no null counts bytes beyond its cell.

    This is the usual case. To detect it is several times cheaper than to correct the sums.
    """
    buffer = array.buffers()[0]
    if buffer is None:
        return False
    bits = np.unpackbits(np.frombuffer(buffer, np.uint8), bitorder="little")
    nulls = (bits[array.offset : array.offset + len(array)] == 0).nonzero()[0]
    return bool((beyond.take(nulls + 1) == beyond.take(nulls)).all())


def _without_nulls(array: pa.Array, beyond: Any) -> Any:
    """Return the sums with nulls counted as 8 bytes each, also where a producer left other bytes below a null."""
    each = np.diff(beyond)
    each *= array.is_valid().to_numpy(zero_copy_only=False)
    return _sums(each)


def _constant(array: pa.Array, extra: int) -> Any:
    beyond = np.arange(len(array) + 1, dtype=np.int64) * extra
    return _without_nulls(array, beyond) if array.null_count else beyond


def _sums(each: Any) -> Any:
    sums = np.zeros(len(each) + 1, dtype=np.int64)
    np.cumsum(each, out=sums[1:])
    return sums


def _offsets(array: pa.Array, dtype: str) -> Any:
    buffer = array.buffers()[1]
    if not len(array) or buffer is None or not buffer.size:
        return np.zeros(len(array) + 1, dtype=np.int64)
    width = np.dtype(dtype).itemsize
    offsets = np.frombuffer(buffer, dtype, len(array) + 1, array.offset * width)
    return offsets - offsets[0] if offsets[0] else offsets


def _text(array: pa.Array) -> Any:
    return _offsets(array, "<i4")


def _large_text(array: pa.Array) -> Any:
    return _offsets(array, "<i8")


def _view(array: pa.Array) -> Any:
    if not len(array):
        return np.zeros(1, dtype=np.int64)
    lengths = np.frombuffer(array.buffers()[1], "<i4")[:: 16 // 4]
    return _sums(lengths[array.offset : array.offset + len(array)])


def _cells(children: pa.Array) -> Any:
    """Return the cumulative sizes of whole cells: 8 bytes each and the bytes beyond."""
    return np.arange(len(children) + 1, dtype=np.int64) * CELL_BYTES + _beyond(children)


def _up_to(children: pa.Array, positions: Any) -> Any:
    """Return the size of all cells before each place; cells of equal size are multiplied, not added one by one."""
    beyond = _beyond(children)
    return positions * CELL_BYTES + (beyond if isinstance(beyond, int) else beyond[positions])


def _list(array: pa.Array) -> Any:
    offsets = np.asarray(array.offsets, dtype=np.int64)
    if not len(offsets):
        return np.zeros(1, dtype=np.int64)
    first, last = int(offsets[0]), int(offsets[-1])
    children = (array.keys, array.items) if pa.types.is_map(array.type) else (array.values,)
    return sum(_up_to(child.slice(first, last - first), offsets - first) for child in children)


def _list_view(array: pa.Array) -> Any:
    offsets = np.asarray(array.offsets, dtype=np.int64)
    sizes = np.asarray(array.sizes, dtype=np.int64)
    # The offset and size of a null are undefined.
    sizes = np.where(array.is_valid().to_numpy(zero_copy_only=False), sizes, 0)
    offsets = np.where(sizes > 0, offsets, 0)
    starts, stops = _up_to(array.values, np.stack([offsets, offsets + sizes]))
    return _sums(stops - starts)


def _fixed_size_list(array: pa.Array) -> Any:
    size = array.type.list_size
    return _up_to(array.values.slice(array.offset * size, len(array) * size), np.arange(len(array) + 1) * size)


def _struct(array: pa.Array) -> Any:
    beyond = np.zeros(len(array) + 1, dtype=np.int64)
    for index in range(array.type.num_fields):
        beyond += _cells(array.field(index))
    return beyond


def _dictionary(array: pa.Array) -> Any:
    beyond = _beyond(array.dictionary)
    if isinstance(beyond, int):
        return beyond
    indices = pc.fill_null(array.indices, 0) if array.indices.null_count else array.indices
    if not len(array.dictionary):
        return 0
    return _sums(np.diff(beyond)[np.asarray(indices)])


def _run_end_encoded(array: pa.Array) -> Any:
    ends = np.asarray(array.run_ends)
    runs = np.searchsorted(ends, np.arange(array.offset, array.offset + len(array)), side="right")
    return _sums(np.diff(_cells(array.values))[runs] - CELL_BYTES)


def _union(array: pa.Array) -> Any:
    if not len(array):
        return np.zeros(1, dtype=np.int64)
    # array.type_codes and array.offsets of a slice begin at the unsliced array's start in pyarrow 25.
    rows = slice(array.offset, array.offset + len(array))
    codes = np.frombuffer(array.buffers()[1], np.int8)[rows]
    dense = array.type.mode == "dense"
    offsets = np.frombuffer(array.buffers()[2], "<i4")[rows] if dense else np.arange(len(array))
    each = np.zeros(len(array), dtype=np.int64)
    for index, code in enumerate(array.type.type_codes):
        mine = codes == code
        each[mine] = np.diff(_cells(array.field(index)))[offsets[mine]]
    return _sums(each)


_MEASURES: tuple[tuple[Callable[[pa.DataType], bool], Callable[[pa.Array], Any]], ...] = (
    (lambda t: pa.types.is_string(t) or pa.types.is_binary(t), _text),
    (lambda t: pa.types.is_large_string(t) or pa.types.is_large_binary(t), _large_text),
    (lambda t: pa.types.is_string_view(t) or pa.types.is_binary_view(t), _view),
    (lambda t: pa.types.is_list(t) or pa.types.is_large_list(t) or pa.types.is_map(t), _list),
    (lambda t: pa.types.is_list_view(t) or pa.types.is_large_list_view(t), _list_view),
    (pa.types.is_fixed_size_list, _fixed_size_list),
    (pa.types.is_struct, _struct),
    (pa.types.is_dictionary, _dictionary),
    (pa.types.is_run_end_encoded, _run_end_encoded),
    (pa.types.is_union, _union),
)
