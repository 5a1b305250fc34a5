"""Replace the children of nested arrays. Arrow's kernels do not cast within list views, unions and run ends."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa

from millrace.arrow.nested_layout import (
    is_view,
    list_children,
    list_ranges,
    list_types,
    lists_of,
    run_ends,
    runs_of,
    views_of,
)
from millrace.arrow.selection import list_values, taken
from millrace.compat.pyarrow.nested import nulls_of, union_of, union_parts

Change = Callable[[pa.Array, pa.DataType], pa.Array]


def with_children(array: Any, type_: pa.DataType, change: Change) -> pa.Array:
    """Convert a nested array to ``type_``, with ``change(child, type)`` as the new value of each child.

    Only values that rows use are passed to ``change``. ``array`` has as many children as ``type_``. A list may become a
    large list, and the reverse.
    """
    types = pa.types
    if not len(array):
        return nulls_of(0, type_)
    if types.is_union(type_):
        return _union(array, type_, change)
    if types.is_run_end_encoded(type_):
        start, count = array.find_physical_offset(), array.find_physical_length()
        ends = run_ends(array)[start : start + count]
        ends[-1] = len(array)
        return runs_of(type_, ends, change(array.values.slice(start, count), type_.value_type))
    mask = array.is_null() if array.null_count else None
    if types.is_struct(type_):
        children = [change(array.field(i), type_.field(i).type) for i in range(type_.num_fields)]
        return pa.StructArray.from_arrays(children, fields=list(type_), mask=mask)
    starts, sizes = list_ranges(array)
    if is_view(type_) and (shared := _shared_views(array, type_, starts, sizes, mask, change)) is not None:
        return shared
    children = [list_values(child, starts, sizes) for child in list_children(array)]
    changed = [change(child, kind) for child, kind in zip(children, list_types(type_), strict=True)]
    return lists_of(type_, sizes, changed, mask)


def _shared_views(
    array: Any, type_: pa.DataType, starts: Any, sizes: Any, mask: pa.Array | None, change: Change
) -> pa.Array | None:
    """Return list views whose values stay shared; None where laying the lists end to end takes no more values."""
    used = sizes > 0
    if not is_view(array.type) or not used.any():
        return None
    low, high = int(starts[used].min()), int((starts + sizes)[used].max())
    if int(sizes.sum()) <= high - low:
        return None
    [child] = list_children(array)
    return views_of(
        type_, np.where(used, starts - low, 0), sizes, change(child.slice(low, high - low), type_.value_type), mask
    )


def _union(array: Any, type_: pa.DataType, change: Change) -> pa.Array:
    codes, offsets = union_parts(array)
    children = [array.field(i) for i in range(type_.num_fields)]
    if type_.mode == "dense":
        offsets = offsets.copy()
        for index, code in enumerate(type_.type_codes):
            mine = codes == code
            children[index], offsets[mine] = _used(children[index], offsets[mine])
    changed = [change(child, type_.field(i).type) for i, child in enumerate(children)]
    return union_of(type_, codes, offsets, changed)


def _used(child: pa.Array, positions: Any) -> tuple[pa.Array, Any]:
    """Return as many values as there are positions, and the new position of each among them."""
    if not len(positions):
        return child.slice(0, 0), positions
    first, last = int(positions.min()), int(positions.max())
    if last - first == len(positions) - 1 and np.array_equal(positions, np.arange(first, last + 1)):
        return child.slice(first, len(positions)), positions - first
    # One value for each position, also where positions are equal: pyarrow's nbytes relies on it, and reads past the end
    # of a shorter child.
    return taken(child, positions), np.arange(len(positions), dtype=positions.dtype)
