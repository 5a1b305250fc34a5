"""Windows of a lane: consecutive, and resumed at any row."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from millrace.training.order import Fragment, Window
from millrace.training.order.windows import Fragments, windows_of


def fragments_of(rows: list[int]) -> Fragments:
    lengths = np.array(rows, np.int64)
    return Fragments(np.arange(len(rows)), np.zeros_like(lengths), lengths)


@given(rows=st.lists(st.integers(1, 20), min_size=1, max_size=12), window_chunks=st.integers(1, 5))
def test_windows_follow_each_other_without_a_gap(rows: list[int], window_chunks: int) -> None:
    windows = list(windows_of(fragments_of(rows), window_chunks, epoch=2, lane=1, from_row=0))
    assert [each.index for each in windows] == list(range(len(windows)))
    assert all(len(each.fragments) == window_chunks for each in windows[:-1])
    assert [each.first_row for each in windows] == [
        sum(each.rows for each in windows[:at]) for at in range(len(windows))
    ]
    assert [fragment.rows for each in windows for fragment in each.fragments] == rows


@given(
    rows=st.lists(st.integers(1, 20), min_size=1, max_size=12),
    window_chunks=st.integers(1, 5),
    from_row=st.integers(0, 300),
)
def test_windows_from_a_row_are_those_that_end_after_it(rows: list[int], window_chunks: int, from_row: int) -> None:
    windows = list(windows_of(fragments_of(rows), window_chunks, epoch=0, lane=0, from_row=0))
    resumed = list(windows_of(fragments_of(rows), window_chunks, epoch=0, lane=0, from_row=from_row))
    assert resumed == ([each for each in windows if each.first_row + each.rows > from_row] or windows[-1:])


def test_a_window_names_its_epoch_lane_and_fragments() -> None:
    window = next(windows_of(fragments_of([3, 4, 5]), 2, epoch=6, lane=7, from_row=8))
    assert window == Window(epoch=6, lane=7, index=1, first_row=7, rows=5, fragments=(Fragment(2, 0, 5),))


def test_a_lane_without_rows_has_no_window() -> None:
    with pytest.raises(StopIteration):
        next(windows_of(fragments_of([]), 2, epoch=0, lane=0, from_row=0))
