"""A node is unresponsive only if it does not answer while the other one does, however slow both are."""

from __future__ import annotations

import heapq
import itertools
import queue
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
from cassandra.connection import ConnectionBusy

from millrace.store.cluster.node_monitor import NodeMonitor
from millrace.store.cluster.probe_round import ProbeTimes

TIMES = ProbeTimes()


@dataclass(eq=False)
class Node:
    """A node as the monitor sees it."""

    endpoint: str
    is_up: bool | None = True

    def __repr__(self) -> str:
        return self.endpoint


@dataclass
class World:
    """Two nodes, and a clock that advances while the monitor waits.

    ``delays[endpoint]`` is the seconds until a node answers a probe, or None for never. ``failures[endpoint]`` are the
    errors with which its next probes fail at once.
    """

    delays: dict[str, float | None]
    failures: dict[str, list[Exception]] = field(default_factory=dict)
    now: float = 0.0
    probed: list[tuple[float, str]] = field(default_factory=list)
    _timers: list[Any] = field(default_factory=list)
    _serial: Any = field(default_factory=itertools.count)

    def later(self, delay_s: float, call: Callable[..., None], *args: Any) -> None:
        heapq.heappush(self._timers, (self.now + delay_s, next(self._serial), call, args))

    def execute_async(self, query: str, *, host: Node, timeout: float) -> Any:
        world, delay = self, self.delays[host.endpoint]
        failures = self.failures.get(host.endpoint, [])
        self.probed.append((self.now, host.endpoint))

        class Future:
            def add_callbacks(self, done: Callable[[Any], None], failed: Callable[[Any], None]) -> None:
                if failures:
                    failed(failures.pop(0))
                elif delay is not None and delay < timeout:
                    world.later(delay, done, [])
                else:
                    world.later(timeout, failed, RuntimeError("timed out"))

        return Future()

    def run(self, until: float) -> None:
        while self._timers and self._timers[0][0] <= until:
            self.now, _, call, args = heapq.heappop(self._timers)
            call(*args)
        self.now = until

    def new_queue(self) -> Any:
        world, items = self, deque[Any]()

        class Answers:
            put = items.append

            def get(self, *, timeout: float) -> Any:
                deadline = world.now + timeout
                while not items:
                    if not world._timers or world._timers[0][0] > deadline:
                        world.now = deadline
                        raise queue.Empty
                    world.run(world._timers[0][0])
                return items.popleft()

        return Answers()

    def monitor(self, *nodes: Node) -> NodeMonitor:
        monitor = NodeMonitor(clock=lambda: self.now, new_queue=self.new_queue)
        monitor.bind(lambda: self, lambda: list(nodes or (A, B)))  # type: ignore[arg-type]
        return monitor


A, B = Node("a"), Node("b")


def unresponsive(world: World, *, first_answer_s: float = TIMES.first_answer_s) -> list[Any]:
    return world.monitor().find_unresponsive([A, B], first_answer_s=first_answer_s)  # type: ignore[list-item]


@pytest.mark.parametrize(("a", "b", "frozen"), [(0.01, None, B), (None, 0.01, A)])
def test_a_node_that_does_not_answer_while_the_other_does_is_unresponsive_after_half_a_second(
    a: float | None, b: float | None, frozen: Node
) -> None:
    world = World({"a": a, "b": b})
    assert unresponsive(world) == [frozen]
    assert world.now == TIMES.switch_s == 0.5


def test_no_node_is_unresponsive_if_both_answer() -> None:
    world = World({"a": 0.01, "b": 0.49})
    assert unresponsive(world) == []
    assert world.now == pytest.approx(0.49)


@pytest.mark.parametrize("late_s", [0.6, 1.5, 4.0])
def test_a_frozen_node_is_unresponsive_as_soon_as_the_busy_one_answers(late_s: float) -> None:
    world = World({"a": late_s, "b": None})
    assert unresponsive(world) == [B]
    assert world.now == pytest.approx(late_s + TIMES.grace_s)


def test_of_two_busy_nodes_the_slightly_later_one_is_not_unresponsive() -> None:
    assert unresponsive(World({"a": 0.6, "b": 0.6 + TIMES.grace_s * 0.9})) == []
    assert unresponsive(World({"a": 2.0, "b": 2.0})) == []


def test_if_no_node_answers_none_is_unresponsive() -> None:
    world = World({"a": None, "b": None})
    assert unresponsive(world) == []
    assert world.now == pytest.approx(TIMES.first_answer_s)
    world.delays["a"] = 0.01
    assert unresponsive(world) == [B]


def test_a_caller_that_does_not_wait_for_the_first_answer_takes_busy_nodes_for_busy() -> None:
    world = World({"a": 0.6, "b": None})
    assert unresponsive(world, first_answer_s=0.0) == []
    assert world.now == pytest.approx(TIMES.switch_s)


def test_a_node_whose_connection_has_ended_is_unresponsive_as_soon_as_its_second_probe_fails() -> None:
    errors = [ConnectionError("reset"), ConnectionError("reset")]
    world = World({"a": None, "b": 0.001}, {"a": errors})
    assert unresponsive(world) == [A]
    assert world.now == pytest.approx(0.001 + TIMES.resend_s)


def test_a_node_that_answers_on_a_new_connection_is_not_unresponsive() -> None:
    assert unresponsive(World({"a": 0.01, "b": 0.001}, {"a": [ConnectionError("reset")]})) == []


@pytest.mark.parametrize(("refusals", "frozen"), [(10, []), (1000, [A])])
def test_a_probe_that_finds_no_room_on_its_connection_is_sent_again_until_it_is_decided(
    refusals: int, frozen: list[Node]
) -> None:
    world = World({"a": 0.01, "b": 0.001}, {"a": [ConnectionBusy("overloaded")] * refusals})
    assert unresponsive(world) == frozen


def test_a_node_that_answers_is_decided_without_waiting_for_the_other() -> None:
    world = World({"a": 0.01, "b": None})
    assert world.monitor().find_unresponsive([A]) == []  # type: ignore[list-item]
    assert world.now == pytest.approx(0.01)


def test_an_unresponsive_node_is_probed_again_after_its_cool_down() -> None:
    world = World({"a": 0.01, "b": None})
    monitor: Any = world.monitor()
    assert not monitor.is_unresponsive(B)
    assert world.probed == []
    assert monitor.probe_unresponsive(B)
    assert (monitor.is_unresponsive(B), monitor.is_deprioritized(B), monitor.is_deprioritized(A)) == (True, True, False)
    probes = len(world.probed)
    world.run(world.now + TIMES.cool_down_s)
    assert not monitor.is_deprioritized(B)
    assert len(world.probed) == probes
    assert monitor.is_unresponsive(B)
    assert len(world.probed) == probes + 2
    world.delays["b"] = 0.01
    world.run(world.now + TIMES.cool_down_s)
    assert not monitor.is_unresponsive(B)


def test_any_answer_to_a_probe_makes_a_node_responsive_again() -> None:
    world = World({"a": 0.01, "b": None})
    monitor: Any = world.monitor()
    assert monitor.probe_unresponsive(B)
    world.delays["b"] = 0.01
    answers: list[Any] = []
    monitor.probe(B, 5.0, answers.append)
    world.run(world.now + 0.02)
    assert answers == [(B, None)]
    assert not monitor.is_unresponsive(B)
    assert not monitor.is_deprioritized(B)


def test_a_node_that_is_down_is_unavailable_without_a_probe() -> None:
    world = World({"a": 0.01, "b": 0.01})
    assert world.monitor().is_unavailable(Node("c", is_up=False))  # type: ignore[arg-type]
    assert world.probed == []


def test_missing_nodes_are_down_or_silent_for_four_seconds() -> None:
    down = Node("c", is_up=False)
    world = World({"a": 3.9, "b": None, "c": 0.01})
    assert world.monitor(A, B, down).missing() == [B, down]
    assert world.now == pytest.approx(TIMES.refuse_s) == 4.0
    assert World({"a": None, "b": None}).monitor().missing() == [A, B]
    assert World({"a": 0.1, "b": 0.1}).monitor().missing() == []


def test_a_lost_node_is_passed_to_every_subscriber() -> None:
    lost: list[Any] = []
    monitor: Any = World({"a": 0.01, "b": 0.01}).monitor()
    monitor.subscribers += [lost.append, lost.append]
    monitor.on_down(B)
    monitor.on_remove(A)
    monitor.on_up(A)
    assert lost == [B, B, A, A]
