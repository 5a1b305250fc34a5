"""What the formats for people and other programs write instead of Arrow's types, and values turned into it."""

from __future__ import annotations

import pyarrow as pa

from pipeline.chunks.nested import with_children
from pipeline.chunks.take import decoded, run_values

__all__ = ["cast_plain", "converted", "flat_type", "is_bytes", "is_extension", "plain_type"]


def is_extension(kind: pa.DataType) -> bool:
    """Its storage alone would not say what it means; pyarrow 25 ends the process where it casts lists of tensors."""
    return isinstance(kind, pa.BaseExtensionType)


def is_bytes(kind: pa.DataType) -> bool:
    """Bytes of any kind, which are no text."""
    named = (pa.binary(), pa.large_binary(), pa.binary_view())
    return kind in named or pa.types.is_fixed_size_binary(kind)


def flat_type(kind: pa.DataType) -> pa.DataType:
    """What CSV writes instead: values in place of dictionaries, strings in place of views."""
    if pa.types.is_dictionary(kind):
        return flat_type(kind.value_type)
    return pa.string() if kind == pa.string_view() else kind


def plain_type(kind: pa.DataType) -> pa.DataType:
    """The type whose Python values are JSON's own."""
    kind = flat_type(kind)
    if pa.types.is_duration(kind):
        return pa.int64()
    if pa.types.is_temporal(kind) or pa.types.is_decimal(kind):
        return pa.string()
    if pa.types.is_float16(kind):
        return pa.float32()
    if pa.types.is_map(kind):
        return pa.map_(plain_type(kind.key_type), plain_type(kind.item_type))
    if pa.types.is_struct(kind):
        return pa.struct([pa.field(f.name, plain_type(f.type), f.nullable) for f in kind])
    if pa.types.is_large_list(kind) or pa.types.is_large_list_view(kind):
        return pa.large_list(plain_type(kind.value_type))
    if pa.types.is_list(kind) or pa.types.is_fixed_size_list(kind) or pa.types.is_list_view(kind):
        return pa.list_(plain_type(kind.value_type))
    if pa.types.is_union(kind):
        fields = [kind.field(i) for i in range(kind.num_fields)]
        return pa.union([field.with_type(plain_type(field.type)) for field in fields], kind.mode, kind.type_codes)
    return plain_type(kind.value_type) if pa.types.is_run_end_encoded(kind) else kind


def cast_plain(batch: pa.RecordBatch, schema: pa.Schema) -> pa.RecordBatch:
    """The rows with the types of ``schema``, each made of a column's own by one of the functions above."""
    columns = [converted(column, field.type) for column, field in zip(batch.columns, schema, strict=True)]
    return pa.RecordBatch.from_arrays(columns, schema=schema)


def converted(array: pa.Array, kind: pa.DataType) -> pa.Array:
    """The array as what ``plain_type`` or ``flat_type`` make of its type.

    Part by part: pyarrow 25 has no cast below views and unions, and loses nulls where it casts a list of nulls to its
    own type.
    """
    if array.type.equals(kind):
        return array
    if pa.types.is_dictionary(array.type):
        return converted(decoded(array), kind)
    if pa.types.is_run_end_encoded(array.type):
        return converted(run_values(array), kind)
    return with_children(array, kind, converted) if pa.types.is_nested(kind) else array.cast(kind)
