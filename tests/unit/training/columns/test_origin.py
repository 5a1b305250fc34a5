"""Rows whose values come from single columns, from whole matrices, and from some columns of a matrix."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from millrace.dataset import ColumnPlace
from millrace.training.columns import ColumnPlan, Origin, Values, origins_of
from millrace.training.columns.feature_block import FeatureBlock

WIDTH = 4


def batch_of(rows: int, seed: int, nulls: float) -> tuple[pa.RecordBatch, dict[str, ColumnPlace], dict[str, Any]]:
    """Return a batch with a single column and a matrix, the places of their columns, and the expected values."""
    rng = np.random.default_rng(seed)
    values = rng.normal(size=(rows, WIDTH)).astype(np.float32)
    valid = rng.random((rows, WIDTH)) >= nulls
    numbers = pa.array(values.reshape(-1), mask=~valid.reshape(-1))
    alone = pa.array(rng.normal(size=rows).astype(np.float32))
    batch = pa.record_batch([alone, pa.FixedSizeListArray.from_arrays(numbers, WIDTH)], ["alone", "matrix"])
    places = {"alone": ColumnPlace(0), **{f"m{at}": ColumnPlace(1, at) for at in range(WIDTH)}}
    filled = np.where(valid, values, np.float32(-1))
    return batch, places, {"alone": alone.to_numpy(), **{f"m{at}": filled[:, at] for at in range(WIDTH)}}


def plan_of(names: list[str], piece_bytes: int) -> ColumnPlan:
    fields = [pa.field(name, pa.float32()) for name in names]
    plan = FeatureBlock("features", fields).plan({}, dict.fromkeys(names, -1.0), {})
    return ColumnPlan(**{name: getattr(plan, name) for name in plan.__slots__} | {"piece_bytes": piece_bytes})


@given(
    names=st.lists(st.sampled_from(["alone", "m0", "m1", "m2", "m3"]), min_size=1, max_size=5, unique=True),
    rows=st.integers(1, 300),
    nulls=st.sampled_from([0, 0.2]),
    piece_bytes=st.sampled_from([1, 100, 1 << 18]),
    seed=st.integers(0, 9),
)
def test_any_columns_are_scattered_in_their_order(
    names: list[str], rows: int, nulls: float, piece_bytes: int, seed: int
) -> None:
    batch, places, expected = batch_of(rows + 5, seed, nulls)
    plan = plan_of(names, piece_bytes)
    parts = [Values(batch.column(column), at) for column, at in origins_of(names, batch.schema, places)]
    out, index = plan.allocate(rows + 3), np.random.default_rng(seed).permutation(rows + 3)[:rows]
    plan.scatter_parts(parts, out, index, 5, rows)
    np.testing.assert_array_equal(out[index], np.stack([expected[name][5:] for name in names], axis=1))


@pytest.mark.parametrize(
    ("names", "origins"),
    [
        (["alone"], [Origin(0)]),
        (["m0", "m1", "m2", "m3"], [Origin(1)]),
        (["m1", "m0"], [Origin(1, (1, 0))]),
        (["m2", "alone", "m3"], [Origin(1, (2,)), Origin(0), Origin(1, (3,))]),
    ],
)
def test_neighbouring_columns_of_a_matrix_are_taken_together(names: list[str], origins: list[Origin]) -> None:
    batch, places, _ = batch_of(3, 0, 0)
    assert list(origins_of(names, batch.schema, places)) == origins


def test_a_matrix_without_nulls_is_copied_by_whole_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    batch, _, _ = batch_of(100, 0, 0)
    plan = plan_of(["m0", "m1", "m2", "m3"], 1 << 18)
    monkeypatch.setattr(ColumnPlan, "_converted", None)  # no row is converted
    out = plan.allocate(100)
    plan.scatter_parts([Values(batch.column(1))], out, np.arange(100), 0, 100)
    np.testing.assert_array_equal(out.reshape(-1), batch.column(1).flatten().to_numpy())
    alone = plan_of(["m2"], 1 << 18)
    one = alone.allocate(100)
    alone.scatter_parts([Values(batch.column(1), (2,))], one, np.arange(100), 0, 100)
    np.testing.assert_array_equal(one[:, 0], out[:, 2])
