"""Events that Kafka refuses or does not acknowledge fail the benchmark."""

from __future__ import annotations

from typing import Any

import pytest
from confluent_kafka import KafkaError

from bench import bridge_topic
from millrace.errors import StackError
from millrace.settings import KafkaSettings


class FakeProducer:
    """A producer that delivers every event except the refused ones, and leaves ``unacknowledged`` events."""

    refused: tuple[int, ...] = ()
    unacknowledged = 0

    def __init__(self, config: dict[str, Any]) -> None:
        self.callbacks: list[Any] = []

    def produce(self, topic: str, *, on_delivery: Any, **_: Any) -> None:
        if len(self.callbacks) % 2 and not hasattr(self, "was_full"):
            self.was_full = True
            raise BufferError
        self.callbacks.append(on_delivery)

    def poll(self, timeout_s: float) -> int:
        return 0

    def flush(self, timeout_s: float) -> int:
        for number, callback in enumerate(self.callbacks):
            callback(KafkaError(KafkaError.MSG_SIZE_TOO_LARGE) if number in self.refused else None, None)
        return self.unacknowledged


def produced(monkeypatch: pytest.MonkeyPatch, **fields: Any) -> None:
    monkeypatch.setattr(bridge_topic, "Producer", type("Producer", (FakeProducer,), fields))
    bridge_topic.produce(KafkaSettings(), [b"1", b"2", b"3"])


def test_events_that_kafka_acknowledges_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    produced(monkeypatch)


def test_an_event_that_kafka_refuses_fails_the_benchmark(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(StackError, match=r"Kafka refused 1 of the benchmark's events: .*[Mm]essage size too large"):
        produced(monkeypatch, refused=(1,))


def test_events_that_kafka_never_acknowledges_fail_the_benchmark(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(StackError, match="did not acknowledge 2 of the benchmark's events within 120 s"):
        produced(monkeypatch, unacknowledged=2)
