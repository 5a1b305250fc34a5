"""The time in ``known`` must come from its input, as far as the query shows it."""

from __future__ import annotations

import pytest

from millrace.errors import UsageError
from tests.unit.training.prepare.query.declared import FLIGHTS, checked

JOINED = "FROM flights f LEFT JOIN weather w ON f.origin = w.origin AND f.time_hour = w.time_hour"
SAME = {"flights": FLIGHTS, "past": FLIGHTS}


@pytest.mark.parametrize(
    "time",
    [
        "f.time_hour - INTERVAL 5 HOUR AS known_at",
        "F.time_hour known_at",
        "flight * INTERVAL 1 SECOND + TIMESTAMP '2013-01-01' AS \"Known_At\"",
        "NULL::TIMESTAMP AS known_at",
        "TIMESTAMP '2000-01-01' AS known_at",
    ],
)
def test_a_time_of_another_input_or_a_constant_is_refused(time: str) -> None:
    with pytest.raises(UsageError, match="computes 'known_at' without a column of input 'weather'"):
        checked(f"SELECT f.time_hour, f.carrier, f.flight, w.temp, {time} {JOINED}")


@pytest.mark.parametrize(
    "query",
    [
        f"SELECT w.time_hour AS known_at {JOINED}",
        f"SELECT greatest(w.time_hour, f.time_hour) + INTERVAL 1 HOUR AS known_at {JOINED}",
        f"SELECT local AS known_at {JOINED}",
        "SELECT time_hour AS known_at FROM flights JOIN weather USING (origin, time_hour)",
        f"SELECT * FROM (SELECT w.time_hour AS known_at {JOINED})",
        f"WITH a AS (SELECT f.*, w.time_hour AS known_at {JOINED}) SELECT a.flight, known_at FROM a",
        f"WITH a AS (SELECT max(time_hour) AS known_at FROM weather) SELECT known_at {JOINED}, a",
        f"SELECT (SELECT max(time_hour) FROM weather) AS known_at {JOINED}",
        f"SELECT w.time_hour AS t, t AS known_at {JOINED}",
    ],
)
def test_a_time_that_may_come_from_the_input_is_accepted(query: str) -> None:
    assert checked(query).needs["weather"].columns


def test_an_after_column_of_the_same_dataset_is_not_known_always() -> None:
    inputs = {"flights": "flights", "past": "flights@12"}
    query = "SELECT f.flight, {} FROM flights f JOIN past p USING (time_hour, carrier, flight)"
    for columns in ("p.arr_delay", "p.*"):
        with pytest.raises(UsageError, match="_delay' of input 'past', which is in after and so is not known 'always'"):
            checked(query.format(columns), SAME, inputs=inputs, known={"past": "always"})
    assert checked(query.format("p.distance"), SAME, inputs=inputs, known={"past": "always"})
    timed = query.format("p.arr_delay, p.time_hour AS known_at")
    assert checked(timed, SAME, inputs=inputs, known={"past": "known_at"})
