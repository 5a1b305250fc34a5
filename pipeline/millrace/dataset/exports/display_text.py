"""Convert values of any type to text for a user to read."""

from __future__ import annotations

from typing import Any

import pyarrow as pa

from millrace.arrow import is_extension, is_list_like
from millrace.dataset.exports.temporal_text import has_text, writable


def as_text(column: pa.Array) -> list[str | None]:
    """Return the values as text for a user to read, None for nulls; never raise for a type or a value."""
    return [None if value is None else str(value) for value in map(_value, column)]


class _Unquoted(str):
    """The text form of a value that is not text, which therefore has no quotes."""

    __slots__ = ()

    def __repr__(self) -> str:
        return str(self)


def _value(scalar: Any) -> Any:
    """Return a Python value whose ``str`` shows it, and whose ``repr`` shows it inside of other values."""
    kind = scalar.type
    if pa.types.is_union(kind) or pa.types.is_dictionary(kind) or pa.types.is_run_end_encoded(kind):
        return _value(scalar.value) if scalar.is_valid else None
    if not scalar.is_valid:
        return None
    if pa.types.is_struct(kind):
        # Not a dict: the names of fields may be equal, or empty.
        pairs = (f"{kind.field(i).name!r}: {_value(scalar[i])!r}" for i in range(kind.num_fields))
        return _Unquoted(f"{{{', '.join(pairs)}}}")
    if pa.types.is_map(kind):
        return [(_value(entry[0]), _value(entry[1])) for entry in scalar.values]
    if is_list_like(kind):
        return [_value(item) for item in scalar.values]
    return _leaf(scalar)


def _leaf(scalar: Any) -> Any:
    kind = scalar.type
    if pa.types.is_duration(kind):
        return scalar.value
    if pa.types.is_decimal(kind):
        return scalar.cast(pa.string()).as_py()
    try:
        if pa.types.is_temporal(kind) and not pa.types.is_interval(kind):
            return _temporal(scalar)
        return scalar.as_py()
    except (pa.ArrowException, ValueError, TypeError, OverflowError):
        if is_extension(kind):
            # Its storage may be of a type that Python does not know.
            return _value(scalar.value)
        return _Unquoted(" ".join(str(scalar).split()))


def _temporal(scalar: Any) -> Any:
    array = pa.array([scalar], scalar.type)
    if not has_text(array)[0]:
        return _Unquoted(f"{scalar.value} ({scalar.type})")
    return writable(array).cast(pa.string())[0].as_py()
