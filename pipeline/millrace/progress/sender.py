"""Send the snapshots and curves of one attempt: rate-limited, in order of their sequence, from a thread of its own."""

from __future__ import annotations

import logging
import os
import queue
import threading
import time
import weakref
from collections.abc import Sequence
from typing import Final

from millrace.progress.curves import Curves
from millrace.progress.event import Event, curves_event, progress_event
from millrace.progress.identity import TaskIdentity
from millrace.progress.sinks import FlushingSink, Sink
from millrace.progress.snapshot import Snapshot

logger = logging.getLogger(__name__)

EVENT_INTERVAL_S: Final = 0.5
CURVES_INTERVAL_S: Final = 5.0
HEARTBEAT_S: Final = 10.0
BURST: Final = 20
"""Phase changes that can be sent immediately in a row. The budget is refilled at two a second."""


class SnapshotSender:
    """The sender of one attempt's events. ``lock`` guards ``snapshot`` and ``curves``. A forked child sends nothing."""

    def __init__(
        self, identity: TaskIdentity, snapshot: Snapshot, sinks: Sequence[Sink], heartbeat_s: float = HEARTBEAT_S
    ) -> None:
        self.identity, self.snapshot, self.curves = identity, snapshot, Curves()
        self.sinks = tuple(sinks)
        # Reentrant, because a signal handler may end the task while its own thread holds the lock.
        self.lock = threading.RLock()
        # A signal handler may put to a SimpleQueue, but it may not set an Event.
        self._wake: queue.SimpleQueue[None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._heartbeat_s = heartbeat_s
        self._dirty = self._curves_dirty = self._over = False
        self._sequence = self._curves_sequence = 0
        self._sent_s = self._curves_sent_s = self._event_s = time.monotonic()
        self._gap_s = 0.0
        self._burst = self._burst_max = float(BURST)
        _senders.add(self)

    def limit_events(self, interval_s: float) -> None:
        """Send at most one event in ``interval_s`` from now on, snapshots and curves counted together.

        Changes of the phase wait too. The first event and the last ones of the attempt are sent at once.
        """
        with self.lock:
            self._gap_s = interval_s
            self._burst = self._burst_max = 0.0

    def start(self) -> None:
        """Send the first event, ``running``, and start the thread if there is a sink."""
        with self.lock:
            self.snapshot.started_s = self._sent_s = time.monotonic()
            self._curves_sent_s = self._sent_s - CURVES_INTERVAL_S
            self.snapshot.state = "running"
            self._send()
        if self.sinks:
            self._thread = threading.Thread(target=self._keep_sending, name="progress", daemon=True)
            self._thread.start()

    def mark(self) -> None:
        """Record that the snapshot has changed; it is sent when the next event is due. The caller holds the lock."""
        if not self._dirty:
            self._dirty = True
            self._wake.put(None)

    def mark_curves(self) -> None:
        """Record that a curve has changed. The caller holds the lock."""
        if not self._curves_dirty:
            self._curves_dirty = True
            self._wake.put(None)

    def send_now(self) -> None:
        """Send the snapshot at once, unless the budget of ``BURST`` is used up. The caller holds the lock."""
        if self._burst >= 1:
            self._burst -= 1
            self._send()
        else:
            self.mark()

    def finish(self, state: str, error: dict[str, str] | None) -> None:
        """Send the last event of the attempt, once."""
        with self.lock:
            if self._over:
                return
            if self._curves_dirty:
                self._send_curves()
            self.snapshot.state, self.snapshot.error = state, error
            self._send()
            self._over = True
            self._wake.put(None)

    def join(self, timeout_s: float) -> None:
        """Wait until the thread has ended."""
        thread, self._thread = self._thread, None
        if thread is not None and thread is not threading.current_thread() and thread.is_alive():
            thread.join(timeout=timeout_s)

    def flush(self, timeout_s: float) -> None:
        """Deliver the pending events of all sinks within ``timeout_s`` together."""
        deadline = time.monotonic() + timeout_s
        for sink in self.sinks:
            if isinstance(sink, FlushingSink):
                try:
                    sink.flush(max(deadline - time.monotonic(), 0.0))
                except Exception:  # reporting must never fail the work
                    logger.debug("a progress sink failed to flush", exc_info=True)

    def _keep_sending(self) -> None:
        """Send events when they are due, until the task is over. The thread sleeps in between; a change wakes it."""
        while True:
            with self.lock:
                if self._over:
                    return
                now_s = time.monotonic()
                pause_s = self._pause_s(now_s)
                if pause_s <= 0:
                    if self._curves_dirty and now_s - self._curves_sent_s >= CURVES_INTERVAL_S:
                        self._send_curves()
                    if self._pause_s(now_s) <= 0:
                        self._send()
                    pause_s = self._pause_s(time.monotonic())
            try:
                self._wake.get(timeout=max(pause_s, 0.001))
            except queue.Empty:
                continue

    def _pause_s(self, now_s: float) -> float:
        due_s = self._sent_s + (EVENT_INTERVAL_S if self._dirty else self._heartbeat_s)
        if self._curves_dirty:
            due_s = min(due_s, self._curves_sent_s + CURVES_INTERVAL_S)
        return max(due_s, self._event_s + self._gap_s) - now_s

    def _send(self) -> None:
        """Send a snapshot. The caller holds the lock, so that sequences reach every sink in order."""
        now_s = time.monotonic()
        self._burst = min(self._burst_max, self._burst + (now_s - self._sent_s) * 2)
        self._dirty = False
        self._sent_s = self._event_s = now_s
        self._sequence += 1
        self._emit(progress_event(self.identity, self._sequence, time.time(), self.snapshot.facts(now_s)))

    def _send_curves(self) -> None:
        self._curves_dirty = False
        self._curves_sent_s = self._event_s = time.monotonic()
        self._curves_sequence += 1
        facts = {"kind": self.snapshot.kind, "dataset": self.snapshot.dataset}
        self._emit(curves_event(self.identity, self._curves_sequence, time.time(), facts, self.curves.series()))

    def _emit(self, event: Event) -> None:
        if self._over:
            return
        for sink in self.sinks:
            try:
                sink.emit(event)
            except Exception:  # reporting must never fail the work
                logger.debug("a progress sink failed to accept an event", exc_info=True)

    def _stop_in_child(self) -> None:
        # The parent continues to report this attempt, and a second reporter would contradict it. The lock is replaced
        # because a thread that does not exist in the child may have held it.
        self.lock = threading.RLock()
        self._over = True
        self.sinks = ()
        self._thread = None


_senders: weakref.WeakSet[SnapshotSender] = weakref.WeakSet()


def _after_fork() -> None:
    for sender in list(_senders):
        sender._stop_in_child()


os.register_at_fork(after_in_child=_after_fork)
