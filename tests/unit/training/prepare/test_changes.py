"""A report compares a version of training data with the one before, in bounded size."""

from __future__ import annotations

from dataclasses import replace

from millrace.dataset import Recipe
from millrace.store.catalogue.run_reports import REPORT_BYTES_MAX, encode_report
from millrace.training.prepare.changes import FEATURES_MAX, changes_between

BEFORE = Recipe(
    algorithm=1,
    duckdb="2.0.1",
    entry={},
    inputs={},
    seed=0,
    key=("id",),
    features=("a", "b"),
    classes=(False, True),
    splits={"train": {"rows": 80, "classes": [60, 20]}, "val": {"rows": 20, "classes": [15, 5]}},
    statistics={"a": {"nulls": 1, "mean": 2.0, "std": 1.0}, "b": {"nulls": 0, "mean": 5.0, "std": 2.0}},
)


def test_rows_shares_and_changed_features_are_pairs_of_before_and_after() -> None:
    after = replace(
        BEFORE,
        splits={"train": {"rows": 90, "classes": [60, 30]}, "val": {"rows": 10, "classes": [0, 10]}},
        statistics={**BEFORE.statistics, "a": {"nulls": 3, "mean": 2.5, "std": 1.0}, "new": {"nulls": 0, "mean": 1.0}},
    )
    assert changes_between(BEFORE, after) == {
        "rows": [100, 100],
        "target_share": [[0.75, 0.25], [0.6, 0.4]],
        "features": {"a": {"nulls": [1, 3], "mean": [2.0, 2.5]}},
    }


def test_equal_versions_have_no_changed_feature() -> None:
    assert changes_between(BEFORE, BEFORE)["features"] == {}


def test_a_target_that_is_a_number_has_no_shares() -> None:
    number = replace(BEFORE, classes=None, splits={"train": {"rows": 5, "classes": None}})
    assert changes_between(number, number)["target_share"] == [None, None]


def test_many_features_and_classes_fit_into_a_stored_report() -> None:
    def wide(shift: float) -> Recipe:
        figures = {f"feature_{n}": {"nulls": n, "mean": n + shift * n, "std": 1.0} for n in range(5000)}
        counts = [1] * 60_000
        return replace(
            BEFORE,
            classes=tuple(range(60_000)),
            splits={"train": {"rows": 60_000, "classes": counts}},
            statistics=figures,
        )

    changes = changes_between(wide(0.0), wide(0.1))
    assert list(changes["features"])[:2] == ["feature_4999", "feature_4998"]
    assert len(changes["features"]) == FEATURES_MAX
    assert len(encode_report({"training": {"changes": changes}})) < REPORT_BYTES_MAX
