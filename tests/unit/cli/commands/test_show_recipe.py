"""``show`` prints the splits of training data, and the statistics of its features."""

from __future__ import annotations

import pytest

from millrace.cli.recipe import print_recipe
from millrace.dataset import Recipe

RECIPE = Recipe(
    algorithm=1,
    duckdb="2.0.1",
    entry={},
    inputs={"trips": "trips@1-abcdef"},
    seed=0,
    key=("id",),
    features=("distance", "city", "kind"),
    categories={"city": ("Aachen", "Bern")},
    classes=(False, True),
    nulls={"distance": {"rule": "mean", "value": 12.5}, "kind": {"rule": "drop"}},
    splits={
        "train": {"rows": 1200, "classes": [900, 300]},
        "val": {"rows": 200, "classes": [180, 20]},
    },
    statistics={"distance": {"count": 1190, "nulls": 10, "mean": 12.5, "std": 3.25, "min": 0.5, "max": 99.0}},
)


def test_each_split_has_its_rows_and_the_shares_of_its_classes(capsys: pytest.CaptureFixture[str]) -> None:
    print_recipe(RECIPE.to_json())
    lines = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    assert "train 1,200 75.0% 25.0%" in lines
    assert "val 200 90.0% 10.0%" in lines
    assert lines.index("train 1,200 75.0% 25.0%") < lines.index("val 200 90.0% 10.0%")


def test_each_feature_has_its_figures_its_categories_and_its_rule(capsys: pytest.CaptureFixture[str]) -> None:
    print_recipe(RECIPE.to_json())
    lines = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    assert "distance 1,190 10 12.5 3.25 0.5 99 12.5 (mean)" in lines
    assert "city 2 code 0" in lines
    assert "kind drop" in lines


def test_a_target_that_is_a_number_has_no_shares(capsys: pytest.CaptureFixture[str]) -> None:
    print_recipe({**RECIPE.to_json(), "classes": None, "splits": {"train": {"rows": 5, "classes": None}}})
    assert "share" not in capsys.readouterr().out
