"""The consumer's thread with a simulated Kafka: its messages, the end of the first read, and every kind of error."""

from __future__ import annotations

from collections import deque
from concurrent.futures import Future
from types import SimpleNamespace
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException, TopicPartition

from millrace.settings import KafkaSettings
from sse_bridge.consumer import Batch, Begin, BrokerDown, BrokerUp, KafkaFeed
from sse_bridge.records import Incoming, Skipped
from tests.unit.sse_bridge.world import record

TOPIC = "millrace.progress.v1"


class Message:
    """A message of confluent-kafka: a record, or an error."""

    def __init__(self, offset: int, value: bytes | None = None, key: bytes | None = None, error: Any = None) -> None:
        self._offset, self._value, self._key, self._error = offset, value, key, error

    def partition(self) -> int:
        return 0

    def offset(self) -> int:
        return self._offset

    def value(self) -> bytes | None:
        return self._value

    def key(self) -> bytes | None:
        return self._key

    def error(self) -> Any:
        return self._error

    def timestamp(self) -> tuple[int, int]:
        return 2, 1_795_341_600_500


class Kafka:
    """One partition with these messages.

    ``described`` gives the result of each request that describes the topic, in order. While ``is_down``, no broker
    responds.
    """

    def __init__(
        self, *messages: Message, low: int = 0, described: tuple[Any, ...] = (), is_down: bool = False
    ) -> None:
        self.messages = deque(messages)
        self.low, self.high = low, low + len(messages)
        self.position_offset = low
        self.described = deque(described)
        self.is_down = is_down
        self.describe_count = 0
        self.closed = False
        self.options: dict[str, Any] = {}

    # -- as AdminClient and as Consumer

    def make(self, options: dict[str, Any]) -> Kafka:
        self.options |= options
        return self

    def list_topics(self, topic: str, *, timeout: float) -> None:
        assert (topic, timeout) == (TOPIC, 2.0)
        if self.is_down:
            raise KafkaException(KafkaError(KafkaError._TRANSPORT, "no broker responds"))

    def describe_topics(self, topics: Any, *, request_timeout: float) -> dict[str, Future[Any]]:
        self.describe_count += 1
        result: Future[Any] = Future()
        outcome = self.described.popleft() if self.described else topic_id(0xABCDEF01)
        if isinstance(outcome, Exception):
            result.set_exception(outcome)
        else:
            result.set_result(outcome)
        return {TOPIC: result}

    def get_watermark_offsets(self, partition: TopicPartition, timeout: float) -> tuple[int, int]:
        return self.low, self.high

    def assign(self, partitions: list[TopicPartition]) -> None:
        self.assigned = partitions

    def poll(self, timeout: float) -> Message | None:
        return self.messages.popleft() if self.messages else None

    def consume(self, count: int, timeout: float) -> list[Message]:
        messages, self.messages = list(self.messages), deque()
        return messages

    def position(self, partitions: list[TopicPartition]) -> list[TopicPartition]:
        offset = self.high - len(self.messages)
        return [TopicPartition(TOPIC, partitions[0].partition, offset)]

    def close(self) -> None:
        self.closed = True


def topic_id(most_significant_bits: int, partitions: int = 1) -> Any:
    identity = SimpleNamespace(get_most_significant_bits=lambda: most_significant_bits << 32)
    return SimpleNamespace(topic_id=identity, partitions=[None] * partitions)


def run(kafka: Kafka, *, until: type, count: int = 1) -> list[Any]:
    """Run the consumer until it has sent ``count`` messages of a type; return all its messages."""
    inbox: deque[Any] = deque()

    def wake() -> None:
        if sum(isinstance(message, until) for message in inbox) >= count:
            feed.stop()

    feed = KafkaFeed(
        KafkaSettings(topic=TOPIC), inbox, wake, make_consumer=kafka.make, make_admin=kafka.make,
        probe_interval_s=0.0, retry_s=0.0,
    )  # fmt: skip
    feed._run()
    return list(inbox)


def test_the_first_batch_is_caught_up_once_every_record_of_the_start_was_read() -> None:
    raw = record()
    kafka = Kafka(Message(0, raw, b"own key"), Message(1, None, b"\xff"), Message(2, b"not JSON"))
    begin, up, batch, *_ = run(kafka, until=Batch)
    assert begin == Begin("abcdef01", (0,))
    assert isinstance(up, BrokerUp)
    incoming, deleted, poison = batch.records
    assert isinstance(incoming, Incoming)
    assert (incoming.offset, incoming.raw, incoming.key) == (0, raw, "own key")
    assert incoming.broker_time_s == 1_795_341_600.5
    assert deleted == Skipped(0, 1, deletes="\udcff")
    assert poison == Skipped(0, 2)
    assert batch.caught_up
    assert kafka.closed
    assert kafka.options["enable.auto.commit"] is False


def test_an_empty_topic_is_caught_up_without_records() -> None:
    *_, batch = [message for message in run(Kafka(), until=Batch) if isinstance(message, Batch)]
    assert batch == Batch([], caught_up=True)


def test_a_topic_created_again_is_read_from_its_beginning() -> None:
    kafka = Kafka(described=(topic_id(1), topic_id(2), topic_id(2)))
    epochs = [message.epoch for message in run(kafka, until=Begin, count=2) if isinstance(message, Begin)]
    assert epochs == ["00000001", "00000002"]


def test_a_broker_that_does_not_respond_is_down_and_reading_goes_on() -> None:
    kafka = Kafka(described=(topic_id(1), KafkaException(KafkaError(KafkaError._TIMED_OUT, "timed out"))))
    messages = run(kafka, until=BrokerDown)
    assert messages[-1] == BrokerDown("timed out")
    assert sum(isinstance(message, Begin) for message in messages) == 1


def test_a_deleted_topic_ends_the_read_with_its_error() -> None:
    missing = KafkaException(KafkaError(KafkaError.UNKNOWN_TOPIC_OR_PART, "unknown topic"))
    kafka = Kafka(described=(topic_id(1), missing, topic_id(1)))
    messages = run(kafka, until=Begin, count=2)
    assert BrokerDown("unknown topic") in messages
    assert kafka.closed


def test_a_metadata_request_without_an_answer_is_an_error_with_a_reason() -> None:
    assert run(Kafka(described=(TimeoutError(),)), until=BrokerDown) == [
        BrokerDown("no response to a metadata request")
    ]


def test_an_unexpected_error_is_logged_and_the_read_begins_again(caplog: pytest.LogCaptureFixture) -> None:
    messages = run(Kafka(described=(ValueError("broken"), topic_id(1))), until=Begin)
    assert messages[0] == BrokerDown("broken")
    assert isinstance(messages[1], Begin)
    assert "it restarts in a second" in caplog.text


@pytest.mark.parametrize("code", [KafkaError._AUTO_OFFSET_RESET, KafkaError.OFFSET_OUT_OF_RANGE])
def test_lost_offsets_make_it_read_the_topic_again(code: int) -> None:
    messages = run(Kafka(Message(0, error=KafkaError(code, "lost"))), until=Begin, count=2)
    assert [type(message) for message in messages[:4]] == [Begin, BrokerUp, BrokerDown, Begin]


def test_other_errors_of_a_partition_are_passed_over() -> None:
    kafka = Kafka(Message(0, error=KafkaError(KafkaError._TRANSPORT)), Message(1, record()))
    batch = next(message for message in run(kafka, until=Batch) if isinstance(message, Batch))
    assert [type(item) for item in batch.records] == [Incoming]


def test_the_topic_is_not_described_while_no_broker_responds() -> None:
    """A pending description makes librdkafka reconnect without a pause."""
    kafka = Kafka(is_down=True)
    down = run(kafka, until=BrokerDown, count=3)
    assert [message.reason for message in down] == ["no broker responds"] * 3
    assert kafka.describe_count == 0
    assert kafka.closed
