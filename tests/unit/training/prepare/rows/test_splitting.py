"""Splits by weights and by cut-off times."""

import random
from datetime import datetime

import duckdb
import pytest

from millrace.errors import UsageError
from millrace.training.prepare import CutSplits, HashSplits
from millrace.training.prepare.rows.splitting import (
    cut_condition,
    cut_sql,
    split_names,
    split_of,
    weight_limits,
    weight_sql,
)

SPLITS = HashSplits({"train": 0.7, "val": 0.15, "test": 0.15})


def test_limits_are_exact_parts_of_sixteen_to_the_thirteenth() -> None:
    limits = weight_limits(SPLITS)
    assert limits == (-(-(16**13) * 7 // 10), -(-(16**13) * 85 // 100), 16**13)
    assert [split_of(number, limits) for number in (0, limits[0] - 1, limits[0], limits[1], 16**13 - 1)] == [
        0,
        0,
        1,
        2,
        2,
    ]


def test_sql_splits_like_python() -> None:
    draw = random.Random(4)
    limits = weight_limits(SPLITS)
    digests = [f"{draw.getrandbits(128):032x}" for _ in range(2000)]
    for limit in limits[:-1]:
        for number in (limit - 1, limit, limit + 1):
            digests += [f"{number:013x}{'0' * 19}", f"{number:013x}{'f' * 19}"]
    connection = duckdb.connect()
    rows = connection.execute(f"SELECT {weight_sql(limits, 'd')} FROM (SELECT unnest(?) AS d)", [digests]).fetchall()
    assert [place for (place,) in rows] == [split_of(int(digest[:13], 16), limits) for digest in digests]


def test_one_split_has_all_rows() -> None:
    assert weight_sql(weight_limits(HashSplits({"train": 1.0})), "d") == "0"


def test_a_very_small_last_weight_still_has_a_limit_of_thirteen_digits() -> None:
    limits = weight_limits(HashSplits({"train": 1 - 1e-16, "val": 1e-16}))
    assert limits[0] < 16**13


def test_thirds_sum_to_one_within_the_tolerance() -> None:
    assert weight_limits(HashSplits({"train": 1 / 3, "val": 1 / 3, "test": 1 / 3}))[-1] == 16**13


@pytest.mark.parametrize("weight", [-0.1, 0.0, float("nan"), float("inf")])
def test_a_weight_that_is_not_above_zero_is_refused_by_name(weight: float) -> None:
    with pytest.raises(UsageError, match="split 'val' is not a number above 0"):
        weight_limits(HashSplits({"train": 0.9, "val": weight}))


def test_weights_that_do_not_sum_to_one_are_refused() -> None:
    with pytest.raises(UsageError, match=r"sum to 0\.9"):
        weight_limits(HashSplits({"train": 0.7, "val": 0.2}))


def test_a_declaration_without_train_is_refused() -> None:
    with pytest.raises(UsageError, match="no split 'train'"):
        split_names(HashSplits({"a": 0.5, "b": 0.5}))
    assert split_names(CutSplits({"train": "< 2013-09-01", "test": "rest"})) == ("train", "test")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("rest", None),
        ("< 2013-09-01", ("<", datetime(2013, 9, 1))),
        ("<=2013-09-01 12:30", ("<=", datetime(2013, 9, 1, 12, 30))),
        (">= 2013-09-01T12:30:00Z", (">=", datetime(2013, 9, 1, 12, 30))),
        ("> 2013-09-01T12:30:00+02:00", (">", datetime(2013, 9, 1, 10, 30))),
    ],
)
def test_a_condition_is_a_comparison_with_a_time_in_utc(text: str, expected: object) -> None:
    assert cut_condition("train", text) == expected


@pytest.mark.parametrize("text", ["", "2013-09-01", "< yesterday", "< 2013-09-01; DROP TABLE x", "<> 2013-09-01"])
def test_another_condition_is_refused_with_its_split(text: str) -> None:
    with pytest.raises(UsageError, match="of split 'val' is not a comparison"):
        cut_condition("val", text)


def test_a_row_has_the_first_split_whose_condition_it_fulfils() -> None:
    splits = CutSplits({"train": "< 2013-09-01", "val": "<= 2013-10-01", "test": "> 2013-11-01"})
    times = ["2013-08-31 23:59:59.999999", "2013-09-01", "2013-10-01", "2013-10-01 00:00:00.000001", "2013-11-02"]
    values = ", ".join(f"(TIMESTAMP '{time}')" for time in times)
    rows = duckdb.sql(f"SELECT {cut_sql(splits, 't', otherwise=9)} FROM (VALUES {values}) AS v(t)").fetchall()
    assert [place for (place,) in rows] == [0, 1, 1, 9, 2]
