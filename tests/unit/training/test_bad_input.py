"""Bad input of a training job: each is refused in one clear line, with the way out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pyarrow as pa
import pytest

from millrace.dataset import with_splits
from millrace.errors import UsageError
from millrace.training import mix
from tests.unit.training.in_memory import MemoryDataset, numbered

ROWS = 480


@pytest.fixture
def dataset() -> MemoryDataset:
    return numbered([40] * (ROWS // 40))


def with_column(values: pa.Array) -> MemoryDataset:
    return MemoryDataset([pa.record_batch({"row": range(len(values)), "y": values})])


TEXTS = pa.array(["UA", "B6"] * (ROWS // 2))
LISTS = pa.array([[1], [2, 3]] * (ROWS // 2))


def refusal(call: Callable[[], object]) -> UsageError:
    with pytest.raises(UsageError) as caught:
        call()
    error = caught.value
    assert "\n" not in str(error)
    assert error.hint
    assert not error.retriable
    return error


def test_an_unknown_column(dataset: MemoryDataset) -> None:
    error = refusal(lambda: dataset.loader(columns=["row", "dealy"]))
    assert str(error) == "columns= names a column that does not exist: 'dealy': the columns are row, x"


def test_an_unknown_split(dataset: MemoryDataset) -> None:
    dataset.schema = with_splits(dataset.schema, {"train": range(9), "test": range(9, 12)})
    error = refusal(lambda: dataset.loader(split="trian"))
    assert "has no split 'trian': did you mean 'train'?" in str(error)


def test_a_batch_that_is_no_multiple_of_lanes(dataset: MemoryDataset) -> None:
    error = refusal(lambda: dataset.loader(global_batch_rows=36))
    assert "36 is not a multiple of lanes 8: use global_batch_rows 32 or 40" in str(error)


def test_lanes_that_are_no_multiple_of_the_world(dataset: MemoryDataset) -> None:
    error = refusal(lambda: dataset.loader(rank=0, world_size=3))
    assert "8 lanes cannot be shared equally by world_size 3: use world_size 2 or 4" in str(error)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("version", "flights@13-77aa01"),
        ("algorithm", 2),
        ("lanes", 4),
        ("shuffle", "full"),
        ("window", 9),
        ("seed", 3),
        ("tail", "pad"),
    ],
)
def test_a_state_of_another_order(dataset: MemoryDataset, field: str, value: object) -> None:
    loader = dataset.loader()
    error = refusal(lambda: loader.load_state_dict(loader.state_dict() | {field: value}))
    assert field in str(error)
    assert str(value) in str(error)


@pytest.mark.parametrize("format", ["numpy", "torch"])
@pytest.mark.parametrize("values", [TEXTS, LISTS], ids=["text", "ragged lists"])
def test_text_and_ragged_lists_as_numpy_or_torch(format: str, values: pa.Array) -> None:
    error = refusal(lambda: with_column(values).loader(format=format))
    assert f"format={format!r} cannot hold column 'y' of type {values.type}: its rows differ in size" in str(error)
    assert "use format='arrow'" in (error.hint or "")


@pytest.mark.parametrize(
    "other",
    [pa.array(range(ROWS), pa.int32()), pa.array([0.5] * ROWS), pa.array([[1, 2]] * ROWS, pa.list_(pa.int64(), 2))],
    ids=["narrower", "floats", "lists"],
)
def test_mixing_unlike_columns(other: pa.Array) -> None:
    first, second = with_column(pa.array(range(ROWS))).loader(), with_column(other).loader()
    error = refusal(lambda: mix({first: 1, second: 1}))
    assert "has the columns row int64, y int64, but" in str(error)
    assert f"y {other.type}" in str(error)


@pytest.mark.parametrize("is_mixture", [False, True])
def test_load_state_dict_while_an_iteration_is_under_way(dataset: MemoryDataset, is_mixture: bool) -> None:
    loader: Any = mix({dataset.loader(): 1, dataset.loader(seed=2): 1}) if is_mixture else dataset.loader()
    with loader:
        state, iteration = loader.state_dict(), iter(loader)
        next(iteration)
        error = refusal(lambda: loader.load_state_dict(state))
        assert "load_state_dict is not possible while an iteration is under way" in str(error)
