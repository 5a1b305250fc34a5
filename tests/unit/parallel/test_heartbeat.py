"""Heartbeats: their renewals, their end, and a fork."""

from __future__ import annotations

import multiprocessing
import threading
import time
from typing import Any

import pytest

from millrace.parallel import Heartbeat


class Log:
    """A service that records the calls."""

    def __init__(self) -> None:
        self.renewed = threading.Semaphore(0)
        self.released = threading.Event()

    def heartbeat(self, renew_s: float = 60) -> Heartbeat:
        return Heartbeat(self.renewed.release, self.released.set, renew_s=renew_s, name="test-heartbeat")


def test_a_record_is_renewed_until_its_block_ends() -> None:
    log = Log()
    with log.heartbeat(renew_s=0.01) as heartbeat:
        for _ in range(3):
            assert log.renewed.acquire(timeout=20)
        assert not log.released.is_set()
    heartbeat.wait_released(20)
    assert log.released.is_set()


def test_a_record_of_a_short_block_is_taken_and_released() -> None:
    log = Log()
    with log.heartbeat() as heartbeat:
        pass
    heartbeat.wait_released(20)
    assert log.renewed.acquire(timeout=0)
    assert log.released.is_set()


def test_a_slow_service_delays_neither_the_beginning_nor_the_end_of_the_block() -> None:
    answers = threading.Event()
    heartbeat = Heartbeat(lambda: bool(answers.wait(60)), lambda: None, renew_s=15, name="test-heartbeat")  # type: ignore[arg-type,return-value]
    began = time.monotonic()
    with heartbeat:
        pass
    assert time.monotonic() - began < 20
    answers.set()
    heartbeat.wait_released(20)


def test_waiting_for_a_record_whose_block_is_not_over_returns_at_once() -> None:
    log = Log()
    began = time.monotonic()
    with log.heartbeat() as heartbeat:
        heartbeat.wait_released(60)
    assert time.monotonic() - began < 30


def _ends_in_child(heartbeat: Heartbeat, log: Log, answers: Any) -> None:
    heartbeat.__exit__(None, None, None)
    heartbeat.wait_released(20)
    answers.put(log.released.is_set())


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_child_does_not_release_the_record_of_its_parent() -> None:
    log, fork = Log(), multiprocessing.get_context("fork")
    answers = fork.Queue()
    with log.heartbeat() as heartbeat:
        assert log.renewed.acquire(timeout=20)
        child = fork.Process(target=_ends_in_child, args=(heartbeat, log, answers))
        child.start()
        assert answers.get(timeout=60) is False
        child.join(60)
        assert not log.released.is_set()
    heartbeat.wait_released(20)
    assert log.released.is_set()
