"""A transform runs ahead of the loop, in order, and within its bound."""

from __future__ import annotations

import threading
import time
from itertools import islice
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from millrace.training.reader import AHEAD
from millrace.training.reader.transforms import batch_bytes, transformed
from tests.unit.training.in_memory import MemoryDataset, epoch_rows, numbered, rows_of


@pytest.fixture
def dataset() -> MemoryDataset:
    return numbered([40] * 12)


def test_a_transform_gives_its_results_in_order(dataset: MemoryDataset) -> None:
    def slow(batch: dict[str, Any]) -> Any:
        time.sleep(0.001 * (int(batch["row"][0]) % 3))
        return -batch["row"]

    with dataset.loader() as plain, dataset.loader(transform=slow) as loader:
        for _ in range(2):
            assert [(-batch).tolist() for batch in loader] == epoch_rows(plain)


def test_a_transform_runs_in_one_thread_ahead_of_the_loop(dataset: MemoryDataset) -> None:
    calls: list[str] = []

    def record(batch: dict[str, Any]) -> dict[str, Any]:
        calls.append(threading.current_thread().name)
        return batch

    with dataset.loader(transform=record) as loader:
        batches = iter(loader)
        next(batches)
        next(batches)
        deadline = time.monotonic() + 10
        while len(calls) < 1 + AHEAD and time.monotonic() < deadline:
            time.sleep(0.002)
        assert len(calls) == 1 + AHEAD
        assert len(set(calls)) == 1
        assert calls[0].startswith("millrace-transform")


def test_results_that_wait_count_in_bytes() -> None:
    waiting, most = 0, 0

    def make(_batch: int) -> np.ndarray:
        nonlocal waiting, most
        waiting += 1
        most = max(most, waiting)
        return np.zeros(100, np.uint8)

    for _ in transformed(iter(range(20)), make, bytes_max=250):
        time.sleep(0.002)
        waiting -= 1
    assert most == 2


def test_a_result_that_is_larger_than_the_bound_is_computed_alone() -> None:
    results = transformed(iter(range(5)), lambda number: np.full(1000, number), bytes_max=10)
    assert [int(result[0]) for result in results] == [0, 1, 2, 3, 4]


def test_the_state_does_not_count_batches_that_wait_transformed(dataset: MemoryDataset) -> None:
    with dataset.loader() as plain, dataset.loader(transform=dict) as loader:
        whole = epoch_rows(plain)
        begun = [rows_of(batch) for batch in islice(loader, 3)]
        assert loader.state_dict()["rows"] == 12
        assert begun + epoch_rows(loader) == whole


def test_a_transform_that_changes_its_batch_does_so_once(dataset: MemoryDataset) -> None:
    def add(batch: dict[str, Any]) -> dict[str, Any]:
        batch["row"] += 1000
        batch["x"] += 1000
        return batch

    with dataset.loader() as plain, dataset.loader(transform=add) as loader:
        whole = epoch_rows(plain)
        begun = [rows_of(batch) for batch in islice(loader, 3)]
        rest = epoch_rows(loader)
    assert [[row - 1000 for row in rows] for rows in begun + rest] == whole


def test_the_error_of_a_transform_is_raised_at_its_batch(dataset: MemoryDataset) -> None:
    calls = 0

    def fail(batch: dict[str, Any]) -> dict[str, Any]:
        nonlocal calls
        calls += 1
        if calls == 6:
            raise ZeroDivisionError("no mean")
        return batch

    with dataset.loader() as plain, dataset.loader(transform=fail) as loader:
        whole = epoch_rows(plain)
        batches = iter(loader)
        assert [rows_of(next(batches)) for _ in range(5)] == whole[:5]
        with pytest.raises(ZeroDivisionError, match="no mean"):
            next(batches)
        assert loader.state_dict()["rows"] == 20
        assert epoch_rows(loader) == whole[5:]


def test_the_least_memory_is_enough_for_a_transform(dataset: MemoryDataset) -> None:
    with pytest.raises(Exception, match="use at least") as refused:
        dataset.loader(transform=dict, prefetch_bytes=1)
    least = refused.value.context["expected"]  # type: ignore[attr-defined]
    with dataset.loader() as plain, dataset.loader(transform=dict, prefetch_bytes=least) as loader:
        for _ in range(2):
            assert epoch_rows(loader) == epoch_rows(plain)


def test_the_bytes_of_batches_of_all_formats_are_known() -> None:
    array = np.zeros((4, 2), np.float32)
    assert batch_bytes({"x": array, "y": array}) == 64
    assert batch_bytes((array, [array])) == 64
    assert batch_bytes(pa.record_batch([pa.array([1, 2], pa.int32())], ["x"])) == 8
    assert batch_bytes("text") == 0
