"""A Kafka topic for one benchmark, and the events in it that the bridges under test read."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from confluent_kafka import KafkaError, Message, Producer
from confluent_kafka.admin import AdminClient

from millrace import progress
from millrace.errors import StackError
from millrace.progress import encode_event
from millrace.settings import KafkaSettings

__all__ = ["HISTORY_TASKS", "history_event", "own_topic", "produce", "to_kafka"]

HISTORY_TASKS = 200


@contextmanager
def own_topic(kafka: KafkaSettings) -> Iterator[KafkaSettings]:
    """Create a topic for the benchmark with the product's own function, and delete it at the end."""
    own = kafka.model_copy(update={"topic": f"millrace.bench.{uuid.uuid4().hex[:12]}"})
    progress.create_topic(own)
    try:
        yield own
    finally:
        admin = AdminClient({"bootstrap.servers": own.bootstrap_servers})
        admin.delete_topics([own.topic])[own.topic].result(timeout=30)


def to_kafka(to: KafkaSettings) -> dict[str, Any]:
    """Return the part of a load generator's job that makes it produce to this topic and read ``/events``."""
    partition = progress.partition_of("bench", "fan-out", to.partitions)
    return {"kafka": to.bootstrap_servers, "topic": to.topic, "partition": partition, "path": "/events"}


def history_event(number: int) -> dict[str, Any]:
    """Return event ``number`` of the history, which takes ``HISTORY_TASKS`` tasks in turn."""
    identity = progress.TaskIdentity("bench", "history", f"task-{number % HISTORY_TASKS}")
    facts = {
        "kind": "load", "dataset": "flights", "state": "running", "phase": "write", "done": number, "total": None,
        "unit": "rows", "rate": None, "elapsed_s": 1.0, "counters": {}, "metrics": {}, "message": "", "error": None,
    }  # fmt: skip
    return progress.event.progress_event(identity, number // HISTORY_TASKS + 1, time.time(), facts)


def produce(to: KafkaSettings, events: Any) -> None:
    """Produce the events to the topic and wait until Kafka has acknowledged all of them.

    Raises ``StackError`` if Kafka refused an event, or if it has not acknowledged some of them after 120 s.
    """
    failures: list[KafkaError] = []

    def record_failure(error: KafkaError | None, _message: Message) -> None:
        if error is not None:
            failures.append(error)

    producer = Producer({"bootstrap.servers": to.bootstrap_servers, "linger.ms": 20})
    partition = to_kafka(to)["partition"]
    for number, event in enumerate(events):
        raw = event if isinstance(event, bytes) else encode_event(event)
        while True:
            try:
                key = f"task-{number % HISTORY_TASKS}"
                producer.produce(to.topic, key=key, value=raw, partition=partition, on_delivery=record_failure)
                break
            except BufferError:
                producer.poll(0.1)
    unacknowledged = producer.flush(120)
    if failures:
        raise StackError(f"Kafka refused {len(failures):,} of the benchmark's events: {failures[0].str()}")
    if unacknowledged:
        raise StackError(f"Kafka did not acknowledge {unacknowledged:,} of the benchmark's events within 120 s")
