"""Lanes: equal lengths, every row in one lane, and few divided chunks."""

from __future__ import annotations

from collections import Counter

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from millrace.training.order.lanes import LaneCuts
from tests.unit.training.order.strategies import CHUNK_ROWS


def cuts_of(chunk_rows: tuple[int, ...], lanes: int) -> LaneCuts:
    return LaneCuts(np.arange(len(chunk_rows)), np.array(chunk_rows, np.int64), lanes)


@given(chunk_rows=CHUNK_ROWS, lanes=st.integers(1, 40))
def test_lanes_differ_by_at_most_one_row(chunk_rows: tuple[int, ...], lanes: int) -> None:
    cuts = cuts_of(chunk_rows, lanes)
    lengths = [stop - first for first, stop in map(cuts.bounds, range(lanes))]
    assert sum(lengths) == cuts.rows == sum(chunk_rows)
    assert max(lengths) - min(lengths) <= 1
    assert lengths == [int(cuts.fragments(lane).rows.sum()) for lane in range(lanes)]


@given(chunk_rows=CHUNK_ROWS, lanes=st.integers(1, 40))
def test_the_fragments_of_all_lanes_are_the_rows_in_order(chunk_rows: tuple[int, ...], lanes: int) -> None:
    cuts = cuts_of(chunk_rows, lanes)
    rows = [
        (fragment.chunk, fragment.first_row + row)
        for lane in range(lanes)
        for fragment in cuts.fragments(lane).between(0, len(cuts.fragments(lane)))
        for row in range(fragment.rows)
    ]
    assert rows == [(chunk, row) for chunk, length in enumerate(chunk_rows) for row in range(length)]


@given(chunk_rows=st.lists(st.integers(1, 25), min_size=1, max_size=12), lanes=st.integers(1, 8))
def test_at_most_lanes_less_one_cuts_divide_a_chunk(chunk_rows: list[int], lanes: int) -> None:
    cuts = cuts_of(tuple(chunk_rows), lanes)
    lanes_of_chunk = Counter(chunk for lane in range(lanes) for chunk in cuts.fragments(lane).chunk.tolist())
    assert sum(count - 1 for count in lanes_of_chunk.values()) <= lanes - 1


def test_a_chunk_without_rows_is_in_no_lane() -> None:
    cuts = cuts_of((0, 3, 0, 0, 3, 0), 2)
    assert [cuts.fragments(lane).chunk.tolist() for lane in range(2)] == [[1], [4]]


def test_more_lanes_than_rows_leave_some_lanes_empty() -> None:
    assert [len(cuts_of((2,), 4).fragments(lane)) for lane in range(4)] == [0, 1, 0, 1]


def test_a_split_without_chunks_has_no_rows() -> None:
    assert cuts_of((), 2).rows == 0
    assert len(cuts_of((), 2).fragments(1)) == 0
