"""Dates in URIs: the logical date of a run in the entry's timezone."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest

from millrace.declarations.uri_dates import check_dates, has_date, render_dates
from millrace.errors import UsageError


@pytest.mark.parametrize(
    ("uri", "rendered"),
    [
        ("s3://b/{date:%Y/%m/%d}/*.csv", "s3://b/2026/03/01/*.csv"),
        ("{date-1d:%Y-%m-%d}.csv", "2026-02-28.csv"),
        ("{date-0d:%d}{date-366d:%Y}", "012025"),
        ("{date:%G-W%V-%u %j %y %H%M}", "2026-W09-7 060 26 0030"),
        ("plain.csv", "plain.csv"),
    ],
)
def test_a_date_is_the_local_one_of_the_timezone(uri: str, rendered: str) -> None:
    assert render_dates(uri, datetime(2026, 2, 28, 23, 30, tzinfo=UTC), "Europe/Berlin") == rendered


def test_the_offset_of_the_logical_date_does_not_matter() -> None:
    moment = datetime(2026, 3, 1, 0, 30, tzinfo=timezone(timedelta(hours=1)))
    assert render_dates("{date:%Y%m%d}", moment, "UTC") == "20260228"


@pytest.mark.parametrize(("hour", "day"), [(4, "28"), (23, "28")])
def test_the_day_before_is_exact_when_summer_time_begins(hour: int, day: str) -> None:
    # 2026-03-29 has 23 hours in Berlin.
    assert render_dates("{date-1d:%d}", datetime(2026, 3, 29, hour - 2, 30, tzinfo=UTC), "Europe/Berlin") == day


@pytest.mark.parametrize(
    "uri", ["{date}", "{dat:%Y}", "{date:%Q}", "{date:Y}", "{date-1h:%Y}", "{date+1d:%Y}", "a{b", "a}", "{date:}"]
)
def test_other_braces_are_refused_with_the_forms_that_are_allowed(uri: str) -> None:
    with pytest.raises(ValueError, match=r"write a date as \{date:%Y/%m/%d\} or \{date-1d:%Y/%m/%d\}"):
        check_dates(uri)


def test_a_uri_with_a_date_is_recognized() -> None:
    check_dates("{date:%Y}/{date-1d:%m}")
    check_dates("plain")
    assert has_date("{date:%Y}")
    assert not has_date("plain")


@pytest.mark.parametrize("year", [1, 9999])
def test_a_date_outside_of_the_calendar_is_one_clear_line(year: int) -> None:
    time = datetime(year, 1, 1, tzinfo=UTC) if year == 1 else datetime(year, 12, 31, 23, tzinfo=UTC)
    with pytest.raises(UsageError, match="the date is out of range: give one of the years 2 to 9998"):
        render_dates("{date-1d:%Y}" if year == 1 else "{date:%Y}", time, "Asia/Tokyo")
