from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from confluent_kafka import KafkaError

from millrace import progress
from millrace.progress import kafka
from millrace.progress.broker import REFUSED_WAIT_S, UNRESPONSIVE_WAIT_S, BrokerState
from millrace.progress.kafka import KafkaSink
from millrace.settings import KafkaSettings
from tests.waiting import until


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


SETTINGS = KafkaSettings(bootstrap_servers="127.0.0.1:1", topic="t")


class Broker:
    """A broker and its producer: it acknowledges each event in ``poll``, or fails it with ``failure``."""

    def __init__(self, *, topics: tuple[str, ...] = ("t",), failure: KafkaError | None = None) -> None:
        self.topics, self.failure = topics, failure
        self.received: list[tuple[str, int]] = []
        self.reports: list[Callable[[Any, Any], None]] = []
        self.on_error: Callable[[Any], None] = lambda _error: None
        self.purged = threading.Event()

    def make(self, settings: KafkaSettings, on_error: Callable[[Any], None]) -> Broker:
        self.on_error = on_error
        return self

    def list_topics(self, timeout: float) -> Any:
        return SimpleNamespace(topics={topic: SimpleNamespace(partitions=[0, 1]) for topic in self.topics})

    def produce(
        self, topic: str, *, key: bytes, value: bytes, partition: int, on_delivery: Callable[[Any, Any], None]
    ) -> None:
        if b"bad" in key:
            raise ValueError("no such event")
        if self.failure is None:
            self.received.append((key.decode(), partition))
        self.reports.append(on_delivery)

    def poll(self, timeout_s: float) -> None:
        reports, self.reports = self.reports, []
        for report in reports:
            report(self.failure, None)

    def purge(self, blocking: bool) -> None:
        self.purged.set()


def event_of(task: str, sequence: int = 1) -> dict[str, Any]:
    identity = progress.TaskIdentity("d", "r", task)
    return progress.airflow_event(identity, "running", time_s=1_795_341_600.0 + sequence)


def test_events_are_delivered_from_a_thread_that_ends_with_the_sink() -> None:
    broker = Broker()
    sink = KafkaSink(SETTINGS, make_producer=broker.make)
    sink.emit(event_of("a"))
    assert sink.flush()
    sink.emit(event_of("b"))
    sink.close()
    partition = progress.partition_of("d", "r", 2)
    assert broker.received == [("/airflow/d/r/a/-1/1/airflow", partition), ("/airflow/d/r/b/-1/1/airflow", partition)]
    assert (sink.delivered, sink.dropped) == (2, 0)
    assert broker.purged.wait(5)
    sink.close()


def test_an_event_that_cannot_be_sent_is_dropped_alone() -> None:
    broker = Broker()
    sink = KafkaSink(SETTINGS, make_producer=broker.make)
    sink.emit(event_of("bad"))
    sink.emit(event_of("good"))
    assert sink.flush()
    assert (sink.delivered, sink.dropped) == (1, 1)
    sink.close()


def test_the_newest_event_is_sent_again_after_a_failed_delivery(caplog: pytest.LogCaptureFixture) -> None:
    broker = Broker(failure=KafkaError(KafkaError._MSG_TIMED_OUT, "timed out"))
    sink = KafkaSink(SETTINGS, make_producer=broker.make)
    sink.emit(event_of("a"))
    until(lambda: "did not accept an event (timed out)" in caplog.text, "the warning", timeout_s=10)
    broker.failure = None
    assert sink.flush()
    assert sink.delivered == 1
    sink.close()


def test_an_event_that_kafka_never_accepts_is_dropped() -> None:
    broker = Broker(failure=KafkaError(KafkaError.MSG_SIZE_TOO_LARGE, "too large"))
    sink = KafkaSink(SETTINGS, make_producer=broker.make)
    sink.emit(event_of("a"))
    assert sink.flush()
    assert (sink.delivered, sink.dropped) == (0, 1)
    sink.close()


def test_a_missing_topic_is_waited_for_and_undelivered_events_are_counted(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "millrace.progress")
    broker = Broker(topics=("other",))
    sink = KafkaSink(SETTINGS, make_producer=broker.make)
    sink.emit(event_of("a"))
    sink.close(timeout_s=0.3)
    assert "has no topic t: `millrace init` creates it" in caplog.text
    assert "1 progress events did not reach Kafka, 0 did" in caplog.text
    assert broker.purged.wait(10)


def test_a_producer_that_cannot_be_made_is_reported_and_fails_nothing(caplog: pytest.LogCaptureFixture) -> None:
    def refuse(_settings: KafkaSettings, _on_error: Callable[[Any], None]) -> Any:
        raise ValueError('No such configuration property: "typo"')

    sink = KafkaSink(SETTINGS, make_producer=refuse)
    sink.emit(event_of("a"))
    sink.close(timeout_s=0.1)
    message = 'cannot be used (No such configuration property: "typo")'
    until(lambda: message in caplog.text, "the warning", timeout_s=10)
    assert sink.dropped == 1


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (KafkaError(KafkaError._ALL_BROKERS_DOWN), "does not respond"),
        (KafkaError(KafkaError._FATAL, "fenced", fatal=True), "cannot be used (fenced)"),
    ],
)
def test_an_error_of_the_connection_is_a_warning_with_its_reason(
    error: KafkaError, reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    sink = KafkaSink(SETTINGS)
    sink._on_error(KafkaError(KafkaError._TRANSPORT))
    assert caplog.text == ""
    sink._on_error(error)
    assert reason in caplog.text


def test_a_forked_child_begins_with_an_empty_sink() -> None:
    sink = KafkaSink(SETTINGS)
    sink._slots.put(event_of("a"))
    sink._producers.append(Broker())
    sink._thread = threading.current_thread()
    kafka._after_fork()
    assert (len(sink._slots), sink._thread, sink._producers) == (0, None, [])


def test_the_sink_of_switched_off_progress_discards_events() -> None:
    sink = progress.kafka_sink(KafkaSettings(bootstrap_servers=""))
    sink.emit(event_of("a"))
    sink.close()
    assert isinstance(sink, progress.NullSink)
    assert isinstance(progress.kafka_sink(SETTINGS), KafkaSink)
