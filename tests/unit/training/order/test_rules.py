"""The rules of every order: the same batches for every world, each row once, and exact resumption."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given

from millrace.training.order import Order, OrderSpec, Shuffle, Tail, Window
from millrace.training.state import LoaderState
from tests.unit.training.memory_loader import Case, MemoryLoader, check_rules
from tests.unit.training.order.strategies import cases

CASE = Case(
    spec=OrderSpec("flights@12-3fa9c1", "train", 7, lanes=4, shuffle=Shuffle.WINDOW, window_chunks=2),
    chunk_rows=(10, 14, 20, 7, 13, 9, 16, 11),
    tail=Tail.DROP_LAST,
    batch_rows=16,
    resume_batch_rows=24,
    epoch=1,
    resume_after=3,
)


@given(case=cases())
def test_every_order_keeps_all_rules(case: Case) -> None:
    check_rules(MemoryLoader, case)


@pytest.mark.parametrize("shuffle", Shuffle)
@pytest.mark.parametrize("tail", Tail)
@pytest.mark.parametrize("lanes", [1, 2, 4, 8])
def test_every_shuffle_and_tail_keeps_all_rules(shuffle: Shuffle, tail: Tail, lanes: int) -> None:
    spec = replace(CASE.spec, shuffle=shuffle, lanes=lanes)
    check_rules(MemoryLoader, replace(CASE, spec=spec, tail=tail, batch_rows=2 * lanes, resume_batch_rows=6 * lanes))


class SeedUsesTheRank(MemoryLoader):
    def make_order(self, rank: int) -> Order:
        spec = replace(self.case.spec, seed=self.case.spec.seed + rank)
        return Order(spec, np.array(self.case.chunk_rows, np.int64))


class LanesOneRowShort(MemoryLoader):
    def lane_slice(self, batch: int, lane: int) -> tuple[int, int]:
        first, stop = self.plan.lane_slice(batch, lane)
        return first, min(stop, self.plan.lane_rows[lane] - 1)


class StateCountsPrefetchedBatches(MemoryLoader):
    def state(self) -> LoaderState:
        state = super().state()
        return replace(state, rows=state.rows + 2 * self.plan.lane_batch_rows)


class ResumesBySkippingBatches(MemoryLoader):
    """Skip as many batches as were delivered, which is another row once the batch size differs."""

    def lane_slice(self, batch: int, lane: int) -> tuple[int, int]:
        skipped = self.begin.rows // (self.case.batch_rows // self.case.spec.lanes)
        first = (skipped + batch) * self.plan.lane_batch_rows
        return first, first + self.plan.lane_batch_rows


class ResumesByReadingAndSkippingRows(MemoryLoader):
    """Deliver the right rows, but read the epoch from its start."""

    def windows(self, lane: int) -> Iterator[Window]:
        return self.order.windows(lane, self.begin.epoch)


def test_a_seed_that_uses_the_rank_is_caught() -> None:
    with pytest.raises(AssertionError, match="every world has the same batches"):
        check_rules(SeedUsesTheRank, CASE)


def test_lanes_that_are_one_row_short_are_caught() -> None:
    with pytest.raises(AssertionError, match="each row is delivered, or counted as dropped"):
        check_rules(LanesOneRowShort, replace(CASE, tail=Tail.UNEVEN))


def test_a_state_that_counts_prefetched_batches_is_caught() -> None:
    with pytest.raises(AssertionError, match="a resumed run equals the unbroken run"):
        check_rules(StateCountsPrefetchedBatches, CASE)


def test_resuming_by_skipping_batches_is_caught() -> None:
    with pytest.raises(AssertionError, match="goes on at the same row with another batch size"):
        check_rules(ResumesBySkippingBatches, CASE)


def test_resuming_by_reading_and_skipping_rows_is_caught() -> None:
    with pytest.raises(AssertionError, match="reads no chunk before the window"):
        check_rules(ResumesByReadingAndSkippingRows, CASE)
