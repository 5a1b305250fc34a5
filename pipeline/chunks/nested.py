"""Nested arrays taken apart and put together again, with what their rows use and nothing beside it.

pyarrow has no kernel that casts, filters or takes below list views, unions and run ends, nor one that takes text views.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pyarrow as pa

__all__ = ["nulls_of", "taken", "with_children"]

Change = Callable[[pa.Array, pa.DataType], pa.Array]


def with_children(array: Any, type_: pa.DataType, change: Change) -> pa.Array:
    """The same rows as ``type_``, whose children are what ``change`` makes of the values used and their new type.

    ``array`` is nested, with the same number of children; a list and a large list may become each other.
    """
    types = pa.types
    if not len(array):
        return nulls_of(0, type_)
    if types.is_union(type_):
        return _union(array, type_, change)
    if types.is_run_end_encoded(type_):
        return _run_ends(array, type_, change)
    mask = array.is_null() if array.null_count else None
    if types.is_struct(type_):
        children = [change(array.field(i), type_.field(i).type) for i in range(type_.num_fields)]
        return pa.StructArray.from_arrays(children, fields=list(type_), mask=mask)
    if types.is_fixed_size_list(type_):
        size = type_.list_size
        if not size:
            return array.cast(type_)
        values = array.values.slice(array.offset * size, len(array) * size)
        return pa.FixedSizeListArray.from_arrays(change(values, type_.value_type), type=type_, mask=mask)
    if types.is_list_view(type_) or types.is_large_list_view(type_):
        return _list_view(array, type_, change, mask)
    return _list(array, type_, change, mask)


def _list(array: Any, type_: pa.DataType, change: Change, mask: Any) -> pa.Array:
    import numpy as np

    offsets = np.asarray(array.offsets)
    first, length = int(offsets[0]), int(offsets[-1] - offsets[0])
    large = pa.types.is_large_list(type_)
    moved = pa.array(offsets - first, pa.int64() if large else pa.int32())
    if pa.types.is_map(type_):
        pairs = ((array.keys, type_.key_type), (array.items, type_.item_type))
        keys, items = (change(child.slice(first, length), kind) for child, kind in pairs)
        return pa.MapArray.from_arrays(moved, keys, items, type=type_, mask=mask)
    values = change(array.values.slice(first, length), type_.value_type)
    return (pa.LargeListArray if large else pa.ListArray).from_arrays(moved, values, type=type_, mask=mask)


def _list_view(array: Any, type_: pa.DataType, change: Change, mask: Any) -> pa.Array:
    import numpy as np

    offsets, sizes = (np.asarray(part, dtype=np.int64) for part in (array.offsets, array.sizes))
    # A null's offset and size may hold anything.
    sizes = np.where(array.is_valid().to_numpy(zero_copy_only=False), sizes, 0)
    ends = np.cumsum(sizes)
    used = sizes > 0
    starts = offsets[used]
    if not len(starts):
        values = array.values.slice(0, 0)
    elif np.array_equal(starts[1:], starts[:-1] + sizes[used][:-1]):
        values = array.values.slice(int(starts[0]), int(ends[-1]))
    else:
        values = array.flatten()
    large = pa.types.is_large_list_view(type_)
    kind, width = (pa.LargeListViewArray, pa.int64()) if large else (pa.ListViewArray, pa.int32())
    parts = (pa.array(numbers, width) for numbers in (ends - sizes, sizes))
    return kind.from_arrays(*parts, change(values, type_.value_type), type=type_, mask=mask)


def _union(array: Any, type_: pa.DataType, change: Change) -> pa.Array:
    import numpy as np

    # Not array.type_codes and array.offsets: in pyarrow 25 they begin at the unsliced array's start.
    rows = slice(array.offset, array.offset + len(array))
    codes = np.frombuffer(array.buffers()[1], np.int8)[rows].copy()
    children = [array.field(i) for i in range(type_.num_fields)]
    buffers = [None, pa.py_buffer(codes)]
    if type_.mode == "dense":
        offsets = np.frombuffer(array.buffers()[2], np.int32)[rows].copy()
        for index, code in enumerate(type_.type_codes):
            mine = codes == code
            children[index], offsets[mine] = _used(children[index], offsets[mine])
        buffers.append(pa.py_buffer(offsets))
    changed = [change(child, type_.field(i).type) for i, child in enumerate(children)]
    return pa.Array.from_buffers(type_, len(array), buffers, children=changed)


def _used(child: pa.Array, places: Any) -> tuple[pa.Array, Any]:
    """No more values than places, and where each place is among them."""
    import numpy as np

    if not len(places):
        return child.slice(0, 0), places
    first, last = int(places.min()), int(places.max())
    if last - first < len(places):
        return child.slice(first, last - first + 1), places - first
    # A table instead of np.unique, which takes 0.9 s for 400,000 places.
    wanted = np.zeros(last - first + 1, bool)
    wanted[places - first] = True
    moved = np.cumsum(wanted) - 1
    return taken(child, pa.array(np.flatnonzero(wanted) + first)), moved[places - first]


def _run_ends(array: Any, type_: pa.DataType, change: Change) -> pa.Array:
    import numpy as np

    start, count = array.find_physical_offset(), array.find_physical_length()
    ends = np.asarray(array.run_ends)[start : start + count].astype(np.int64) - array.offset
    ends[-1] = len(array)
    values = change(array.values.slice(start, count), type_.value_type)
    return pa.RunEndEncodedArray.from_arrays(pa.array(ends, type_.run_end_type), values, type=type_)


def taken(values: pa.Array, indices: pa.Array) -> pa.Array:
    """``values.take(indices)``, also of text views and of what holds them; ``indices`` has no nulls."""
    for view, plain in ((pa.string_view(), pa.large_string()), (pa.binary_view(), pa.large_binary())):
        if values.type.equals(view):
            return values.cast(plain).take(indices).cast(view)
    try:
        return values.take(indices)
    except pa.ArrowNotImplementedError:
        # Arrow takes nothing out of these types, but joins slices of them.
        each = [values.slice(index, 1) for index in indices.to_pylist()]
        return pa.concat_arrays(each) if each else values.slice(0, 0)


def nulls_of(length: int, type_: pa.DataType) -> pa.Array:
    """``pa.nulls``, valid for every type: pyarrow 25 gives run ends below a list or struct nulls of their own."""
    if not _holds_runs(type_):
        return pa.nulls(length, type_)
    array = pa.nulls(max(1, length), type_)
    return with_children(array, type_, lambda child, kind: nulls_of(len(child), kind)).slice(0, length)


def _holds_runs(type_: pa.DataType) -> bool:
    children = [type_.field(i).type for i in range(type_.num_fields)]
    return any(pa.types.is_run_end_encoded(child) or _holds_runs(child) for child in children)
