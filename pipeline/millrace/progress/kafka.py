"""The Kafka sink: a separate thread sends progress events, or loses them; the work never waits for Kafka.

``emit`` stores the event in the slot of its source, where a newer event replaces an older one, and returns. The sink's
thread creates the producer, reads the topic's number of partitions, moves events from the slots to the producer and
serves its callbacks.
"""

from __future__ import annotations

import atexit
import ctypes
import logging
import os
import queue
import threading
import time
import weakref
from contextlib import suppress
from typing import Any, Final

from millrace.errors import ProgressError
from millrace.progress.event import Event, encode_event, partition_of
from millrace.settings import KafkaSettings

__all__ = ["KafkaSink", "create_topic"]

logger = logging.getLogger("millrace.progress")

SLOTS_MAX: Final = 10_000
IN_FLIGHT_PER_SOURCE: Final = 16
"""More would only fill the queue of an unreachable broker with events that are older than the one in the slot."""
ASK_S: Final = 0.5
WARN_AFTER_S: Final = 5.0
REFUSED_PATIENCE_S: Final = 0.5
SILENT_PATIENCE_S: Final = 4.0
"""Time that all flushes together wait for a broker that refuses connections, or accepts them and is unresponsive."""
SERVE_S: Final = 0.05


class KafkaSink:
    """A sink that sends events to Kafka. ``emit`` takes microseconds and never raises, in any state of the broker.

    The first ``emit`` of a process starts the thread that creates the producer. A producer is not used after a fork: a
    child creates its own. While the broker is unreachable, the newest event of each source is kept and is sent when
    the broker is back. One warning reports that progress is not sent. ``delivered``, ``lost`` and ``overwritten``
    count events. Only ``flush`` and ``close`` wait: at most 5 s in all for an unresponsive broker, and half a second
    for one that refuses connections. An ``emit`` after ``close`` opens the sink again.
    """

    def __init__(self, settings: KafkaSettings) -> None:
        self._settings = settings
        self._warned = False
        self.delivered = self.lost = self.overwritten = 0
        self._reset()
        _sinks.add(self)

    def _reset(self) -> None:
        # A signal handler may interrupt this thread inside the sink and use it, so the lock and queues are reentrant.
        self._lock = threading.RLock()
        self._wake: queue.SimpleQueue[None] = queue.SimpleQueue()
        self._waiting: list[queue.SimpleQueue[None]] = []
        self._slots: dict[str, Event] = {}
        self._in_flight: dict[str, int] = {}
        self._newest: dict[str, str] = {}
        self._thread: threading.Thread | None = None
        self._producers: list[Any] = []
        self._closing = False
        self._answered = self._refused = False
        self._reason = "does not respond"
        self._patience_spent_s = 0.0

    # -- calls of the work

    def emit(self, event: Event) -> None:
        """Accept the event. It overwrites an older event of the same source that is still in the slot."""
        with self._lock:
            self._put(event["source"], event)
            if self._thread is None:
                self._closing = False
                self._thread = threading.Thread(target=self._run, name="progress-kafka", daemon=True)
                self._thread.start()
                atexit.register(self.close)
        self._wake.put(None)

    def flush(self, timeout_s: float = 5.0) -> bool:
        """Wait until every accepted event is delivered or lost; return False at a timeout.

        The timeout is ``timeout_s``, or the time left for an unresponsive broker if that is shorter.
        """
        deadline = time.monotonic() + timeout_s
        told: queue.SimpleQueue[None] = queue.SimpleQueue()
        self._waiting.append(told)
        try:
            while not self._idle():
                started = time.monotonic()
                pause = min(deadline - started, self._patience_s(), 0.1)
                if pause <= 0:
                    self._warn()
                    return False
                with suppress(queue.Empty):
                    told.get(timeout=pause)
                if not self._answered:
                    self._patience_spent_s += time.monotonic() - started
        finally:
            with suppress(ValueError):
                self._waiting.remove(told)
        return True

    def close(self, timeout_s: float = 5.0) -> None:
        """Flush, drop undelivered events and end the thread. Return within ``timeout_s`` plus about 0.2 s."""
        with self._lock:
            thread = self._thread
        if thread is None:
            return
        self.flush(timeout_s)
        with self._lock:
            self._closing = True
            self._thread = None
            # Events in flight are counted by their delivery reports, which the purge triggers.
            self.lost += len(self._slots)
            self._slots.clear()
            lost = self.lost + sum(self._in_flight.values())
        self._wake.put(None)
        atexit.unregister(self.close)
        if thread is not threading.current_thread():
            thread.join(timeout=0.2)
        if lost:
            logger.info("%d progress events did not reach Kafka, %d did", lost, self.delivered)

    def _patience_s(self) -> float:
        if self._answered:
            return 60.0
        return (REFUSED_PATIENCE_S if self._refused else SILENT_PATIENCE_S) - self._patience_spent_s

    def _idle(self) -> bool:
        with self._lock:
            return not self._slots and not self._in_flight

    # -- slots

    def _put(self, source: str, event: Event) -> None:
        if self._newest.get(source, "") > event["sequence"]:
            return
        if source in self._slots:
            self.overwritten += 1
        elif len(self._slots) >= SLOTS_MAX:
            self._slots.pop(next(iter(self._slots)))
            self.lost += 1
        self._slots[source] = event
        # Ordered by last event, so that the oldest source is evicted: a scheduler that runs for months reports an
        # unbounded number of sources.
        self._newest.pop(source, None)
        self._newest[source] = event["sequence"]
        if len(self._newest) > SLOTS_MAX:
            self._newest.pop(next(iter(self._newest)))

    def _take(self) -> list[Event]:
        with self._lock:
            free = [source for source in self._slots if self._in_flight.get(source, 0) < IN_FLIGHT_PER_SOURCE]
            taken = [self._slots.pop(source) for source in free]
            for event in taken:
                self._in_flight[event["source"]] = self._in_flight.get(event["source"], 0) + 1
            return taken

    def _landed(self, event: Event, failure: Any) -> None:
        """Handle a delivery report: count it, and put the newest event of a source back for a retry if it failed."""
        source = event["source"]
        with self._lock:
            self._count_down(source)
            if failure is None:
                self.delivered += 1
                self._heard()
            elif self._newest.get(source) == event["sequence"] and not self._closing and _passes(failure):
                self._slots.setdefault(source, event)
            else:
                self.lost += 1
        if failure is not None and not self._closing:
            self._reason = f"did not take an event ({failure.str()})"
            self._answered = False
            self._warn()
        for waiting in list(self._waiting):
            waiting.put(None)

    def _heard(self) -> None:
        self._answered, self._refused, self._patience_spent_s = True, False, 0.0

    def _warn(self) -> None:
        if self._warned:
            return
        self._warned = True
        logger.warning(
            "progress is not being reported: Kafka at %s %s; the work goes on",
            self._settings.bootstrap_servers,
            self._reason,
        )

    # -- the sink's thread

    def _run(self) -> None:
        producer: Any = None
        try:
            producer = self._make_producer()
            partitions = self._connect(producer)
            while partitions and not self._over():
                self._move(producer, partitions)
        except Exception as error:  # noqa: BLE001 - the work must never fail, and this thread has no caller
            self._reason = f"cannot be used ({error})"
            self._refused = True
            self._warn()
        finally:
            self._let_go(producer)

    def _over(self) -> bool:
        return self._closing or self._thread is not threading.current_thread()

    def _make_producer(self) -> Any:
        from confluent_kafka import Producer

        producer = Producer(
            {
                "bootstrap.servers": self._settings.bootstrap_servers,
                "client.id": f"millrace-progress-{os.getpid()}",
                "enable.idempotence": True,
                "linger.ms": 5,
                "message.timeout.ms": 15_000,
                "queue.buffering.max.messages": 1_000,
                "compression.type": "gzip",
                "reconnect.backoff.max.ms": 2_000,
                "log_level": 0,
                **self._settings.config,
                "error_cb": self._on_error,
            }
        )
        self._producers.append(producer)
        return producer

    def _connect(self, producer: Any) -> int:
        """Wait until the topic exists; return its number of partitions, or 0 if the sink is closed first."""
        from confluent_kafka import KafkaException

        begun, pause = time.monotonic(), 0.0
        while not self._over():
            with suppress(KafkaException):
                # List all topics: a request for this topic by name makes a broker with auto-creation create it.
                topics = producer.list_topics(timeout=ASK_S).topics
                if self._settings.topic in topics:
                    self._heard()
                    return len(topics[self._settings.topic].partitions)
                self._reason = f"has no topic {self._settings.topic}: `millrace init` creates it"
                self._refused, pause = True, min(pause + 1.0, 5.0)
            producer.poll(0)
            if time.monotonic() - begun > WARN_AFTER_S:
                self._warn()
            if pause:
                with suppress(queue.Empty):
                    self._drain()
                    self._wake.get(timeout=pause)
        return 0

    def _drain(self) -> None:
        with suppress(queue.Empty):
            while True:
                self._wake.get_nowait()

    def _move(self, producer: Any, partitions: int) -> None:
        """Move events from the slots to the producer and serve its callbacks; sleep while nothing is in flight."""
        for event in self._take():
            try:
                self._produce(producer, event, partitions)
            except BufferError:
                with self._lock:
                    self._count_down(event["source"])
                    self._slots.setdefault(event["source"], event)
                break
            except Exception as error:  # noqa: BLE001 - one bad event must not stop the others
                logger.debug("a progress event could not be sent: %s", error)
                with self._lock:
                    self._count_down(event["source"])
                    self.lost += 1
        self._drain()
        if self._in_flight:
            producer.poll(SERVE_S)
        elif not self._slots:
            for waiting in list(self._waiting):
                waiting.put(None)
            with suppress(queue.Empty):
                self._wake.get(timeout=5.0)
            producer.poll(0)

    def _count_down(self, source: str) -> None:
        left = self._in_flight.get(source, 1) - 1
        if left:
            self._in_flight[source] = left
        else:
            self._in_flight.pop(source, None)

    def _produce(self, producer: Any, event: Event, partitions: int) -> None:
        data = event["data"]
        producer.produce(
            self._settings.topic,
            key=event["source"].encode(),
            value=encode_event(event),
            partition=partition_of(data["dag_id"], data["run_id"], partitions),
            on_delivery=lambda failure, _message: self._landed(event, failure),
        )

    def _on_error(self, error: Any) -> None:
        from confluent_kafka import KafkaError

        if error.code() in (KafkaError._ALL_BROKERS_DOWN, KafkaError._RESOLVE, KafkaError._AUTHENTICATION):
            self._answered, self._refused = False, True
            self._reason = "does not respond"
            self._warn()
        elif error.fatal():
            self._reason = f"cannot be used ({error.str()})"
            self._refused = True
            self._warn()

    def _let_go(self, producer: Any) -> None:
        if producer is None:
            return
        with suppress(Exception):  # modules may already be torn down at interpreter exit
            producer.purge(blocking=False)
            producer.poll(0)
        self._producers.remove(producer)

    def _forget_in_child(self) -> None:
        for producer in self._producers:
            # The producer's threads do not exist in the child, so destroying it would wait for them for ever.
            ctypes.pythonapi.Py_IncRef(ctypes.py_object(producer))
        self._reset()


_sinks: weakref.WeakSet[KafkaSink] = weakref.WeakSet()


def _after_fork() -> None:
    for sink in list(_sinks):
        sink._forget_in_child()


os.register_at_fork(after_in_child=_after_fork)


def _passes(failure: Any) -> bool:
    """Return whether Kafka may accept the same event later: not if the event itself is invalid, or was purged."""
    from confluent_kafka import KafkaError

    return failure.code() not in (
        KafkaError.MSG_SIZE_TOO_LARGE,
        KafkaError.INVALID_RECORD,
        KafkaError._PURGE_QUEUE,
        KafkaError._PURGE_INFLIGHT,
    )


def create_topic(settings: KafkaSettings, *, timeout_s: float = 30.0) -> bool:
    """Ensure that the topic exists; return True if this call created it. An existing topic is not changed.

    The last event of every source is kept for 30 days, and every event for at least one day (``compact,delete``). The
    broker sets the record times, so events of a task with a wrong clock neither expire early nor stay for ever. Raises
    ``ProgressError`` if Kafka refuses, or does not respond within ``timeout_s`` (``silent`` in its context).
    """
    from confluent_kafka import KafkaError, KafkaException
    from confluent_kafka.admin import AdminClient, NewTopic  # type: ignore[attr-defined]  # exported only at run time

    day_ms = 86_400_000
    where = f"Kafka at {settings.bootstrap_servers}"
    try:
        admin = AdminClient({"bootstrap.servers": settings.bootstrap_servers, "log_level": 0, **settings.config})
        if settings.topic in admin.list_topics(timeout=timeout_s).topics:
            return False
        topic = NewTopic(
            settings.topic,
            num_partitions=settings.partitions,
            replication_factor=-1,  # the default of the brokers
            config={
                "cleanup.policy": "compact,delete",
                "min.compaction.lag.ms": str(day_ms),
                "retention.ms": str(30 * day_ms),
                "message.timestamp.type": "LogAppendTime",
            },
        )
        admin.create_topics([topic], request_timeout=timeout_s)[settings.topic].result(timeout=timeout_s)
    except KafkaException as error:
        cause = error.args[0]
        if cause.code() == KafkaError.TOPIC_ALREADY_EXISTS:
            return False
        raise ProgressError(
            f"topic {settings.topic} cannot be created: {where} says {cause.str()}",
            hint="is Kafka running? `./run up kafka` starts the local one",
            topic=settings.topic,
            silent=cause.code() in (KafkaError._TRANSPORT, KafkaError._TIMED_OUT),
        ) from error
    except TimeoutError as error:
        raise ProgressError(f"topic {settings.topic} was not created: {where} did not answer", silent=True) from error
    return True
