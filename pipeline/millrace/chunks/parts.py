"""What nested arrays are made of, and how they are made of it: ranges of lists, codes of unions, ends of runs.

Slices, nulls and kinds of lists are looked at here and nowhere else.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pyarrow as pa

__all__ = [
    "is_list_like",
    "is_valid",
    "is_view",
    "list_children",
    "list_ranges",
    "list_types",
    "lists_of",
    "run_ends",
    "runs_of",
    "union_of",
    "union_parts",
    "views_of",
]


def is_valid(array: pa.Array) -> Any:
    """Which rows are not null, as numpy has it."""
    return array.is_valid().to_numpy(zero_copy_only=False)


def is_view(type_: pa.DataType) -> bool:
    """A list view, small or large."""
    return bool(pa.types.is_list_view(type_) or pa.types.is_large_list_view(type_))


def is_list_like(type_: pa.DataType) -> bool:
    """A list of any kind, or a map."""
    types = pa.types
    kinds = (types.is_list, types.is_large_list, types.is_fixed_size_list, types.is_map, is_view)
    return any(check(type_) for check in kinds)


def list_ranges(array: Any) -> tuple[Any, Any]:
    """Where each list begins in the children, and how many values it has."""
    import numpy as np

    if pa.types.is_fixed_size_list(array.type):
        size = array.type.list_size
        return (np.arange(len(array)) + array.offset) * size, np.full(len(array), size)
    if not len(array):
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    if not is_view(array.type):
        offsets = np.asarray(array.offsets, dtype=np.int64)
        return offsets[:-1], np.diff(offsets)
    starts, sizes = (np.asarray(part, dtype=np.int64) for part in (array.offsets, array.sizes))
    return starts, np.where(is_valid(array), sizes, 0)  # a null's offset and size may hold anything


def list_children(array: Any) -> tuple[pa.Array, ...]:
    """The values that the lists lie in, whole; keys and items of maps."""
    return (array.keys, array.items) if pa.types.is_map(array.type) else (array.values,)


def list_types(type_: pa.DataType) -> tuple[pa.DataType, ...]:
    """Their types."""
    return (type_.key_type, type_.item_type) if pa.types.is_map(type_) else (type_.value_type,)


def lists_of(type_: pa.DataType, sizes: Any, children: Sequence[pa.Array], mask: pa.Array | None) -> pa.Array:
    """Lists of these sizes, one after another in their children; ``mask`` says which are null.

    Not for lists of a fixed size of 0: from nothing but their values pyarrow 25 cannot tell how many they are, and
    divides by 0, which ends the process.
    """
    import numpy as np

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
    """List views of these values."""
    small = pa.types.is_list_view(type_)
    kind, width = (pa.ListViewArray, pa.int32()) if small else (pa.LargeListViewArray, pa.int64())
    return kind.from_arrays(pa.array(starts, width), pa.array(sizes, width), values, type=type_, mask=mask)


def union_parts(array: Any) -> tuple[Any, Any]:
    """The code of each row, and where its value is in its child: the row's own number in a sparse union."""
    import numpy as np

    # Not array.type_codes and array.offsets: in pyarrow 25 they begin at the unsliced array's start.
    if not len(array):
        return np.zeros(0, np.int8), np.zeros(0, np.int32)
    codes = np.frombuffer(array.buffers()[1], np.int8, len(array), array.offset)
    if array.type.mode != "dense":
        return codes, np.arange(len(array))
    return codes, np.frombuffer(array.buffers()[2], np.int32, len(array), array.offset * 4)


def union_of(type_: pa.DataType, codes: Any, offsets: Any, children: Sequence[pa.Array]) -> pa.Array:
    """The union; ``from_dense`` and ``from_sparse`` would forget what its fields say of nulls and metadata."""
    import numpy as np

    parts = [codes, offsets] if type_.mode == "dense" else [codes]
    buffers = [None, *(pa.py_buffer(np.ascontiguousarray(part)) for part in parts)]
    return pa.Array.from_buffers(type_, len(codes), buffers, children=list(children))


def run_ends(array: Any) -> Any:
    """Where each run ends, counted from the first row; the first and the last ones may lie outside of the rows."""
    import numpy as np

    return np.asarray(array.run_ends).astype(np.int64) - array.offset


def runs_of(type_: pa.DataType, ends: Any, values: pa.Array) -> pa.Array:
    """Run ends of that type."""
    return pa.RunEndEncodedArray.from_arrays(pa.array(ends, type_.run_end_type), values, type=type_)
