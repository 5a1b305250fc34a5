"""Convert literals of a filter to values of their columns' types, exactly, or refuse them."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta, tzinfo
from decimal import Decimal, InvalidOperation
from fractions import Fraction
from typing import Any, Literal
from zoneinfo import ZoneInfo

import pyarrow as pa

from millrace.arrow import decoded_type, is_text
from millrace.errors import UsageError

__all__ = ["FilterLiteral", "comparable_type", "convert_literal"]

Kind = Literal["number", "string", "boolean", "date", "time", "timestamp"]

_UNIT_NS = {"s": 1_000_000_000, "ms": 1_000_000, "us": 1_000, "ns": 1}
_DATE = r"(\d{4})-(\d\d)-(\d\d)"
_CLOCK = r"(\d\d):(\d\d)(?::(\d\d)(?:\.(\d{1,9}))?)?"
_DATE_ONLY = re.compile(_DATE)
_CLOCK_ONLY = re.compile(_CLOCK)
_MOMENT = re.compile(rf"{_DATE}(?:[T ]{_CLOCK}(Z|[+-]\d\d(?::?\d\d)?)?)?", re.IGNORECASE)
_OFFSET = re.compile(r"([+-])(\d\d):?(\d\d)?")


@dataclass(frozen=True, slots=True)
class FilterLiteral:
    """A literal as written: ``text`` without its quotes, numbers with their sign."""

    kind: Kind
    text: str

    def __str__(self) -> str:
        if self.kind in ("number", "boolean"):
            return self.text
        quoted = "'" + self.text.replace("'", "''") + "'"
        return quoted if self.kind == "string" else f"{self.kind} {quoted}"


class _Unfit(Exception):
    """The reason why a literal is not a value of a type; it becomes a ``UsageError`` that names the column."""


def comparable_type(kind: pa.DataType) -> pa.DataType | None:
    """Return the type in which values of ``kind`` are compared; None when they cannot be compared.

    It differs from ``kind`` for dictionaries and where pyarrow has no kernels for ``kind``. The conversion is exact.
    """
    if pa.types.is_dictionary(kind):
        return comparable_type(kind.value_type)
    if pa.types.is_float16(kind):
        return pa.float32()
    if kind == pa.string_view():
        return pa.string()
    if pa.types.is_decimal32(kind) or pa.types.is_decimal64(kind):
        return pa.decimal128(kind.precision, kind.scale)
    for check, _ in _CONVERSIONS:
        if check(kind):
            return kind
    return None


def convert_literal(literal: FilterLiteral, column: str, kind: pa.DataType) -> pa.Scalar:
    """Return the literal as a scalar of ``comparable_type(kind)``, with exactly the value that was written.

    Only numbers for floating point columns are rounded, to the nearest value of the column's own type. A time without
    an offset is local time in the time zone of a column that has one. Raises ``UsageError`` for a literal of another
    kind, outside the type's range, or finer than the type.
    """
    value_type = decoded_type(kind)
    target = comparable_type(kind)
    for check, convert in _CONVERSIONS:
        if target is not None and (check(value_type) or check(target)):
            try:
                return convert(literal, value_type).cast(target)
            except _Unfit as unfit:
                raise UsageError(
                    f"{literal} cannot be compared with column {column!r} of type {kind}",
                    hint=str(unfit),
                    column=column,
                    actual=str(literal),
                ) from None
    raise UsageError(f"column {column!r} of type {kind} cannot be compared with {literal}", hint="use is null")


def _number(literal: FilterLiteral) -> Decimal:
    if literal.kind != "number":
        raise _Unfit("write a number without quotes")
    try:
        value = Decimal(literal.text)
    except InvalidOperation:
        raise _Unfit("this is no number") from None
    # A number with an exponent of a billion would become an integer of a billion digits.
    if value.adjusted() > 400 or value.adjusted() < -400:
        raise _Unfit("this number is outside of every column type's range")
    return value


def _integer(literal: FilterLiteral, kind: pa.DataType) -> pa.Scalar:
    value = _number(literal)
    if value != value.to_integral_value():
        raise _Unfit("the column holds whole numbers")
    bits, signed = kind.bit_width, pa.types.is_signed_integer(kind)
    low, high = (-(1 << (bits - 1)), (1 << (bits - 1)) - 1) if signed else (0, (1 << bits) - 1)
    if not low <= value <= high:
        raise _Unfit(f"the column holds numbers from {low} to {high}")
    return pa.scalar(int(value), kind)


def _float(literal: FilterLiteral, kind: pa.DataType) -> pa.Scalar:
    _number(literal)
    # Arrow parses text directly to the type, except to half floats. A wider type in between would round twice.
    value = _half(literal.text) if pa.types.is_float16(kind) else pa.scalar(literal.text, pa.string()).cast(kind)
    if abs(value.cast(pa.float64()).as_py()) == float("inf"):
        raise _Unfit("the number is too large for the column's type")
    return value


def _half(text: str) -> pa.Scalar:
    """Return the half float nearest to the text; of two equally near ones, the even one."""
    import numpy as np

    with np.errstate(over="ignore", under="ignore"):
        guess = np.float16(float(text))
        near = [guess, *(np.nextafter(guess, np.float16(side)) for side in (-np.inf, np.inf))]
    if not np.isfinite(guess):
        return pa.scalar(guess, pa.float16())
    exact = Fraction(text)
    finite = [each for each in near if np.isfinite(each)]
    best = min(finite, key=lambda each: (abs(Fraction(float(each)) - exact), int(each.view(np.uint16)) & 1))
    return pa.scalar(best, pa.float16())


def _decimal(literal: FilterLiteral, kind: pa.DataType) -> pa.Scalar:
    try:
        return pa.scalar(_number(literal), kind)
    except (pa.ArrowInvalid, OverflowError):
        raise _Unfit(f"the column holds {kind.precision} digits, {kind.scale} of them after the point") from None


def _string(literal: FilterLiteral, kind: pa.DataType) -> pa.Scalar:
    if literal.kind != "string":
        raise _Unfit(f"write text in single quotes: '{literal.text}'")
    return pa.scalar(literal.text, kind)


def _boolean(literal: FilterLiteral, kind: pa.DataType) -> pa.Scalar:
    if literal.kind != "boolean":
        raise _Unfit("write true or false")
    return pa.scalar(literal.text == "true", kind)


def _date(literal: FilterLiteral, kind: pa.DataType) -> pa.Scalar:
    found = _DATE_ONLY.fullmatch(literal.text) if literal.kind in ("string", "date") else None
    if found is None:
        raise _Unfit("write a date as 'YYYY-MM-DD'")
    days = (_day(found) - date(1970, 1, 1)).days
    scalar = pa.scalar(days, pa.int32()).cast(pa.date32())
    return scalar.cast(kind)


def _time(literal: FilterLiteral, kind: pa.DataType) -> pa.Scalar:
    found = _CLOCK_ONLY.fullmatch(literal.text) if literal.kind in ("string", "time") else None
    if found is None:
        raise _Unfit("write a time as 'HH:MM:SS'")
    integer = pa.int32() if pa.types.is_time32(kind) else pa.int64()
    return pa.scalar(_in_unit(_clock_ns(*found.groups()), kind.unit), integer).cast(kind)


def _timestamp(literal: FilterLiteral, kind: pa.DataType) -> pa.Scalar:
    found = _MOMENT.fullmatch(literal.text) if literal.kind in ("string", "date", "timestamp") else None
    if found is None:
        raise _Unfit("write a time as 'YYYY-MM-DD HH:MM:SS'")
    offset = found[8]
    if offset and kind.tz is None:
        raise _Unfit("the column has no time zone: leave the offset out")
    ns = (_day(found) - date(1970, 1, 1)).days * 86_400 * _UNIT_NS["s"]
    ns += _clock_ns(*found.groups()[3:7]) if found[4] else 0
    if kind.tz is not None:
        ns -= _offset_ns(offset, kind.tz, ns)
    value = _in_unit(ns, kind.unit)
    if not -(1 << 63) < value < 1 << 63:
        raise _Unfit("the time is outside of the column's range")
    return pa.scalar(value, pa.int64()).cast(kind)


def _day(found: re.Match[str]) -> date:
    try:
        return date(int(found[1]), int(found[2]), int(found[3]))
    except ValueError as error:
        raise _Unfit(f"there is no such day: {error}") from None


def _clock_ns(hour: str, minute: str, second: str | None, fraction: str | None) -> int:
    if int(hour) > 23 or int(minute) > 59 or int(second or 0) > 59:
        raise _Unfit("there is no such time of day")
    seconds = int(hour) * 3600 + int(minute) * 60 + int(second or 0)
    return seconds * _UNIT_NS["s"] + int((fraction or "0").ljust(9, "0"))


def _in_unit(ns: int, unit: str) -> int:
    value, rest = divmod(ns, _UNIT_NS[unit])
    if rest:
        raise _Unfit(f"the column counts in {unit}")
    return value


def _offset_ns(offset: str | None, zone: str, local_ns: int) -> int:
    if offset:
        return _fixed(offset) * _UNIT_NS["s"]
    fixed = _OFFSET.fullmatch(zone)
    if fixed:
        return _fixed(zone) * _UNIT_NS["s"]
    try:
        rules: tzinfo = UTC if zone == "UTC" else ZoneInfo(zone)
    except (KeyError, ValueError, OSError):
        raise _Unfit(f"the time zone {zone!r} is not known here: write an offset, as in '...+00:00'") from None
    local = datetime(1970, 1, 1) + timedelta(seconds=local_ns // _UNIT_NS["s"])
    early, late = (local.replace(tzinfo=rules, fold=fold).utcoffset() for fold in (0, 1))
    if early != late or early is None:
        raise _Unfit(f"in {zone} that hour comes twice or not at all: write an offset, as in '...+00:00'")
    return round(early.total_seconds()) * _UNIT_NS["s"]


def _fixed(offset: str) -> int:
    """Return the seconds of ``Z`` or ``+02:00``."""
    if offset in "Zz":
        return 0
    found = _OFFSET.fullmatch(offset)
    if found is None or int(found[2]) > 23 or int(found[3] or 0) > 59:
        raise _Unfit(f"{offset!r} is no offset")
    seconds = int(found[2]) * 3600 + int(found[3] or 0) * 60
    return -seconds if found[1] == "-" else seconds


_CONVERSIONS: tuple[tuple[Callable[[pa.DataType], bool], Callable[[FilterLiteral, pa.DataType], Any]], ...] = (
    (pa.types.is_integer, _integer),
    (pa.types.is_floating, _float),
    (pa.types.is_decimal, _decimal),
    (is_text, _string),
    (pa.types.is_boolean, _boolean),
    (pa.types.is_date, _date),
    (pa.types.is_time, _time),
    (pa.types.is_timestamp, _timestamp),
)
