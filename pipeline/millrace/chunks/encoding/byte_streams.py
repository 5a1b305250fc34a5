"""Split integers of two and four bytes into columns of one byte each, like Parquet's BYTE_STREAM_SPLIT.

The low bytes of most numbers hardly repeat, but the high bytes do. Once they are split, the codec stores the low bytes
without compression (``gzip_member``) and deflates only the high bytes. A chunk of flights inflates in 6.4 ms instead of
11.4 ms, deflates in 12 ms instead of 17 ms, and is 4 % smaller. Consecutive numbers take a hundredth of the size, other
sorted numbers two fifths.

In a tile such a column is a struct ``{byte_0: uint8, byte_1: int8}``, lowest byte first. The last byte is signed if the
integer is. Any Arrow reader opens it; the value is ``byte_0 + 256 * byte_1``, and so on.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from isal import isal_zlib

from millrace.chunks.encoding.gzip_member import CARRY_NS, INFLATE_NS

_SAMPLE = 2048
_JOIN_NS = 0.5
"""Time that a reader needs to join one byte."""


def _streams(integer: pa.DataType) -> pa.StructType:
    width = integer.bit_width // 8
    highest = pa.int8() if pa.types.is_signed_integer(integer) else pa.uint8()
    kinds = [*[pa.uint8()] * (width - 1), highest]
    return pa.struct([pa.field(f"byte_{i}", kind, nullable=False) for i, kind in enumerate(kinds)])


_SPLIT = {integer: _streams(integer) for integer in (pa.int16(), pa.uint16(), pa.int32(), pa.uint32())}
_JOINED = {split: integer for integer, split in _SPLIT.items()}


def number_type(type_: pa.DataType) -> pa.DataType | None:
    """Return the integer type that such a struct encodes; None for any other type."""
    return _JOINED.get(type_)


def encode(array: pa.Array) -> pa.Array:
    """Return the integers as a struct of their bytes, or unchanged where they are cheaper whole.

    Integers of one or eight bytes are never split. A sample decides for the others. Values that repeat as a whole
    (identifiers, few distinct values) are cheaper whole, and so are values whose high bytes hardly shrink.
    """
    type_ = _SPLIT.get(array.type)
    if type_ is None:
        return array
    size_bytes = array.type.bit_width // 8
    integers = np.frombuffer(array.buffers()[1], str(array.type), len(array), array.offset * size_bytes)
    sample = integers[max(0, (len(integers) - _SAMPLE) // 2) :][:_SAMPLE]
    apart_ns = sum(map(_cost_ns, _streams_of(sample, type_))) + _JOIN_NS * sample.nbytes
    if _cost_ns(sample) <= apart_ns:
        return array
    streams = [pa.array(stream) for stream in _streams_of(integers, type_)]
    return pa.StructArray.from_arrays(streams, fields=list(type_), mask=array.is_null() if array.null_count else None)


def _streams_of(integers: Any, type_: pa.StructType) -> list[Any]:
    # Shifting and narrowing two bytes takes 26 us for 212,000 values, gathering every other byte 117.
    return [(integers >> (8 * i)).astype(str(field.type)) for i, field in enumerate(type_)]


def _cost_ns(values: Any) -> float:
    """Return the time that a reader needs for these values, either stored as they are or deflated."""
    size_bytes: int = values.nbytes
    deflated_bytes = len(isal_zlib.compress(values, 1, wbits=-isal_zlib.MAX_WBITS))
    return min(CARRY_NS * size_bytes, CARRY_NS * deflated_bytes + INFLATE_NS * size_bytes)


def decode(arrays: Sequence[pa.StructArray]) -> pa.Array:
    """Return the integers of all these arrays of one type, end to end, without their validity bitmaps."""
    return pa.array(join_bytes(arrays))


def end_to_end(arrays: Sequence[pa.Array]) -> Any:
    """Return the values of all these arrays without nulls as one numpy array; a single array is not copied."""
    parts = [np.asarray(array) for array in arrays]
    return parts[0] if len(parts) == 1 else np.concatenate(parts)


def join_bytes(arrays: Sequence[pa.StructArray]) -> Any:
    """Return the same as one numpy array.

    This is as fast as Arrow's cast of such integers to eight bytes: 73 us for 212,000 integers of two bytes.
    """
    type_ = arrays[0].type
    *lower, highest = (end_to_end([array.field(i) for array in arrays]) for i in range(type_.num_fields))
    integers = highest.astype(str(_JOINED[type_]))
    for stream in reversed(lower):
        integers <<= 8
        integers += stream
    return integers
