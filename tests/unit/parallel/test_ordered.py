"""Calls ahead of their consumer: results in order, bounds on unfinished work, errors in place, and a prompt end."""

from __future__ import annotations

import threading
import time
from collections.abc import Generator, Iterator
from typing import Any

import pytest

from millrace.parallel import in_order
from tests.waiting import until

NAME = "millrace-test"


class Calls:
    """A function whose calls finish only once they are released; it records the submitted items."""

    def __init__(self) -> None:
        self.taken: list[int] = []
        self.released: dict[int, threading.Event] = {}

    def items(self, count: int, fails_at: int | None = None) -> Iterator[int]:
        for item in range(count):
            if item == fails_at:
                raise ValueError(f"item {item} cannot be read")
            self.taken.append(item)
            self.released[item] = threading.Event()
            yield item

    def __call__(self, item: int) -> int:
        assert self.released[item].wait(20)
        return item * 10


def running_threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith(NAME)]


def test_results_are_delivered_in_the_order_of_the_items_although_later_calls_finish_first() -> None:
    def slow_first(item: int) -> int:
        time.sleep(0.05 if item % 4 == 0 else 0)
        return item * 10

    pairs = in_order(slow_first, range(20), threads=4, name=NAME, items_max=6)
    assert [(item, call.result()) for item, call in pairs] == [(item, item * 10) for item in range(20)]


@pytest.mark.parametrize(
    ("bounds", "ahead"),
    [
        ({"items_max": 3}, 3),
        ({"unfinished_max": 4}, 4),
        ({"bytes_max": 25, "size_of": lambda _: 10}, 2),
        ({"bytes_max": 5, "size_of": lambda _: 10}, 1),
        ({"items_max": 3, "bytes_max": 1000, "size_of": lambda _: 10}, 3),
    ],
)
def test_no_more_items_are_submitted_than_the_bounds_allow(bounds: dict[str, Any], ahead: int) -> None:
    calls = Calls()
    pairs = in_order(calls, calls.items(50), threads=2, name=NAME, **bounds)
    first = threading.Thread(target=next, args=(pairs,), daemon=True)
    first.start()
    until(lambda: len(calls.taken) == ahead + 1, "the calls ahead", timeout_s=20)
    time.sleep(0.05)
    assert len(calls.taken) == ahead + 1  # the last one was taken and waits for its submission
    for event in calls.released.values():
        event.set()
    first.join(20)
    pairs.close()


@pytest.mark.parametrize(("bounds", "ahead"), [({"unfinished_max": 2}, 30), ({"items_max": 3}, 4)])
def test_finished_calls_count_as_items_but_not_as_unfinished_calls(bounds: dict[str, int], ahead: int) -> None:
    finished = threading.Semaphore(1)
    taken: list[int] = []

    def items() -> Iterator[int]:
        for item in range(30):
            assert finished.acquire(timeout=20)  # each item is taken only when the call before it has finished
            time.sleep(0.002)
            taken.append(item)
            yield item

    def call(item: int) -> int:
        finished.release()
        return item

    pairs = in_order(call, items(), threads=2, name=NAME, **bounds)  # type: ignore[arg-type]
    assert next(pairs)[0] == 0
    assert len(taken) == ahead
    pairs.close()


def test_an_error_of_a_call_stays_in_its_future() -> None:
    pairs = in_order(lambda item: 12 // item, [3, 0, 4], threads=2, name=NAME, items_max=2)
    outcomes = [call.exception() or call.result() for _, call in pairs]
    assert outcomes[0] == 4
    assert isinstance(outcomes[1], ZeroDivisionError)
    assert outcomes[2] == 3


def test_an_error_of_the_items_is_raised_after_the_earlier_results() -> None:
    calls = Calls()
    pairs = in_order(lambda item: item, calls.items(9, fails_at=5), threads=2, name=NAME, items_max=8)
    delivered = []
    with pytest.raises(ValueError, match="item 5 cannot be read"):
        delivered.extend(call.result() for _, call in pairs)
    assert calls.taken == [0, 1, 2, 3, 4]
    until(lambda: not running_threads(), "the threads to end", timeout_s=20)


def test_each_result_before_an_error_of_the_items_is_delivered() -> None:
    calls = Calls()
    pairs = in_order(lambda item: item, calls.items(9, fails_at=5), threads=2, name=NAME, items_max=8)
    assert [next(pairs)[0] for _ in range(5)] == [0, 1, 2, 3, 4]
    with pytest.raises(ValueError, match="item 5"):
        next(pairs)


def test_a_consumer_that_stops_early_cancels_the_queued_calls_and_leaves_no_thread() -> None:
    started: list[int] = []
    closed: list[bool] = []

    def items() -> Generator[int, None, None]:
        try:
            yield from range(100)
        finally:
            closed.append(True)

    def call(item: int) -> int:
        started.append(item)
        time.sleep(0.02)
        return item

    pairs = in_order(call, items(), threads=2, name=NAME, items_max=20)
    next(pairs)
    began = time.monotonic()
    pairs.close()
    assert time.monotonic() - began < 1
    assert closed == [True]
    until(lambda: not running_threads(), "the threads to end", timeout_s=20)
    assert len(started) < 20


def test_a_generator_that_is_dropped_or_never_started_leaves_no_thread() -> None:
    never_started = in_order(lambda item: item, range(5), threads=2, name=NAME)
    del never_started
    dropped = in_order(lambda item: item, range(5), threads=2, name=NAME, items_max=2)
    next(dropped)
    del dropped
    until(lambda: not running_threads(), "the threads to end", timeout_s=20)


def test_closing_inside_a_call_of_the_same_generator_does_not_deadlock() -> None:
    """The garbage collector may close an abandoned generator in one of its own threads."""
    pairs: Any = None
    ended = threading.Event()

    def call(item: int) -> int:
        if item == 1:
            assert may_close.wait(20)
            pairs.close()
            ended.set()
        return item

    may_close = threading.Event()
    pairs = in_order(call, range(9), threads=2, name=NAME, items_max=3)
    next(pairs)
    may_close.set()
    assert ended.wait(20)
    until(lambda: not running_threads(), "the threads to end", timeout_s=20)
