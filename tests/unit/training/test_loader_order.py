"""The batches of real loaders, with threads and rings, keep the rules of every order; broken ones are caught."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import islice
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings

from millrace.dataset import with_splits
from millrace.training.loader import TrainingLoader
from millrace.training.order import Order, OrderSpec, Shuffle, Tail
from millrace.training.state import LoaderState
from tests.unit.training.in_memory import MemoryDataset, numbered, rows_of
from tests.unit.training.memory_loader import Case, MemoryLoader, Rows, check_rules
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


def dataset_of(case: Case) -> MemoryDataset:
    dataset = numbered(case.chunk_rows, reference=case.spec.version)
    if case.spec.split:
        dataset.schema = with_splits(dataset.schema, {case.spec.split: range(len(case.chunk_rows))})
    return dataset


class ReadByThreads(MemoryLoader):
    """The rows that a ``TrainingLoader`` delivers in the epoch of a case."""

    def __init__(
        self, case: Case, rank: int = 0, world: int = 1, state: LoaderState | None = None, batch_rows: int | None = None
    ) -> None:
        super().__init__(case, rank, world, state, batch_rows)
        self.dataset = dataset_of(case)
        self.world = world
        self.loader: TrainingLoader | None = None

    def __iter__(self) -> Iterator[Rows]:
        self.loader = self.make_loader()
        try:
            for batch in self.batches(self.loader):
                yield np.array(rows_of(batch), np.int64)
        finally:
            self.loader.close()

    def batches(self, loader: TrainingLoader) -> Iterator[Any]:
        # The epoch of a state without a further batch is over: the loader would begin the next one.
        return iter(loader) if self.plan.batches else iter(())

    def make_loader(self, **changes: Any) -> TrainingLoader:
        spec = self.begin.spec
        options: dict[str, Any] = {
            "split": spec.split,
            "seed": spec.seed,
            "lanes": spec.lanes,
            "shuffle": spec.shuffle,
            "window_chunks": spec.window_chunks,
            "tail": self.begin.tail,
            "rank": self.rank,
            "world_size": self.world,
        }
        loader = self.dataset.loader(self.plan.global_batch_rows, **{**options, **changes})
        loader.load_state_dict(self.begin.to_json())
        return loader

    def state(self) -> LoaderState:
        return self.begin if self.loader is None else LoaderState.from_json(self.loader.state_dict())


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(case=cases())
def test_loaders_keep_all_rules_of_every_order(case: Case) -> None:
    check_rules(ReadByThreads, case)


@pytest.mark.parametrize("shuffle", Shuffle)
@pytest.mark.parametrize("tail", Tail)
def test_loaders_keep_all_rules_of_every_shuffle_and_tail(shuffle: Shuffle, tail: Tail) -> None:
    spec = replace(CASE.spec, shuffle=shuffle)
    check_rules(ReadByThreads, replace(CASE, spec=spec, tail=tail))


def test_a_resumed_loader_reads_no_chunk_of_an_earlier_window() -> None:
    begin = LoaderState(CASE.spec, Tail.DROP_LAST, epoch=1, rows=12)
    loader = ReadByThreads(CASE, state=begin)
    list(loader)
    order = Order(CASE.spec, np.array(CASE.chunk_rows))
    expected = {
        fragment.chunk
        for epoch, row in ((1, 12), (2, 0))  # the next epoch is read ahead
        for lane in range(4)
        for window in order.windows(lane, epoch, from_row=row)
        for fragment in window.fragments
    }
    assert set(loader.dataset.source.borrowed) <= expected
    skipped = set(range(8)) - {
        fragment.chunk
        for lane in range(4)
        for window in order.windows(lane, 1, from_row=12)
        for fragment in window.fragments
    }
    assert skipped, "the case has a window before the state"


class SeedUsesTheRank(ReadByThreads):
    def make_loader(self, **changes: Any) -> TrainingLoader:
        begin = self.begin
        self.begin = replace(begin, spec=replace(begin.spec, seed=begin.spec.seed + self.rank))
        try:
            return super().make_loader(**changes)
        finally:
            self.begin = begin


class LanesOneRowShort(ReadByThreads):
    def batches(self, loader: TrainingLoader) -> Iterator[Any]:
        for batch in super().batches(loader):
            full = len(batch["row"]) // len(self.lanes) == self.plan.lane_batch_rows
            yield batch if full else {name: column[:-1] for name, column in batch.items()}


class StateCountsPrefetchedBatches(ReadByThreads):
    def state(self) -> LoaderState:
        state = super().state()
        loader = self.loader
        assert loader is not None
        return replace(state, rows=state.rows + 2 * self.plan.lane_batch_rows)


class ResumesBySkippingBatches(ReadByThreads):
    """Skip as many batches as were delivered, which is another row once the batch size differs."""

    def batches(self, loader: TrainingLoader) -> Iterator[Any]:
        skipped = self.begin.rows // (self.case.batch_rows // self.case.spec.lanes)
        loader.set_epoch(self.begin.epoch)
        return islice(iter(loader), skipped, skipped + self.plan.batches)


def test_a_seed_that_uses_the_rank_is_caught() -> None:
    with pytest.raises(AssertionError, match="every world has the same batches"):
        check_rules(SeedUsesTheRank, CASE)


def test_lanes_that_are_one_row_short_are_caught() -> None:
    with pytest.raises(AssertionError, match=r"every world has the same batches|each row is delivered, or counted"):
        check_rules(LanesOneRowShort, replace(CASE, tail=Tail.UNEVEN))


def test_a_state_that_counts_prefetched_batches_is_caught() -> None:
    with pytest.raises(AssertionError, match="a resumed run equals the unbroken run"):
        check_rules(StateCountsPrefetchedBatches, CASE)


def test_resuming_by_skipping_batches_is_caught() -> None:
    with pytest.raises(AssertionError, match="goes on at the same row with another batch size"):
        check_rules(ResumesBySkippingBatches, CASE)
