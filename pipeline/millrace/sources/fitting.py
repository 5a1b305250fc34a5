"""Conversion of the columns of typed files to the types of a contract, value by value and exactly."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from millrace.arrow import TEXTS, decoded_type, holds, nulls_of, same_values, wider_type
from millrace.compat.pyarrow.types import fields_of

_LIMITS = {8: 2.0**7, 16: 2.0**15, 32: 2.0**31, 64: 2.0**63}
_ERRORS = (pa.ArrowInvalid, pa.ArrowNotImplementedError, pa.ArrowTypeError)


class Fitted(NamedTuple):
    """Values of the type that they were converted to, or of a narrower one; null where they do not fit.

    ``misfits`` are the rows of the values that do not fit.
    """

    values: pa.Array
    misfits: Any


def fitted(array: pa.Array, kind: pa.DataType) -> Fitted:
    """Return the values that ``kind`` holds exactly, and the rows of the others."""
    none = np.empty(0, np.int64)
    if wider_type(array.type, kind, exact=True) == kind:
        return Fitted(array, none)
    plain = array.dictionary_decode() if pa.types.is_dictionary(array.type) else array
    target = decoded_type(kind)
    if not is_comparable(plain.type, target):
        return Fitted(nulls_of(len(array), kind), _rows(pc.is_valid(plain)))
    if _is_plain_number(plain.type) and _is_plain_number(target):
        values = _exact_numbers(plain, target)
    else:
        values = pa.concat_arrays(_exact_casts(plain, target)) if len(plain) else nulls_of(0, target)
    if pa.types.is_dictionary(kind):
        values = _encoded(values, kind)
    return Fitted(values, _rows(pc.and_(pc.is_valid(plain), pc.is_null(values))))


def _encoded(values: pa.Array, kind: pa.DictionaryType) -> pa.Array:
    """Return the values as a dictionary; those for which its indices are too narrow are null."""
    encoded = values.dictionary_encode()
    # Arrow encodes with indices of 32 bits.
    bits = min(kind.index_type.bit_width - pa.types.is_signed_integer(kind.index_type), 31)
    indices = pc.if_else(pc.less_equal(encoded.indices, pa.scalar(2**bits - 1, pa.int32())), encoded.indices, None)
    words = encoded.dictionary.slice(0, 2**bits).cast(kind.value_type)
    return pa.DictionaryArray.from_arrays(indices.cast(kind.index_type), words, ordered=kind.ordered)


def _rows(mask: pa.Array) -> Any:
    return np.flatnonzero(mask.to_numpy(zero_copy_only=False))


def _is_plain_number(kind: pa.DataType) -> bool:
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind))


def is_comparable(one: pa.DataType, other: pa.DataType) -> bool:
    """Return whether some values of two types are the same value."""
    types = pa.types
    if one.equals(other) or types.is_null(one):
        return True
    if types.is_nested(one) or types.is_nested(other):
        return _are_nested_alike(one, other)
    if types.is_timestamp(one) and types.is_timestamp(other):
        return (one.tz is None) == (other.tz is None)
    for kind, day in ((one, other), (other, one)):
        if types.is_date(day) and types.is_timestamp(kind):
            return kind.tz is None
    if types.is_decimal(one) or types.is_decimal(other):
        return all(types.is_decimal(kind) or types.is_integer(kind) for kind in (one, other))
    families = (_is_plain_number, types.is_date, types.is_time, types.is_duration, _is_text, _is_bytes)
    return any(family(one) and family(other) for family in families)


def _is_text(kind: pa.DataType) -> bool:
    return kind in TEXTS


def _is_bytes(kind: pa.DataType) -> bool:
    types = pa.types
    return bool(types.is_binary(kind) or types.is_large_binary(kind) or types.is_binary_view(kind))


def _are_nested_alike(one: pa.DataType, other: pa.DataType) -> bool:
    types = pa.types
    lists = all(types.is_list(kind) or types.is_large_list(kind) for kind in (one, other))
    structs = types.is_struct(one) and types.is_struct(other) and [f.name for f in one] == [f.name for f in other]
    if not (lists or structs):
        return False
    # Arrow's cast of nested values truncates times without an error.
    return all(
        mine.type.equals(theirs.type) or (not pa.types.is_temporal(mine.type) and is_comparable(mine.type, theirs.type))
        for mine, theirs in zip(fields_of(one), fields_of(other), strict=True)
    )


def _exact_numbers(array: pa.Array, kind: pa.DataType) -> pa.Array:
    """Return the numbers as another type of integers or floats, null where that changes them."""
    values = pc.cast(array, kind, safe=False)
    same = pc.equal(pc.cast(values, array.type, safe=False), array)
    if pa.types.is_floating(kind) and pa.types.is_floating(array.type):
        same = pc.or_(same, pc.is_nan(array))
    elif pa.types.is_integer(kind) and pa.types.is_integer(array.type):
        same = pc.and_(same, pc.equal(_is_negative(values), _is_negative(array)))
    else:
        # A float beyond the integers casts to any integer, on some processors to the largest one.
        integers, floats = (kind, array) if pa.types.is_integer(kind) else (array.type, values)
        unsigned = pa.types.is_unsigned_integer(integers)
        limit = _LIMITS[integers.bit_width] * (2 if unsigned else 1)
        numbers = pc.cast(floats, pa.float64())
        inside = pc.and_(pc.less(numbers, limit), pc.greater_equal(numbers, 0.0 if unsigned else -limit))
        same = pc.and_(same, inside)
    return pc.if_else(pc.fill_null(same, False), values, pa.scalar(None, kind))


def _is_negative(numbers: pa.Array) -> pa.Array:
    return pc.less(numbers, pa.scalar(0, numbers.type))


def _exact_casts(array: pa.Array, kind: pa.DataType) -> list[pa.Array]:
    """Return the values in parts, cast to ``kind``; a value that the cast would change is null."""
    try:
        values = array.cast(kind)
        # Arrow's cast truncates times, and rounds floats in lists and structs, without an error.
        may_change = pa.types.is_temporal(kind) or holds(kind, pa.types.is_floating)
        if not may_change or same_values(values.cast(array.type), array):
            return [values]
    except _ERRORS:
        pass
    if len(array) == 1:
        return [nulls_of(1, kind)]
    half = len(array) // 2
    return [*_exact_casts(array.slice(0, half), kind), *_exact_casts(array.slice(half), kind)]
