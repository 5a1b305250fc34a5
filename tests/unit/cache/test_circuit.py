"""The circuit breaker: who probes Redis, and what is logged."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

import pytest

from millrace.cache.circuit import Circuit


def failing(calls: list[int]) -> Callable[[], None]:
    def probe() -> None:
        calls.append(1)
        raise ConnectionError("still down")

    return probe


def test_an_open_circuit_allows_no_call_before_its_retry_time() -> None:
    calls: list[int] = []
    circuit = Circuit("here", 60, failing(calls))
    assert circuit.allows()
    circuit.failed(OSError("gone"))
    assert not circuit.allows()
    assert not calls


def test_one_caller_probes_and_the_others_do_not_wait() -> None:
    entered, leave = threading.Event(), threading.Event()

    def probe() -> None:
        entered.set()
        assert leave.wait(30)

    circuit = Circuit("here", 0.001, probe)
    circuit.failed(OSError("gone"))
    time.sleep(0.01)
    answers: list[bool] = []
    prober = threading.Thread(target=lambda: answers.append(circuit.allows()))
    prober.start()
    assert entered.wait(30)
    assert not circuit.allows()
    leave.set()
    prober.join(30)
    assert answers == [True]
    assert circuit.allows()


def test_an_outage_and_its_end_are_each_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "millrace.cache")
    calls: list[int] = []
    down = failing(calls)
    working = False
    circuit = Circuit("here", 0.001, lambda: None if working else down())
    for _ in range(5):
        circuit.failed(OSError("gone"))
        time.sleep(0.005)
        assert not circuit.allows()
    working = True
    time.sleep(0.005)
    assert circuit.allows()
    assert calls == [1] * 5
    assert [record.levelname for record in caplog.records] == ["WARNING", "INFO"]
