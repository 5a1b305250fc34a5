"""A suspected node gets no writes until it answers a probe."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest

from millrace.store.cluster.suspected_nodes import SuspectedNodes
from tests.unit.store.fakes import QUICK_PROBES, FakeHost

DEADLINE_S = 20


class Loop:
    """An event loop whose calls the test executes. ``delayed`` are the calls with a delay."""

    def __init__(self) -> None:
        self.posted: list[tuple[Callable[..., None], tuple[Any, ...]]] = []
        self.delayed: list[tuple[float, Callable[..., None], tuple[Any, ...]]] = []
        self.has_posted = threading.Event()

    def post(self, call: Callable[..., None], *args: Any) -> None:
        self.posted.append((call, args))
        self.has_posted.set()

    def call_later(self, delay_s: float, call: Callable[..., None], *args: Any) -> None:
        self.delayed.append((delay_s, call, args))

    def run(self) -> None:
        while self.posted:
            call, args = self.posted.pop(0)
            call(*args)
        self.has_posted.clear()


class Monitor:
    """A monitor that finds ``unresponsive`` nodes, once ``answered`` is set. It records its calls."""

    times = QUICK_PROBES

    def __init__(self) -> None:
        self.unresponsive: list[Any] = []
        self.error: Exception | None = None
        self.answered = threading.Event()
        self.checks: list[list[Any]] = []
        self.deprioritized: list[Any] = []
        self.probes: list[tuple[Any, Callable[[Any], None]]] = []

    def find_unresponsive(self, hosts: list[Any], *, first_answer_s: float) -> list[Any]:
        self.checks.append(hosts)
        assert first_answer_s == self.times.first_answer_s
        assert self.answered.wait(DEADLINE_S)
        if self.error is not None:
            raise self.error
        return self.unresponsive

    def deprioritize(self, host: Any) -> None:
        self.deprioritized.append(host)

    def probe(self, host: Any, timeout_s: float, on_answer: Callable[[Any], None]) -> None:
        self.probes.append((host, on_answer))


class Setup:
    def __init__(self) -> None:
        self.a: Any = FakeHost("10.0.0.1")
        self.b: Any = FakeHost("10.0.0.2")
        self.loop, self.monitor = Loop(), Monitor()
        self.notified: list[Any] = []
        self.suspected = SuspectedNodes(
            self.monitor,  # type: ignore[arg-type]
            self.loop,  # type: ignore[arg-type]
            self.notified.append,
        )

    @property
    def live(self) -> list[Any]:
        return self.suspected.live([self.a, self.b])

    def end_check(self) -> None:
        self.monitor.answered.set()
        assert self.loop.has_posted.wait(DEADLINE_S)
        self.loop.run()


@pytest.fixture
def setup() -> Setup:
    return Setup()


def test_a_node_that_a_check_finds_unresponsive_is_suspected(setup: Setup) -> None:
    setup.monitor.unresponsive = [setup.b]
    setup.suspected.check([setup.a, setup.b])
    assert setup.live == [setup.a, setup.b]
    setup.end_check()
    assert setup.live == [setup.a]
    assert setup.notified == setup.monitor.deprioritized == [setup.b]


def test_a_check_in_progress_is_not_repeated(setup: Setup) -> None:
    for _ in range(4):
        setup.suspected.check([setup.a, setup.b])
    setup.end_check()
    assert len(setup.monitor.checks) == 1
    setup.suspected.check([setup.a, setup.b])
    setup.end_check()
    assert len(setup.monitor.checks) == 2


def test_a_check_that_fails_suspects_no_node_and_another_check_is_possible(
    setup: Setup, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(threading, "excepthook", lambda _error: None)
    setup.monitor.error = RuntimeError("boom")
    setup.suspected.check([setup.a, setup.b])
    setup.end_check()
    assert setup.live == [setup.a, setup.b]
    setup.monitor.error, setup.monitor.unresponsive = None, [setup.a]
    setup.suspected.check([setup.a, setup.b])
    setup.end_check()
    assert setup.live == [setup.b]


def test_a_suspected_node_is_probed_at_every_interval_until_it_answers(setup: Setup) -> None:
    setup.suspected.suspect(setup.b)
    setup.suspected.suspect(setup.b)
    assert setup.notified == [setup.b]
    for _ in range(3):
        ((delay_s, call, args),) = setup.loop.delayed
        assert delay_s == QUICK_PROBES.interval_s
        setup.loop.delayed.clear()
        call(*args)
    assert [host for host, _ in setup.monitor.probes] == [setup.b] * 3
    assert setup.monitor.deprioritized == [setup.b] * 4
    setup.monitor.probes[0][1]((setup.b, ConnectionError("reset")))
    setup.loop.run()
    assert setup.live == [setup.a]
    setup.monitor.probes[1][1]((setup.b, None))
    setup.loop.run()
    assert setup.live == [setup.a, setup.b]
    ((_, call, args),) = setup.loop.delayed
    setup.loop.delayed.clear()
    call(*args)
    assert setup.loop.delayed == []
    assert len(setup.monitor.probes) == 3


def test_a_node_that_the_driver_marks_down_is_not_live(setup: Setup) -> None:
    setup.a.is_up = False
    assert setup.live == [setup.b]
