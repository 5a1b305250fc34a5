"""A loader over rows in memory, and the rules that the batches of every loader keep.

``MemoryLoader`` delivers the numbers of the rows. ``check_rules`` raises ``AssertionError`` with the name of the first
rule that a class of loaders violates, so that tests can show that each rule catches a loader broken on purpose.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from millrace.training.order import BatchPlan, Order, OrderSpec, Tail, Window, rank_lanes
from millrace.training.state import LoaderState

Rows = NDArray[np.int64]


@dataclass(frozen=True)
class Case:
    """A dataset in memory, and the options of a loader."""

    spec: OrderSpec
    chunk_rows: tuple[int, ...]
    tail: Tail
    batch_rows: int
    resume_batch_rows: int
    epoch: int
    resume_after: int
    """The number of batches before the state is taken; the loader takes it modulo the batches of an epoch."""

    @property
    def worlds(self) -> list[int]:
        return [world for world in range(1, self.spec.lanes + 1) if self.spec.lanes % world == 0]

    @property
    def order(self) -> Order:
        return Order(self.spec, np.array(self.chunk_rows, np.int64))


class MemoryLoader:
    """The batches of one rank in one epoch, as row numbers, from a state."""

    def __init__(
        self, case: Case, rank: int = 0, world: int = 1, state: LoaderState | None = None, batch_rows: int | None = None
    ) -> None:
        self.case = case
        self.rank = rank
        self.order = self.make_order(rank)
        self.begin = state or LoaderState(case.spec, case.tail, case.epoch)
        self.lanes = rank_lanes(rank, world, case.spec.lanes)
        self.plan = BatchPlan(self.order.rows_of_lanes, batch_rows or case.batch_rows, self.begin.tail, self.begin.rows)
        self.delivered = 0
        self.read: list[Window] = []

    def __iter__(self) -> Iterator[Rows]:
        lanes = {lane: self.lane_stream(lane) for lane in self.lanes}
        for batch in range(self.plan.batches):
            slices = {lane: self.lane_slice(batch, lane) for lane in self.lanes}
            self.delivered += 1
            yield np.concatenate([lanes[lane][first:stop] for lane, (first, stop) in slices.items()])

    def lane_slice(self, batch: int, lane: int) -> tuple[int, int]:
        return self.plan.lane_slice(batch, lane)

    def lane_stream(self, lane: int) -> Rows:
        """Return the rows of a lane by position, with -1 before the first window that is read."""
        starts = np.concatenate([[0], np.cumsum(self.case.chunk_rows)])
        windows = list(self.windows(lane))
        self.read.extend(windows)
        rows = np.full(windows[0].first_row if windows else 0, -1, np.int64)
        for window in windows:
            source = np.concatenate(
                [np.arange(each.rows) + starts[each.chunk] + each.first_row for each in window.fragments]
            )
            permuted = np.empty_like(source)
            permuted[self.order.positions(window)] = source
            rows = np.concatenate([rows, permuted])
        last = rows[windows[-1].first_row :] if windows else rows
        padding = self.plan.global_batch_rows + 1 if self.case.tail is Tail.PAD else 0
        return np.concatenate([rows, np.resize(last, padding)])

    def windows(self, lane: int) -> Iterator[Window]:
        return self.order.windows(lane, self.begin.epoch, from_row=self.begin.rows)

    def make_order(self, rank: int) -> Order:
        return self.case.order

    def state(self) -> LoaderState:
        rows = self.begin.rows + self.delivered * self.plan.lane_batch_rows
        return replace(self.begin, rows=rows)


def ranks_of(loader: type[MemoryLoader], case: Case, world: int, **options: object) -> list[MemoryLoader]:
    return [loader(case, rank, world, **options) for rank in range(world)]  # type: ignore[arg-type]


def global_batches(ranks: list[MemoryLoader]) -> list[Rows]:
    """Return the batches of all ranks together; each rank must have equally many."""
    batches = [list(rank) for rank in ranks]
    assert len({len(each) for each in batches}) == 1, "every rank has the same number of batches"
    return [np.concatenate(parts) for parts in zip(*batches, strict=True)]


def equal(left: list[Rows], right: list[Rows]) -> bool:
    return len(left) == len(right) and all(map(np.array_equal, left, right))


def check_rules(loader: type[MemoryLoader], case: Case) -> None:
    """Raise ``AssertionError`` with the name of a rule that the loaders of this class violate."""
    unbroken = global_batches(ranks_of(loader, case, 1))
    for world in case.worlds:
        assert equal(global_batches(ranks_of(loader, case, world)), unbroken), "every world has the same batches"
    check_each_row_once(loader(case).plan, unbroken)
    for world in case.worlds:
        check_resume(loader, case, unbroken, world)


def check_each_row_once(plan: BatchPlan, batches: list[Rows]) -> None:
    rows = sum(plan.lane_rows)
    counts = np.bincount(np.concatenate(batches), minlength=rows)
    assert int((counts == 0).sum()) == plan.dropped_rows, "each row is delivered, or counted as dropped"
    assert int(counts.sum()) - int((counts > 0).sum()) == plan.padded_rows, "each row is delivered once, or padded"


def check_resume(loader: type[MemoryLoader], case: Case, unbroken: list[Rows], world: int) -> None:
    """Stop any rank of a world after some batches, and resume with its state on every world."""
    batches = case.resume_after % len(unbroken)
    stopped = loader(case, world - 1, world)
    for _ in zip(range(batches), stopped, strict=False):
        pass
    state = LoaderState.from_json(stopped.state().to_json())
    for next_world in case.worlds:
        rest = global_batches(ranks_of(loader, case, next_world, state=state))
        assert equal(rest, unbroken[batches:]), "a resumed run equals the unbroken run"
    check_other_batch_size(loader, case, state)
    check_reads_no_chunk_before_the_window(loader(case, state=state))


def check_other_batch_size(loader: type[MemoryLoader], case: Case, state: LoaderState) -> None:
    """The rows of each lane go on where they stopped, with as many in each batch as the new size asks for."""
    reference = MemoryLoader(case, state=state, batch_rows=case.resume_batch_rows)
    rest = [batch.tolist() for batch in loader(case, state=state, batch_rows=case.resume_batch_rows)]
    streams = {lane: reference.lane_stream(lane) for lane in reference.lanes}
    expected = [
        [row for lane in reference.lanes for row in streams[lane][slice(*reference.plan.lane_slice(batch, lane))]]
        for batch in range(reference.plan.batches)
    ]
    assert rest == expected, "a resumed run goes on at the same row with another batch size"


def check_reads_no_chunk_before_the_window(resumed: MemoryLoader) -> None:
    list(resumed)
    last_rows = resumed.plan.lane_rows
    assert all(
        window.first_row + window.rows > min(resumed.begin.rows, last_rows[window.lane] - 1) for window in resumed.read
    ), "a resumed run reads no chunk before the window"
