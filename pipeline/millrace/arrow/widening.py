"""Type widening: the one place that decides which Arrow types hold every value of another one.

Used for appends, for the schemas of the files of one source, for rows whose type changes during a load, and for chunks
that are read.
"""

from __future__ import annotations

from collections.abc import Iterable

import pyarrow as pa

from millrace.arrow.types import BYTES, TEXTS, decoded_type, with_fields
from millrace.compat.pyarrow.types import fields_of

_UNITS = ("s", "ms", "us", "ns")
_FLOAT_BITS = {16: 11, 32: 24, 64: 53}
"""The bits of an integer that a float of this width holds exactly."""
_DECIMALS = ((9, pa.decimal32), (18, pa.decimal64), (38, pa.decimal128), (76, pa.decimal256))
_OF_DATES = (pa.timestamp("s"), pa.timestamp("ms"))
"""Timestamps that hold every date32 as its midnight. Those in microseconds have a smaller range."""


def widens(narrow: pa.DataType, wide: pa.DataType) -> bool:
    """Return whether every value of ``narrow`` that casts to ``wide`` without an error stays the same value.

    Integers count as the same even where doubles would round them; ``wider_type`` decides when they may become doubles.
    """
    if narrow.equals(wide) or pa.types.is_null(narrow):
        return True
    if pa.types.is_dictionary(narrow) or pa.types.is_dictionary(wide):
        return widens(decoded_type(narrow), decoded_type(wide))
    if pa.types.is_nested(narrow):
        return _nested_widens(narrow, wide)
    return _primitive_widens(narrow, wide)


def _primitive_widens(narrow: pa.DataType, wide: pa.DataType) -> bool:
    types = pa.types
    if types.is_integer(narrow):
        return bool(types.is_floating(wide)) or _integer_widens(narrow, wide)
    if types.is_floating(narrow):
        return bool(types.is_floating(wide) and wide.bit_width >= narrow.bit_width)
    if types.is_decimal(narrow):
        digits = (wide.precision - wide.scale) - (narrow.precision - narrow.scale) if types.is_decimal(wide) else -1
        return bool(digits >= 0 and wide.scale >= narrow.scale)
    if types.is_date32(narrow):
        return bool(types.is_date64(wide) or (types.is_timestamp(wide) and wide.tz is None))
    if types.is_timestamp(narrow):
        return bool(types.is_timestamp(wide) and wide.tz == narrow.tz and _finer(narrow, wide))
    for family in (types.is_time, types.is_duration):
        if family(narrow):
            return bool(family(wide) and _finer(narrow, wide))
    return any(narrow in family and wide in family for family in (TEXTS, BYTES))


def _integer_widens(narrow: pa.DataType, wide: pa.DataType) -> bool:
    if not pa.types.is_integer(wide):
        return False
    signed, wide_signed = (pa.types.is_signed_integer(type_) for type_ in (narrow, wide))
    if signed == wide_signed:
        return bool(wide.bit_width >= narrow.bit_width)
    return bool(wide_signed and wide.bit_width > narrow.bit_width)


def _finer(narrow: pa.DataType, wide: pa.DataType) -> bool:
    return _UNITS.index(wide.unit) >= _UNITS.index(narrow.unit)


def _nested_widens(narrow: pa.DataType, wide: pa.DataType) -> bool:
    pairs = zip(fields_of(narrow), fields_of(wide), strict=True)
    return _same_shape(narrow, wide) and all(widens(mine.type, theirs.type) for mine, theirs in pairs)


def _same_shape(one: pa.DataType, other: pa.DataType) -> bool:
    """Return whether nested types differ in the types of their parts alone, or in the size of their offsets."""
    if (one.id != other.id and not (_is_list(one) and _is_list(other))) or one.num_fields != other.num_fields:
        return False
    if pa.types.is_struct(one):
        return [field.name for field in one] == [field.name for field in other]
    if pa.types.is_fixed_size_list(one):
        return bool(one.list_size == other.list_size)
    return not pa.types.is_union(one) and not pa.types.is_run_end_encoded(one)


def _is_list(kind: pa.DataType) -> bool:
    return bool(pa.types.is_list(kind) or pa.types.is_large_list(kind))


def wider_type(one: pa.DataType, other: pa.DataType, *, exact: bool = False) -> pa.DataType | None:
    """Return the narrowest type that holds all possible values of both, or None. The order does not matter.

    Nulls widen to any type, numbers to wider ones, and text, bytes and lists to those with larger offsets. Dictionaries
    widen to a wider index or to plain values. Nested types widen by their parts; a struct's fields need the same names
    in the same order. Two integer types widen to an integer type or to None, never to double, which would round their
    values.

    Without ``exact``, integers of more than 53 bits and doubles become doubles, and dates become midnights of
    timestamps without a zone. The caller must then check the values. Timestamps, times and durations of two units have
    no wider type, because the finer one has a smaller range.
    """
    if one.equals(other):
        return one
    if pa.types.is_null(one) or pa.types.is_null(other):
        return other if pa.types.is_null(one) else one
    if pa.types.is_dictionary(one) or pa.types.is_dictionary(other):
        return _wider_dictionary(one, other, exact)
    if pa.types.is_nested(one) or pa.types.is_nested(other):
        return _wider_nested(one, other, exact)
    return _wider_primitive(one, other, exact)


def widest_type(types: Iterable[pa.DataType], *, exact: bool = False) -> pa.DataType | None:
    """Return the narrowest type that holds all values of these types, or None. The order does not matter."""
    # In the order of their names floats come before integers. In another order int32 and uint32 would become int64
    # first, which a float does not hold.
    first, *others = sorted(types, key=str)
    widest: pa.DataType | None = first
    for kind in others:
        widest = None if widest is None else wider_type(widest, kind, exact=exact)
    return widest


def _wider_primitive(one: pa.DataType, other: pa.DataType, exact: bool) -> pa.DataType | None:
    types = pa.types
    for family in (TEXTS, BYTES):
        if one in family and other in family:
            return max(one, other, key=family.index)
    if types.is_decimal(one) and types.is_decimal(other):
        return _wider_decimal(one, other)
    if {one, other} == {pa.date32(), pa.date64()}:
        return pa.date64()
    if pa.date32() in (one, other):
        return next((kind for kind in (one, other) if kind in _OF_DATES and not exact), None)
    if types.is_integer(one) and types.is_integer(other):
        return _wider_integer(one, other)
    if not all(types.is_integer(kind) or types.is_floating(kind) for kind in (one, other)):
        return None
    return _wider_float(one, other, exact)


def _wider_integer(one: pa.DataType, other: pa.DataType) -> pa.DataType | None:
    signed = pa.types.is_signed_integer(one) or pa.types.is_signed_integer(other)
    # An unsigned integer needs one more bit as a signed one.
    bits = max(kind.bit_width * (2 if signed and pa.types.is_unsigned_integer(kind) else 1) for kind in (one, other))
    return pa.type_for_alias(f"{'int' if signed else 'uint'}{bits}") if bits <= 64 else None


def _wider_float(one: pa.DataType, other: pa.DataType, exact: bool) -> pa.DataType | None:
    floats = [kind for kind in (one, other) if pa.types.is_floating(kind)]
    widest = max(floats, key=lambda kind: int(kind.bit_width))
    integers = [kind for kind in (one, other) if pa.types.is_integer(kind)]
    for width, bits in _FLOAT_BITS.items():
        if width >= widest.bit_width and all(kind.bit_width <= bits for kind in integers):
            return pa.type_for_alias(f"float{width}")
    # Integers of 64 bits may become doubles if the other type is double.
    return pa.float64() if not exact and widest == pa.float64() else None


def _wider_decimal(one: pa.DataType, other: pa.DataType) -> pa.DataType | None:
    scale = max(one.scale, other.scale)
    precision = scale + max(one.precision - one.scale, other.precision - other.scale)
    width = max(one.bit_width, other.bit_width)
    for digits, make in _DECIMALS:
        if precision <= digits and make(1, 0).bit_width >= width:
            return make(precision, scale)
    return None


def _wider_dictionary(one: pa.DataType, other: pa.DataType, exact: bool) -> pa.DataType | None:
    values = wider_type(decoded_type(one), decoded_type(other), exact=exact)
    if values is None or not (pa.types.is_dictionary(one) and pa.types.is_dictionary(other)):
        return values
    index = _wider_integer(one.index_type, other.index_type)
    return None if index is None or one.ordered != other.ordered else pa.dictionary(index, values, one.ordered)


def _wider_nested(one: pa.DataType, other: pa.DataType, exact: bool) -> pa.DataType | None:
    if not _same_shape(one, other):
        return None
    fields = []
    for mine, theirs in zip(fields_of(one), fields_of(other), strict=True):
        inner = wider_type(mine.type, theirs.type, exact=exact)
        if inner is None:
            return None
        fields.append(mine.with_type(inner).with_nullable(mine.nullable or theirs.nullable))
    if pa.types.is_map(one):
        return pa.map_(*fields[0].type, keys_sorted=one.keys_sorted and other.keys_sorted)
    return with_fields(other if pa.types.is_large_list(other) else one, fields)


def wider_inferred_type(current: pa.DataType, seen: pa.DataType, *, grow: bool) -> pa.DataType | None:
    """Return the type of a JSON value that was ``current`` in earlier rows and is ``seen`` in later ones, or None.

    It widens as ``wider_type`` does, and dates and times in later rows fit a text. While types are inferred
    (``grow``), a struct may get further fields, and dates and times without a common type become text.
    """
    types = pa.types
    if types.is_struct(current) and types.is_struct(seen):
        return _wider_inferred_struct(current, seen, grow=grow)
    if types.is_list(current) and types.is_list(seen):
        inner = wider_inferred_type(current.value_type, seen.value_type, grow=grow)
        return None if inner is None else pa.list_(inner)
    wider = wider_type(current, seen)
    if wider is not None:
        return wider
    if types.is_string(current):
        return current if _is_time(seen) else None
    is_text = _is_time(current) and (types.is_string(seen) or _is_time(seen))
    return pa.string() if grow and is_text else None


def _is_time(kind: pa.DataType) -> bool:
    return bool(pa.types.is_date(kind) or pa.types.is_time(kind) or pa.types.is_timestamp(kind))


def _wider_inferred_struct(current: pa.StructType, seen: pa.StructType, *, grow: bool) -> pa.DataType | None:
    fields = {field.name: field.type for field in current.fields}
    for field in seen.fields:
        if field.name not in fields and not grow:
            return None
        inner = wider_inferred_type(fields.get(field.name, pa.null()), field.type, grow=grow)
        if inner is None:
            return None
        fields[field.name] = inner
    return pa.struct(list(fields.items()))
