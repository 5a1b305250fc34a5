"""The times of declared entries: cron strings, intervals, times of day and timezones, and each schedule in words."""

from __future__ import annotations

import re
from datetime import UTC, datetime, time, timedelta
from functools import cache
from typing import Final
from zoneinfo import ZoneInfo, available_timezones

from millrace.names import nearest
from millrace.settings import missing_extra

_UNITS: Final = {"m": "minute", "h": "hour", "d": "day"}
_INTERVAL: Final = re.compile(r"([1-9][0-9]{0,4})([mhd])")
_TIME: Final = re.compile(r"([01][0-9]|2[0-3]):([0-5][0-9])")
# croniter gives random times for R, and times of a hash for H.
_RANDOM: Final = re.compile(r"\b[rh]\b", re.IGNORECASE)
_FIRST: Final = datetime(2024, 1, 1, tzinfo=UTC)


def check_cron(text: str) -> str:
    """Return the cron string; raise ``ValueError`` unless it has five fields and a next time."""
    if len(text.split()) != 5:
        raise ValueError("give five fields")
    if missing := missing_extra("sources"):
        raise ValueError(missing)
    from croniter import CroniterError, croniter

    try:
        if _RANDOM.search(text):
            raise ValueError("fields R and H are not allowed")
        croniter(text, _FIRST).get_next()
    except CroniterError as error:
        raise ValueError(f"give minute, hour, day, month and day of the week ({error})") from None
    return text


def next_cron_time(text: str, timezone: str, now: datetime) -> datetime:
    """Return the first time of a cron string after ``now``, in its timezone."""
    from croniter import croniter

    time: datetime = croniter(text, now.astimezone(ZoneInfo(timezone))).get_next(datetime)
    return time


def parse_interval(text: str) -> timedelta:
    """Return the time of a text like ``15m``, ``2h`` or ``1d``."""
    match = _INTERVAL.fullmatch(text)
    if match is None:
        raise ValueError("give a number of minutes, hours or days, as in 15m, 2h or 1d")
    return timedelta(**{f"{_UNITS[match[2]]}s": int(match[1])})


def parse_time(text: str) -> time:
    """Return the time of day of a text like ``06:00``."""
    match = _TIME.fullmatch(text)
    if match is None:
        raise ValueError('give a time of day, as in "06:00"')
    return time(int(match[1]), int(match[2]))


@cache
def check_timezone(name: str) -> str:
    """Return the name of a timezone; raise ``ValueError`` with the nearest one if it is unknown."""
    try:
        ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        near = nearest(name, sorted(available_timezones()), at_most=1)
        raise ValueError(f"did you mean {near[0]}?" if near else "give a name like Europe/Berlin") from None
    return name


def cron_in_words(text: str, timezone: str) -> str:
    """Return a cron string as words, such as ``at 02:05 (UTC)``."""
    from cron_descriptor import Options, get_description

    options = Options()
    options.use_24hour_time_format = True
    words = get_description(text, options)
    return f"{words[:1].lower()}{words[1:]} ({timezone})"


def interval_in_words(interval: str) -> str:
    """Return an interval as words, such as ``every 15 minutes``."""
    number, unit = int(interval[:-1]), _UNITS[interval[-1]]
    return f"every {unit}" if number == 1 else f"every {number} {unit}s"
