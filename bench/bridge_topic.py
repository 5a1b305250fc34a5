"""A topic of the benchmark's own, and events in it: what the bridges under test read."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient

from millrace import progress
from millrace.errors import StackError
from millrace.progress.event import encode_event
from millrace.settings import KafkaSettings

__all__ = ["HISTORY_TASKS", "history_event", "own_topic", "produce", "to_kafka"]

HISTORY_TASKS = 200


@contextmanager
def own_topic(kafka: KafkaSettings) -> Iterator[KafkaSettings]:
    """A topic of the benchmark's own, as the product makes it; deleted in the end."""
    own = kafka.model_copy(update={"topic": f"millrace.bench.{uuid.uuid4().hex[:12]}"})
    progress.create_topic(own)
    try:
        yield own
    finally:
        admin = AdminClient({"bootstrap.servers": own.bootstrap_servers})
        admin.delete_topics([own.topic])[own.topic].result(timeout=30)


def to_kafka(to: KafkaSettings) -> dict[str, Any]:
    """What a load generator is told, so that it produces there and knows its events again at ``/events``."""
    partition = progress.partition_of("bench", "fan-out", to.partitions)
    return {"kafka": to.bootstrap_servers, "topic": to.topic, "partition": partition, "path": "/events"}


def history_event(number: int) -> dict[str, Any]:
    """One of the events of ``HISTORY_TASKS`` tasks, in turn."""
    identity = progress.TaskIdentity("bench", "history", f"task-{number % HISTORY_TASKS}")
    facts = {
        "kind": "load", "dataset": "flights", "state": "running", "phase": "write", "done": number, "total": None,
        "unit": "rows", "rate": None, "elapsed_s": 1.0, "counters": {}, "metrics": {}, "message": "", "error": None,
    }  # fmt: skip
    return progress.event.progress_event(identity, number // HISTORY_TASKS + 1, time.time(), facts)


def produce(to: KafkaSettings, events: Any) -> None:
    """Returns when Kafka has all of them; raises ``StackError``."""
    producer = Producer({"bootstrap.servers": to.bootstrap_servers, "linger.ms": 20})
    partition = to_kafka(to)["partition"]
    for number, event in enumerate(events):
        raw = event if isinstance(event, bytes) else encode_event(event)
        while True:
            try:
                producer.produce(to.topic, key=f"task-{number % HISTORY_TASKS}", value=raw, partition=partition)
                break
            except BufferError:
                producer.poll(0.1)
    if producer.flush(120):
        raise StackError("Kafka did not take the benchmark's events")
