from __future__ import annotations

import math
import pickle
import threading
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from millrace.training.progress import WaitTimes
from millrace.training.progress.wait_times import BUCKETS, LARGEST_S, LEAST_S

SECONDS = st.floats(LEAST_S, LARGEST_S, exclude_max=True)


def histogram_of(times_s: list[float]) -> WaitTimes:
    waits = WaitTimes()
    for seconds in times_s:
        waits.add(seconds)
    return waits


@given(st.lists(SECONDS, min_size=1, max_size=300), st.sampled_from([0.0, 0.01, 0.5, 0.9, 0.99, 1.0]))
def test_a_quantile_is_within_two_percent_of_the_time_of_that_rank(times_s: list[float], q: float) -> None:
    exact_s = sorted(times_s)[max(math.ceil(q * len(times_s)), 1) - 1]
    quantile_s = histogram_of(times_s).quantile(q)
    assert quantile_s == pytest.approx(exact_s, rel=0.021)


@given(st.lists(SECONDS, max_size=50), st.lists(SECONDS, max_size=50))
def test_merged_histograms_equal_one_histogram_of_all_times(first: list[float], second: list[float]) -> None:
    merged, both = histogram_of(first), histogram_of(first + second)
    merged.merge(histogram_of(second))
    assert merged.count == both.count == len(first) + len(second)
    assert [merged.quantile(q / 20) for q in range(21)] == [both.quantile(q / 20) for q in range(21)]


@pytest.mark.parametrize("seconds", [0.0, -1.0, 1e-9])
def test_a_time_below_the_least_counts_as_the_least(seconds: float) -> None:
    assert histogram_of([seconds]).quantile(0.5) == LEAST_S


@pytest.mark.parametrize("seconds", [LARGEST_S, 1e9, math.inf])
def test_a_time_above_the_largest_counts_as_the_largest(seconds: float) -> None:
    assert histogram_of([seconds]).quantile(0.5) == LARGEST_S


def test_a_histogram_without_times_has_no_quantile() -> None:
    assert WaitTimes().quantile(0.99) is None
    assert WaitTimes().count == 0


def test_one_long_wait_in_a_hundred_is_seen_by_the_largest_quantile_only() -> None:
    waits = histogram_of([0.001] * 99 + [2.0])
    assert waits.quantile(0.99) == pytest.approx(0.001, rel=0.021)
    assert waits.quantile(1.0) == pytest.approx(2.0, rel=0.021)


def test_a_histogram_keeps_its_size_and_survives_pickle() -> None:
    waits = histogram_of([10.0 ** (power / 10) for power in range(-80, 50)])
    assert len(waits._counts) == BUCKETS < 600
    assert pickle.loads(pickle.dumps(waits)).quantile(0.5) == waits.quantile(0.5)


def test_adding_a_time_costs_under_a_microsecond() -> None:
    waits = WaitTimes()
    best_s = math.inf
    for _ in range(5):
        began = time.thread_time()
        for _ in range(20_000):
            waits.add(0.0123)
        best_s = min(best_s, (time.thread_time() - began) / 20_000)
    assert best_s < 1e-6


def test_a_quantile_can_be_asked_while_another_thread_adds() -> None:
    waits, over = WaitTimes(), threading.Event()

    def keep_adding() -> None:
        while not over.is_set():
            waits.add(0.5)

    thread = threading.Thread(target=keep_adding)
    thread.start()
    try:
        for _ in range(200):
            assert waits.quantile(0.99) in (None, pytest.approx(0.5, rel=0.021))
    finally:
        over.set()
        thread.join()
