"""Columns as a tile holds them: integers as their bytes, decimal numbers as whole ones, everything else as it is.

Applied to narrow columns (``narrow_batch``) after their statistics are known, and undone by ``cast_batch``. Both forms
are structs; no struct ever widens to a number, so one where the version's type is a number can mean nothing else.
"""

from __future__ import annotations

import pyarrow as pa

from pipeline.chunks.byte_streams import JOINED, join_bytes, split_bytes
from pipeline.chunks.decimal_floats import is_scaled, scale_decimals, unscale_decimals

__all__ = ["from_stored", "number_type", "to_stored"]

_ROWS_MIN = 1024
"""Fewer rows gain nothing that pays for the longer Arrow schema."""


def to_stored(batch: pa.RecordBatch) -> pa.RecordBatch:
    """The same rows in the types in which a tile holds them; the same object where those are the batch's own."""
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
    return scale_decimals(array) if pa.types.is_float64(array.type) else array


def number_type(type_: pa.DataType) -> pa.DataType | None:
    """The type of the numbers that a struct stands for; None for any other type."""
    if not pa.types.is_struct(type_):
        return None
    return pa.float64() if is_scaled(type_) else JOINED.get(type_)


def from_stored(array: pa.StructArray) -> pa.Array | None:
    """The numbers that a struct stands for, as an array of its ``number_type``; None for any other struct."""
    if is_scaled(array.type):
        return unscale_decimals(array)
    return join_bytes(array) if array.type in JOINED else None
