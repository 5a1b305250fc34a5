"""Fixtures with a separate topic on the real Kafka for each test."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from confluent_kafka import Consumer, TopicPartition
from confluent_kafka.admin import AdminClient

from local_stack.stack import Stack
from millrace import progress
from millrace.settings import KafkaSettings, load_settings


@pytest.fixture
def kafka(services: Callable[..., Stack]) -> Iterator[KafkaSettings]:
    """Return settings with a new topic of three partitions; delete it afterwards."""
    services("kafka")
    settings = load_settings().kafka.model_copy(update={"topic": f"test-{uuid.uuid4().hex[:12]}"})
    assert progress.create_topic(settings)
    yield settings
    admin = AdminClient({"bootstrap.servers": settings.bootstrap_servers})
    admin.delete_topics([settings.topic], request_timeout=10)[settings.topic].result(timeout=15)


class Records:
    """A reader of all records of a topic, as ``(partition, key, event)``."""

    def __init__(self, settings: KafkaSettings) -> None:
        self._settings = settings

    def __call__(self) -> list[tuple[int, str, dict[str, Any]]]:
        consumer = Consumer({"bootstrap.servers": self._settings.bootstrap_servers, "group.id": "test"})
        try:
            events = []
            for number in range(self._settings.partitions):
                partition = TopicPartition(self._settings.topic, number, 0)
                _, high = consumer.get_watermark_offsets(partition, timeout=10)
                consumer.assign([partition])
                deadline = time.monotonic() + 20
                read = 0
                while read < high:
                    message = consumer.poll(max(deadline - time.monotonic(), 0.0))
                    assert message is not None, "Kafka stopped answering"
                    assert message.error() is None, message.error()
                    read = (message.offset() or 0) + 1
                    key, value = message.key(), message.value()
                    assert isinstance(key, bytes)
                    assert isinstance(value, bytes)
                    events.append((number, key.decode(), json.loads(value)))
            return events
        finally:
            consumer.close()


@pytest.fixture
def records(kafka: KafkaSettings) -> Records:
    """Return a function that reads the whole topic of the test."""
    return Records(kafka)
