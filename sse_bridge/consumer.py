"""The Kafka consumer: a native thread that reads the topic and passes batches to the event loop.

librdkafka blocks, so it never runs in a greenlet. The thread and the event loop share only ``inbox`` and the
call that wakes the loop. The thread assigns all partitions itself. It commits no offsets, because every start reads the
whole topic.
"""

from __future__ import annotations

import logging
import time
import uuid
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from confluent_kafka import (
    OFFSET_BEGINNING,
    Consumer,
    KafkaError,
    KafkaException,
    TopicCollection,
    TopicPartition,
)
from confluent_kafka.admin import AdminClient
from gevent import monkey

from millrace.errors import ProgressError
from millrace.settings import KafkaSettings
from sse_bridge.records import Incoming, Skipped, key_text, parse_record

logger = logging.getLogger(__name__)

BATCH_EVENTS = 500
GATHER_S = 0.002
"""Events that arrive within this time of each other are sent to the clients in one write."""
PROBE_INTERVAL_S = 1.0
"""Time between two probes of Kafka, and so the largest delay with which a timeout is noticed."""
PROBE_TIMEOUT_S = 2.0
RETRY_S = 1.0


@dataclass(frozen=True, slots=True)
class Begin:
    """The start of reading a topic: its epoch and the first offset of each partition."""

    epoch: str
    first_offsets: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Batch:
    """Records in their order; ``caught_up`` once all records present at the start have been read."""

    records: list[Incoming | Skipped] = field(default_factory=list)
    caught_up: bool = False


@dataclass(frozen=True, slots=True)
class BrokerUp:
    """Kafka answered a request that was sent at ``requested_s`` (Unix time)."""

    requested_s: float


@dataclass(frozen=True, slots=True)
class BrokerDown:
    """Kafka did not answer, for this ``reason``."""

    reason: str


class KafkaFeed:
    """The consumer thread: puts ``Begin``, ``Batch``, ``BrokerUp`` and ``BrokerDown`` into ``inbox``.

    It calls ``wake`` after each of them. Both are used from the feed's own thread: ``inbox`` is a deque, ``wake``
    must be safe to call from any thread. The feed retries after every error until ``stop``.
    """

    def __init__(
        self,
        settings: KafkaSettings,
        inbox: deque[Any],
        wake: Callable[[], object],
        *,
        make_consumer: Callable[[dict[str, Any]], Any] = Consumer,
        make_admin: Callable[[dict[str, Any]], Any] = AdminClient,
        probe_interval_s: float = PROBE_INTERVAL_S,
        retry_s: float = RETRY_S,
    ) -> None:
        self._settings, self._inbox, self._wake = settings, inbox, wake
        self._make_consumer, self._make_admin = make_consumer, make_admin
        self._probe_interval_s, self._retry_s = probe_interval_s, retry_s
        self._stopped = False

    def start(self) -> None:
        """Start the thread. Call this once, in the process that uses the records."""
        # Under gunicorn's own gevent worker threading.Thread is a greenlet; this is always a native thread.
        monkey.get_original("_thread", "start_new_thread")(self._run, ())

    def stop(self) -> None:
        """Ask the thread to end. It ends within a second, unless it is waiting for Kafka."""
        self._stopped = True

    def _put(self, message: object) -> None:
        self._inbox.append(message)
        self._wake()

    def _run(self) -> None:
        pause = monkey.get_original("time", "sleep")
        while not self._stopped:
            try:
                self._follow()
            except (KafkaException, ProgressError) as error:
                self._put(BrokerDown(_message_of(error)))
            except Exception as error:  # noqa: BLE001 - nothing else restarts this thread
                logger.error("the Kafka consumer failed (%r); it restarts in a second", error)
                self._put(BrokerDown(str(error)))
            pause(self._retry_s)

    def _follow(self) -> None:
        """Read the topic from its beginning until its identity changes, or until stopped."""
        common: dict[str, Any] = {
            "bootstrap.servers": self._settings.bootstrap_servers,
            "log_level": 0,
            **self._settings.config,
        }
        admin = self._make_admin(common)
        consumer = self._make_consumer(
            {
                **common,
                "group.id": f"millrace-bridge-{uuid.uuid4()}",  # required, but nothing is committed
                "enable.auto.commit": False,
                "enable.auto.offset.store": False,
                "auto.offset.reset": "error",
                "allow.auto.create.topics": False,
                "reconnect.backoff.max.ms": 2_000,
            }
        )
        try:
            topic = self._settings.topic
            epoch, partitions = self._identity(consumer, admin)
            watermarks = [
                consumer.get_watermark_offsets(TopicPartition(topic, number), timeout=PROBE_TIMEOUT_S * 2)
                for number in range(partitions)
            ]
            first_offsets = tuple(low for low, _ in watermarks)
            # The last offset may be a control marker without a record, so the position is compared with the watermark.
            end_offsets = {number: high for number, (low, high) in enumerate(watermarks) if high > low}
            self._put(Begin(epoch, first_offsets))
            self._put(BrokerUp(time.time()))
            consumer.assign([TopicPartition(topic, number, OFFSET_BEGINNING) for number in range(partitions)])
            self._read(consumer, admin, (epoch, partitions), end_offsets)
        finally:
            with suppress(KafkaException, RuntimeError):
                consumer.close()

    def _read(self, consumer: Any, admin: Any, identity: tuple[str, int], end_offsets: dict[int, int]) -> None:
        caught_up = False
        requested_s = time.monotonic()
        while not self._stopped:
            message = consumer.poll(0.5)
            messages = [] if message is None else [message, *consumer.consume(BATCH_EVENTS, GATHER_S)]
            records = [record for each in messages if (record := self._record(each)) is not None]
            catching_up = not caught_up
            if catching_up:
                caught_up = self._reached(consumer, end_offsets)
            if records or (catching_up and caught_up):
                self._put(Batch(records, caught_up))
            if time.monotonic() - requested_s >= self._probe_interval_s:
                now_s = time.time()
                try:
                    if self._identity(consumer, admin) != identity:
                        return
                    self._put(BrokerUp(now_s))
                except (KafkaException, ProgressError) as error:
                    if _topic_is_missing(error):
                        raise
                    # librdkafka reconnects itself, and the records read so far stay valid.
                    self._put(BrokerDown(_message_of(error)))
                requested_s = time.monotonic()

    def _reached(self, consumer: Any, end_offsets: dict[int, int]) -> bool:
        for number, end_offset in list(end_offsets.items()):
            (position,) = consumer.position([TopicPartition(self._settings.topic, number)])
            if position.offset >= end_offset:
                del end_offsets[number]
        return not end_offsets

    def _record(self, message: Any) -> Incoming | Skipped | None:
        error = message.error()
        if error is not None:
            if error.fatal() or error.code() in _READ_AGAIN:
                raise KafkaException(error)
            return None
        partition, offset, value = message.partition(), message.offset(), message.value()
        key = key_text(message.key() or b"")
        if value is None:
            return Skipped(partition, offset, deletes=key)
        try:
            event = parse_record(value)
        except Exception as error:  # noqa: BLE001 - a bad record must not block those behind it
            logger.debug("record %d/%d is not a valid event and is skipped: %s", partition, offset, error)
            return Skipped(partition, offset)
        return Incoming(partition, offset, value, event, message.timestamp()[1] / 1000, key)

    def _identity(self, consumer: Any, admin: Any) -> tuple[str, int]:
        """Return the topic's identity: its epoch (part of Kafka's topic id) and its number of partitions.

        Raises ``KafkaException`` or ``ProgressError`` when Kafka does not answer or the topic does not exist.
        """
        topic = self._settings.topic
        # While no broker responds, a pending ``describe_topics`` makes librdkafka 2.15 reconnect 600 times a second (a
        # quarter of a core). It is therefore only called after this request, which fails by itself.
        consumer.list_topics(topic, timeout=PROBE_TIMEOUT_S)
        described = admin.describe_topics(TopicCollection([topic]), request_timeout=PROBE_TIMEOUT_S)[topic]
        try:
            description = described.result(timeout=PROBE_TIMEOUT_S + 1)
        except TimeoutError:
            raise ProgressError("no response to a metadata request") from None
        epoch = f"{description.topic_id.get_most_significant_bits() & 0xFFFFFFFFFFFFFFFF:016x}"[:8]
        return epoch, len(description.partitions)


_READ_AGAIN = (
    KafkaError._AUTO_OFFSET_RESET,
    KafkaError.OFFSET_OUT_OF_RANGE,
    KafkaError._UNKNOWN_TOPIC,
    KafkaError._UNKNOWN_PARTITION,
    KafkaError.UNKNOWN_TOPIC_OR_PART,
    KafkaError.TOPIC_AUTHORIZATION_FAILED,
)


def _topic_is_missing(error: Exception) -> bool:
    cause = error.args[0] if error.args else None
    return isinstance(cause, KafkaError) and cause.code() == KafkaError.UNKNOWN_TOPIC_OR_PART


def _message_of(error: Exception) -> str:
    cause = error.args[0] if error.args else error
    return cause.str() if isinstance(cause, KafkaError) else str(cause)
