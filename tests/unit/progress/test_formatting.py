from __future__ import annotations

import pytest

from millrace.progress.formatting import amount, clean, counted, duration


@pytest.mark.parametrize(
    ("value", "unit", "words"),
    [
        (336_776, "rows", "336,776"),
        (0.25, "", "0.2"),
        (12.5, "", "12.5"),
        (999.5, "", "1,000"),
        (-0.0, "", "0"),
        (0, "bytes", "0 B"),
        (12_345_678, "bytes", "12.3 MB"),
        (1.7e300, "", "1.7e+300"),
        (1e300, "bytes", "1.0e+291 GB"),
        (None, "", ""),
    ],
)
def test_an_amount_is_formatted_for_its_unit(value: float | None, unit: str, words: str) -> None:
    assert amount(value, unit) == words


def test_a_count_names_its_total_if_the_total_is_known() -> None:
    assert counted(3, 8, "rows") == "3 of 8 rows"
    assert counted(3, None, "rows") == "3 rows"
    assert counted(50_300_000, 154_000_000, "bytes") == "50.3 MB of 154.0 MB"
    assert counted(3, 0, "") == "3"


def test_a_duration_has_at_most_two_parts_and_an_upper_limit() -> None:
    assert [duration(each) for each in (None, -1, 7.9, 200, 7500)] == ["", "0 s", "7 s", "3 min 20 s", "2 h 5 min"]
    assert duration(1e300) == duration(1e9)


def test_a_lone_surrogate_is_replaced() -> None:
    assert clean("half \ud800, whole") == "half ?, whole"
