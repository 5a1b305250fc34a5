"""Dictionary-encode and decode texts of one length, such as codes of two, three or eight letters, without hashing.

To encode, Arrow hashes each text (13 to 17 ns). To decode, it copies each text separately (5 ns). If all texts of a
column have one length, the bytes of a text form a number that is looked up in a table (4 ns). Decoding then gathers
values of fixed width (1 to 3 ns). Both functions return None for any other column, and the caller then uses Arrow's
kernels.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
import pyarrow as pa

from millrace.arrow import OFFSET_TYPES

_LENGTH_MAX = 8
_INDEX_MAX = 1 << 15
_SHARED_ROWS_MIN, _SHARED_ROWS_MAX = 1 << 12, 1 << 18
"""Range of row counts whose offsets are cached: eight arrays of at most 2 MiB each."""
_TABLE_MAX = 1 << 16
_BLOCK_ROWS = 1 << 14
"""Rows are looked up block by block, so that numpy's temporary arrays stay in the cache. For a whole column the kernel
would clear new memory for them every time (0.7 ms instead of 2.6 for 212,000 codes of two letters)."""


def encode(array: pa.Array) -> pa.DictionaryArray | None:
    """Return the array as a dictionary array with 16-bit indices, of whose values every one is used.

    Returns None for an array with nulls, with texts of different lengths or over 8 bytes, with more than 32,768 values,
    or with bytes whose combinations exceed a table of 65,536 entries.
    """
    rows = len(array)
    letters = None if array.null_count else _letters(array)
    if letters is None:
        return None
    columns = np.ascontiguousarray(letters.T)
    lows = [int(column.min()) for column in columns]
    spans = [int(column.max()) - low + 1 for column, low in zip(columns, lows, strict=True)]
    numbers = 1
    for span in spans:
        numbers *= span
        if numbers > _TABLE_MAX:
            return None
    table = np.full(numbers, -1, np.int16)
    used = np.empty(0, np.uint16)
    indices = np.empty(rows, np.int16)
    for start in range(0, rows, _BLOCK_ROWS):
        block = indices[start : start + _BLOCK_ROWS]
        # The final number is below 2^16, so intermediate results may wrap.
        number = np.zeros(len(block), np.uint16)
        for column, low, span in zip(columns, lows, spans, strict=True):
            number *= np.uint16(span & 0xFFFF)
            number += column[start : start + _BLOCK_ROWS]
            number -= np.uint16(low)
        # Every number is within the table; "clip" only avoids a copy in numpy.
        table.take(number, out=block, mode="clip")
        missing = block < 0
        if missing.any():
            more = np.unique(number[missing])
            if len(used) + len(more) > _INDEX_MAX:
                return None
            table[more] = np.arange(len(used), len(used) + len(more))
            used = np.concatenate([used, more])
            table.take(number, out=block, mode="clip")
    first = np.empty((len(used), len(spans)), np.uint8)
    rest = used.astype(np.int64)
    for position in range(len(spans) - 1, -1, -1):
        first[:, position] = rest % spans[position] + lows[position]
        rest //= spans[position]
    return pa.DictionaryArray.from_arrays(pa.array(indices), _texts(pa.py_buffer(first), *first.shape, array.type))


def decode(array: pa.DictionaryArray) -> pa.Array | None:
    """Return the decoded values of a dictionary array without nulls whose values have one length, else None."""
    if array.null_count or array.dictionary.null_count or not len(array):
        return None
    letters = _letters(array.dictionary)
    indices = np.asarray(array.indices)
    # numpy would count a negative index from the end. Arrow refuses it, so such an array is left to Arrow.
    if letters is None or indices.min() < 0 or indices.max() >= len(letters):
        return None
    width = letters.shape[1]
    # Arrow's pool returns memory that was used before; numpy's memory is new, and the kernel clears it first.
    text = pa.allocate_buffer(len(indices) * width)
    wide = np.frombuffer(text, f"V{width}")
    letters.reshape(-1).view(f"V{width}").take(indices, out=wide, mode="clip")
    return _texts(text, len(indices), width, array.type.value_type)


def _letters(array: pa.Array) -> Any:
    """Return texts of one length as a matrix of bytes, one row a text; None for other texts and lengths above 8."""
    if not len(array) or array.type not in OFFSET_TYPES:
        return None
    offset = np.dtype(OFFSET_TYPES[array.type])
    offsets = np.frombuffer(array.buffers()[1], offset, len(array) + 1, array.offset * offset.itemsize)
    first, last = int(offsets[0]), int(offsets[-1])
    length, over = divmod(last - first, len(array))
    if over or not 0 < length <= _LENGTH_MAX or int(offsets[1]) - first != length:
        return None
    if not np.array_equal(offsets, np.arange(first, last + 1, length, dtype=offset)):
        return None
    return np.frombuffer(array.buffers()[2], np.uint8, last - first, first).reshape(-1, length)


def _texts(letters: pa.Buffer, rows: int, length: int, type_: pa.DataType) -> pa.Array:
    kind = OFFSET_TYPES[type_]
    shared = max(_SHARED_ROWS_MIN, 1 << rows.bit_length())
    offsets = _shared_offsets(shared, length, kind) if shared <= _SHARED_ROWS_MAX else _offsets(rows, length, kind)
    return pa.Array.from_buffers(type_, rows, [None, offsets, letters], 0)


def _offsets(rows: int, length: int, kind: str) -> pa.Buffer:
    offsets = np.arange(0, (rows + 1) * length, length, dtype=kind)
    offsets.flags.writeable = False  # makes the buffer read-only, too: several arrays share it
    return pa.py_buffer(offsets)


_shared_offsets = lru_cache(8)(_offsets)
"""Texts of one length have the same offsets in every chunk and column, which therefore share one array."""
