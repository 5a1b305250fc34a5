"""Send events from an Airflow process to Kafka: one sink for a process, and a queue for callers that must not wait."""

from __future__ import annotations

import atexit
import logging
import os
import queue
import threading
import time
from typing import Final

from millrace.airflow.connections import airflow_settings
from millrace.progress import Event, Sink, kafka_sink
from millrace.settings import KafkaSettings

WAITING_MAX: Final = 1_000
IDLE_S: Final = 30.0

logger = logging.getLogger(__name__)

_lock = threading.Lock()
_sinks: list[tuple[KafkaSettings, Sink]] = []


def process_sink(settings: KafkaSettings) -> Sink:
    """Return the sink of this process for these settings; a task and Airflow's events about it share one connection.

    They also share the timeout for an unreachable broker: together they wait a few seconds, not each of them.
    """
    with _lock:
        sink = next((sink for sink_settings, sink in _sinks if sink_settings == settings), None)
        if sink is None:
            sink = kafka_sink(settings)
            _sinks.append((settings, sink))
        return sink


class ReportSender:
    """A queue for events from Airflow's own processes. ``put`` takes microseconds, never raises and never blocks.

    The address of Kafka may have to be read from Airflow's database. A hook must not wait for that, and must not read
    in the scheduler's transaction, so a thread does it. At most 1,000 events wait for the thread. Further events are
    dropped and counted in ``dropped``. The thread ends after ``idle_s`` seconds without an event.
    """

    def __init__(self, *, idle_s: float = IDLE_S) -> None:
        self.dropped = 0
        self._idle_s = idle_s
        self._reset()
        os.register_at_fork(after_in_child=self._reset)

    def _reset(self) -> None:
        # In a forked child the thread does not exist, and a lock may have been held during the fork.
        self._guard = threading.Lock()
        self._waiting: queue.Queue[Event] = queue.Queue(WAITING_MAX)
        self._thread: threading.Thread | None = None
        self._sink: Sink | None = None

    def put(self, event: Event) -> None:
        """Queue the event, or drop it if the queue is full."""
        try:
            self._waiting.put_nowait(event)
        except queue.Full:
            self.dropped += 1
            if self.dropped == 1:
                logger.warning("progress events of Airflow are dropped: the queue for Kafka is full")
            return
        with self._guard:
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="millrace-reports", daemon=True)
                self._thread.start()
                # In a task's process this is registered after the fork, so Airflow runs it before the process ends.
                atexit.register(self.flush)

    def flush(self, timeout_s: float = 3.0) -> bool:
        """Wait until Kafka has received every queued event; return False if ``timeout_s`` is over first."""
        deadline = time.monotonic() + timeout_s
        with self._waiting.all_tasks_done:
            while self._waiting.unfinished_tasks:
                left_s = deadline - time.monotonic()
                if left_s <= 0 or self._thread is None:
                    return False
                self._waiting.all_tasks_done.wait(left_s)
        flush = getattr(self._sink, "flush", None)
        return bool(flush(max(0.0, deadline - time.monotonic()))) if flush is not None else True

    def _run(self) -> None:
        while True:
            try:
                event = self._waiting.get(timeout=self._idle_s)
            except queue.Empty:
                with self._guard:
                    if self._waiting.empty():
                        self._thread = None
                        atexit.unregister(self.flush)
                        return
                continue
            try:
                if self._sink is None:
                    self._sink = process_sink(airflow_settings().kafka)
                self._sink.emit(event)
            except Exception:
                logger.warning("a progress event of Airflow could not be sent and is dropped", exc_info=True)
            finally:
                self._waiting.task_done()
