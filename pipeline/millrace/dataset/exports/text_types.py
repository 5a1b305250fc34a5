"""Types that CSV and JSON lines hold instead of Arrow's types, and the conversion of values to them."""

from __future__ import annotations

import pyarrow as pa

from millrace.arrow import decoded, list_children, list_ranges, list_values, lists_of, run_values, with_children
from millrace.dataset.exports.temporal_text import writable


def is_bytes(kind: pa.DataType) -> bool:
    """Return whether the type holds bytes of any kind, which are not text."""
    named = (pa.binary(), pa.large_binary(), pa.binary_view())
    return kind in named or pa.types.is_fixed_size_binary(kind)


def csv_type(kind: pa.DataType) -> pa.DataType:
    """Return the type that CSV has instead of ``kind``.

    Dictionaries become their values, views strings, durations integers, and half floats floats.
    """
    if pa.types.is_dictionary(kind):
        return csv_type(kind.value_type)
    if pa.types.is_duration(kind):
        return pa.int64()
    if pa.types.is_float16(kind):
        return pa.float32()
    return pa.string() if kind == pa.string_view() else kind


def json_type(kind: pa.DataType) -> pa.DataType:
    """Return the type that JSON lines have instead of ``kind``, whose Python values are JSON's own."""
    kind = csv_type(kind)
    if pa.types.is_temporal(kind) or pa.types.is_decimal(kind):
        return pa.string()
    if pa.types.is_map(kind):
        # A list of entries, as pyarrow and DuckDB read it. An object would need unique keys of text.
        entry = [pa.field("key", json_type(kind.key_type), nullable=False), ("value", json_type(kind.item_type))]
        return pa.list_(pa.struct(entry))
    if pa.types.is_struct(kind):
        return pa.struct([pa.field(f.name, json_type(f.type), f.nullable) for f in kind])
    if pa.types.is_large_list(kind) or pa.types.is_large_list_view(kind):
        return pa.large_list(json_type(kind.value_type))
    if pa.types.is_list(kind) or pa.types.is_fixed_size_list(kind) or pa.types.is_list_view(kind):
        return pa.list_(json_type(kind.value_type))
    if pa.types.is_union(kind):
        fields = [kind.field(i) for i in range(kind.num_fields)]
        return pa.union([field.with_type(json_type(field.type)) for field in fields], kind.mode, kind.type_codes)
    return json_type(kind.value_type) if pa.types.is_run_end_encoded(kind) else kind


def convert(array: pa.Array, kind: pa.DataType) -> pa.Array:
    """Convert the array to the type that ``json_type`` or ``csv_type`` returns for its type.

    Nested arrays are converted child by child. pyarrow 25 has no cast below views and unions, and loses nulls when it
    casts a list of nulls to its own type. Raises ``BeyondTextError`` for a date or time without a text.
    """
    if array.type.equals(kind):
        return array
    if pa.types.is_dictionary(array.type):
        return convert(decoded(array), kind)
    if pa.types.is_run_end_encoded(array.type):
        return convert(run_values(array), kind)
    if pa.types.is_map(array.type):
        return _entries(array, kind)
    if pa.types.is_nested(kind):
        return with_children(array, kind, convert)
    if pa.types.is_temporal(array.type) and not pa.types.is_duration(array.type):
        return writable(array).cast(kind)
    return array.cast(kind)


def convert_for_csv(array: pa.Array, kind: pa.DataType) -> pa.Array:
    """Convert the array to its ``csv_type``, or to UTC where the text in its zone would not be exact."""
    array = convert(array, kind)
    return writable(array) if pa.types.is_temporal(array.type) else array


def _entries(array: pa.Array, kind: pa.DataType) -> pa.Array:
    """Convert maps to lists of their entries."""
    starts, sizes = list_ranges(array)
    parts = zip(list_children(array), kind.value_type, strict=True)
    children = [convert(list_values(child, starts, sizes), field.type) for child, field in parts]
    entries = pa.StructArray.from_arrays(children, fields=list(kind.value_type))
    return lists_of(kind, sizes, [entries], array.is_null() if array.null_count else None)
