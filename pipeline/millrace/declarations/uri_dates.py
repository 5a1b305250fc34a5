"""Dates in the URIs of declared sources: ``{date:%Y/%m/%d}``, and ``{date-1d:%Y/%m/%d}`` for the day before."""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from typing import Final
from zoneinfo import ZoneInfo

from millrace.errors import UsageError

_DATE: Final = re.compile(r"\{date(?:-(?P<days>[0-9]{1,4})d)?:(?P<format>(?:%[YmdHMjyGVu]|[^%{}])+)\}")


def has_date(uri: str) -> bool:
    """Return whether the URI contains a date."""
    return _DATE.search(uri) is not None


def check_dates(uri: str) -> None:
    """Raise ``ValueError`` with the remedy if a brace of the URI does not belong to a date."""
    formats = [match["format"] for match in _DATE.finditer(uri)]
    if re.search(r"[{}]", _DATE.sub("", uri)) or not all("%" in format_ for format_ in formats):
        raise ValueError("write a date as {date:%Y/%m/%d} or {date-1d:%Y/%m/%d}, with %Y %m %d %H %M %j %y %G %V %u")


def render_dates(uri: str, logical_date: datetime, timezone: str) -> str:
    """Return the URI with the logical date of a run, in the entry's timezone, in place of its dates.

    Raises ``UsageError`` for a date before the first one or behind the last one of the calendar.
    """

    def rendered(match: re.Match[str]) -> str:
        # Timedeltas move the local clock, so the day before has the same hour also when summer time begins.
        return (local - timedelta(days=int(match["days"] or 0))).strftime(match["format"])

    try:
        local = logical_date.astimezone(ZoneInfo(timezone))
        return _DATE.sub(rendered, uri)
    except OverflowError:
        raise UsageError("the date is out of range", hint="give one of the years 2 to 9998") from None
