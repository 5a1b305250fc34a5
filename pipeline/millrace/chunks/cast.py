"""Cast rows from the types that a chunk is stored in to the wider types of its version.

A column's type may only widen: null to any type, an integer to a wider one or to a double, a list's elements likewise.
A chunk that was written before its column widened is therefore cast when it is read and never rewritten.
"""

from __future__ import annotations

from collections.abc import Iterator

import pyarrow as pa

from millrace.arrow import decoded, decoded_type, nulls_of, widens, with_children
from millrace.chunks.encoding import fixed_width_dictionary
from millrace.chunks.encoding.stored_types import from_stored, number_type
from millrace.errors import ChunkFormatError

_VALUES_TOGETHER = 1 << 17
"""Short columns are cast together, up to this many values, which the processor's cache holds."""
_ARROW_ERRORS = (pa.ArrowInvalid, pa.ArrowNotImplementedError, pa.ArrowTypeError, pa.ArrowIndexError)


def cast_batch(batch: pa.RecordBatch, schema: pa.Schema) -> pa.RecordBatch:
    """Cast the rows to ``schema`` without loss; raise ``ChunkFormatError`` with the column and both types otherwise.

    Integers become the nearest doubles. Loads refuse integers that this would change, but older versions may hold some.
    Columns match by position. Columns that have the right type already are not copied. Field and schema metadata are
    those of ``schema``.
    """
    if batch.schema.equals(schema, check_metadata=True):
        return batch
    if batch.num_columns != len(schema):
        raise ChunkFormatError(f"{batch.num_columns} columns cannot become the {len(schema)} of the schema")
    if not len(schema):
        return batch.replace_schema_metadata(schema.metadata)
    columns: list[pa.Array] = []
    for run, fields in _runs(batch.columns, list(schema)):
        columns += _cast_numbers(run, fields) if _stands_for_numbers(run[0], fields[0]) else [_cast(run[0], fields[0])]
    return pa.RecordBatch.from_arrays(columns, schema=schema)


def cast_stored_numbers(batch: pa.RecordBatch, schema: pa.Schema) -> pa.RecordBatch:
    """Cast structs that encode numbers (``number_type``) to those numbers, except where ``schema`` has a struct, too.

    The types of all other columns stay as they are stored.
    """
    fields = []
    for stored, field in zip(batch.schema, schema, strict=True):
        number = None if pa.types.is_struct(field.type) else number_type(stored.type)
        fields.append(stored if number is None else stored.with_type(number))
    return cast_batch(batch, pa.schema(fields, metadata=batch.schema.metadata))


def _is_number(type_: pa.DataType) -> bool:
    return bool(pa.types.is_integer(type_) or pa.types.is_floating(type_))


def _runs(columns: list[pa.Array], fields: list[pa.Field]) -> Iterator[tuple[list[pa.Array], list[pa.Field]]]:
    """Yield runs of neighbouring columns that are cast together: structs of one type that encode one number type."""
    start = 0
    for end in range(1, len(columns) + 1):
        together = (
            end < len(columns)
            and (end - start + 1) * len(columns[0]) <= _VALUES_TOGETHER
            and _stands_for_numbers(columns[end], fields[end])
            and columns[end].type.equals(columns[start].type)
            and fields[end].type.equals(fields[start].type)
        )
        if not together:
            yield columns[start:end], fields[start:end]
            start = end


def _stands_for_numbers(array: pa.Array, field: pa.Field) -> bool:
    return _is_number(field.type) and bool(pa.types.is_struct(array.type))


def _cast_numbers(arrays: list[pa.Array], fields: list[pa.Field]) -> list[pa.Array]:
    have, target = arrays[0].type, fields[0].type
    number = number_type(have)
    if number is None or not widens(number, target):
        raise _refused(have, fields[0], "that would lose or change values")
    try:
        return from_stored(arrays, target)
    except _ARROW_ERRORS as error:
        raise _refused(have, fields[0], str(error).splitlines()[0]) from None


def _cast(array: pa.Array, field: pa.Field) -> pa.Array:
    if array.type.equals(field.type):
        return array
    if not widens(array.type, field.type):
        raise _refused(array.type, field, "that would lose or change values")
    try:
        return _widened(array, field.type)
    except _ARROW_ERRORS as error:
        raise _refused(array.type, field, str(error).splitlines()[0]) from None


def _widened(array: pa.Array, wide: pa.DataType) -> pa.Array:
    """Cast the array to a type to which its own ``widens``; raise the errors of Arrow's safe casts.

    Nested arrays are cast child by child. Arrow would round all numbers below a list or none, and has no cast to list
    views or unions.
    """
    have, types = array.type, pa.types
    if have.equals(wide):
        return array
    if types.is_null(have):
        return nulls_of(len(array), wide)
    if types.is_dictionary(have):
        return _widened_dictionary(array, wide)
    if types.is_nested(have) and types.is_nested(wide):
        return with_children(array, wide, _widened)
    # Loads refuse integers that doubles would change. Versions published before that check may hold some. They are
    # rounded here, as pyarrow.csv.read_csv rounds them, so that every published version can be read.
    rounds = types.is_integer(have) and types.is_floating(wide)
    return array.cast(wide, safe=not rounds)


def _widened_dictionary(array: pa.Array, wide: pa.DataType) -> pa.Array:
    if array.type.value_type.equals(wide):
        short = fixed_width_dictionary.decode(array)
        return array.cast(wide) if short is None else short
    values = _widened(array.dictionary, decoded_type(wide))
    if pa.types.is_dictionary(wide):
        return pa.DictionaryArray.from_arrays(array.indices.cast(wide.index_type), values, ordered=wide.ordered)
    return decoded(pa.DictionaryArray.from_arrays(array.indices, values))


def _refused(have: pa.DataType, field: pa.Field, why: str) -> ChunkFormatError:
    return ChunkFormatError(
        f"column {field.name!r} cannot be read as {field.type} from {have}: {why}",
        column=field.name,
        expected=str(field.type),
        actual=str(have),
    )
