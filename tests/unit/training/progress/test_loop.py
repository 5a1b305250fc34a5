from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from millrace.training.progress import LoopCounter

BATCHES = [[1, 2, 3], [4, 5, 6], [7, 8]]


def test_steps_and_rows_of_an_epoch_are_counted_before_the_loop_gets_each_batch() -> None:
    counter = LoopCounter("flights", split="train", rank=1, world_size=2, steps=3, total_rows=8)
    positions = []
    for epoch in range(2):
        for _ in counter.batches(BATCHES, epoch, rows_of=len):
            facts = counter.facts()
            positions.append((facts.epoch, facts.step, facts.rows, facts.position_steps, facts.position_rows))
    assert positions == [
        (0, 1, 3, 1, 3), (0, 2, 6, 2, 6), (0, 3, 8, 3, 8), (1, 1, 3, 4, 11), (1, 2, 6, 5, 14), (1, 3, 8, 6, 16),
    ]  # fmt: skip
    facts = counter.facts()
    assert (facts.dataset, facts.split, facts.rank, facts.world_size) == ("flights", "train", 1, 2)
    assert (facts.steps, facts.total_rows) == (3, 8)


def test_without_the_size_of_an_epoch_steps_and_rows_count_on() -> None:
    counter = LoopCounter("flights")
    for epoch in range(2):
        assert list(counter.batches(BATCHES, epoch, rows_of=len)) == BATCHES
    facts = counter.facts()
    assert (facts.epoch, facts.step, facts.rows) == (1, 6, 16)
    assert (facts.position_steps, facts.position_rows) == (6, 16)


def test_the_wait_for_each_batch_is_measured_and_the_time_of_the_loop_is_not() -> None:
    def slow() -> Iterator[list[int]]:
        for batch in BATCHES:
            time.sleep(0.02)
            yield batch

    counter = LoopCounter("flights")
    for _ in counter.batches(slow(), 0, rows_of=len):
        time.sleep(0.1)
    waits = counter.facts().waits
    assert waits.count == 3
    assert waits.quantile(0.0) == pytest.approx(0.02, rel=0.5)
    assert (waits.quantile(0.5) or 1) < 0.09
