"""The Kafka sink: a separate thread sends progress events, or drops them; the work never waits for Kafka.

``emit`` stores the event in the slot of its source, where a newer event replaces an older one, and returns. The sink's
thread creates the producer, reads the topic's number of partitions, moves events from the slots to the producer and
serves its callbacks.
"""

from __future__ import annotations

import atexit
import logging
import os
import queue
import threading
import time
import weakref
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final

from millrace.compat.kept import keep_until_process_ends
from millrace.progress.broker import BrokerState
from millrace.progress.event import Event
from millrace.progress.producer import is_retriable, make_producer, send_event
from millrace.progress.slots import EventCounts, EventSlots
from millrace.settings import KafkaSettings

logger = logging.getLogger("millrace.progress")

METADATA_TIMEOUT_S: Final = 0.5
WARN_AFTER_S: Final = 5.0
POLL_S: Final = 0.05


class KafkaSink:
    """A sink that sends events to Kafka. ``emit`` takes microseconds and never raises, in any state of the broker.

    The first ``emit`` of a process starts the thread that creates the producer. A producer is not used after a fork: a
    child creates its own. While the broker is unreachable, the newest event of each source is kept and is sent when
    the broker is back. One warning reports that progress is not sent. Only
    ``flush`` and ``close`` wait: at most 5 s in all for an unresponsive broker, and half a second for one that refuses
    connections. An ``emit`` after ``close`` opens the sink again.
    """

    def __init__(
        self,
        settings: KafkaSettings,
        *,
        make_producer: Callable[[KafkaSettings, Callable[[Any], None]], Any] = make_producer,
    ) -> None:
        self._settings, self._make_producer = settings, make_producer
        self._counts = EventCounts()
        self._broker = BrokerState(settings.bootstrap_servers)
        self._reset()
        _sinks.add(self)

    def _reset(self) -> None:
        self._slots = EventSlots(self._counts)
        # A signal handler may interrupt this thread inside the sink and use it, so the queues are reentrant.
        self._wake: queue.SimpleQueue[None] = queue.SimpleQueue()
        self._flushes: list[queue.SimpleQueue[None]] = []
        self._thread: threading.Thread | None = None
        self._producers: list[Any] = []
        self._closing = False
        self._broker.reset()

    @property
    def delivered(self) -> int:
        """Return the number of events that Kafka has acknowledged."""
        return self._counts.delivered

    @property
    def dropped(self) -> int:
        """Return the number of events that never reached Kafka, without those that a newer one replaced in time."""
        return self._counts.dropped

    # -- calls of the work

    def emit(self, event: Event) -> None:
        """Accept the event. It overwrites an older event of the same source that is still in the slot."""
        with self._slots.lock:
            self._slots.put(event)
            if self._thread is None:
                self._closing = False
                self._thread = threading.Thread(target=self._run, name="progress-kafka", daemon=True)
                self._thread.start()
                atexit.register(self.close)
        self._wake.put(None)

    def flush(self, timeout_s: float = 5.0) -> bool:
        """Wait until every accepted event is delivered or dropped; return False at a timeout.

        The timeout is ``timeout_s``, or the time left for an unresponsive broker if that is shorter.
        """
        deadline = time.monotonic() + timeout_s
        landed: queue.SimpleQueue[None] = queue.SimpleQueue()
        self._flushes.append(landed)
        try:
            while not self._slots.idle:
                started = time.monotonic()
                pause_s = min(deadline - started, self._broker.wait_left_s(), 0.1)
                if pause_s <= 0:
                    self._broker.warn()
                    return False
                with suppress(queue.Empty):
                    landed.get(timeout=pause_s)
                self._broker.add_wait(time.monotonic() - started)
        finally:
            with suppress(ValueError):
                self._flushes.remove(landed)
        return True

    def close(self, timeout_s: float = 5.0) -> None:
        """Flush, drop undelivered events and end the thread. Return within ``timeout_s`` plus about 0.2 s."""
        with self._slots.lock:
            thread = self._thread
        if thread is None:
            return
        self.flush(timeout_s)
        with self._slots.lock:
            self._closing = True
            self._thread = None
            dropped = self._slots.drop_all()
        self._wake.put(None)
        atexit.unregister(self.close)
        if thread is not threading.current_thread():
            thread.join(timeout=0.2)
        if dropped:
            logger.info("%d progress events did not reach Kafka, %d did", dropped, self._counts.delivered)

    # -- the sink's thread

    def _run(self) -> None:
        producer: Any = None
        try:
            producer = self._make_producer(self._settings, self._on_error)
            self._producers.append(producer)
            partitions = self._connect(producer)
            while partitions and not self._over():
                self._move(producer, partitions)
        except Exception as error:  # noqa: BLE001 - the work must never fail, and this thread has no caller
            self._broker.mark_refused(f"cannot be used ({error})")
            self._broker.warn()
        finally:
            self._release(producer)

    def _over(self) -> bool:
        return self._closing or self._thread is not threading.current_thread()

    def _connect(self, producer: Any) -> int:
        """Wait until the topic exists; return its number of partitions, or 0 if the sink is closed first."""
        from confluent_kafka import KafkaException

        started, pause_s = time.monotonic(), 0.0
        while not self._over():
            with suppress(KafkaException):
                # List all topics: a request for this topic by name makes a broker with auto-creation create it.
                topics = producer.list_topics(timeout=METADATA_TIMEOUT_S).topics
                if self._settings.topic in topics:
                    self._broker.mark_responsive()
                    return len(topics[self._settings.topic].partitions)
                self._broker.mark_refused(f"has no topic {self._settings.topic}: `millrace init` creates it")
                pause_s = min(pause_s + 1.0, 5.0)
            producer.poll(0)
            if time.monotonic() - started > WARN_AFTER_S:
                self._broker.warn()
            if pause_s:
                with suppress(queue.Empty):
                    self._drain()
                    self._wake.get(timeout=pause_s)
        return 0

    def _drain(self) -> None:
        with suppress(queue.Empty):
            while True:
                self._wake.get_nowait()

    def _move(self, producer: Any, partitions: int) -> None:
        """Move events from the slots to the producer and serve its callbacks; sleep while nothing is in flight."""
        taken = self._slots.take()
        for number, event in enumerate(taken):
            try:
                send_event(producer, self._settings.topic, event, partitions, self._on_delivery)
            except BufferError:
                for remaining in taken[number:]:
                    self._slots.put_back(remaining)
                break
            except Exception as error:  # noqa: BLE001 - one bad event must not stop the others
                logger.debug("a progress event could not be sent and is dropped: %s", error)
                self._slots.mark_dropped(event)
        self._drain()
        if self._slots.in_flight:
            producer.poll(POLL_S)
        elif not len(self._slots):
            self._wake_flushes()
            with suppress(queue.Empty):
                self._wake.get(timeout=5.0)
            producer.poll(0)

    def _on_delivery(self, event: Event, failure: Any) -> None:
        """Handle a delivery report: count it, and put the newest event of a source back for a retry if it failed."""
        with self._slots.lock:
            if failure is None:
                self._slots.mark_delivered(event)
                self._broker.mark_responsive()
            elif self._slots.is_newest(event) and not self._closing and is_retriable(failure):
                self._slots.put_back(event)
            else:
                self._slots.mark_dropped(event)
        if failure is not None and not self._closing:
            self._broker.mark_rejected(failure.str())
            self._broker.warn()
        self._wake_flushes()

    def _wake_flushes(self) -> None:
        for landed in list(self._flushes):
            landed.put(None)

    def _on_error(self, error: Any) -> None:
        from confluent_kafka import KafkaError

        if error.code() in (KafkaError._ALL_BROKERS_DOWN, KafkaError._RESOLVE, KafkaError._AUTHENTICATION):
            self._broker.mark_unreachable()
            self._broker.warn()
        elif error.fatal():
            self._broker.mark_refused(f"cannot be used ({error.str()})")
            self._broker.warn()

    def _release(self, producer: Any) -> None:
        if producer is None:
            return
        with suppress(Exception):  # modules may already be torn down at interpreter exit
            producer.purge(blocking=False)
            producer.poll(0)
        self._producers.remove(producer)


_sinks: weakref.WeakSet[KafkaSink] = weakref.WeakSet()


def _after_fork() -> None:
    for sink in list(_sinks):
        for producer in sink._producers:
            keep_until_process_ends(producer)
        sink._reset()


os.register_at_fork(after_in_child=_after_fork)
