"""Convert columns to and from their types in a tile: integers as their bytes, decimal doubles as integers.

All other columns stay as they are. ``to_stored`` converts columns after ``narrow_batch`` has narrowed them and the
statistics are computed. ``cast_batch`` converts them back. Both stored types are structs. No struct widens to
a number, so a struct in the tile of a number column is always one of these types.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import pyarrow as pa

from millrace.chunks.encoding import byte_streams, decimal_floats

_ROWS_MIN, _DECIMAL_ROWS_MIN = 1024, 4096
"""With fewer rows the gain is smaller than the fixed cost of one more column."""


class NumberEncoding(Protocol):
    """A form of numbers in a tile; a module with these functions."""

    def encode(self, array: pa.Array) -> pa.Array:
        """Return the numbers as structs, or unchanged where they are cheaper as they are."""

    def number_type(self, type_: pa.DataType) -> pa.DataType | None:
        """Return the type of the numbers that a struct of this form encodes; None for any other type."""

    def decode(self, arrays: Sequence[pa.StructArray]) -> pa.Array:
        """Return the numbers of all these arrays of one type, end to end, without their validity bitmaps."""


_ENCODINGS: tuple[NumberEncoding, ...] = (decimal_floats, byte_streams)


def to_stored(batch: pa.RecordBatch) -> pa.RecordBatch:
    """Return the rows in the types in which a tile holds them; the batch itself if no column changes."""
    if batch.num_rows < _ROWS_MIN:
        return batch
    narrow = batch.columns
    columns = [_to_stored(column) for column in narrow]
    if all(new is old for new, old in zip(columns, narrow, strict=True)):
        return batch
    fields = [field.with_type(column.type) for field, column in zip(batch.schema, columns, strict=True)]
    return pa.RecordBatch.from_arrays(columns, schema=pa.schema(fields, metadata=batch.schema.metadata))


def _to_stored(array: pa.Array) -> pa.Array:
    if pa.types.is_integer(array.type):
        return byte_streams.encode(array)
    if pa.types.is_float64(array.type) and len(array) >= _DECIMAL_ROWS_MIN:
        return decimal_floats.encode(array)
    return array


def number_type(type_: pa.DataType) -> pa.DataType | None:
    """Return the type of the numbers that a struct encodes; None for any other type."""
    return next((number for encoding in _ENCODINGS if (number := encoding.number_type(type_)) is not None), None)


def _is_complete(array: pa.StructArray) -> bool:
    parts = [array.field(i) for i in range(array.type.num_fields)]
    return not any(part.null_count or (pa.types.is_struct(part.type) and not _is_complete(part)) for part in parts)


def from_stored(arrays: Sequence[pa.StructArray], target: pa.DataType) -> list[pa.Array]:
    """Return the numbers that these structs of one type encode, as ``target``, to which their ``number_type`` widens.

    Several columns are converted at once, because with short columns threads would spend their time on passing the GIL:
    200 columns of 12,500 rows take four threads 34 ms one by one, and one thread 10 ms. Raises ``pa.ArrowInvalid``
    where a field of a struct holds a null.
    """
    if not all(map(_is_complete, arrays)):
        raise pa.ArrowInvalid("a part of a number is null")
    encoding = next(encoding for encoding in _ENCODINGS if encoding.number_type(arrays[0].type) is not None)
    numbers = encoding.decode(arrays)
    if not numbers.type.equals(target):
        numbers = numbers.cast(target, safe=False)
    _, values = numbers.buffers()
    size_bytes = target.bit_width // 8
    columns, start = [], 0
    for array in arrays:
        part = values.slice(start * size_bytes, len(array) * size_bytes)
        valid = array.is_valid().buffers()[1] if array.null_count else None
        columns.append(pa.Array.from_buffers(target, len(array), [valid, part], array.null_count))
        start += len(array)
    return columns
