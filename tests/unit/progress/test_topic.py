"""Creating the topic, with a simulated admin client."""

from __future__ import annotations

from concurrent.futures import Future
from types import SimpleNamespace
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException

from millrace.errors import ProgressError
from millrace.progress import create_topic
from millrace.settings import KafkaSettings

SETTINGS = KafkaSettings(bootstrap_servers="broker:9092", topic="t", partitions=3)


class Admin:
    """An admin client whose creation of a topic ends with ``failure``."""

    def __init__(self, *topics: str, failure: Exception | None = None) -> None:
        self.topics, self.failure = topics, failure
        self.created: list[Any] = []

    def __call__(self, options: dict[str, Any]) -> Admin:
        assert options["bootstrap.servers"] == "broker:9092"
        return self

    def list_topics(self, timeout: float) -> Any:
        return SimpleNamespace(topics=dict.fromkeys(self.topics))

    def create_topics(self, topics: list[Any], request_timeout: float) -> dict[str, Future[None]]:
        self.created += topics
        result: Future[None] = Future()
        if self.failure is None:
            result.set_result(None)
        else:
            result.set_exception(self.failure)
        return {topics[0].topic: result}


@pytest.fixture
def use(monkeypatch: pytest.MonkeyPatch) -> Any:
    return lambda admin: monkeypatch.setattr("confluent_kafka.admin.AdminClient", admin)


def test_a_topic_is_created_with_its_partitions_and_retention(use: Any) -> None:
    admin = Admin("other")
    use(admin)
    assert create_topic(SETTINGS)
    (topic,) = admin.created
    assert (topic.topic, topic.num_partitions, topic.replication_factor) == ("t", 3, -1)
    assert topic.config["cleanup.policy"] == "compact,delete"
    assert topic.config["message.timestamp.type"] == "LogAppendTime"


def test_an_existing_topic_is_not_changed(use: Any) -> None:
    admin = Admin("t")
    use(admin)
    assert not create_topic(SETTINGS)
    assert admin.created == []


def test_a_topic_that_another_process_creates_meanwhile_is_no_error(use: Any) -> None:
    use(Admin(failure=KafkaException(KafkaError(KafkaError.TOPIC_ALREADY_EXISTS))))
    assert not create_topic(SETTINGS)


@pytest.mark.parametrize(
    ("code", "unresponsive"), [(KafkaError._TIMED_OUT, True), (KafkaError.POLICY_VIOLATION, False)]
)
def test_a_refusal_names_the_broker_and_its_reason(use: Any, code: int, unresponsive: bool) -> None:
    use(Admin(failure=KafkaException(KafkaError(code, "the reason"))))
    with pytest.raises(ProgressError, match="Kafka at broker:9092 reports the reason") as caught:
        create_topic(SETTINGS)
    assert caught.value.context["unresponsive"] is unresponsive
    assert caught.value.hint is not None
    assert "start Kafka" in caught.value.hint


def test_a_broker_without_a_response_is_unresponsive(use: Any) -> None:
    use(Admin(failure=TimeoutError()))
    with pytest.raises(ProgressError, match="Kafka at broker:9092 did not respond") as caught:
        create_topic(SETTINGS)
    assert caught.value.context["unresponsive"] is True
