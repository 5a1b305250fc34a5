"""The memory of a read: the least bound works, one byte less is refused, and a large bound is used."""

from __future__ import annotations

from itertools import product
from typing import Any

import pytest

from millrace.errors import UsageError
from tests.unit.training.in_memory import MemoryDataset, epoch_rows, numbered


@pytest.fixture
def dataset() -> MemoryDataset:
    return numbered([40, 7, 33, 60, 25, 18, 44, 51] * 3)


def least_bytes(dataset: MemoryDataset, **options: Any) -> int:
    with pytest.raises(UsageError, match="too small for one window: use at least") as refused:
        dataset.loader(prefetch_bytes=1, **options)
    return int(refused.value.context["expected"])


@pytest.mark.parametrize(
    ("shuffle", "tail", "lanes"),
    list(product(["none", "chunk", "window", "full"], ["drop_last", "pad", "uneven"], [1, 8])),
)
def test_the_least_bound_works_and_one_byte_less_is_refused(
    dataset: MemoryDataset, shuffle: str, tail: str, lanes: int
) -> None:
    options: dict[str, Any] = {"shuffle": shuffle, "tail": tail, "lanes": lanes, "window_chunks": 2}
    least = least_bytes(dataset, **options)
    with pytest.raises(UsageError, match=f"prefetch_bytes {least - 1} is too small .* use at least {least}"):
        dataset.loader(prefetch_bytes=least - 1, **options)
    with dataset.loader(**options) as plain, dataset.loader(prefetch_bytes=least, **options) as loader:
        assert loader.prefetch_bytes == least
        for _ in range(3):
            assert epoch_rows(loader) == epoch_rows(plain)


def test_the_bound_that_is_told_is_never_above_the_one_that_is_given(dataset: MemoryDataset) -> None:
    least = least_bytes(dataset)
    for extra in (0, 1, 100, 5_000, 50_000, 1_000_000):
        loader = dataset.loader(prefetch_bytes=least + extra)
        assert least <= loader.prefetch_bytes <= least + extra


def test_more_memory_is_used_for_threads_first_and_then_for_slots(dataset: MemoryDataset) -> None:
    least = least_bytes(dataset)
    plans = []
    for extra in (0, 1_000, 1_000_000):
        opened = dataset.loader(prefetch_bytes=least + extra)._opened
        assert opened is not None
        plans.append((opened.prepared.threads, opened.prepared.plan.shape.slots))
    assert plans == sorted(plans)
    assert plans[0][0] == 1 < plans[-1][0]
    assert plans[0][1] < plans[-1][1]


def test_a_rank_of_a_larger_world_needs_less(dataset: MemoryDataset) -> None:
    whole, half = dataset.loader(), dataset.loader(rank=0, world_size=2)
    assert half.prefetch_bytes < whole.prefetch_bytes
