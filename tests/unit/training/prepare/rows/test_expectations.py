"""The limits of ``expect``."""

import pytest

from millrace.dataset import Recipe
from millrace.training.prepare import Expectations
from millrace.training.prepare.rows import check_expectations, target_share


def recipe(**fields: object) -> Recipe:
    given = {
        "algorithm": 1,
        "duckdb": "2",
        "entry": {},
        "inputs": {},
        "seed": 0,
        "key": ("id",),
        "features": ("a",),
        "classes": (False, True),
        "splits": {"train": {"rows": 60, "classes": (45, 15)}, "test": {"rows": 30, "classes": (15, 15)}},
        "dropped": {"no target": 10},
        "rows_in": 100,
        **fields,
    }
    return Recipe(**given)  # type: ignore[arg-type]


def test_figures_within_the_limits_give_no_line() -> None:
    assert check_expectations(Expectations(), recipe()) == []
    assert (
        check_expectations(Expectations(rows_min=90, dropped_max_percent=10, target_share=(0.3, 0.4)), recipe()) == []
    )


def test_each_exceeded_limit_gives_a_line_with_both_figures() -> None:
    lines = check_expectations(Expectations(rows_min=91, dropped_max_percent=9.5, target_share=(0.4, 0.5)), recipe())
    assert [line.split(":")[0] for line in lines] == ["rows_min", "dropped_max_percent", "target_share"]
    assert "90 rows are left, and at least 91" in lines[0]
    assert "10 % of 100 rows were dropped, and at most 9.5 %" in lines[1]
    assert "no target: 10" in lines[1]
    assert "0.3333, and 0.4 to 0.5" in lines[2]


def test_the_share_of_a_number_is_its_mean() -> None:
    number = recipe(classes=None, statistics={"target": {"mean": 2.5}}, splits={"train": {"rows": 9, "classes": None}})
    assert target_share(number) == 2.5
    assert check_expectations(Expectations(target_share=(0, 1)), number) != []


@pytest.mark.parametrize(("classes", "share"), [((0, 1), 1 / 3), (("a", "b"), None), ((1, 2), None)])
def test_only_classes_of_true_and_false_have_a_share(classes: tuple[object, ...], share: float | None) -> None:
    assert target_share(recipe(classes=classes)) == (None if share is None else pytest.approx(share))
    lines = check_expectations(Expectations(target_share=(0, 1)), recipe(classes=classes))
    assert bool(lines) == (share is None)
