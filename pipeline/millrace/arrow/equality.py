"""Compare arrays bit by bit, for every type and independent of their layout; a NaN equals itself."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa

from millrace.arrow.nested_layout import is_list_like, is_valid, list_children, list_ranges
from millrace.arrow.selection import decoded, filtered, list_values, run_values, taken
from millrace.compat.pyarrow.nested import union_parts

_BITS = {16: pa.int16(), 32: pa.int32(), 64: pa.int64()}


def same_values(one: Any, other: Any) -> bool:
    """Return whether two arrays of one type hold the same values in the same order.

    Floats are compared by their bits at any depth: a NaN equals itself, and 0.0 differs from -0.0. The order of
    dictionaries, the ends of runs and the bytes below a null make no difference.
    """
    types, type_ = pa.types, one.type
    if len(one) != len(other):
        return False
    if not len(one):
        return True  # an empty array from a stream may have no buffers
    if isinstance(one, pa.ExtensionArray):
        return same_values(one.storage, other.storage)
    if types.is_dictionary(type_):
        return same_values(decoded(one), decoded(other))
    if types.is_run_end_encoded(type_):
        return same_values(run_values(one), run_values(other))
    if types.is_union(type_):
        return _same_unions(one, other)
    if types.is_struct(type_) or is_list_like(type_):
        return _same_nested(one, other)
    if types.is_floating(type_):
        bits = _BITS[type_.bit_width]
        return bool(one.view(bits).equals(other.view(bits)))
    return bool(one.equals(other))


def _same_nested(one: Any, other: Any) -> bool:
    if one.null_count or other.null_count:
        valid = is_valid(one)
        if not np.array_equal(valid, is_valid(other)):
            return False
        one, other = filtered(one, valid), filtered(other, valid)
    if pa.types.is_struct(one.type):
        return all(same_values(one.field(i), other.field(i)) for i in range(one.type.num_fields))
    (starts, sizes), (other_starts, other_sizes) = list_ranges(one), list_ranges(other)
    if not np.array_equal(sizes, other_sizes):
        return False
    pairs = zip(list_children(one), list_children(other), strict=True)
    return all(
        same_values(list_values(mine, starts, sizes), list_values(theirs, other_starts, sizes))
        for mine, theirs in pairs
    )


def _same_unions(one: Any, other: Any) -> bool:
    (codes, offsets), (other_codes, other_offsets) = union_parts(one), union_parts(other)
    if not np.array_equal(codes, other_codes):
        return False
    return all(
        same_values(taken(one.field(index), offsets[rows]), taken(other.field(index), other_offsets[rows]))
        for index, rows in enumerate(codes == code for code in one.type.type_codes)
    )
