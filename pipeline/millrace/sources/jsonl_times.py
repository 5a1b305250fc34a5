"""Dates and times in JSON lines: read as text and then cast as a CSV's are, which tells zones and dates apart.

pyarrow's JSON reader takes every date and time, with a zone or without, for ``timestamp[s]`` and moves the value to
UTC: three different things become one.
"""

from __future__ import annotations

import pyarrow as pa

__all__ = ["as_text", "holds_times", "is_time", "times_of"]

_LADDER = (pa.date32(), pa.timestamp("s"), pa.timestamp("s", "UTC"))
"""The types that are tried one after another for what pyarrow takes for times; what fits none of them is text."""


def is_time(type_: pa.DataType) -> bool:
    """Whether it is a date, a time of day, or a timestamp that is in no zone or in UTC."""
    if pa.types.is_timestamp(type_):
        return type_.tz in (None, "UTC")
    return bool(pa.types.is_date(type_) or pa.types.is_time(type_))


def holds_times(type_: pa.DataType) -> bool:
    """Whether there is such a type at any depth."""
    if pa.types.is_struct(type_):
        return any(holds_times(field.type) for field in type_.fields)
    return holds_times(type_.value_type) if pa.types.is_list(type_) else is_time(type_)


def as_text(type_: pa.DataType) -> pa.DataType:
    """The type with text in place of dates and times; ``given_types.made`` makes the type's values of it."""
    if pa.types.is_struct(type_):
        return pa.struct([field.with_type(as_text(field.type)) for field in type_.fields])
    if pa.types.is_list(type_):
        return pa.list_(type_.value_field.with_type(as_text(type_.value_type)))
    return pa.string() if is_time(type_) else type_


def times_of(array: pa.Array, type_: pa.DataType) -> pa.DataType:
    """``type_`` with the first type of the ladder that fits the texts in ``array`` in place of each date and time."""
    if pa.types.is_struct(type_):
        fields = [f.with_type(times_of(array.field(i), f.type)) for i, f in enumerate(type_.fields)]
        return pa.struct(fields)
    if pa.types.is_list(type_):
        return pa.list_(type_.value_field.with_type(times_of(array.values, type_.value_type)))
    if not is_time(type_):
        return type_
    for each in _LADDER:
        try:
            array.cast(each)
        except pa.ArrowInvalid:
            continue
        return each
    return pa.string()
