"""Convert dates, times and timestamps so that their text loads again as the same value."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import pyarrow as pa

_PER_SECOND: Final = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}
_DAY_S: Final = 86_400
_FIRST_DAY, _LAST_DAY = -719_528, 2_932_896
"""0000-01-01 and 9999-12-31. Other years do not have the four digits that ISO 8601 and its readers expect."""
_FIRST_NS: Final = -9_223_372_036 * 10**9
"""The earliest timestamp in nanoseconds. pyarrow parses whole seconds first, which overflow for earlier times."""


class BeyondTextError(ValueError):
    """A value that has no text in its type; ``args[0]`` is the value as a number, with its type."""


def writable(array: pa.Array) -> pa.Array:
    """Return the values in a type whose cast to text is exact: their own, or UTC where the zone's offset is inexact.

    An offset is written in hours and minutes, so a moment before standard time would become another one. ``array``
    holds dates, times of day or timestamps. Raises ``BeyondTextError`` for a value outside the years 0 to 9999 or the
    hours of a day.
    """
    accepted = has_text(array)
    if not accepted.all():
        refused = array.filter(pa.array(~accepted)).slice(0, 1)
        raise BeyondTextError(f"{_numbers(refused)[0].as_py()} ({array.type})")
    if not pa.types.is_timestamp(array.type) or array.type.tz in (None, "UTC"):
        return array
    return array if _has_offsets(array) else array.cast(pa.timestamp(array.type.unit, "UTC"))


def has_text(array: pa.Array) -> Any:
    """Return which values ``writable`` accepts, as a numpy array of booleans; it accepts nulls."""
    low, high, step = _range(array.type)
    numbers = _numbers(array).fill_null(0).to_numpy(zero_copy_only=False)
    in_range = (numbers >= low) & (numbers <= high)
    return in_range & (numbers % step == 0) if step > 1 else np.asarray(in_range)


def _numbers(array: pa.Array) -> pa.Array:
    return array.view(pa.int32() if array.type.bit_width == 32 else pa.int64())


def _range(kind: pa.DataType) -> tuple[int, int, int]:
    """Return the least and the greatest number that has a text, and the step between such numbers."""
    if pa.types.is_date32(kind):
        return _FIRST_DAY, _LAST_DAY, 1
    if pa.types.is_date64(kind):
        day = _DAY_S * 1000
        return _FIRST_DAY * day, _LAST_DAY * day, day
    per_second = _PER_SECOND[kind.unit]
    if pa.types.is_time(kind):
        return 0, _DAY_S * per_second - 1, 1
    if kind.unit == "ns":
        return _FIRST_NS, 2**63 - 1, 1
    return _FIRST_DAY * _DAY_S * per_second, (_LAST_DAY + 1) * _DAY_S * per_second - 1, 1


def _has_offsets(array: pa.Array) -> bool:
    """Return whether the zone is known, its offsets are whole minutes, and every local time has a text, too."""
    import pyarrow.compute as pc

    try:
        local = pc.local_timestamp(array)
    except pa.ArrowInvalid:
        return False  # a zone that is not in the database
    if not has_text(local).all():
        return False
    before, after = (_numbers(moments).drop_null().to_numpy() for moments in (array, local))
    offsets = after - before
    # Near the limits of 64 bits the local time wraps around and differs from the moment in the wrong direction.
    wrapped = (offsets > 0) != (after > before)
    return not (wrapped | (offsets % (60 * _PER_SECOND[array.type.unit]) != 0)).any()
