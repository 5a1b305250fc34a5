"""Take and filter rows of arrays of every type.

pyarrow 25 has no such kernels for string and binary views, for run-end encoded arrays, and for types that contain
these.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa

from millrace.arrow.nested_layout import (
    is_valid,
    list_children,
    list_ranges,
    lists_of,
    run_ends,
    runs_of,
    runs_of_rows,
)
from millrace.arrow.types import VIEWS
from millrace.compat.pyarrow.nested import union_of, union_parts


def taken(values: Any, rows: Any) -> pa.Array:
    """Return ``values.take(rows)`` for any type; ``rows`` are row numbers, none of them null."""
    if values.type in VIEWS:
        return values.cast(VIEWS[values.type]).take(pa.array(rows)).cast(values.type)
    try:
        return values.take(pa.array(rows))
    except pa.ArrowNotImplementedError:
        return _taken_by_parts(values, np.asarray(rows, dtype=np.int64))


def filtered(array: pa.Array, mask: Any) -> pa.Array:
    """Return ``array.filter(mask)`` for any type; ``mask`` is a numpy array."""
    try:
        return array.filter(pa.array(mask))
    except pa.ArrowNotImplementedError:
        return taken(array, np.flatnonzero(mask))


def decoded(array: Any) -> pa.Array:
    """Return ``array.dictionary_decode()`` for any value type."""
    try:
        return array.dictionary_decode()
    except pa.ArrowNotImplementedError:
        values = array.dictionary
        if not array.indices.null_count:
            return taken(values, np.asarray(array.indices, dtype=np.int64))
        rows = array.indices.cast(pa.int64()).fill_null(len(values))
        return taken(pa.concat_arrays([values, pa.nulls(1, values.type)]), rows.to_numpy())


def run_values(array: Any) -> pa.Array:
    """Return the value of each row of a run-end encoded array."""
    return taken(array.values, runs_of_rows(array))


def list_values(child: pa.Array, starts: Any, sizes: Any) -> pa.Array:
    """Return the values of all lists, end to end; a slice where each list begins at the end of the one before it."""
    used = sizes > 0
    starts, sizes = starts[used], sizes[used]
    if not len(starts):
        return child.slice(0, 0)
    if np.array_equal(starts[1:], starts[:-1] + sizes[:-1]):
        return child.slice(int(starts[0]), int(sizes.sum()))
    ends = np.cumsum(sizes)
    return taken(child, np.repeat(starts - ends + sizes, sizes) + np.arange(int(ends[-1])))


def _taken_by_parts(values: Any, rows: Any) -> pa.Array:
    types, type_ = pa.types, values.type
    if isinstance(values, pa.ExtensionArray):
        return pa.ExtensionArray.from_storage(type_, taken(values.storage, rows))
    if not len(rows):
        return values.slice(0, 0)
    if types.is_run_end_encoded(type_):
        runs = np.searchsorted(run_ends(values), rows, side="right")
        ends = np.append(np.flatnonzero(np.diff(runs)) + 1, len(runs))
        return runs_of(type_, ends, taken(values.values, runs[ends - 1]))
    if types.is_union(type_):
        return _taken_of_union(values, rows)
    mask = pa.array(~is_valid(values)[rows]) if values.null_count else None
    if types.is_struct(type_):
        children = [taken(values.field(i), rows) for i in range(type_.num_fields)]
        return pa.StructArray.from_arrays(children, fields=list(type_), mask=mask)
    starts, sizes = (numbers[rows] for numbers in list_ranges(values))
    return lists_of(type_, sizes, [list_values(child, starts, sizes) for child in list_children(values)], mask)


def _taken_of_union(values: Any, rows: Any) -> pa.Array:
    type_ = values.type
    codes, offsets = (numbers[rows] for numbers in union_parts(values))
    children = [values.field(i) for i in range(type_.num_fields)]
    if type_.mode == "sparse":
        return union_of(type_, codes, offsets, [taken(child, rows) for child in children])
    for index, code in enumerate(type_.type_codes):
        # In row order, because a union's offsets into a child must not decrease.
        mine = codes == code
        children[index] = taken(children[index], offsets[mine])
        offsets[mine] = np.arange(len(children[index]))
    return union_of(type_, codes, offsets, children)
