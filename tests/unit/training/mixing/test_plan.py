"""The plan of a mixture: rows of each dataset from the rows handed out, the ends of an epoch, and elastic batches."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from millrace.errors import UsageError
from millrace.training.mixing.plan import MixPlan, Part, Stop, Stretch

PARTS = st.lists(
    st.builds(
        Part,
        version=st.just("flights@12-3fa9c1"),
        weight=st.integers(1, 20),
        lanes=st.sampled_from([1, 2, 4, 6, 8]),
        lane_rows=st.integers(1, 60),
    ),
    min_size=1,
    max_size=4,
).map(tuple)


def part(weight: int, lanes: int, lane_rows: int) -> Part:
    return Part("flights@12-3fa9c1", weight, lanes, lane_rows)


@st.composite
def plans(draw: st.DrawFn) -> MixPlan:
    parts, stop = draw(PARTS), draw(st.sampled_from(Stop))
    unit_rows = math.lcm(*(each.lanes for each in parts))
    return possible_plan(parts, draw(st.integers(1, 5)) * unit_rows, stop)


def possible_plan(parts: tuple[Part, ...], global_batch_rows: int, stop: Stop) -> MixPlan:
    try:
        return MixPlan(parts, global_batch_rows, stop)
    except UsageError:
        assume(False)
        raise


def rows_of_epoch(plan: MixPlan) -> int:
    return plan.batches_from(0).batches * plan.global_batch_rows


@given(plan=plans())
def test_every_batch_has_equally_many_rows_and_equally_many_of_each_lane(plan: MixPlan) -> None:
    for batch in range(plan.batches_from(0).batches):
        first, stop = (plan.lane_rows_after(each * plan.global_batch_rows) for each in (batch, batch + 1))
        rows = [(after - before) * part.lanes for part, before, after in zip(plan.parts, first, stop, strict=True)]
        assert min(rows) >= 0
        assert sum(rows) == plan.global_batch_rows


@given(plan=plans())
def test_an_epoch_that_stops_first_repeats_no_row_and_ends_when_one_more_unit_would(plan: MixPlan) -> None:
    assume(plan.stop is Stop.FIRST)
    assert plan.epochs_of_parts == (1,) * len(plan.parts)
    last = plan.lane_rows_after(plan.epoch_rows)
    assert all(rows <= part.lane_rows for rows, part in zip(last, plan.parts, strict=True))
    more = plan.lane_rows_after(plan.epoch_rows + plan.unit_rows)
    assert any(rows > part.lane_rows for rows, part in zip(more, plan.parts, strict=True))
    assert 0 <= plan.epoch_rows - rows_of_epoch(plan) < plan.global_batch_rows


@given(plan=plans())
def test_an_epoch_that_stops_with_all_hands_out_every_row_and_one_unit_less_would_not(plan: MixPlan) -> None:
    assume(plan.stop is Stop.ALL)
    last = plan.lane_rows_after(plan.epoch_rows)
    assert all(rows >= part.lane_rows for rows, part in zip(last, plan.parts, strict=True))
    less = plan.lane_rows_after(plan.epoch_rows - plan.unit_rows)
    assert any(rows < part.lane_rows for rows, part in zip(less, plan.parts, strict=True))
    assert 0 <= rows_of_epoch(plan) - plan.epoch_rows < plan.global_batch_rows


@given(plan=plans(), batch_units=st.integers(1, 5))
def test_the_rows_handed_out_do_not_depend_on_the_batch_size(plan: MixPlan, batch_units: int) -> None:
    other = possible_plan(plan.parts, batch_units * plan.unit_rows, plan.stop)
    assert other.epoch_rows == plan.epoch_rows
    assert other.epochs_of_parts == plan.epochs_of_parts
    for rows in range(0, plan.epoch_rows, plan.unit_rows):
        assert other.lane_rows_after(rows) == plan.lane_rows_after(rows)


@given(plan=plans(), epoch=st.integers(0, 3))
def test_the_stretches_of_all_batches_are_the_epochs_of_each_dataset_row_after_row(plan: MixPlan, epoch: int) -> None:
    ends = [plan.lane_rows_after(batch * plan.global_batch_rows) for batch in range(plan.batches_from(0).batches + 1)]
    for number, part in enumerate(plan.parts):
        rows = [
            (stretch.epoch, row)
            for first, stop in pairwise(ends)
            for stretch in plan.stretches(number, epoch, first[number], stop[number])
            for row in range(stretch.first, stretch.stop)
        ]
        start = epoch * plan.epochs_of_parts[number]
        assert rows == [(start + row // part.lane_rows, row % part.lane_rows) for row in range(ends[-1][number])]


def test_a_smaller_dataset_goes_on_with_its_next_epochs() -> None:
    plan = MixPlan((part(1, 2, 10), part(1, 2, 4)), 4, Stop.ALL)
    assert plan.epoch_rows == 38
    assert plan.epochs_of_parts == (1, 3)
    assert plan.stretches(1, 2, 3, 6) == [Stretch(6, 3, 4), Stretch(7, 0, 2)]


def test_a_resumed_epoch_has_the_rest_of_its_batches() -> None:
    plan = MixPlan((part(7, 2, 100), part(3, 2, 100)), 20, Stop.FIRST)
    assert plan.epoch_rows == 286
    assert plan.batches_from(0).batches == 14
    assert plan.batches_from(200).batches == 4
    assert replace(plan, global_batch_rows=30).batches_from(200).batches == 2


def test_a_batch_must_be_a_multiple_of_the_lanes_of_all_datasets() -> None:
    with pytest.raises(
        UsageError, match="global_batch_rows 40 is not a multiple of lanes 24: use global_batch_rows 24 or 48"
    ):
        MixPlan((part(1, 8, 100), part(1, 6, 100)), 40, Stop.FIRST)


def test_a_mixture_without_one_full_batch_is_refused() -> None:
    with pytest.raises(UsageError, match="16 rows until its first dataset is used up, and no full batch of 24 rows"):
        MixPlan((part(1, 8, 1), part(1, 8, 100)), 24, Stop.FIRST)


def test_a_dataset_of_which_an_epoch_has_no_row_is_refused() -> None:
    with pytest.raises(
        UsageError, match="an epoch of the mixture has no row of flights@12-3fa9c1: use a larger weight"
    ):
        MixPlan((part(100, 2, 4), part(1, 2, 4)), 4, Stop.FIRST)


def test_a_dataset_with_fewer_rows_than_lanes_is_refused() -> None:
    with pytest.raises(UsageError, match="flights@12-3fa9c1 has fewer rows than its 8 lanes: use fewer lanes"):
        MixPlan((part(1, 8, 0),), 8, Stop.ALL)
