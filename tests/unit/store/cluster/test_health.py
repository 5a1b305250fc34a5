"""A node is suspected only if it is unresponsive while the other one responds, however slow both are."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

from millrace.store.cluster.health import GRACE_S, PROBE_PATIENCE_S, PROBE_TIMEOUT_S, Health


@dataclass(eq=False)
class Node:
    """A node as the health check sees it."""

    endpoint: str
    is_up: bool | None = True


@dataclass
class World:
    """A clock moved by hand; ``slow[endpoint]`` is the seconds until a node responds, or None for never."""

    slow: dict[str, float | None]
    now: float = 0.0
    suspected: list[tuple[float, str]] = field(default_factory=list)
    asked_last: set[str] = field(default_factory=set)
    _timers: list[Any] = field(default_factory=list)
    _serial: Any = field(default_factory=itertools.count)

    def later(self, delay_s: float, call: Callable[..., None], *args: Any) -> None:
        heapq.heappush(self._timers, (self.now + delay_s, next(self._serial), call, args))

    def deprioritize(self, host: Node) -> None:
        self.asked_last.add(host.endpoint)

    def speaks(self, host: Node) -> None:
        self.asked_last.discard(host.endpoint)

    @property
    def probes(self) -> World:
        return self

    def execute_async(self, query: str, *, host: Node, timeout: float) -> Any:
        world, delay = self, self.slow[host.endpoint]

        class Future:
            def add_callbacks(self, done: Callable[[Any], None], failed: Callable[[Any], None]) -> None:
                if delay is not None and delay < timeout:
                    world.later(delay, done, [])
                else:
                    world.later(timeout, failed, RuntimeError("timed out"))

        return Future()

    def run(self, until: float) -> None:
        while self._timers and self._timers[0][0] <= until:
            self.now, _, call, args = heapq.heappop(self._timers)
            call(*args)
        self.now = until

    def health(self) -> Health:
        return Health(
            self,  # type: ignore[arg-type]
            post=lambda call, *args: call(*args),
            later=self.later,
            on_suspect=lambda host: self.suspected.append((self.now, host.endpoint)),
        )


A, B = Node("a"), Node("b")


def asked(a: float | None, b: float | None, until: float = 4.9) -> World:
    world = World({"a": a, "b": b})
    world.health().silence([A, B])  # type: ignore[list-item]
    world.run(until)
    return world


def test_a_node_unresponsive_while_the_other_responds_is_suspected_after_half_a_second() -> None:
    assert asked(0.01, None).suspected == [(PROBE_PATIENCE_S, "b")]
    assert asked(None, 0.01).suspected == [(PROBE_PATIENCE_S, "a")]


def test_no_node_is_suspected_if_both_respond() -> None:
    assert asked(0.01, 0.49).suspected == []


@pytest.mark.parametrize("late_s", [0.6, 1.5, 4.0])
def test_a_frozen_node_is_suspected_as_soon_as_the_busy_one_responds(late_s: float) -> None:
    [(at, who)] = asked(late_s, None).suspected
    assert who == "b"
    assert at == pytest.approx(late_s + GRACE_S)


def test_of_two_busy_nodes_the_slightly_later_one_is_not_suspected() -> None:
    assert asked(0.6, 0.6 + GRACE_S * 0.9).suspected == []
    assert asked(2.0, 2.0).suspected == []


def test_if_no_node_responds_none_is_suspected_and_a_later_probe_is_possible() -> None:
    world = World({"a": None, "b": None})
    health = world.health()
    health.silence([A, B])  # type: ignore[list-item]
    world.run(PROBE_TIMEOUT_S + 0.1)
    assert world.suspected == []
    world.slow["a"] = 0.01
    health.silence([A, B])  # type: ignore[list-item]
    world.run(2 * PROBE_TIMEOUT_S)
    assert [who for _, who in world.suspected] == ["b"]


def test_a_pending_probe_is_not_sent_twice() -> None:
    world = World({"a": 0.6, "b": None})
    health = world.health()
    for at in (0.0, 0.3, 0.55, 0.7):
        world.run(at)
        health.silence([A, B])  # type: ignore[list-item]
    world.run(0.6 + GRACE_S)
    assert world.suspected == [(pytest.approx(0.6 + GRACE_S), "b")]
    assert health.live([A, B]) == [A]  # type: ignore[list-item]
