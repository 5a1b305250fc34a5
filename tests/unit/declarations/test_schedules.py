"""Times of entries: cron strings, intervals, times of day and timezones."""

from __future__ import annotations

from datetime import UTC, datetime, time, timedelta

import pytest

from millrace.declarations.schedules import (
    check_cron,
    check_timezone,
    cron_in_words,
    interval_in_words,
    next_cron_time,
    parse_interval,
    parse_time,
)


@pytest.mark.parametrize("text", ["5 2 * * *", "*/15 8-18 * * mon-fri", "0 0 1,15 MAR *", "0 6 * * 5#1", "0 0 29 2 *"])
def test_a_cron_string_of_five_fields_is_accepted(text: str) -> None:
    assert check_cron(text) == text


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("5 * *", "give five fields"),
        ("0 5 * * * *", "give five fields"),
        ("@daily", "give five fields"),
        ("", "give five fields"),
        ("61 * * * *", "give minute, hour, day, month and day of the week"),
        ("a b c d e", "give minute, hour, day, month and day of the week"),
        ("0 0 31 2 *", "failed to find next date"),
        ("R R * * *", "fields R and H are not allowed"),
        ("H(0-5) * * * *", "fields R and H are not allowed"),
    ],
)
def test_any_other_text_is_refused(text: str, hint: str) -> None:
    with pytest.raises(ValueError, match=hint):
        check_cron(text)


@pytest.mark.parametrize(
    ("text", "interval", "words"),
    [
        ("15m", timedelta(minutes=15), "every 15 minutes"),
        ("1h", timedelta(hours=1), "every hour"),
        ("2d", timedelta(days=2), "every 2 days"),
    ],
)
def test_an_interval_is_a_number_and_a_unit(text: str, interval: timedelta, words: str) -> None:
    assert parse_interval(text) == interval
    assert interval_in_words(text) == words


@pytest.mark.parametrize("text", ["0m", "15", "m", "1.5h", "1w", "-1d", "1 h", "999999d"])
def test_any_other_interval_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="as in 15m, 2h or 1d"):
        parse_interval(text)


def test_a_time_of_day_has_hours_and_minutes() -> None:
    assert parse_time("06:00") == time(6)
    for text in ("6:00", "24:00", "06:60", "06:00:00", "noon"):
        with pytest.raises(ValueError, match='as in "06:00"'):
            parse_time(text)


@pytest.mark.parametrize("name", ["UTC", "Europe/Berlin", "America/Argentina/Buenos_Aires"])
def test_a_known_timezone_is_accepted(name: str) -> None:
    assert check_timezone(name) == name


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("Europe/Berlni", r"did you mean Europe/Berlin\?"),
        ("xxxxxxxxxx", "give a name like Europe/Berlin"),
        ("../../etc/passwd", "give a name|did you mean"),
        ("", "give a name"),
        ("Europe", "give a name|did you mean"),
    ],
)
def test_an_unknown_timezone_is_refused_with_the_nearest_one(name: str, hint: str) -> None:
    with pytest.raises(ValueError, match=hint):
        check_timezone(name)


def test_a_cron_string_is_shown_in_words_with_its_timezone() -> None:
    assert cron_in_words("5 2 * * *", "Europe/Berlin") == "at 02:05 (Europe/Berlin)"
    assert cron_in_words("*/15 * * * 1-5", "UTC") == "every 15 minutes, Monday through Friday (UTC)"


@pytest.mark.parametrize(
    ("now", "expected"),
    [
        ("2026-11-22T05:00+00:00", "2026-11-22T02:05:00-05:00"),
        ("2026-11-22T07:05+00:00", "2026-11-23T02:05:00-05:00"),
        ("2026-07-01T00:00+00:00", "2026-07-01T02:05:00-04:00"),
        ("2026-10-31T12:00+00:00", "2026-11-01T02:05:00-05:00"),
    ],
)
def test_the_next_time_of_a_cron_string_is_in_its_timezone(now: str, expected: str) -> None:
    time = next_cron_time("5 2 * * *", "America/New_York", datetime.fromisoformat(now))
    assert time.isoformat() == expected
    assert time.astimezone(UTC) > datetime.fromisoformat(now)
