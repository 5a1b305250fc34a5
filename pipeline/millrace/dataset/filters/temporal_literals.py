"""Convert dates and times in a filter to values of a column's type, exactly, or refuse them."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, timedelta, tzinfo
from zoneinfo import ZoneInfo

import pyarrow as pa

from millrace.dataset.filters.filter_literal import FilterLiteral, UnfitError

_UNIT_NS = {"s": 1_000_000_000, "ms": 1_000_000, "us": 1_000, "ns": 1}
_DATE = r"(\d{4})-(\d\d)-(\d\d)"
_CLOCK = r"(\d\d):(\d\d)(?::(\d\d)(?:\.(\d{1,9}))?)?"
_DATE_ONLY = re.compile(_DATE)
_CLOCK_ONLY = re.compile(_CLOCK)
_TIMESTAMP = re.compile(rf"{_DATE}(?:[T ]{_CLOCK}(Z|[+-]\d\d(?::?\d\d)?)?)?", re.IGNORECASE)
_OFFSET = re.compile(r"([+-])(\d\d):?(\d\d)?")


def date_scalar(literal: FilterLiteral, kind: pa.DataType) -> pa.Scalar:
    """Return a date written as ``YYYY-MM-DD``; raise ``UnfitError`` for any other literal."""
    match = _DATE_ONLY.fullmatch(literal.text) if literal.kind in ("string", "date") else None
    if match is None:
        raise UnfitError("write a date as 'YYYY-MM-DD'")
    return pa.scalar(_day(match), pa.date32()).cast(kind)


def time_scalar(literal: FilterLiteral, kind: pa.DataType) -> pa.Scalar:
    """Return a time of day; raise ``UnfitError`` for another literal and for one finer than the type."""
    match = _CLOCK_ONLY.fullmatch(literal.text) if literal.kind in ("string", "time") else None
    if match is None:
        raise UnfitError("write a time as 'HH:MM:SS'")
    integer = pa.int32() if pa.types.is_time32(kind) else pa.int64()
    return pa.scalar(_in_unit(_clock_ns(*match.groups()), kind.unit), integer).cast(kind)


def timestamp_scalar(literal: FilterLiteral, kind: pa.DataType) -> pa.Scalar:
    """Return a timestamp, from local time in the column's zone where the literal has no offset.

    Raises ``UnfitError`` for another literal and for a value outside the type.
    """
    match = _TIMESTAMP.fullmatch(literal.text) if literal.kind in ("string", "date", "timestamp") else None
    if match is None:
        raise UnfitError("write a time as 'YYYY-MM-DD HH:MM:SS'")
    offset = match[8]
    if offset and kind.tz is None:
        raise UnfitError("the column has no time zone: leave the offset out")
    ns = (_day(match) - date(1970, 1, 1)).days * 86_400 * _UNIT_NS["s"]
    ns += _clock_ns(*match.groups()[3:7]) if match[4] else 0
    if kind.tz is not None:
        ns -= _offset_ns(offset, kind.tz, ns)
    value = _in_unit(ns, kind.unit)
    if not -(1 << 63) < value < 1 << 63:
        raise UnfitError("the time is outside of the column's range")
    return pa.scalar(value, pa.int64()).cast(kind)


def _day(match: re.Match[str]) -> date:
    try:
        return date(*map(int, match.groups()[:3]))
    except ValueError as error:
        raise UnfitError(f"there is no such day: {error}") from None


def _clock_ns(hour: str, minute: str, second: str | None, fraction: str | None) -> int:
    if int(hour) > 23 or int(minute) > 59 or int(second or 0) > 59:
        raise UnfitError("there is no such time of day")
    seconds = int(hour) * 3600 + int(minute) * 60 + int(second or 0)
    return seconds * _UNIT_NS["s"] + int((fraction or "0").ljust(9, "0"))


def _in_unit(ns: int, unit: str) -> int:
    value, rest = divmod(ns, _UNIT_NS[unit])
    if rest:
        raise UnfitError(f"the column counts in {unit}")
    return value


def _offset_ns(offset: str | None, zone: str, local_ns: int) -> int:
    if offset or _OFFSET.fullmatch(zone):
        return _fixed(offset or zone) * _UNIT_NS["s"]
    try:
        rules: tzinfo = UTC if zone == "UTC" else ZoneInfo(zone)
    except (KeyError, ValueError, OSError):
        raise UnfitError(f"the time zone {zone!r} is unknown: write an offset, as in '...+00:00'") from None
    local = datetime(1970, 1, 1) + timedelta(seconds=local_ns // _UNIT_NS["s"])
    early, late = (local.replace(tzinfo=rules, fold=fold).utcoffset() for fold in (0, 1))
    if early != late or early is None:
        raise UnfitError(f"that hour occurs twice or not at all in {zone}: write an offset, as in '...+00:00'")
    return round(early.total_seconds()) * _UNIT_NS["s"]


def _fixed(offset: str) -> int:
    """Return the seconds of ``Z`` or ``+02:00``."""
    if offset in "Zz":
        return 0
    match = _OFFSET.fullmatch(offset)
    if match is None or int(match[2]) > 23 or int(match[3] or 0) > 59:
        raise UnfitError(f"{offset!r} is not an offset")
    seconds = int(match[2]) * 3600 + int(match[3] or 0) * 60
    return -seconds if match[1] == "-" else seconds
