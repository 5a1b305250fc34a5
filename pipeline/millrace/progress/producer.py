"""The Kafka producer that sends progress events."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from millrace.progress.event import Event, encode_event
from millrace.progress.identity import partition_of
from millrace.settings import KafkaSettings


def make_producer(settings: KafkaSettings, on_error: Callable[[Any], None]) -> Any:
    """Create a ``confluent_kafka.Producer``; ``on_error`` is called in ``poll`` with each error of a connection."""
    from confluent_kafka import Producer

    return Producer(
        {
            "bootstrap.servers": settings.bootstrap_servers,
            "client.id": f"millrace-progress-{os.getpid()}",
            "enable.idempotence": True,
            "linger.ms": 5,
            "message.timeout.ms": 15_000,
            "queue.buffering.max.messages": 1_000,
            "compression.type": "gzip",
            "reconnect.backoff.max.ms": 2_000,
            "log_level": 0,
            **settings.config,
            "error_cb": on_error,
        }
    )


def send_event(
    producer: Any, topic: str, event: Event, partitions: int, on_delivery: Callable[[Event, Any], None]
) -> None:
    """Put the event into the producer's queue; ``on_delivery`` gets it later, with the error or ``None``.

    Raises ``BufferError`` if the queue is full.
    """
    data = event["data"]
    producer.produce(
        topic,
        key=event["source"].encode(),
        value=encode_event(event),
        partition=partition_of(data["dag_id"], data["run_id"], partitions),
        on_delivery=lambda failure, _message: on_delivery(event, failure),
    )


def is_retriable(failure: Any) -> bool:
    """Return whether Kafka may accept the same event later. An invalid or purged event is never accepted."""
    from confluent_kafka import KafkaError

    return failure.code() not in (
        KafkaError.MSG_SIZE_TOO_LARGE,
        KafkaError.INVALID_RECORD,
        KafkaError._PURGE_QUEUE,
        KafkaError._PURGE_INFLIGHT,
    )
