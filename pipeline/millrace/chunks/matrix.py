"""Matrices: the columns of a tile as one array of rows, so that a reader copies whole rows.

The tile has one column of the type ``FixedSizeList<type>[n]``. The lists have no nulls. A null of a column is a null of
the list's values, and the value below it is zero.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import pyarrow as pa

from millrace.arrow import array_of_values, is_valid, stored_dtype, stored_values
from millrace.errors import ChunkFormatError

MATRIX: Final = "matrix"
"""The name of the column of such a tile."""


def is_matrix_type(type_: pa.DataType) -> bool:
    """Return whether columns of this type can be in a matrix: integers and floats."""
    return bool(pa.types.is_integer(type_) or pa.types.is_floating(type_))


def matrix_field(type_: pa.DataType, width: int) -> pa.Field:
    """Return the field of a matrix of ``width`` columns."""
    return pa.field(MATRIX, pa.list_(type_, width), nullable=False)


def to_matrix(batch: pa.RecordBatch, fields: Sequence[pa.Field]) -> pa.RecordBatch:
    """Return the columns as the one column of a matrix tile; ``fields`` has their types, and the columns narrower ones.

    Raises ``ChunkFormatError`` for columns that differ in type or are no numbers.
    """
    type_, rows, width = fields[0].type, batch.num_rows, len(fields)
    for field in fields:
        if field.type != type_ or not is_matrix_type(type_):
            raise ChunkFormatError(
                f"column {field.name!r} of type {field.type} cannot be in a matrix of {type_}", column=field.name
            )
    values = np.zeros((rows, width), stored_dtype(type_))
    valid = np.ones((rows, width), np.bool_) if any(column.null_count for column in batch.columns) else None
    for position, column in enumerate(batch.columns):
        wide = stored_values(column if column.type == type_ else column.cast(type_, safe=False))
        if valid is not None and column.null_count:
            valid[:, position] = is_valid(column)
            np.copyto(values[:, position], wide, where=valid[:, position])
        else:
            values[:, position] = wide
    numbers = array_of_values(type_, values.reshape(-1), None if valid is None else valid.reshape(-1))
    field = matrix_field(type_, width)
    return pa.record_batch([pa.FixedSizeListArray.from_arrays(numbers, type=field.type)], pa.schema([field]))


def matrix_of(tile: pa.RecordBatch, width: int, index: int) -> Any:
    """Return the column of a matrix tile; raise ``ChunkFormatError`` if it is no matrix of ``width`` columns."""
    column = tile.column(0) if tile.num_columns == 1 else None
    if column is None or not pa.types.is_fixed_size_list(column.type) or column.type.list_size != width:
        raise ChunkFormatError(f"tile {index} is no matrix of {width} columns but has {tile.schema.types}")
    if column.null_count or not is_matrix_type(column.type.value_type):
        raise ChunkFormatError(f"tile {index} is a matrix with null rows or of {column.type.value_type}")
    return column


def columns_of(matrix: Any, positions: Sequence[int]) -> list[pa.Array]:
    """Return the columns at these positions of a matrix, each in memory of its own."""
    type_, width, rows = matrix.type.value_type, matrix.type.list_size, len(matrix)
    numbers = matrix.values.slice(matrix.offset * width, rows * width)
    values = stored_values(numbers).reshape(rows, width)
    valid = is_valid(numbers).reshape(rows, width) if numbers.null_count else None
    if 2 * len(positions) > width:
        values = np.ascontiguousarray(values.T).T  # one pass over the memory in place of one for each column
    return [
        array_of_values(type_, np.ascontiguousarray(values[:, position]), None if valid is None else valid[:, position])
        for position in positions
    ]
