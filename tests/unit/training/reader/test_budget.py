"""The memory of a read: the least bound works, one byte less is refused, and a large bound is used."""

from __future__ import annotations

from itertools import product
from typing import Any

import pyarrow as pa
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


def with_text(text_bytes: int, chunks: int = 12, rows: int = 50) -> MemoryDataset:
    """Return chunks of ``rows`` rows with 20 columns of numbers, one text, and one more chunk of a single row."""
    numbers = {f"n{number}": pa.array(range(rows)) for number in range(20)}
    batch = pa.record_batch({**numbers, "text": ["x" * text_bytes] * rows})
    return MemoryDataset([*([batch] * chunks), batch.slice(0, 1)])


def test_the_memory_of_text_grows_by_the_bytes_of_the_text_alone() -> None:
    options: dict[str, Any] = {"format": "arrow", "window_chunks": 1, "lanes": 4}
    plain, short, long = (
        with_text(text_bytes).loader(columns=columns, **options)
        for columns, text_bytes in ((["n0"], 0), (["n0", "text"], 10), (["n0", "text"], 1_000))
    )
    text_rows = (short.prefetch_bytes - plain.prefetch_bytes) / 16  # bytes and offset, and twice in a chunk
    assert text_rows < 6 * 601
    assert 600 < (long.prefetch_bytes - short.prefetch_bytes) / 1_000 < 12 * 601


def test_a_chunk_of_one_row_with_much_text_does_not_count_for_all_rows() -> None:
    batch = pa.record_batch({"n": range(500), "text": ["x"] * 500})
    last = pa.record_batch({"n": [500], "text": ["x" * 100_000]})
    options: dict[str, Any] = {"format": "arrow", "window_chunks": 1, "lanes": 4}
    without = MemoryDataset([batch] * 8).loader(**options).prefetch_bytes
    assert MemoryDataset([batch] * 8 + [last]).loader(**options).prefetch_bytes < without + 40 * 100_000
