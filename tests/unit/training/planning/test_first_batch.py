"""The time to the first batch is measured by reading its windows, or smaller ones where they have many chunks."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest

from millrace.training.options import LoaderOptions
from millrace.training.planning.first_batch import READ_CHUNKS_MAX, first_batch_s
from millrace.training.prepared import prepare
from tests.unit.training.in_memory import MemoryDataset, MemorySource, numbered

CHUNKS, CHUNK_ROWS = 160, 20
DELAY_S = 0.004
THREADS = 2


@pytest.fixture
def dataset() -> MemoryDataset:
    """Return a dataset of which each chunk takes 4 ms."""
    made = numbered([CHUNK_ROWS] * CHUNKS)

    def slow(source: MemorySource) -> None:
        source.delays_s = dict.fromkeys(range(CHUNKS), DELAY_S)

    made.prepare = slow
    return made


@pytest.fixture
def measured_s(dataset: MemoryDataset, monkeypatch: pytest.MonkeyPatch) -> Callable[..., float]:
    monkeypatch.setattr("millrace.training.planning.first_batch.read_threads", lambda: THREADS)

    def measured_s(**options: Any) -> float:
        made = LoaderOptions(**{"global_batch_rows": 32, "window_chunks": 1, "rank": 0, "world_size": 1} | options)
        return first_batch_s(dataset, made, prepare(dataset, made, threads=THREADS))

    return measured_s


@pytest.mark.parametrize(
    ("options", "chunks"),
    [
        ({}, 8),
        ({"window_chunks": 4}, 32),
        ({"world_size": 2}, 4),
        ({"window_chunks": 10}, 80),
        ({"shuffle": "full"}, CHUNKS),
        ({"shuffle": "none", "lanes": 80, "global_batch_rows": 80}, 80),
        ({"shuffle": "chunk", "global_batch_rows": 8 * CHUNK_ROWS * 6}, 48),
        ({"cache_bytes": 10_000_000}, 8),
    ],
)
def test_the_time_is_that_of_the_chunks_of_the_first_batch(
    measured_s: Callable[..., float], options: dict[str, Any], chunks: int
) -> None:
    expected = chunks * DELAY_S / THREADS
    times_s = [measured_s(**options) for _ in range(3)]
    assert expected <= min(times_s) <= 10 * expected + 0.3  # the machine may be busy


def test_at_most_32_chunks_are_read_in_a_round(dataset: MemoryDataset, measured_s: Callable[..., float]) -> None:
    measured_s(shuffle="full")
    rounds = dataset.sources[2:]
    assert 1 <= len(rounds) <= 5
    for source in rounds:
        assert READ_CHUNKS_MAX <= len(source.borrowed) <= 2 * READ_CHUNKS_MAX  # the next windows are read ahead


def test_a_lease_is_taken_and_released_and_no_job_is_recorded(
    dataset: MemoryDataset, measured_s: Callable[..., float]
) -> None:
    measured_s()
    assert dataset.leases_taken >= 1
    assert dataset.leases == 0
    assert not dataset.jobs


def test_a_transform_counts(measured_s: Callable[..., float]) -> None:
    def slow(batch: Any) -> Any:
        time.sleep(0.1)
        return batch

    assert measured_s(transform=slow) >= 0.1
