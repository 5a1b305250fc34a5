"""Mixtures of datasets in memory: the same batches for every world, exact parts, and exact resumption."""

from __future__ import annotations

import hashlib
import json
import pickle
from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from millrace.errors import UsageError
from millrace.training.mixing.mixture import Mixture
from millrace.training.mixing.plan import Stop
from millrace.training.order import OrderSpec, Shuffle, Tail
from tests.unit.training.memory_loader import Case
from tests.unit.training.mixing.memory_source import mixture

Row = tuple[int, int]
"""The number of the dataset, and the row of it."""


def dataset(version: str, chunk_rows: tuple[int, ...], lanes: int = 4) -> Case:
    spec = OrderSpec(version, None, 7, lanes=lanes, shuffle=Shuffle.WINDOW, window_chunks=2)
    return Case(spec, chunk_rows, Tail.DROP_LAST, batch_rows=lanes, resume_batch_rows=lanes, epoch=0, resume_after=0)


LARGE = dataset("large@1-aaaaaa", (10, 14, 20, 7, 13, 9, 16, 11))
SMALL = dataset("small@1-bbbbbb", (9, 8, 10))


@dataclass(frozen=True)
class MixCase:
    datasets: tuple[Case, ...]
    weights: tuple[int, ...]
    stop: Stop
    batch_rows: int
    other_batch_rows: int
    block_rows: int
    worlds: tuple[int, ...]

    def mixture(self, rank: int = 0, world: int = 1, batch_rows: int | None = None) -> Mixture:
        return mixture(
            self.datasets,
            self.weights,
            self.stop,
            batch_rows or self.batch_rows,
            rank=rank,
            world=world,
            block_rows=self.block_rows,
        )


@st.composite
def mix_cases(draw: st.DrawFn) -> MixCase:
    lanes = draw(st.lists(st.sampled_from([1, 2, 4, 8]), min_size=1, max_size=3))
    datasets = tuple(
        dataset(f"d{number}@1-aaaaaa", tuple(draw(st.lists(st.integers(8, 25), min_size=1, max_size=6))), count)
        for number, count in enumerate(lanes)
    )
    return MixCase(
        datasets=datasets,
        weights=tuple(draw(st.lists(st.integers(1, 5), min_size=len(lanes), max_size=len(lanes)))),
        stop=draw(st.sampled_from(Stop)),
        batch_rows=max(lanes) * draw(st.integers(1, 4)),
        other_batch_rows=max(lanes) * draw(st.integers(1, 4)),
        block_rows=draw(st.integers(1, 7)),
        worlds=tuple(world for world in (1, 2, 4, 8) if all(count % world == 0 for count in lanes)),
    )


def rows_of(batches: list[dict[str, Any]]) -> list[list[Row]]:
    rows = [list(zip(batch["dataset"].tolist(), batch["row"].tolist(), strict=True)) for batch in batches]
    assert [[f"{number}:{row}" for number, row in batch] for batch in rows] == [
        batch["text"].to_pylist() for batch in batches
    ]
    return rows


def global_rows(ranks: list[Mixture]) -> list[list[Row]]:
    batches = [rows_of(list(rank)) for rank in ranks]
    return [[row for part in parts for row in part] for parts in zip(*batches, strict=True)]


def possible(case: MixCase) -> None:
    try:
        case.mixture()
        case.mixture(batch_rows=case.other_batch_rows)
    except UsageError:
        assume(False)


@given(case=mix_cases(), epoch=st.integers(0, 3))
def test_every_world_has_the_same_global_batches(case: MixCase, epoch: int) -> None:
    possible(case)
    batches = []
    for world in case.worlds:
        ranks = [case.mixture(rank, world) for rank in range(world)]
        for rank in ranks:
            rank.set_epoch(epoch)
        batches.append(global_rows(ranks))
    assert all(each == batches[0] for each in batches)
    assert all(len(batch) == case.batch_rows for batch in batches[0])


@given(case=mix_cases(), batches=st.integers(0, 30), data=st.data())
def test_the_state_of_any_rank_restores_every_rank_of_another_world(
    case: MixCase, batches: int, data: st.DataObject
) -> None:
    possible(case)
    unbroken = case.mixture()
    expected = [rows_of(list(unbroken)) for _ in range(3)]
    world, next_world = data.draw(st.sampled_from(case.worlds)), data.draw(st.sampled_from(case.worlds))
    stopped = case.mixture(world - 1, world)
    epoch, batch = divmod(batches, len(expected[0]))
    epoch %= 2
    for _ in range(epoch):
        list(stopped)
    for _ in zip(range(batch), stopped, strict=False):
        pass
    state = json.loads(json.dumps(stopped.state_dict()))
    assert state == case.mixture().state_at(epoch * len(expected[0]) + batch)
    resumed = [case.mixture(rank, next_world) for rank in range(next_world)]
    for each in resumed:
        each.load_state_dict(state)
    assert global_rows(resumed) == expected[epoch][batch:]
    assert global_rows(resumed) == expected[epoch + 1]


@given(case=mix_cases(), batches=st.integers(0, 30))
def test_another_batch_size_goes_on_at_the_same_rows(case: MixCase, batches: int) -> None:
    possible(case)
    first = case.mixture()
    delivered = [row for _, batch in zip(range(batches % len(first)), map_rows(first), strict=False) for row in batch]
    resumed = case.mixture(batch_rows=case.other_batch_rows)
    resumed.load_state_dict(first.state_dict())
    if resumed.epoch == 0:  # else the rest of the epoch has no full batch of the other size
        delivered += [row for batch in map_rows(resumed) for row in batch]
    counts = Counter(delivered)
    unbroken = Counter(row for batch in map_rows(case.mixture(batch_rows=case.other_batch_rows)) for row in batch)
    if case.stop is Stop.FIRST:
        assert max(counts.values()) == 1
    else:
        lanes_short = sum(each.spec.lanes - 1 for each in case.datasets)
        rows = sum(sum(each.chunk_rows) for each in case.datasets)
        assert len(counts) >= rows - lanes_short
    assert abs(counts.total() - unbroken.total()) < case.other_batch_rows + case.batch_rows


def map_rows(each: Mixture) -> Any:
    return (rows_of([batch])[0] for batch in each)


@given(case=mix_cases())
def test_an_epoch_has_the_rows_that_the_mixture_counts(case: MixCase) -> None:
    possible(case)
    each = case.mixture()
    counts = Counter(number for batch in map_rows(each) for number, _ in batch)
    assert {case.datasets[number].spec.version: count for number, count in counts.items()} == each.rows_of_datasets


def test_no_row_comes_twice_before_its_dataset_is_used_up() -> None:
    each = mixture([LARGE, SMALL], [1, 1], Stop.ALL, 8)
    rows = [row for batch in map_rows(each) for number, row in batch if number == 1]
    usable = min(SMALL.order.rows_of_lanes) * SMALL.spec.lanes
    for first in range(0, len(rows), usable):
        part = rows[first : first + usable]
        assert len(set(part)) == len(part)
    assert len(rows) > 3 * usable


def test_epochs_of_a_mixture_have_different_orders() -> None:
    each = mixture([LARGE, SMALL], [3, 1], Stop.FIRST, 8)
    first, second = list(map_rows(each)), list(map_rows(each))
    assert len(first) == len(second)
    assert first != second
    each.set_epoch(0)
    assert list(map_rows(each)) == first


def test_a_batch_has_the_lanes_in_order_and_the_datasets_in_the_order_given() -> None:
    each = mixture([LARGE, SMALL], [1, 1], Stop.FIRST, 16)
    batch = next(iter(each))
    assert batch["dataset"].tolist() == [0, 0, 1, 1] * 4


def test_an_iteration_that_was_left_goes_on_with_the_next_batch() -> None:
    expected = list(map_rows(mixture([LARGE, SMALL], [1, 1], Stop.ALL, 8)))
    each = mixture([LARGE, SMALL], [1, 1], Stop.ALL, 8)
    for batch in each:
        assert rows_of([batch]) == expected[:1]
        break
    assert len(each) == len(expected) - 1
    assert list(map_rows(each)) == expected[1:]
    assert (each.epoch, len(each)) == (1, len(expected))


def test_the_state_at_the_end_of_an_epoch_is_the_beginning_of_the_next() -> None:
    each = mixture([LARGE, SMALL], [1, 1], Stop.FIRST, 8)
    for _ in each:
        state = each.state_dict()
    assert (state["epoch"], state["rows"]) == (1, 0)


def test_a_state_has_at_most_300_bytes_for_each_dataset() -> None:
    each = mixture([LARGE, SMALL], [1, 1], Stop.FIRST, 8)
    assert len(json.dumps(each.state_dict())) <= 600


def test_a_batch_that_is_kept_never_changes() -> None:
    each = mixture([LARGE, SMALL], [1, 1], Stop.ALL, 8)
    kept = list(each)
    assert rows_of(kept) == list(map_rows(mixture([LARGE, SMALL], [1, 1], Stop.ALL, 8)))


def test_a_mixture_survives_pickling_at_its_position() -> None:
    each = mixture([LARGE, SMALL], [1, 1], Stop.ALL, 8)
    iteration = iter(each)
    next(iteration)
    copy = pickle.loads(pickle.dumps(each))
    assert rows_of(list(copy)) == rows_of(list(iteration))


def test_an_iterator_ends_when_another_begins() -> None:
    each = mixture([LARGE, SMALL], [1, 1], Stop.ALL, 8)
    first = iter(each)
    next(first)
    second = iter(each)
    assert list(first) == []
    assert len(list(second)) == len(mixture([LARGE, SMALL], [1, 1], Stop.ALL, 8)) - 1


def test_a_position_cannot_change_while_an_iteration_is_under_way() -> None:
    each = mixture([LARGE, SMALL], [1, 1], Stop.ALL, 8)
    state = each.state_dict()
    for _ in each:
        with pytest.raises(UsageError, match="load_state_dict is not possible while an iteration is under way"):
            each.load_state_dict(state)
        with pytest.raises(UsageError, match="set_epoch is not possible while an iteration is under way"):
            each.set_epoch(1)
        break
    each.set_epoch(1)


def test_an_error_ends_the_iteration_and_the_next_one_repeats_the_batch() -> None:
    each = mixture([LARGE, SMALL], [1, 1], Stop.ALL, 8)
    expected = list(map_rows(mixture([LARGE, SMALL], [1, 1], Stop.ALL, 8)))
    source = each._sources[1]
    blocks, source.blocks = source.blocks, lambda stretches: iter(())  # type: ignore[method-assign]
    with pytest.raises(RuntimeError):
        next(iter(each))
    source.blocks = blocks  # type: ignore[method-assign]
    assert list(map_rows(each)) == expected


def test_closing_closes_every_source_and_keeps_the_state() -> None:
    each = mixture([LARGE, SMALL], [1, 1], Stop.ALL, 8)
    with each:
        next(iter(each))
    assert all(source.is_closed for source in each._sources)  # type: ignore[attr-defined]
    assert each.state_dict()["rows"] == 8


def test_the_facts_are_those_of_the_newest_batch_of_the_rank() -> None:
    each = mixture([LARGE, SMALL], [1, 1], Stop.FIRST, 8, rank=1, world=2)
    steps = len(each)
    for _ in each:
        pass
    facts = each.facts()
    assert (facts.dataset, facts.rank, facts.world_size) == ("large+small", 1, 2)
    assert (facts.epoch, facts.step, facts.steps) == (0, steps, steps)
    assert (facts.rows, facts.total_rows, facts.tiers) == (4 * steps, 4 * steps, {"redis": 6})
    assert facts.waits.count == steps


def test_the_memory_is_that_of_the_sources_and_of_one_batch() -> None:
    assert mixture([LARGE, SMALL], [1, 1], Stop.ALL, 8, world=2).prefetch_bytes == 2 * 1000 + 4 * 16


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (
            ([LARGE, SMALL], [1, 2], Stop.ALL, 8),
            r"the state has weights \(1, 2\), but the mixture has weights \(1, 1\)",
        ),
        (([LARGE, SMALL], [1, 1], Stop.FIRST, 8), "the state has stop first, but the mixture has stop all"),
        (([LARGE], [1], Stop.ALL, 8), r"the state has weights \(1,\), but the mixture has weights \(1, 1\)"),
        (
            ([SMALL, LARGE], [1, 1], Stop.ALL, 8),
            "the state has version 'small@1-bbbbbb', but the loader has version 'large",
        ),
    ],
)
def test_the_state_of_another_mixture_is_refused(other: tuple[Any, ...], message: str) -> None:
    state = mixture(*other).state_dict()
    with pytest.raises(UsageError, match=message):
        mixture([LARGE, SMALL], [1, 1], Stop.ALL, 8).load_state_dict(state)


@pytest.mark.parametrize("change", [{"rows": 6}, {"rows": 12}, {"epoch": 1}])
def test_a_changed_position_is_refused(change: dict[str, int]) -> None:
    each = mixture([LARGE, SMALL], [1, 1], Stop.ALL, 8)
    with pytest.raises(UsageError, match="the positions of the datasets in the state are not those of the mixture"):
        each.load_state_dict(each.state_dict() | change)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"rows": 1.5}, "rows is 1.5"),
        ({"weights": 3}, "weights is 3"),
        ({"stop": "last"}, "stop is 'last', not one of first, all"),
        ({"epoch": -1}, "epoch or rows is negative"),
        ({"more": 1}, "its keys differ in more"),
        ({"datasets": [1]}, "this is not the state of a loader: it is int, not an object"),
    ],
)
def test_a_broken_state_is_refused_in_one_line(change: dict[str, Any], reason: str) -> None:
    each = mixture([LARGE, SMALL], [1, 1], Stop.ALL, 8)
    with pytest.raises(UsageError, match=reason):
        each.load_state_dict(each.state_dict() | change)


def test_the_state_of_a_loader_is_not_that_of_a_mixture() -> None:
    each = mixture([LARGE, SMALL], [1, 1], Stop.ALL, 8)
    with pytest.raises(UsageError, match="this is not the state of a mixture: its keys differ in"):
        each.load_state_dict(each.state_dict()["datasets"][0])
    with pytest.raises(UsageError, match="this is not the state of a mixture: it is str, not an object"):
        each.load_state_dict("{}")  # type: ignore[arg-type]


@pytest.mark.parametrize("number", [-1, -5])
def test_steps_and_epochs_count_from_zero(number: int) -> None:
    each = mixture([LARGE, SMALL], [1, 1], Stop.ALL, 8)
    with pytest.raises(UsageError, match=f"epoch {number} does not exist: epochs count from 0"):
        each.set_epoch(number)
    with pytest.raises(UsageError, match=f"step {number} does not exist: steps count from 0"):
        each.state_at(number)


def test_the_order_of_a_mixture_is_the_same_for_ever() -> None:
    each = mixture([LARGE, SMALL], [7, 3], Stop.ALL, 8)
    rows = np.array([row for _ in range(2) for batch in map_rows(each) for row in batch])
    assert hashlib.sha256(rows.astype("<i8").tobytes()).hexdigest()[:16] == "540523c023825eba"
