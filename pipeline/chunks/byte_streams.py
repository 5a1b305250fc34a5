"""Integers of two and four bytes as columns of one byte each, as Parquet's BYTE_STREAM_SPLIT has them.

The low bytes of most numbers hardly repeat, the high ones do. Apart, the codec stores the low ones as they are
(``gzip_member``) and deflates the high ones in a fraction of the time: a chunk of flights inflates in 6.3 ms instead of
11.4, deflates in 12 instead of 17, and is 4 % smaller.

In a tile such a column is a struct ``{byte_0: uint8, byte_1: int8}``, lowest byte first, the last one signed as the
integer is. Any Arrow reader opens it; the value is ``byte_0 + 256 * byte_1``, and so on. No other struct ever widens to
a number, so nothing else can be meant.
"""

from __future__ import annotations

from typing import Any

import pyarrow as pa

__all__ = ["join_byte_streams", "joined_type", "split_byte_streams"]

_ROWS_MIN = 1024
"""Fewer rows gain nothing that pays for the longer Arrow schema."""


def _streams(whole: pa.DataType) -> pa.StructType:
    width = whole.bit_width // 8
    highest = pa.int8() if pa.types.is_signed_integer(whole) else pa.uint8()
    kinds = [*[pa.uint8()] * (width - 1), highest]
    return pa.struct([pa.field(f"byte_{i}", kind, nullable=False) for i, kind in enumerate(kinds)])


_SPLIT = {whole: _streams(whole) for whole in (pa.int16(), pa.uint16(), pa.int32(), pa.uint32())}
_JOINED = {split: whole for whole, split in _SPLIT.items()}


def split_byte_streams(batch: pa.RecordBatch) -> pa.RecordBatch:
    """The same rows, such integers as structs of bytes; the same object where there are none."""
    if batch.num_rows < _ROWS_MIN or not any(field.type in _SPLIT for field in batch.schema):
        return batch
    columns = [_split(column) if column.type in _SPLIT else column for column in batch.columns]
    fields = [field.with_type(column.type) for field, column in zip(batch.schema, columns, strict=True)]
    return pa.RecordBatch.from_arrays(columns, schema=pa.schema(fields, metadata=batch.schema.metadata))


def _split(array: pa.Array) -> pa.Array:
    import numpy as np

    type_ = _SPLIT[array.type]
    size_bytes = array.type.bit_width // 8
    whole = np.frombuffer(array.buffers()[1], str(array.type), len(array), array.offset * size_bytes)
    # Shifting and narrowing two bytes takes 26 us for 212,000 values, gathering every other byte 117.
    streams = [pa.array((whole >> (8 * i)).astype(str(field.type))) for i, field in enumerate(type_)]
    return pa.StructArray.from_arrays(streams, fields=list(type_), mask=array.is_null() if array.null_count else None)


def joined_type(type_: pa.DataType) -> pa.DataType:
    """The integer type that a struct of bytes stands for; any other type as it is."""
    return _JOINED.get(type_, type_) if pa.types.is_struct(type_) else type_


def join_byte_streams(array: pa.StructArray) -> pa.Array:
    """The integers again; two bytes as fast as Arrow casts such integers to eight: 73 us for 212,000 values."""
    import numpy as np

    type_ = _JOINED[array.type]
    *lower, highest = (np.asarray(array.field(i)) for i in range(array.type.num_fields))
    whole: Any = highest.astype(str(type_))
    for stream in reversed(lower):
        whole <<= 8
        whole += stream
    valid = array.is_valid().buffers()[1] if array.null_count else None
    return pa.Array.from_buffers(type_, len(array), [valid, pa.py_buffer(whole)], array.null_count)
