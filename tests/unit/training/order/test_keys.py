"""Permutations from raw random numbers: golden hashes, uniform, and one stream for each part of the order."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from itertools import permutations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from millrace.training.order import OrderSpec, Shuffle
from millrace.training.order.keys import Purpose, permutation, sorted_indices

SPEC = OrderSpec("flights@12-3fa9c1", "train", 7, lanes=8, shuffle=Shuffle.WINDOW, window_chunks=4)
CHI_SQUARE_119 = 172.7
"""The 0.999 quantile of chi-square with 5! - 1 degrees of freedom."""


def digest(values: np.ndarray) -> str:
    return hashlib.sha256(np.asarray(values, "<i8").tobytes()).hexdigest()[:16]


@pytest.mark.parametrize(
    ("purpose", "golden"),
    [(Purpose.CHUNKS, "ccbcf630c9ad173d"), (Purpose.FRAGMENTS, "25de2131140f084b"), (Purpose.ROWS, "b78fa69838b0f8e0")],
)
def test_the_permutation_of_each_purpose_has_its_golden_hash(purpose: Purpose, golden: str) -> None:
    assert digest(permutation(1000, purpose, SPEC, epoch=3, lane=5, window=2)) == golden


def test_a_short_permutation_is_the_same_for_ever() -> None:
    assert permutation(10, Purpose.ROWS, SPEC).tolist() == [5, 8, 0, 3, 2, 7, 6, 4, 9, 1]


@given(length=st.integers(0, 3000), epoch=st.integers(0, 2**40), window=st.integers(0, 2**40))
def test_each_index_is_in_a_permutation_once(length: int, epoch: int, window: int) -> None:
    result = permutation(length, Purpose.ROWS, SPEC, epoch=epoch, window=window)
    assert result.dtype == np.int64
    assert np.array_equal(np.sort(result), np.arange(length))


def test_indices_are_sorted_by_the_high_bits_and_equal_ones_by_index() -> None:
    keys = np.array([3 << 60, 1 << 60, (3 << 60) + 1, 2 << 60], np.uint64)
    assert sorted_indices(keys).tolist() == [1, 3, 0, 2]


def test_indices_beyond_one_block_are_those_of_a_stable_sort() -> None:
    keys = np.random.Philox(key=3).random_raw(40_000)
    expected = np.argsort(keys >> np.uint64(16), kind="stable")
    assert np.array_equal(sorted_indices(keys), expected)


def test_the_permutations_of_windows_are_uniform() -> None:
    orders = dict.fromkeys(permutations(range(5)), 0)
    for window in range(12_000):
        orders[tuple(permutation(5, Purpose.ROWS, SPEC, window=window).tolist())] += 1
    expected = 12_000 / len(orders)
    assert sum((count - expected) ** 2 / expected for count in orders.values()) < CHI_SQUARE_119


def test_each_row_of_a_large_window_goes_everywhere_equally_often() -> None:
    counts = np.zeros((10, 10))
    for window in range(40):
        positions = permutation(5000, Purpose.ROWS, SPEC, window=window)
        np.add.at(counts, (np.arange(5000) * 10 // 5000, positions * 10 // 5000), 1)
    expected = 40 * 5000 / 100
    # 81 degrees of freedom: the 0.999 quantile is 126.
    assert float(((counts - expected) ** 2 / expected).sum()) < 126


def test_each_part_of_the_order_has_a_random_stream_of_its_own() -> None:
    specs = [SPEC, replace(SPEC, seed=8), replace(SPEC, version="flights@13-77aa01"), replace(SPEC, split=None)]
    places = [{}, {"epoch": 1}, {"lane": 1}, {"window": 1}]
    streams = {
        digest(permutation(100, purpose, spec, **place)) for purpose in Purpose for spec in specs for place in places
    }
    assert len(streams) == len(Purpose) * len(specs) * len(places)


def test_lanes_and_window_size_do_not_change_a_stream() -> None:
    other = replace(SPEC, lanes=2, window_chunks=1, shuffle=Shuffle.FULL)
    assert np.array_equal(permutation(100, Purpose.CHUNKS, SPEC), permutation(100, Purpose.CHUNKS, other))
