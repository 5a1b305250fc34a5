"""Split a row of a byte dataset that is too large for a chunk into two rows."""

from __future__ import annotations

import pyarrow as pa

from millrace.errors import RowTooLargeError


def split_bytes_row(row: pa.RecordBatch) -> list[pa.RecordBatch]:
    """Split the row into two: halve the bytes of its only binary column, and advance ``offset`` if it has one.

    Raises ``RowTooLargeError`` when there are fewer than two bytes, which only another column of absurd size can cause.
    """
    index = _bytes_column(row.schema)
    cell = row.column(index)[0]
    data = cell.as_buffer() if cell.is_valid else pa.py_buffer(b"")
    if data.size < 2:
        raise RowTooLargeError("a row of a byte dataset is too large without its bytes", columns=row.schema.names)
    half = data.size // 2
    first = _with(row, index, data.slice(0, half))
    second = _with(row, index, data.slice(half))
    offset = row.schema.get_field_index("offset")
    if offset >= 0:
        moved = pa.array([row.column(offset)[0].as_py() + half], row.schema.field(offset).type)
        second = second.set_column(offset, row.schema.field(offset), moved)
    return [first, second]


def _bytes_column(schema: pa.Schema) -> int:
    candidates = [i for i, f in enumerate(schema) if pa.types.is_binary(f.type) or pa.types.is_large_binary(f.type)]
    if len(candidates) != 1:
        raise RowTooLargeError(f"a byte dataset has one binary column, not {len(candidates)}", columns=schema.names)
    return candidates[0]


def _with(row: pa.RecordBatch, index: int, data: pa.Buffer) -> pa.RecordBatch:
    field = row.schema.field(index)
    return row.set_column(index, field, pa.array([memoryview(data)], field.type))
