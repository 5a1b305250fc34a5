"""Take nested arrays apart and build them from their parts: ranges of lists, codes of unions, ends of runs.

Only this module handles the differences between slices, nulls and kinds of lists.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa


def is_valid(array: pa.Array) -> Any:
    """Return which rows are not null, as a numpy array of booleans."""
    return array.is_valid().to_numpy(zero_copy_only=False)


def is_view(type_: pa.DataType) -> bool:
    """Return whether the type is a list view, small or large."""
    return bool(pa.types.is_list_view(type_) or pa.types.is_large_list_view(type_))


def is_list_like(type_: pa.DataType) -> bool:
    """Return whether the type is a list of any kind, or a map."""
    types = pa.types
    kinds = (types.is_list, types.is_large_list, types.is_fixed_size_list, types.is_map, is_view)
    return any(check(type_) for check in kinds)


def list_ranges(array: Any) -> tuple[Any, Any]:
    """Return the first position of each list in the children, and its number of values."""
    if pa.types.is_fixed_size_list(array.type):
        size = array.type.list_size
        return (np.arange(len(array)) + array.offset) * size, np.full(len(array), size)
    if not len(array):
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    if not is_view(array.type):
        offsets = np.asarray(array.offsets, dtype=np.int64)
        return offsets[:-1], np.diff(offsets)
    starts, sizes = (np.asarray(part, dtype=np.int64) for part in (array.offsets, array.sizes))
    return starts, np.where(is_valid(array), sizes, 0)  # the offset and size of a null are undefined


def list_children(array: Any) -> tuple[pa.Array, ...]:
    """Return the whole child arrays of the lists: the values, or the keys and the items of maps."""
    return (array.keys, array.items) if pa.types.is_map(array.type) else (array.values,)


def list_types(type_: pa.DataType) -> tuple[pa.DataType, ...]:
    """Return the types of the ``list_children``."""
    return (type_.key_type, type_.item_type) if pa.types.is_map(type_) else (type_.value_type,)


def lists_of(type_: pa.DataType, sizes: Any, children: Sequence[pa.Array], mask: pa.Array | None) -> pa.Array:
    """Build lists of these sizes, which follow one another in their children; ``mask`` is true for nulls.

    Do not use it for lists of a fixed size of 0. pyarrow 25 derives their number from their values, divides by 0 and
    ends the process.
    """
    types = pa.types
    if types.is_fixed_size_list(type_):
        return pa.FixedSizeListArray.from_arrays(*children, type=type_, mask=mask)
    width = pa.int64() if types.is_large_list(type_) or types.is_large_list_view(type_) else pa.int32()
    offsets = pa.array(np.concatenate([[0], np.cumsum(sizes)]), width)
    if types.is_map(type_):
        return pa.MapArray.from_arrays(offsets, *children, type=type_, mask=mask)
    if is_view(type_):
        return views_of(type_, offsets.slice(0, len(sizes)), sizes, children[0], mask)
    kind = pa.LargeListArray if types.is_large_list(type_) else pa.ListArray
    return kind.from_arrays(offsets, *children, type=type_, mask=mask)


def views_of(type_: pa.DataType, starts: Any, sizes: Any, values: pa.Array, mask: pa.Array | None) -> pa.Array:
    """Build list views of these values."""
    small = pa.types.is_list_view(type_)
    kind, width = (pa.ListViewArray, pa.int32()) if small else (pa.LargeListViewArray, pa.int64())
    return kind.from_arrays(pa.array(starts, width), pa.array(sizes, width), values, type=type_, mask=mask)


def union_parts(array: Any) -> tuple[Any, Any]:
    """Return the type code of each row, and the position of its value in its child.

    In a sparse union the position is the row's own number.
    """
    # array.type_codes and array.offsets of a slice begin at the unsliced array's start in pyarrow 25.
    if not len(array):
        return np.zeros(0, np.int8), np.zeros(0, np.int32)
    codes = np.frombuffer(array.buffers()[1], np.int8, len(array), array.offset)
    if array.type.mode != "dense":
        return codes, np.arange(len(array))
    return codes, np.frombuffer(array.buffers()[2], np.int32, len(array), array.offset * 4)


def union_of(type_: pa.DataType, codes: Any, offsets: Any, children: Sequence[pa.Array]) -> pa.Array:
    """Build the union from buffers: ``from_dense`` and ``from_sparse`` lose its fields' nullability and metadata."""
    parts = [codes, offsets] if type_.mode == "dense" else [codes]
    buffers = [None, *(pa.py_buffer(np.ascontiguousarray(part)) for part in parts)]
    return pa.Array.from_buffers(type_, len(codes), buffers, children=list(children))


def run_ends(array: Any) -> Any:
    """Return the end of each run, counted from the first row; a slice also has runs before and after its rows.

    The ends of runs before the slice are not positive.
    """
    return np.asarray(array.run_ends).astype(np.int64) - array.offset


def runs_of(type_: pa.DataType, ends: Any, values: pa.Array) -> pa.Array:
    """Build a run-end encoded array of that type."""
    return pa.RunEndEncodedArray.from_arrays(pa.array(ends, type_.run_end_type), values, type=type_)
