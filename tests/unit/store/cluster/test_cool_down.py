"""Replica sets that are written with one replica after repeated timeouts at ``TWO``."""

from __future__ import annotations

import time
from concurrent.futures import Future
from typing import Any

from millrace.store.cluster.cool_down import CoolDown
from millrace.store.cluster.flights import Flight, Write
from tests.unit.store.fakes import FakeHost

A, B, C = FakeHost("10.0.0.1"), FakeHost("10.0.0.2"), FakeHost("10.0.0.3")


def flight(*replicas: Any) -> Flight:
    write: Any = Write(lambda _level: None, 10, "chunk 1")  # type: ignore[arg-type, return-value]
    return Flight(1, write, Future(), list(replicas or (A, B)))


def time_out(cool_down: CoolDown, one: Flight, times: int) -> None:
    for _ in range(times):
        cool_down.count_timeout(one)


def test_the_third_timeout_starts_a_cool_down_of_these_replicas_only() -> None:
    cool_down, first = CoolDown(cool_down_s=60.0, retry_s=1.0), flight()
    time_out(cool_down, first, 2)
    assert not cool_down.use_one_replica(first)
    assert not cool_down.has(first)
    time_out(cool_down, first, 1)
    assert cool_down.use_one_replica(first)
    assert cool_down.use_one_replica(flight())
    assert not cool_down.use_one_replica(flight(A, C))


def test_a_write_that_gives_up_two_starts_no_cool_down() -> None:
    cool_down, first = CoolDown(cool_down_s=60.0, retry_s=1.0), flight()
    cool_down.give_up_two(first)
    assert cool_down.use_one_replica(first)
    assert not cool_down.use_one_replica(flight())


def test_after_the_cool_down_one_write_retries_and_one_timeout_starts_the_next() -> None:
    cool_down, retrying = CoolDown(cool_down_s=0.01, retry_s=60.0), flight()
    time_out(cool_down, flight(), 3)
    time.sleep(0.02)
    assert not cool_down.use_one_replica(retrying)
    assert cool_down.use_one_replica(flight())
    time_out(cool_down, retrying, 1)
    assert cool_down.use_one_replica(flight())


def test_an_acknowledgement_at_two_ends_the_cool_down() -> None:
    cool_down = CoolDown(cool_down_s=60.0, retry_s=1.0)
    time_out(cool_down, flight(), 3)
    cool_down.end(flight())
    assert not cool_down.has(flight())
    assert not cool_down.use_one_replica(flight())
