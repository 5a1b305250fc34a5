"""Lanes of a rank and rows of a lane: equal shares, or an error with the nearest numbers that work."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from millrace.errors import UsageError
from millrace.training.order import lane_batch_rows, rank_lanes


@given(share=st.integers(1, 10), world_size=st.integers(1, 10))
def test_the_ranks_share_all_lanes_in_order(share: int, world_size: int) -> None:
    lanes = share * world_size
    assert [lane for rank in range(world_size) for lane in rank_lanes(rank, world_size, lanes)] == list(range(lanes))


@pytest.mark.parametrize(
    ("world_size", "lanes", "hint"),
    [
        (3, 8, "use world_size 2 or 4, or lanes 6 or 9"),
        (16, 8, "use world_size 8, or lanes 16"),
        (5, 7, "use world_size 1 or 7, or lanes 5 or 10"),
    ],
)
def test_a_refused_world_names_the_nearest_worlds_and_lanes(world_size: int, lanes: int, hint: str) -> None:
    with pytest.raises(UsageError) as refusal:
        rank_lanes(0, world_size, lanes)
    assert str(refusal.value) == f"{lanes} lanes cannot be shared equally by world_size {world_size}: {hint}"


@pytest.mark.parametrize(("rank", "world_size"), [(-1, 2), (2, 2), (0, 0)])
def test_a_rank_outside_the_world_is_refused(rank: int, world_size: int) -> None:
    with pytest.raises(UsageError, match=f"rank {rank} is not one of {world_size} ranks: ranks count from 0"):
        rank_lanes(rank, world_size, 8)


def test_each_lane_gives_an_equal_part_of_a_batch() -> None:
    assert lane_batch_rows(4096, 8) == 512


@pytest.mark.parametrize(
    ("batch", "lanes", "world_size", "hint"),
    [
        (250, 8, 1, "use global_batch_rows 248 or 256, or lanes 5 or 10"),
        (250, 8, 2, "use global_batch_rows 248 or 256, or lanes 2 or 10"),
        (4, 8, 4, "use global_batch_rows 8, or lanes 4"),
        (0, 8, 1, "use global_batch_rows 8"),
        (-3, 8, 1, "use global_batch_rows 8"),
    ],
)
def test_a_refused_batch_names_the_nearest_batches_and_lanes(
    batch: int, lanes: int, world_size: int, hint: str
) -> None:
    with pytest.raises(UsageError) as refusal:
        lane_batch_rows(batch, lanes, world_size)
    assert str(refusal.value) == f"global_batch_rows {batch} is not a multiple of lanes {lanes}: {hint}"
