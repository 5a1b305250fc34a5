"""The warning of features that alone nearly decide the target."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from millrace.training.prepare.rows.leaks import SAMPLE_ROWS, auc_of
from tests.unit.training.prepare.rows.preparing import preparation, prepare

ROWS = 4000
DRAW = np.random.default_rng(9)
Y = DRAW.random(ROWS) < 0.3


def brute_force(values: Any, positive: Any) -> float:
    kept = ~np.isnan(values)
    above, below = values[kept & positive], values[kept & ~positive]
    differences = above[:, None] - below[None, :]
    return float(((differences > 0) + (differences == 0) / 2).mean())


@pytest.mark.parametrize("levels", [2, 5, 1000])
def test_auc_equals_all_pairs_with_ties_and_without_nan(levels: int) -> None:
    values = np.round(DRAW.normal(size=600) * levels) / levels + (Y[:600] * 0.7)
    values[::17] = np.nan
    assert auc_of(values, Y[:600]) == pytest.approx(brute_force(values, Y[:600]), abs=1e-12)


def test_auc_of_one_class_is_none() -> None:
    assert auc_of(np.arange(5.0), np.ones(5, np.bool_)) is None
    assert auc_of(np.full(4, np.nan), np.array([True, False, True, False])) is None


def facts(**features: Any) -> pa.Table:
    return pa.table({"id": np.arange(ROWS), "y": Y, **features})


def test_a_feature_that_decides_the_target_gets_a_warning(tmp_path: Path) -> None:
    noise = DRAW.normal(size=ROWS)
    table = facts(
        fine=noise, leak=Y * 3 + noise, negative=-(Y * 3 + noise), flag=Y, count=(Y * 10 + DRAW.integers(0, 3, ROWS)),
        constant=np.ones(ROWS), empty=pa.nulls(ROWS, pa.float64()),
    )  # fmt: skip
    warnings = prepare(tmp_path, preparation("SELECT * FROM facts"), table).recipe.warnings
    assert [warning.split("'")[1] for warning in warnings] == ["leak", "negative", "flag", "count"]
    assert "the feature 'flag' alone has an AUC of 1.00 for the target" in warnings[2]


@pytest.mark.parametrize("target", ["CASE WHEN y THEN 'yes' ELSE 'no' END", "CAST(y AS INTEGER)"])
def test_each_target_of_two_classes_is_examined(tmp_path: Path, target: str) -> None:
    entry = preparation(target=target)
    assert "'leak'" in prepare(tmp_path, entry, facts(leak=Y * 1.0)).recipe.warnings[0]


@pytest.mark.parametrize("target", ["CAST(y AS DOUBLE)", "CAST(y AS INTEGER) + id % 2"])
def test_other_targets_are_not_examined(tmp_path: Path, target: str) -> None:
    assert prepare(tmp_path, preparation(target=target), facts(leak=Y * 1.0)).recipe.warnings == ()


def test_more_features_than_are_read_at_a_time(tmp_path: Path) -> None:
    features = {f"f{i}": Y * 1.0 if i in (0, 8, 19) else DRAW.normal(size=ROWS) for i in range(20)}
    warnings = prepare(tmp_path, preparation(), facts(**features)).recipe.warnings
    assert [warning.split("'")[1] for warning in warnings] == ["f0", "f8", "f19"]


def test_many_rows_are_sampled_by_their_hash(tmp_path: Path) -> None:
    rows = 2 * SAMPLE_ROWS
    y = np.arange(rows) % 2 == 0
    # Five rows of eleven have a value that is no help, so the AUC is 1 - (5 / 11) ** 2 / 2.
    table = pa.table({"id": np.arange(rows), "y": y, "x": np.where(np.arange(rows) % 11 < 6, y * 1.0, 0.5)})
    first, second = (prepare(tmp_path, preparation(), table, threads=threads).recipe.warnings for threads in (1, 2))
    assert first == second
    assert "AUC of 0.90" in first[0]
