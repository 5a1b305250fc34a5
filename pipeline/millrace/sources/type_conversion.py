"""Types that pyarrow cannot read from CSV or JSON. Values are read as another type and then converted exactly."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import pyarrow as pa
import pyarrow.compute as compute
import pyarrow.csv as pc

from millrace.arrow import holds, leaves

_DAY = {"s": 86_400, "ms": 86_400_000, "us": 86_400_000_000, "ns": 86_400_000_000_000}
"""24 hours in each unit; 24:00 is a valid time of day."""


class InvalidTimeError(pa.ArrowInvalid):  # type: ignore[misc]  # pyarrow has no types
    """An error for a number that is not a value of its time type, however it is read."""


@lru_cache(maxsize=1000)
def csv_type(kind: pa.DataType) -> pa.DataType:
    """Return the type that pyarrow reads from a CSV in place of ``kind``.

    This is ``kind`` itself if pyarrow reads it, or if no other type can replace it.
    """
    try:
        pc.read_csv(pa.BufferReader(b"a\n\n"), convert_options=pc.ConvertOptions(column_types={"a": kind}))
    except pa.ArrowNotImplementedError:
        pass
    except pa.ArrowInvalid:
        return kind
    else:
        return kind
    if pa.types.is_dictionary(kind):
        return csv_type(kind.value_type)
    if pa.types.is_float16(kind):
        return pa.float64()
    if pa.types.is_decimal32(kind) or pa.types.is_decimal64(kind):
        return pa.decimal128(kind.precision, kind.scale)
    return pa.string() if pa.types.is_decimal(kind) or pa.types.is_string_view(kind) else kind


def is_json_time(kind: pa.DataType) -> bool:
    """Return whether pyarrow reads values of this type from numbers in JSON; exports write them as text."""
    return bool(pa.types.is_time(kind) or pa.types.is_date(kind))


def check_times(array: pa.Array) -> None:
    """Raise ``InvalidTimeError`` for a time outside of 0 to 24:00, and for a ``date64`` that is not a whole day.

    Nested values are checked at any depth. pyarrow accepts any number in JSON for these types.
    """
    for _, leaf in leaves(array, ()):
        if pa.types.is_time(leaf.type):
            bounds = compute.min_max(leaf.view(pa.type_for_alias(f"int{leaf.type.bit_width}")))
            for number in (bounds["min"].as_py(), bounds["max"].as_py()):
                if number is not None and not 0 <= number <= _DAY[leaf.type.unit]:
                    raise InvalidTimeError(f"{number} is not a time of day of {leaf.type}")
        elif pa.types.is_date64(leaf.type):
            numbers = leaf.view(pa.int64())
            days = compute.multiply(compute.divide(numbers, _DAY["ms"]), _DAY["ms"])
            for number in numbers.filter(compute.not_equal(numbers, days)).slice(0, 1).to_pylist():
                raise InvalidTimeError(f"{number} is not a whole day of {leaf.type}")


def json_type(kind: Any, *, times_as_text: bool) -> pa.DataType:
    """Return the type that pyarrow reads from JSON lines in place of ``kind``, or ``kind`` itself if pyarrow reads it.

    With ``times_as_text`` it has a string for each type that ``is_json_time`` accepts. Maps become lists of their
    entries, as exports write them.
    """
    types = pa.types
    if not holds(kind, _is_no_json):
        return kind

    def inner(child: pa.DataType) -> pa.DataType:
        return json_type(child, times_as_text=times_as_text)

    if types.is_dictionary(kind):
        return inner(kind.value_type)
    if types.is_map(kind):
        return pa.list_(pa.struct([("key", inner(kind.key_type)), ("value", inner(kind.item_type))]))
    if types.is_struct(kind):
        return pa.struct([field.with_type(inner(field.type)) for field in kind])
    if types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind):
        return pa.list_(kind.value_field.with_type(inner(kind.value_type)))
    if is_json_time(kind):
        return pa.string() if times_as_text else kind
    if types.is_duration(kind):
        return pa.int64()
    return pa.float64() if types.is_float16(kind) else kind


def _is_no_json(kind: pa.DataType) -> bool:
    types = pa.types
    if types.is_nested(kind):
        return bool(types.is_large_list(kind) or types.is_fixed_size_list(kind) or types.is_map(kind))
    return bool(is_json_time(kind) or types.is_dictionary(kind) or types.is_duration(kind) or types.is_float16(kind))


def check_decimals(array: pa.Array) -> None:
    """Raise ``pa.ArrowInvalid`` for a decimal with more digits than its type, at any depth.

    pyarrow reads ``1000`` as ``decimal128(5, 2)``, which has three digits before the point.
    """
    if holds(array.type, pa.types.is_decimal):
        array.validate(full=True)


def converted(array: Any, kind: Any) -> pa.Array:
    """Return the values of a parser converted to ``kind``; their type is the ``csv_type`` or ``json_type`` of it.

    Raises ``pa.ArrowInvalid`` for a value that ``kind`` cannot represent.
    """
    types = pa.types
    if array.type.equals(kind):
        return array
    if types.is_dictionary(kind):
        coded = converted(array, kind.value_type).dictionary_encode()
        indices = coded.indices.cast(kind.index_type)
        return pa.DictionaryArray.from_arrays(indices, coded.dictionary, ordered=kind.ordered)
    if types.is_struct(kind):
        children = [converted(array.field(i), kind.field(i).type) for i in range(kind.num_fields)]
        return pa.StructArray.from_arrays(children, fields=list(kind), mask=_nulls(array))
    if types.is_nested(kind):
        return _lists(array, kind)
    if types.is_time(kind) and types.is_string(array.type):
        # Arrow does not cast text to times of day.
        moments = compute.binary_join_element_wise(pa.scalar("1970-01-01"), array, pa.scalar(" "))
        return moments.cast(pa.timestamp(kind.unit)).cast(kind)
    values = array.cast(kind)
    if types.is_float16(kind) and not compute.is_inf(values).equals(compute.is_inf(array)):
        raise pa.ArrowInvalid(f"a number beyond {kind}")
    return values


def _lists(array: Any, kind: Any) -> pa.Array:
    """Return lists as another list type, or lists of entries as maps.

    Raises ``pa.ArrowInvalid`` for a list without the size of ``kind``, and for an entry of a map without a key.
    """
    types, mask = pa.types, _nulls(array)
    if types.is_map(kind):
        entries = array.values
        if entries.null_count or entries.field(0).null_count:
            raise pa.ArrowInvalid("an entry of a map without a key")
        keys, items = converted(entries.field(0), kind.key_type), converted(entries.field(1), kind.item_type)
        return pa.MapArray.from_arrays(array.offsets, keys, items, type=kind, mask=mask)
    values = converted(array.values, kind.value_type)
    if types.is_large_list(kind):
        return pa.LargeListArray.from_arrays(array.offsets.cast(pa.int64()), values, type=kind, mask=mask)
    lists = pa.ListArray.from_arrays(array.offsets, values, type=pa.list_(kind.value_field), mask=mask)
    return lists.cast(kind) if types.is_fixed_size_list(kind) else lists


def _nulls(array: pa.Array) -> pa.Array | None:
    return array.is_null() if array.null_count else None
