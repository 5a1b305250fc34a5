"""Dates and times in JSON lines: read as text and then cast, as in a CSV.

pyarrow's JSON reader infers ``timestamp[s]`` for every date and time, with a zone or without, and converts the value
to UTC. The cast from text gives dates, local times and times with a zone different types.
"""

from __future__ import annotations

import pyarrow as pa

_LADDER = (pa.date32(), pa.timestamp("s"), pa.timestamp("s", "UTC"))
"""Types tried in this order for a column that pyarrow infers as a time; a column that fits none of them is text."""


def is_time(type_: pa.DataType) -> bool:
    """Return whether the type is a date, a time of day, or a timestamp without a zone or in UTC."""
    if pa.types.is_timestamp(type_):
        return type_.tz in (None, "UTC")
    return bool(pa.types.is_date(type_) or pa.types.is_time(type_))


def holds_times(type_: pa.DataType) -> bool:
    """Return whether the type is such a time, or a struct or list that contains one at any depth."""
    if pa.types.is_struct(type_):
        return any(holds_times(field.type) for field in type_.fields)
    return holds_times(type_.value_type) if pa.types.is_list(type_) else is_time(type_)


def as_text(type_: pa.DataType) -> pa.DataType:
    """Return the type with strings in place of dates and times; ``converted`` converts the values back."""
    if pa.types.is_struct(type_):
        return pa.struct([field.with_type(as_text(field.type)) for field in type_.fields])
    if pa.types.is_list(type_):
        return pa.list_(type_.value_field.with_type(as_text(type_.value_type)))
    return pa.string() if is_time(type_) else type_


def times_of(array: pa.Array, type_: pa.DataType) -> pa.DataType:
    """Return ``type_`` with each date and time replaced by the first type of ``_LADDER`` that fits its texts.

    ``array`` has the texts, as the type ``as_text(type_)``.
    """
    if pa.types.is_struct(type_):
        fields = [f.with_type(times_of(array.field(i), f.type)) for i, f in enumerate(type_.fields)]
        return pa.struct(fields)
    if pa.types.is_list(type_):
        return pa.list_(type_.value_field.with_type(times_of(array.values, type_.value_type)))
    if not is_time(type_):
        return type_
    for candidate in _LADDER:
        try:
            array.cast(candidate)
        except pa.ArrowInvalid:
            continue
        return candidate
    return pa.string()
