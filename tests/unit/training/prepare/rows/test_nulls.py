"""The rules of nulls."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from millrace.errors import UsageError
from tests.unit.training.prepare.rows.preparing import Prepared, preparation, prepare

ROWS = 60


def facts(values: list[Any], kind: pa.DataType) -> pa.Table:
    columns = {"id": range(ROWS), "y": [i % 2 == 0 for i in range(ROWS)], "a": np.arange(ROWS) / 3}
    return pa.table({**columns, "x": pa.array(values * (ROWS // len(values)), kind)})


def made(folder: Path, values: list[Any], kind: pa.DataType, **nulls: Any) -> Prepared:
    return prepare(folder, preparation(nulls=nulls), facts(values, kind))


def test_a_float_keeps_its_nulls_and_the_mean_of_train_is_in_the_recipe(tmp_path: Path) -> None:
    found = made(tmp_path, [1.0, None, 3.0, math.nan, 7.0], pa.float32(), x="mean")
    assert found.table["x"].null_count == 2 * ROWS // 5
    train = [value for value in found.splits["train"]["x"].to_pylist() if value is not None and not math.isnan(value)]
    assert found.recipe.nulls == {"x": {"rule": "mean", "value": pytest.approx(np.mean(train))}}
    figures = found.recipe.statistics["x"]
    assert (figures["count"], figures["nulls"]) == (len(train), found.splits["train"].num_rows - len(train))


@pytest.mark.parametrize(("rule", "nulls"), [("mean", 24), (0.5, 24), ("indicator", 12)])
def test_a_nan_is_stored_as_a_null_where_readers_replace_nulls(tmp_path: Path, rule: Any, nulls: int) -> None:
    found = made(tmp_path, [1.0, None, 3.0, math.nan, 7.0], pa.float64(), x=rule)
    assert found.table["x"].null_count == nulls


@pytest.mark.parametrize("kind", [pa.float64(), pa.int32(), pa.bool_()])
def test_drop_removes_the_row(tmp_path: Path, kind: pa.DataType) -> None:
    values = [True, None, False] if pa.types.is_boolean(kind) else [1, None, 2]
    found = made(tmp_path, values, kind, x="drop")
    assert found.recipe.dropped == {"null in x": 20}
    assert found.table["x"].null_count == 0
    assert found.recipe.nulls == {"x": {"rule": "drop"}}


def test_drop_removes_nan(tmp_path: Path) -> None:
    assert made(tmp_path, [1.0, math.nan, None], pa.float64(), x="drop").recipe.dropped == {"null in x": 40}


@pytest.mark.parametrize(
    ("kind", "values", "rule"),
    [
        (pa.float64(), [1.0, None, math.nan], {"rule": "indicator"}),
        (pa.int32(), [1, None, None], {"rule": "indicator", "value": 0}),
        (pa.bool_(), [True, None, None], {"rule": "indicator", "value": False}),
    ],
)
def test_indicator_is_a_stored_feature(tmp_path: Path, kind: pa.DataType, values: list[Any], rule: Any) -> None:
    found = made(tmp_path, values, kind, x="indicator")
    assert found.rows.schema.names[-1] == "x_is_null"
    assert found.recipe.features == ("a", "x", "x_is_null")
    assert found.table.sort_by("id")["x_is_null"].to_pylist() == [False, True, True] * 20
    assert found.recipe.nulls == {"x": rule}
    assert found.recipe.statistics["x_is_null"]["nulls"] == 0


@pytest.mark.parametrize(
    ("kind", "constant"), [(pa.float32(), -1), (pa.float64(), 0.5), (pa.uint8(), 255), (pa.bool_(), True)]
)
def test_a_constant_is_in_the_recipe_and_not_in_the_rows(tmp_path: Path, kind: pa.DataType, constant: Any) -> None:
    found = made(tmp_path, [None, constant], kind, x=constant)
    assert found.recipe.nulls == {"x": {"rule": "value", "value": constant}}
    assert found.table["x"].null_count == ROWS // 2


@pytest.mark.parametrize("kind", [pa.int32(), pa.bool_(), pa.list_(pa.int8(), 2)])
def test_nulls_without_a_rule_are_refused_with_their_number(tmp_path: Path, kind: pa.DataType) -> None:
    value: Any = [1, 2] if pa.types.is_fixed_size_list(kind) else kind == pa.bool_() or 1
    with pytest.raises(UsageError, match=r"the feature 'x' of type .* is null in 20 of 60 rows, and nulls has no rule"):
        made(tmp_path, [value, None, value], kind)


def test_a_null_within_a_tensor_of_whole_numbers_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is null in 30 of 60 rows"):
        made(tmp_path, [[1, 2], [1, None]], pa.list_(pa.int16(), 2))
    with pytest.raises(UsageError, match="is null in 30 of 60 rows"):
        made(tmp_path, [[[1], [2]], [[1], [None]]], pa.list_(pa.list_(pa.int16(), 1), 2))


def test_a_tensor_of_floats_may_have_nulls_and_may_drop_them(tmp_path: Path) -> None:
    values = [[1.0, 2.0], None, [1.0, None]]
    assert made(tmp_path, values, pa.list_(pa.float32(), 2)).table["x"].null_count == 20
    assert made(tmp_path, values, pa.list_(pa.float32(), 2), x="drop").recipe.dropped == {"null in x": 40}


def test_whole_numbers_and_floats_without_nulls_need_no_rule(tmp_path: Path) -> None:
    assert made(tmp_path, [1, 2], pa.int32()).recipe.nulls == {}


@pytest.mark.parametrize("value", [None, math.nan])
def test_the_mean_of_a_feature_that_is_null_in_train_is_refused(tmp_path: Path, value: Any) -> None:
    with pytest.raises(UsageError, match="the feature 'x' is null in all rows of train, so nulls: mean has no value"):
        made(tmp_path, [value], pa.float64(), x="mean")


def test_a_mean_that_is_not_finite_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="the mean of feature 'x' in train is not finite"):
        made(tmp_path, [math.inf, 1.0, None], pa.float64(), x="mean")


def test_nulls_of_dropped_rows_need_no_rule(tmp_path: Path) -> None:
    table = facts([1, None], pa.int32())
    entry = preparation("SELECT id, a, x, y FROM facts", after=(), target="CASE WHEN x IS NOT NULL THEN id % 4 = 0 END")
    assert prepare(tmp_path, entry, table).recipe.dropped == {"no target": 30}
