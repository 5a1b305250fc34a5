from __future__ import annotations

from typing import Any

import pytest

from millrace import progress
from millrace.progress.broker import REFUSED_WAIT_S, UNRESPONSIVE_WAIT_S, BrokerState
from millrace.progress.kafka import KafkaSink
from millrace.settings import KafkaSettings


class Producer:
    """A producer whose queue holds ``room`` messages."""

    def __init__(self, room: int) -> None:
        self.room = room
        self.sent: list[str] = []

    def produce(self, topic: str, *, key: bytes, **_options: Any) -> None:
        if len(self.sent) >= self.room:
            raise BufferError
        self.sent.append(key.decode())

    def poll(self, timeout_s: float) -> None:
        pass


def test_no_event_is_lost_while_the_queue_of_the_producer_is_full() -> None:
    sink = KafkaSink(KafkaSettings(bootstrap_servers="127.0.0.1:1"))
    identities = [progress.TaskIdentity("d", "r", task) for task in "abc"]
    for identity in identities:
        sink._slots.put(progress.airflow_event(identity, "running", time_s=1_795_341_600.0))
    producer = Producer(room=1)
    sink._move(producer, 1)
    assert (len(producer.sent), sink._slots.in_flight, len(sink._slots)) == (1, 1, 2)
    producer.room = 3
    sink._move(producer, 1)
    assert producer.sent == [f"{identity.source}/airflow" for identity in identities]


def test_all_flushes_together_wait_a_bounded_time_for_a_broker() -> None:
    broker = BrokerState("127.0.0.1:1")
    broker.add_wait(1.0)
    assert broker.wait_left_s() == UNRESPONSIVE_WAIT_S - 1.0
    broker.mark_unreachable()
    assert broker.wait_left_s() == REFUSED_WAIT_S - 1.0
    broker.mark_responsive()
    broker.add_wait(100.0)
    assert broker.wait_left_s() > 0
    broker.mark_rejected("too large")
    assert broker.wait_left_s() == UNRESPONSIVE_WAIT_S


def test_one_warning_gives_the_first_reason(caplog: pytest.LogCaptureFixture) -> None:
    broker = BrokerState("127.0.0.1:1")
    broker.mark_refused("has no topic t: `millrace init` creates it")
    broker.warn()
    broker.mark_unreachable()
    broker.warn()
    assert [record.getMessage() for record in caplog.records] == [
        "progress is not being reported: Kafka at 127.0.0.1:1 has no topic t: `millrace init` creates it; "
        "the work continues"
    ]
