"""The plans of columns: every Arrow type has one, or one clear error before any chunk is read."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from millrace.errors import UsageError
from millrace.training.columns import ColumnPlan, Plan, RaggedPlan, plan_columns
from tests.unit.arrow.arrays import types

SCHEMA = pa.schema(
    [
        pa.field("id", pa.int64(), nullable=False),
        pa.field("delay", pa.float32()),
        pa.field("carrier", pa.string()),
        pa.field("seats", pa.int16()),
        pa.field("when", pa.timestamp("us", "UTC")),
        pa.field("image", pa.list_(pa.list_(pa.uint8(), 4), 3)),
        pa.field("tokens", pa.list_(pa.int32())),
    ]
)
NUMERIC = ["id", "delay", "seats", "image"]


def plan(name: str, nulls_in_it: int | None = 0, **options: Any) -> Plan:
    [only] = plan_columns(SCHEMA, {name: nulls_in_it}, columns=[name], **options)
    return only


def plan_type(type_: pa.DataType, **options: Any) -> Plan:
    [only] = plan_columns(pa.schema([pa.field("a b", type_)]), {}, **options)
    return only


@given(types(), st.sampled_from(["numpy", "arrow", "torch"]))
def test_every_type_has_a_plan_or_an_error_that_names_column_type_and_way_out(type_: pa.DataType, format: str) -> None:
    refusal = None
    try:
        assert isinstance(plan_type(type_, format=format), ColumnPlan) or format == "arrow"
    except UsageError as error:
        refusal = error
    if refusal is not None:
        assert format != "arrow"
        assert f"format={format!r} cannot hold column 'a b' of type {type_}: " in str(refusal)
        assert refusal.hint == "leave it out with columns=[...] or --columns, or use format='arrow' or --format arrow"


@pytest.mark.parametrize(
    ("type_", "dtype", "shape"),
    [
        (pa.bool_(), "bool", ()),
        (pa.float16(), "f2", ()),
        (pa.uint64(), "u8", ()),
        (pa.date32(), "M8[D]", ()),
        (pa.date64(), "M8[ms]", ()),
        (pa.timestamp("ns", "Europe/Paris"), "M8[ns]", ()),
        (pa.time32("s"), "m8[s]", ()),
        (pa.time64("us"), "m8[us]", ()),
        (pa.duration("ms"), "m8[ms]", ()),
        (pa.binary(16), "u1", (16,)),
        (pa.uuid(), "u1", (16,)),
        (pa.dictionary(pa.int8(), pa.int64()), "i8", ()),
        (pa.run_end_encoded(pa.int32(), pa.float32()), "f4", ()),
        (pa.list_(pa.list_(pa.int8(), 2), 3), "i1", (3, 2)),
        (pa.fixed_shape_tensor(pa.float32(), (4, 5, 6)), "f4", (4, 5, 6)),
    ],
    ids=str,
)
def test_the_dtype_and_the_shape_follow_from_the_type(type_: pa.DataType, dtype: str, shape: tuple[int, ...]) -> None:
    result = plan_type(type_)
    assert isinstance(result, ColumnPlan)
    assert (result.dtype, result.shape) == (np.dtype(dtype), shape)
    assert result.row_bytes == result.allocate(1).nbytes
    assert result.allocate(7).shape == (7, *shape)


@pytest.mark.parametrize(
    ("type_", "reason"),
    [
        (pa.string(), "its rows differ in size"),
        (pa.list_(pa.float32()), "its rows differ in size"),
        (pa.list_(pa.large_binary(), 3), "its rows differ in size"),
        (pa.dictionary(pa.int8(), pa.string()), "its rows differ in size"),
        (pa.map_(pa.int8(), pa.int8()), "its rows differ in size"),
        (pa.struct([("a", pa.int8())]), "its rows have several fields"),
        (pa.null(), "it holds nothing but nulls"),
        (pa.decimal128(9, 2), "NumPy has no such type"),
        (pa.month_day_nano_interval(), "NumPy has no such type"),
        (pa.list_(pa.int8(), 0), "its rows hold no values"),
        (pa.binary(0), "its rows hold no values"),
    ],
    ids=str,
)
@pytest.mark.parametrize("format", ["numpy", "torch"])
def test_a_type_that_numpy_cannot_hold_is_refused_with_the_reason(type_: pa.DataType, reason: str, format: str) -> None:
    with pytest.raises(UsageError, match=reason):
        plan_type(type_, format=format)
    assert isinstance(plan_type(type_, format="arrow"), RaggedPlan)


@pytest.mark.parametrize("type_", [pa.date32(), pa.timestamp("us"), pa.time32("s"), pa.duration("s")], ids=str)
def test_torch_has_no_dates_and_times(type_: pa.DataType) -> None:
    with pytest.raises(UsageError, match=r"cannot hold column 'a b' of type .*: torch has no dates and times"):
        plan_type(type_, format="torch")


def test_columns_keep_the_order_in_which_they_are_named() -> None:
    names = ["seats", "id", "delay"]
    assert [one.name for one in plan_columns(SCHEMA, dict.fromkeys(names, 0), columns=names)] == names
    assert [one.name for one in plan_columns(SCHEMA, {}, format="arrow")] == SCHEMA.names


def test_wrong_names_of_columns_are_refused_with_the_names_that_exist() -> None:
    for columns, message in (
        (["id", "dealy"], "columns= names a column that does not exist: 'dealy': the columns are id, delay, carrier"),
        (["id", "id"], "a batch can hold one column named 'id': name each column once"),
        ([], "a batch has no columns: name at least one"),
    ):
        with pytest.raises(UsageError, match=message):
            plan_columns(SCHEMA, {}, columns=columns)
    for option in ("nulls", "normalize"):
        with pytest.raises(UsageError, match=f"{option}= names a column that is not read: 'seats': the columns are id"):
            plan_columns(SCHEMA, {}, columns=["id"], **{option: {"seats": (0, 1)}})


def test_two_columns_of_one_name_cannot_be_in_a_batch() -> None:
    schema = pa.schema([("a", pa.int8()), ("b", pa.int8()), ("a", pa.int8())])
    with pytest.raises(UsageError, match="one column named 'a'"):
        plan_columns(schema, {})
    assert [one.name for one in plan_columns(schema, {}, columns=["b"])] == ["b"]


def test_an_unknown_format_is_refused_with_those_that_exist() -> None:
    with pytest.raises(UsageError, match="format='pandas' does not exist: use one of 'numpy', 'arrow', 'torch'"):
        plan_columns(SCHEMA, {}, columns=["id"], format="pandas")


def test_nulls_of_integers_are_refused_at_once_unless_a_value_replaces_them() -> None:
    message = r"column 'seats' of type int16 holds 1,200 nulls: .*nulls=\{'seats': VALUE\}, or use format='arrow'"
    with pytest.raises(UsageError, match=message):
        plan("seats", 1200)
    filled = plan("seats", 1200, nulls={"seats": -1})
    assert isinstance(filled, ColumnPlan)
    assert filled.fill == -1
    assert isinstance(plan("delay", 1200), ColumnPlan)
    assert isinstance(plan("seats", None), ColumnPlan)
    assert isinstance(plan("seats", 1200, normalize={"seats": (1, 2)}), ColumnPlan)


def test_a_column_that_is_not_nullable_holds_no_nulls_whatever_is_known() -> None:
    assert isinstance(plan("id", None, format="arrow"), ColumnPlan)


def test_arrow_batches_keep_nulls_and_hold_other_numbers_as_views() -> None:
    assert isinstance(plan("seats", 0, format="arrow"), ColumnPlan)
    assert isinstance(plan("seats", 3, format="arrow"), RaggedPlan)
    assert isinstance(plan("seats", None, format="arrow"), RaggedPlan)
    assert isinstance(plan("seats", 3, format="arrow", nulls={"seats": 0}), ColumnPlan)
    assert isinstance(plan("image", 0, format="arrow"), RaggedPlan)  # a pixel may be null
    assert isinstance(plan("image", 0, format="arrow", nulls={"image": 0}), ColumnPlan)
    text = plan("carrier", 3, format="arrow", nulls={"carrier": "?"})
    assert isinstance(text, RaggedPlan)
    assert text.fill == pa.scalar("?")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("seats", 1.5),
        ("seats", 40_000),
        ("seats", "many"),
        ("seats", None),
        ("seats", float("nan")),
        ("seats", [1, 2]),
        ("when", "yesterday"),
        ("image", 256),
    ],
)
def test_a_value_for_nulls_must_be_of_the_type_of_the_column(name: str, value: Any) -> None:
    with pytest.raises(UsageError, match=f"nulls= of column '{name}': .* is no value of type"):
        plan(name, 5, nulls={name: value})


def test_values_for_nulls_are_numbers_times_and_nat() -> None:
    day = datetime(2026, 11, 30, tzinfo=UTC)
    microseconds = int(day.timestamp()) * 10**6
    for name, value, fill in (
        ("seats", np.int64(-7), -7),
        ("seats", 3.0, 3),
        ("delay", 1, 1.0),
        ("when", day, microseconds),
        ("when", np.datetime64("NaT"), np.iinfo(np.int64).min),
        ("image", 255, 255),
    ):
        only = plan(name, 5, nulls={name: value})
        assert isinstance(only, ColumnPlan)
        assert only.fill == fill
    lasting = plan_type(pa.duration("ms"), nulls={"a b": timedelta(seconds=2)})
    assert isinstance(lasting, ColumnPlan)
    assert lasting.fill == 2000


@pytest.mark.parametrize("pair", [3, (1,), (1, 2, 3), ("a", 1), (1, 0), (1, -1), (np.nan, 1), (1, np.inf)])
def test_a_wrong_mean_or_deviation_is_refused(pair: Any) -> None:
    with pytest.raises(UsageError, match=r"normalize= of column 'delay' .*: give \(mean, std\)"):
        plan("delay", normalize={"delay": pair})


def test_means_must_have_the_shape_of_a_row() -> None:
    with pytest.raises(UsageError, match=r"normalize= of column 'image' .* arrays of shape \(3, 4\)"):
        plan("image", normalize={"image": (np.zeros(5), 1)})
    assert plan("image", normalize={"image": (np.zeros((3, 1)), np.ones(4))})


@pytest.mark.parametrize("name", ["carrier", "when", "tokens"])
@pytest.mark.parametrize("format", ["numpy", "arrow"])
def test_only_numbers_are_normalized(name: str, format: str) -> None:
    with pytest.raises(UsageError, match=f"normalize= takes columns of numbers, and '{name}' is of type"):
        plan(name, format=format, normalize={name: (0, 1)})


def test_the_type_of_a_normalized_column_in_arrow_batches_is_one_of_floats() -> None:
    for type_, scaled in (
        (pa.int8(), pa.float32()),
        (pa.float64(), pa.float64()),
        (pa.list_(pa.list_(pa.uint8(), 4), 3), pa.list_(pa.list_(pa.float32(), 4), 3)),
        (
            pa.fixed_shape_tensor(pa.int32(), (2, 3), permutation=[1, 0]),
            pa.fixed_shape_tensor(pa.float32(), (2, 3), permutation=[1, 0]),
        ),
        (pa.dictionary(pa.int8(), pa.int64()), pa.float32()),
    ):
        assert plan_type(type_, format="arrow", normalize={"a b": (0, 1)}).type == scaled
