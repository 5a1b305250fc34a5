"""Convert columns to and from their types in a tile: integers as their bytes, decimal doubles as integers.

All other columns stay as they are. ``to_stored`` is applied to narrow columns (``narrow_batch``), from which the
statistics are computed. ``cast_batch`` undoes it. Both forms are structs. A struct never widens to a number, so a
struct where the version's type is a number is always one of these forms.
"""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa

from millrace.chunks.encoding.byte_streams import JOINED, join_bytes, split_bytes
from millrace.chunks.encoding.decimal_floats import is_scaled, scale_decimals, unscale_decimals

__all__ = ["from_stored", "number_type", "to_stored"]

_ROWS_MIN, _DECIMAL_ROWS_MIN = 1024, 4096
"""With fewer rows the gain is smaller than the fixed cost of one more column."""


def to_stored(batch: pa.RecordBatch) -> pa.RecordBatch:
    """Return the rows in the types in which a tile holds them; the batch itself if no column changes."""
    if batch.num_rows < _ROWS_MIN:
        return batch
    held = batch.columns
    columns = [_to_stored(column) for column in held]
    if all(new is old for new, old in zip(columns, held, strict=True)):
        return batch
    fields = [field.with_type(column.type) for field, column in zip(batch.schema, columns, strict=True)]
    return pa.RecordBatch.from_arrays(columns, schema=pa.schema(fields, metadata=batch.schema.metadata))


def _to_stored(array: pa.Array) -> pa.Array:
    if pa.types.is_integer(array.type):
        return split_bytes(array)
    if pa.types.is_float64(array.type) and len(array) >= _DECIMAL_ROWS_MIN:
        return scale_decimals(array)
    return array


def number_type(type_: pa.DataType) -> pa.DataType | None:
    """Return the type of the numbers that a struct encodes; None for any other type."""
    if not pa.types.is_struct(type_):
        return None
    return pa.float64() if is_scaled(type_) else JOINED.get(type_)


def _is_whole(array: pa.StructArray) -> bool:
    parts = [array.field(i) for i in range(array.type.num_fields)]
    return not any(part.null_count or (pa.types.is_struct(part.type) and not _is_whole(part)) for part in parts)


def from_stored(arrays: Sequence[pa.StructArray], wanted: pa.DataType) -> list[pa.Array]:
    """Return the numbers that these structs of one type encode, as ``wanted``, to which their ``number_type`` widens.

    Several columns are converted at once, because with short columns threads would spend their time on passing the GIL:
    200 columns of 12,500 rows take four threads 34 ms one by one, and one thread 10 ms. Raises ``pa.ArrowInvalid``
    where a field of a struct holds a null.
    """
    if not all(map(_is_whole, arrays)):
        raise pa.ArrowInvalid("a part of a number is null")
    numbers = unscale_decimals(arrays) if is_scaled(arrays[0].type) else pa.array(join_bytes(arrays))
    if not numbers.type.equals(wanted):
        numbers = numbers.cast(wanted, safe=False)
    _, values = numbers.buffers()
    size_bytes = wanted.bit_width // 8
    found, start = [], 0
    for array in arrays:
        part = values.slice(start * size_bytes, len(array) * size_bytes)
        valid = array.is_valid().buffers()[1] if array.null_count else None
        found.append(pa.Array.from_buffers(wanted, len(array), [valid, part], array.null_count))
        start += len(array)
    return found
