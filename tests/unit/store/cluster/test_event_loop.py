"""The thread that executes the calls of a writer, in order or after a delay."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator

import pytest

from millrace.store.cluster.event_loop import EventLoop

DEADLINE_S = 20


@pytest.fixture
def errors() -> list[str]:
    return []


@pytest.fixture
def loop(errors: list[str]) -> Iterator[EventLoop]:
    loop = EventLoop("loop", on_error=lambda error: errors.append(str(error)), on_close=lambda: errors.append("closed"))
    yield loop
    loop.close(DEADLINE_S)
    assert not loop.thread.is_alive()


def executed(loop: EventLoop) -> None:
    """Wait until all calls posted so far are executed."""
    done = threading.Event()
    loop.post(done.set)
    assert done.wait(DEADLINE_S)


def test_timers_fire_under_a_steady_stream_of_calls(loop: EventLoop) -> None:
    fired = threading.Event()
    stop = threading.Event()

    def stream() -> None:
        if not stop.is_set():
            loop.post(stream)  # as soon as one call is executed the next is queued

    def begin() -> None:
        loop.call_later(0.01, fired.set)
        stream()
        stream()

    loop.post(begin)
    assert fired.wait(DEADLINE_S)
    stop.set()


def test_delayed_calls_are_executed_by_their_time_and_equal_times_in_order(loop: EventLoop) -> None:
    order: list[str] = []
    over = threading.Event()

    def begin() -> None:
        loop.call_later(0.05, over.set)
        for delay_s, name in ((0.03, "third"), (0.0, "first"), (0.0, "second")):
            loop.call_later(delay_s, order.append, name)

    loop.post(begin)
    assert over.wait(DEADLINE_S)
    assert order == ["first", "second", "third"]


def test_an_error_of_a_call_is_reported_and_the_next_call_is_executed(loop: EventLoop, errors: list[str]) -> None:
    def fail(message: str) -> None:
        raise RuntimeError(message)

    loop.post(fail, "boom")
    executed(loop)
    assert errors == ["boom"]


def test_closing_executes_the_calls_posted_before_and_reports_the_end(loop: EventLoop, errors: list[str]) -> None:
    hold = threading.Event()
    calls: list[Callable[[], object]] = [hold.wait, lambda: errors.append("last call")]
    for call in calls:
        loop.post(call)
    hold.set()
    loop.close(DEADLINE_S)
    assert errors == ["last call", "closed"]
