"""Statistics of train: equal to NumPy over all rows, whatever the batches."""

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from millrace.training.prepare.rows import TrainStatistics


def figures_of(array: pa.Array, cut: int = 1000, **options: Any) -> dict[str, Any]:
    statistics = TrainStatistics(["x"], **options)
    for start in range(0, len(array), cut):
        statistics.add(pa.record_batch({"x": array.slice(start, cut), "other": array.slice(start, cut)}))
    return dict(statistics.figures()["x"])


def check(array: pa.Array, values: Any, cut: int = 1000) -> None:
    """Compare with NumPy over the values that count."""
    found = figures_of(array, cut)
    wide = values.astype(np.float64)
    assert (found["count"], found["nulls"]) == (len(values), len(array) - len(values))
    assert (found["min"], found["max"]) == (values.min().item(), values.max().item())
    assert math.isclose(found["mean"], wide.mean(), rel_tol=1e-9, abs_tol=1e-12 * np.abs(wide).max())
    assert math.isclose(found["std"], wide.std(), rel_tol=1e-9, abs_tol=1e-12 * np.abs(wide).max())


KINDS = ["f4", "f8", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("cut", [1, 7, 4096])
def test_figures_equal_numpy_for_each_type_and_cut(kind: str, cut: int) -> None:
    draw = np.random.default_rng(3)
    rows = 2003
    if kind[0] == "f":
        values = (draw.normal(1000, 3, rows)).astype(kind)
    else:
        limits = np.iinfo(kind)
        values = draw.integers(limits.min, limits.max, rows, dtype=kind, endpoint=True)
    nulls = draw.random(rows) < 0.1
    check(pa.array(values, mask=nulls), values[~nulls], cut)
    check(pa.array(values), values, cut)


@given(
    st.lists(st.one_of(st.none(), st.floats(-1e100, 1e100), st.just(math.nan)), min_size=1, max_size=60),
    st.integers(1, 60),
)
@settings(max_examples=150, deadline=None)
def test_nan_counts_as_null(values: list[float | None], cut: int) -> None:
    present = np.array([value for value in values if value is not None and not math.isnan(value)])
    found = figures_of(pa.array(values, pa.float64()), cut)
    assert (found["count"], found["nulls"]) == (len(present), len(values) - len(present))
    if len(present):
        check(pa.array(values, pa.float64()), present, cut)
    else:
        assert [found[name] for name in ("mean", "std", "min", "max")] == [None] * 4


def test_a_large_offset_costs_no_digits() -> None:
    values = 1e9 + np.random.default_rng(0).normal(0, 1, 100_000)
    check(pa.array(values), values, 4096)


def test_the_mean_of_whole_numbers_is_exact_beyond_64_bits() -> None:
    values = np.full(5000, 2**63 - 1, np.int64)
    assert figures_of(pa.array(values), 777)["mean"] == float(2**63 - 1)
    unsigned = np.full(5000, 2**64 - 1, np.uint64)
    assert figures_of(pa.array(unsigned))["mean"] == float(2**64 - 1)
    assert figures_of(pa.array(unsigned))["std"] == 0
    assert figures_of(pa.array(unsigned))["max"] == 2**64 - 1


def test_booleans_have_a_share() -> None:
    found = figures_of(pa.array([True, False, None, True]), 3)
    assert found == {
        "count": 3, "nulls": 1, "mean": 2 / 3, "std": pytest.approx(math.sqrt(2 / 9)), "min": False, "max": True,
    }  # fmt: skip


def test_of_codes_only_the_nulls_are_counted() -> None:
    found = figures_of(pa.array([1, 0, None, 3], pa.uint16()), categories=["x"])
    assert found == {"count": 3, "nulls": 1, "mean": None, "std": None, "min": None, "max": None}


def test_a_tensor_has_the_figures_of_its_values() -> None:
    rows = [[1.0, 2.0], None, [3.0, None], [math.nan, 1.0], [5.0, 8.0]]
    array = pa.array(rows, pa.list_(pa.float32(), 2))
    for cut in (1, 2, 5):
        found = figures_of(array, cut)
        assert (found["count"], found["nulls"], found["min"], found["max"]) == (2, 3, 1.0, 8.0)
        assert found["mean"] == pytest.approx(4.0)
        assert found["std"] == pytest.approx(np.std([1, 2, 5, 8]))


def test_a_tensor_of_two_axes_is_read_whole() -> None:
    array = pa.array([[[1, 2], [3, 4]], [[5, 6], [7, 8]]], pa.list_(pa.list_(pa.int16(), 2), 2))
    found = figures_of(array.slice(1), 1)
    assert (found["count"], found["min"], found["max"], found["mean"]) == (1, 5, 8, 6.5)


def test_figures_that_are_not_finite_are_none() -> None:
    found = figures_of(pa.array([1.0, math.inf]))
    assert found == {"count": 2, "nulls": 0, "mean": None, "std": None, "min": 1.0, "max": None}


def test_no_rows_have_no_figures() -> None:
    expected = {"count": 0, "nulls": 0, "mean": None, "std": None, "min": None, "max": None}
    assert TrainStatistics(["x"]).figures() == {"x": expected}
    assert figures_of(pa.array([None, None], pa.float64())) == {**expected, "nulls": 2}


def test_the_same_batches_give_the_same_bits() -> None:
    def batches() -> Iterator[pa.Array]:
        draw = np.random.default_rng(5)
        for _ in range(20):
            yield pa.array(draw.normal(0, 1e6, 1000))

    first, second = (TrainStatistics(["x"]) for _ in range(2))
    for array in batches():
        first.add(pa.record_batch({"x": array}))
    for array in batches():
        second.add(pa.record_batch({"x": array}))
    assert first.figures() == second.figures()
