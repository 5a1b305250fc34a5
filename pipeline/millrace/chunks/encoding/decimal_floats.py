"""Encode doubles that are decimal numbers as integers and a power of ten: 20.317 as 20317 and 1000.

Prices, percentages and sensor readings have a few digits after the point. Integers with nulls are often doubles, too. A
codec hardly compresses the eight bytes of such a double. As an integer it takes one to four bytes. (The method is that
of ALP, "Adaptive Lossless floating-Point compression", SIGMOD 2024.) Before a column is stored in this form, its
integers are divided again. If one double differs in any bit, the column stays as it is. 250,000 rows of 200 columns
with three digits take 102 MB instead of 176 MB. They are read in 0.46 s instead of 0.77 s.

In a tile such a column is a struct. Its first field holds the integers, or their bytes (``byte_streams``). The field's
name is ``divide_by_1000`` (or another power of ten), or ``plus_-512_divide_by_1000``. The number after ``plus_`` is
added to the integers before they are divided. It is used only if it makes the integers narrower. A field ``minus_zero``
or ``nan`` (bool) follows if the column has such values.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from millrace.chunks.encoding import byte_streams
from millrace.chunks.encoding.byte_streams import end_to_end, join_bytes

_DIGITS_MAX = 9
_TRIES = 3
_SAMPLE = 64
_KINDS = ("int8", "uint8", "int16", "uint16", "int32")
_INTEGERS = [pa.type_for_alias(kind) for kind in _KINDS]
_MARKS: tuple[list[str], ...] = ([], ["minus_zero"], ["nan"], ["minus_zero", "nan"])
_MINUS_ZERO, _NAN = -(1 << 63), 0x7FF8 << 48
"""The bits of -0.0 and of the usual NaN. A column that holds a NaN with other bits stays as it is."""
_NAME = re.compile(r"(?:plus_(-?[0-9]{1,10})_)?divide_by_(10{0,9})")


def number_type(type_: pa.DataType) -> pa.DataType | None:
    """Return double for a struct that encodes doubles; None for any other type."""
    if not pa.types.is_struct(type_) or not type_.num_fields:
        return None
    first, *rest = type_
    if not _NAME.fullmatch(first.name) or any(field.nullable for field in type_):
        return None
    integer = byte_streams.number_type(first.type) or first.type
    marks = [field.name for field in rest if pa.types.is_boolean(field.type)]
    is_encoded = integer in _INTEGERS and len(marks) == len(rest) and marks in _MARKS
    return pa.float64() if is_encoded else None


def encode(array: pa.Array) -> pa.Array:
    """Return the doubles as a struct of integers, or the array itself if they do not all come back bit by bit."""
    values = np.frombuffer(array.buffers()[1], np.float64, len(array), array.offset * 8)
    null = None
    if array.null_count:
        null = array.is_null().to_numpy(zero_copy_only=False)
        values = np.where(null, 0.0, values)
    digits = _digits(values[:: max(1, len(values) // _SAMPLE)])
    if digits is None:
        return array
    bits = values.view(np.int64)
    rare = {"minus_zero": bits == _MINUS_ZERO, "nan": bits == _NAN}
    rare = {name: where for name, where in rare.items() if where.any()}
    for where in rare.values():
        values = np.where(where, 0.0, values)
    for digits_tried in range(digits, min(digits + _TRIES, _DIGITS_MAX + 1)):
        scaled = _as_integers(values, digits_tried)
        if scaled is not None:
            integers, base = scaled
            numbers = byte_streams.encode(pa.array(integers))
            name = f"plus_{base}_divide_by_{10**digits_tried}" if base else f"divide_by_{10**digits_tried}"
            fields = [pa.field(name, numbers.type, nullable=False)]
            fields += [pa.field(name, pa.bool_(), nullable=False) for name in rare]
            columns = [numbers, *(pa.array(where) for where in rare.values())]
            return pa.StructArray.from_arrays(columns, fields=fields, mask=None if null is None else pa.array(null))
    return array


def _digits(sample: Any) -> int | None:
    """Return the fewest digits after the point with which all values of a sample are exact; None above nine."""
    scales = 10.0 ** np.arange(_DIGITS_MAX + 1)[:, None]
    sample = sample[np.isfinite(sample)] + 0.0
    with np.errstate(over="ignore", invalid="ignore"):
        is_exact = (np.rint(sample * scales) / scales == sample).all(axis=1)
    return int(is_exact.argmax()) if is_exact.any() else None


def _as_integers(values: Any, digits: int) -> tuple[Any, int] | None:
    """Return the narrowest integers and the number to add to them, or None unless the same bits come back."""
    with np.errstate(over="ignore", invalid="ignore"):
        scaled = np.rint(values * 10.0**digits)
    low, high = scaled.min(initial=0), scaled.max(initial=0)
    if not -(1 << 31) <= low <= high < 1 << 31:
        return None
    kind, base = _kind(low, high), 0
    if kind == "int32" and high - scaled.min() < 1 << 16:
        kind, base = "uint16", int(scaled.min())
    integers = (scaled - base).astype(kind)
    back = np.empty(len(values), np.float64)
    _divide(integers, base, digits, back)
    return (integers, base) if np.array_equal(back.view(np.int64), values.view(np.int64)) else None


def _kind(low: float, high: float) -> str:
    return next(kind for kind in _KINDS if np.iinfo(kind).min <= low and high <= np.iinfo(kind).max)


def _divide(integers: Any, base: int, digits: int, out: Any) -> None:
    """Compute the doubles into ``out``; readers and the comparison before writing use this one function."""
    if base:
        integers = np.add(integers, np.float64(base), out=out)
    np.divide(integers, np.float64(10**digits), out=out)


def _parsed(name: str) -> tuple[int, int]:
    """Return the number to add and the count of digits after the point, from a name that ``number_type`` accepts."""
    added, _, divisor = name.rpartition("divide_by_")
    return int(added[len("plus_") : -1] or 0), len(divisor) - 1


def decode(arrays: Sequence[pa.StructArray]) -> pa.Array:
    """Return the doubles of all these arrays of one type, end to end, without their validity bitmaps.

    Division in IEEE 754 gives the same bits on every machine, so these are the doubles that the writer compared.
    """
    first, *rare = arrays[0].type
    integers = [array.field(0) for array in arrays]
    numbers = join_bytes(integers) if pa.types.is_struct(first.type) else end_to_end(integers)
    # Arrow's pool returns memory that was used before. numpy's memory is new, and the kernel takes longer to clear it
    # than the division takes.
    buffer = pa.allocate_buffer(8 * len(numbers))
    values: Any = np.frombuffer(buffer, np.float64)
    _divide(numbers, *_parsed(first.name), values)
    for i, field in enumerate(rare, 1):
        where = end_to_end([array.field(i) for array in arrays])
        values.view(np.int64)[where] = _NAN if field.name == "nan" else _MINUS_ZERO
    return pa.Array.from_buffers(pa.float64(), len(values), [None, buffer], 0)
