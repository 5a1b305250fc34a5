"""The plan of prepared rows: the stored columns, their order, and refusals by name."""

from typing import Any

import pyarrow as pa
import pytest

from millrace.errors import UsageError
from millrace.training.prepare import CutSplits, HashSplits
from millrace.training.prepare.rows import RowsPlan, plan_rows
from tests.unit.training.prepare.rows.preparing import preparation

NUMBER = pa.float64()
SPLITS = {"train": 0.5, "test": 0.5}


def plan(columns: dict[str, pa.DataType], **fields: Any) -> RowsPlan:
    return plan_rows(preparation(**fields), pa.schema({"id": pa.int64(), **columns}))


def refusal(columns: dict[str, pa.DataType], **fields: Any) -> str:
    with pytest.raises(UsageError) as caught:
        plan(columns, **fields)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_key_and_by_come_first_and_features_of_one_type_are_neighbours() -> None:
    columns = {
        "a": pa.float32(), "day": pa.date32(), "b": pa.int32(), "kind": pa.string(), "c": pa.float32(),
        "image": pa.list_(pa.float32(), 4), "d": pa.bool_(), "place": pa.string(), "e": pa.int32(),
    }  # fmt: skip
    made = plan(
        columns,
        categories=("kind", "place"),
        splits=HashSplits(SPLITS, ("day",)),
        nulls={"b": "indicator", "a": "mean"},
    )
    assert made.stored_schema(pa.bool_()) == pa.schema({
        "id": pa.int64(), "day": pa.date32(), "target": pa.bool_(), "a": pa.float32(), "c": pa.float32(),
        "b": pa.int32(), "e": pa.int32(), "kind": pa.uint16(), "place": pa.uint16(),
        "image": pa.list_(pa.float32(), 4), "d": pa.bool_(), "b_is_null": pa.bool_(),
    })  # fmt: skip


def test_features_keep_their_type_but_wide_and_decimal_numbers_become_doubles() -> None:
    kinds = [pa.int8(), pa.uint64(), pa.float32(), pa.float64(), pa.bool_(), pa.decimal128(38, 0), pa.decimal128(5, 2)]
    made = plan({f"c{i}": kind for i, kind in enumerate(kinds)})
    stored = {feature.name: feature.stored for feature in made.features}
    assert stored == {f"c{i}": NUMBER if pa.types.is_decimal(kind) else kind for i, kind in enumerate(kinds)}


def test_tensors_have_shapes_and_a_decimal_tensor_becomes_doubles() -> None:
    made = plan({"t": pa.list_(pa.list_(pa.decimal128(5, 2), 3), 2)})
    assert made.features[0].shape == (2, 3)
    assert made.features[0].stored == pa.list_(pa.list_(NUMBER, 3), 2)


def test_a_key_column_is_a_feature_only_where_it_is_named() -> None:
    assert [feature.name for feature in plan({"a": NUMBER}).features] == ["a"]
    named = plan({"a": NUMBER}, features=("id",))
    assert [feature.name for feature in named.features] == ["id"]
    assert named.stored_schema(pa.bool_()).names == ["target", "id"]
    coded = plan({"a": NUMBER, "carrier": pa.string()}, key=("id", "carrier"), categories=("carrier",))
    assert coded.stored_schema(pa.bool_()).names == ["id", "target", "a", "carrier"]
    assert coded.stored_schema(pa.bool_()).field("carrier").type == pa.uint16()


def test_explicit_features_leave_out_other_numbers_but_not_categories() -> None:
    made = plan({"a": NUMBER, "b": NUMBER, "c": pa.string()}, features=("b",), categories=("c",))
    assert [feature.name for feature in made.features] == ["b", "c"]


def test_known_columns_are_no_features() -> None:
    made = plan(
        {"a": NUMBER, "w": pa.timestamp("us")},
        inputs={"facts": "facts", "w": "w", "p": "p"},
        known={"w": "w", "p": "always"},
        at="t",
    )
    assert made.known == {"w": "w"}
    assert made.stored_schema(pa.bool_()).names == ["id", "target", "a"]


@pytest.mark.parametrize(
    ("use", "fields"),
    [
        ("key", {"key": ("id", "tempo")}),
        ("splits.by", {"splits": HashSplits(SPLITS, ("tempo",))}),
        ("features", {"features": ("tempo",)}),
        ("categories", {"categories": ("tempo",)}),
        ("nulls", {"nulls": {"tempo": "mean"}}),
        ("known", {"known": {"w": "tempo"}, "at": "t"}),
    ],
)
def test_an_unknown_column_is_refused_with_its_use_and_the_nearest(use: str, fields: dict[str, Any]) -> None:
    message = refusal({"temp": NUMBER}, **fields)
    assert message == f"{use} names the column 'tempo', which the query's result does not have: did you mean 'temp'?"


@pytest.mark.parametrize("kind", [pa.string(), pa.date32(), pa.timestamp("us"), pa.binary(), pa.list_(pa.int32())])
def test_a_column_that_is_neither_number_nor_category_is_refused_by_name(kind: pa.DataType) -> None:
    for fields in ({}, {"features": ("a",)}):
        assert "the column 'note' of the query's result is of type" in refusal({"a": NUMBER, "note": kind}, **fields)


@pytest.mark.parametrize("kind", [pa.float64(), pa.date32(), pa.decimal128(5, 2), pa.list_(pa.int8(), 2)])
def test_categories_are_texts_whole_numbers_or_booleans(kind: pa.DataType) -> None:
    assert "the category 'c' is of type" in refusal({"c": kind}, categories=("c",))


@pytest.mark.parametrize("use", ["key", "by"])
def test_floats_are_refused_as_keys(use: str) -> None:
    fields: dict[str, Any] = {"key": ("f",)} if use == "key" else {"splits": HashSplits(SPLITS, ("f",))}
    assert f"the column 'f' of {use} is of type double, which has no exact text" in refusal({"f": NUMBER}, **fields)


@pytest.mark.parametrize("name", ["target", "Target"])
def test_the_name_of_the_target_is_taken(name: str) -> None:
    assert f"has a column '{name}', the name of the stored target" in refusal({name: NUMBER})


def test_two_columns_of_one_name_are_refused() -> None:
    result = pa.schema([("id", pa.int64()), ("a", NUMBER), ("A", NUMBER)])
    with pytest.raises(UsageError, match="two columns 'a'"):
        plan_rows(preparation(), result)


def test_the_name_of_an_indicator_is_taken() -> None:
    message = refusal({"a": NUMBER, "a_is_null": pa.bool_()}, nulls={"a": "indicator"})
    assert "'a_is_null' has the name of an indicator column" in message


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        (pa.int32(), "mean"), (pa.bool_(), "mean"), (pa.list_(NUMBER, 2), "mean"), (pa.int8(), 128), (pa.uint8(), -1),
        (pa.int32(), 1.5), (pa.int32(), True), (pa.bool_(), 1), (NUMBER, "none"), (NUMBER, float("nan")),
        (NUMBER, True),
    ],
)  # fmt: skip
def test_a_rule_that_does_not_fit_the_type_is_refused(kind: pa.DataType, value: Any) -> None:
    assert f"nulls of column 'a': {value!r} is not possible" in refusal({"a": kind}, nulls={"a": value})


def test_the_mean_of_a_category_is_refused() -> None:
    assert "nulls of column 'c': 'mean'" in refusal({"c": pa.string()}, categories=("c",), nulls={"c": "mean"})


def test_the_remedy_for_a_mean_is_another_rule() -> None:
    text = refusal({"x": pa.int32()}, nulls={"x": "mean"})
    assert text.endswith("give drop, indicator or a constant of the column's type")


def test_the_remedy_for_a_list_is_a_fixed_size() -> None:
    assert "cast it to a list of a fixed size, such as FLOAT[3]" in refusal({"x": pa.list_(pa.float32())})


@pytest.mark.parametrize("value", ["mean", "indicator", 0])
def test_a_rule_for_a_column_that_is_no_feature_is_refused(value: Any) -> None:
    assert "nulls names the column 'id', which is no feature" in refusal({"a": NUMBER}, nulls={"id": value})


def test_nulls_of_a_column_of_by_may_drop_the_row() -> None:
    fields: dict[str, Any] = {"splits": HashSplits(SPLITS, ("day",)), "nulls": {"day": "drop"}}
    assert plan({"a": NUMBER, "day": pa.date32()}, **fields).drops == ("day",)


def test_known_and_cut_off_times_need_at() -> None:
    assert "known need the moment" in refusal({"a": NUMBER, "w": pa.date32()}, known={"w": "w"})
    cuts = CutSplits({"train": "< 2013-09-01", "test": "rest"})
    assert "the splits by cut-off times need the moment" in refusal({"a": NUMBER}, splits=cuts)


def test_a_known_column_must_be_a_time() -> None:
    assert "'w' of input 'w' is of type int64, which is no date" in refusal({"w": pa.int64()}, known={"w": "w"}, at="t")


def test_a_result_without_features_is_refused() -> None:
    assert "no column that is a feature" in refusal({})


def test_wrong_splits_are_refused_before_the_query_runs() -> None:
    assert "is not a number above 0" in refusal({"a": NUMBER}, splits=HashSplits({"train": 1.2, "val": -0.2}))
    cuts = CutSplits({"train": "soon", "test": "rest"})
    assert "is not a comparison" in refusal({"a": NUMBER}, splits=cuts, at="t")
