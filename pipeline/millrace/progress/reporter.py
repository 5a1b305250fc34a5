"""The reporter of one task attempt: it collects the progress of the work and sends snapshots to sinks.

Snapshots are rate-limited, sent in order of their sequence, and end with a terminal event.
"""

from __future__ import annotations

import json
import logging
import math
import os
import queue
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any, Final, Self

from millrace.errors import LoadInterruptedError
from millrace.progress import exits
from millrace.progress.curves import SERIES_MAX, Curve
from millrace.progress.event import ATTEMPT_OVER, COUNTERS, Event, TaskIdentity, curves_event, progress_event
from millrace.progress.sinks import FlushingSink, Sink

__all__ = ["ProgressTask", "task"]

logger = logging.getLogger(__name__)

EVENT_INTERVAL_S: Final = 0.5
CURVES_INTERVAL_S: Final = 5.0
HEARTBEAT_S: Final = 10.0
RATE_WINDOW_S: Final = 30.0
FLUSH_S: Final = 5.0
BURST: Final = 20
"""Phase changes that can be sent immediately in a row. The budget is refilled at two a second."""
TEXT_MAX: Final = 500
NAME_MAX: Final = 100
RESULT_BYTES_MAX: Final = 16_000
METRICS_MAX: Final = 64


def task(
    identity: TaskIdentity,
    *,
    kind: str,
    dataset: str | None = None,
    total: float | None = None,
    unit: str = "rows",
    sinks: Sequence[Sink] = (),
    will_retry: bool | Callable[[BaseException], bool] = False,
) -> ProgressTask:
    """Report the block of a ``with`` statement as one attempt.

    The first event (``running``) is sent on entry. A last event is sent on every exit, and nothing after it:

    * ``succeeded`` or ``skipped``;
    * ``failed``, with the type and message of the exception;
    * ``retrying`` instead of ``failed`` if another attempt follows: ``will_retry`` is true or, if it is callable,
      returns true for the exception;
    * ``cancelled`` after Ctrl-C, SIGTERM or ``LoadInterruptedError``.

    In between, at most two events a second are sent. Phase changes are sent immediately, and one event is sent every
    10 s without changes. On exit, all sinks together get at most 5 s to deliver the events that they hold. Exceptions
    propagate unchanged. ``sinks`` stay open; the caller closes them.
    """
    return ProgressTask(
        identity, kind=kind, dataset=dataset, total=total, unit=unit, sinks=sinks, will_retry=will_retry
    )


class ProgressTask:
    """A running attempt, created by ``task``. Thread-safe. In a forked child it sends nothing."""

    def __init__(
        self,
        identity: TaskIdentity,
        *,
        kind: str,
        dataset: str | None,
        total: float | None,
        unit: str,
        sinks: Sequence[Sink],
        will_retry: bool | Callable[[BaseException], bool],
    ) -> None:
        self.identity = identity
        self._kind, self._dataset, self._unit = kind, dataset or "", unit
        self._sinks = tuple(sinks)
        self._will_retry = will_retry
        # Reentrant, because a signal handler may end the task while its own thread holds the lock.
        self._lock = threading.RLock()
        # A signal handler may put to a SimpleQueue, but it may not set an Event.
        self._wake: queue.SimpleQueue[None] = queue.SimpleQueue()
        self._beat: threading.Thread | None = None
        self._state, self._phase, self._message = "queued", "", ""
        self._error: dict[str, str] | None = None
        self._skipped = False
        self._done: float = 0
        self._total = _plain(total)
        self._counters = dict.fromkeys(COUNTERS, 0)
        self._metrics: dict[str, float | None] = {}
        self._result: dict[str, Any] | None = None
        self._curves: dict[str, Curve] = {}
        self._dirty = False
        self._curves_dirty = False
        self._over = False
        self._sequence = self._curves_sequence = 0
        self._started = self._sent_at = self._curves_sent_at = time.monotonic()
        self._samples: deque[tuple[float, float]] = deque()
        self._burst = float(BURST)
        _alive.add(self)

    # -- calls of the work

    def advance(self, amount: float = 1) -> None:
        """Add to ``done``. It never decreases, so a negative amount is ignored."""
        with self._lock:
            if 0 < amount < math.inf:
                self._done += amount
            if not self._dirty:
                self._mark()

    def advance_to(self, done: float) -> None:
        """Set ``done``, unless that would decrease it."""
        with self._lock:
            if self._done < done < math.inf:
                self._done = done
                self._mark()

    def set_total(self, total: float | None) -> None:
        """Set the total amount of work; ``None`` while it is unknown."""
        with self._lock:
            self._total = _plain(total)
            self._mark()

    def phase(self, name: str) -> None:
        """Set the phase that begins. A change is sent immediately until the budget of ``BURST`` is used up."""
        with self._lock:
            if name == self._phase:
                return
            self._phase = _short(name, NAME_MAX)
            if self._burst >= 1:
                self._burst -= 1
                self._send()
            else:
                self._mark()

    def count(
        self,
        *,
        chunks: int = 0,
        bytes_raw: int = 0,
        bytes_stored: int = 0,
        retries: int = 0,
        under_replicated: int = 0,
    ) -> None:
        """Add to the counters."""
        with self._lock:
            counters = self._counters
            counters["chunks"] += chunks
            counters["bytes_raw"] += bytes_raw
            counters["bytes_stored"] += bytes_stored
            counters["retries"] += retries
            counters["under_replicated"] += under_replicated
            self._mark()

    def metrics(self, **newest: float) -> None:
        """Set the newest value of each given metric; at most 64 names are kept."""
        with self._lock:
            for name, value in newest.items():
                key = _short(name, NAME_MAX)
                if key in self._metrics or len(self._metrics) < METRICS_MAX:
                    self._metrics[key] = _plain(value)
            self._mark()

    def curve(self, metric: str, step: float, value: float) -> None:
        """Add a point to the curve of ``metric``; at most 16 metrics have one."""
        with self._lock:
            key = _short(metric, NAME_MAX)
            if key not in self._curves and len(self._curves) >= SERIES_MAX:
                return
            at, seen = _plain(step), _plain(value)
            if at is None:
                return
            self._curves.setdefault(key, Curve()).add(at, math.nan if seen is None else seen)
            if not self._curves_dirty:
                self._curves_dirty = True
                self._wake.put(None)

    def message(self, text: str) -> None:
        """Set the message that users see; at most 500 characters are kept."""
        with self._lock:
            self._message = _short(text, TEXT_MAX)
            self._mark()

    def result(self, **facts: Any) -> None:
        """Set the result of the work: JSON of at most 16 kB, which all later events carry.

        A result that is not JSON or too large is ignored, because reporting must never fail the work.
        """
        try:
            text = json.dumps(facts, allow_nan=False)
        except (TypeError, ValueError, RecursionError):
            logger.debug("a result is no JSON", exc_info=True)
            return
        if len(text) > RESULT_BYTES_MAX:
            logger.debug("a result of %d bytes is left out", len(text))
            return
        with self._lock:
            self._result = json.loads(text)
            self._mark()

    def skip(self, reason: str = "") -> None:
        """End as ``skipped`` instead of ``succeeded`` when the block ends without an error."""
        with self._lock:
            self._skipped = True
            if reason:
                self._message = _short(reason, TEXT_MAX)

    # -- beginning and end

    def __enter__(self) -> Self:
        with self._lock:
            self._started = self._sent_at = time.monotonic()
            self._curves_sent_at = self._started - CURVES_INTERVAL_S
            self._state = "running"
            self._send()
        if self._sinks:
            self._beat = threading.Thread(target=self._keep_sending, name="progress", daemon=True)
            self._beat.start()
            exits.watch(id(self), self._stopped_by_signal)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        exits.unwatch(id(self))
        state, said = _outcome(kind, error, self._skipped, self._says_retry(error))
        self._finish(state, said)
        beat, self._beat = self._beat, None
        if beat is not None and beat is not threading.current_thread() and beat.is_alive():
            beat.join(timeout=1.0)
        self._flush(FLUSH_S)

    def _says_retry(self, error: BaseException | None) -> bool:
        if error is None or not callable(self._will_retry):
            return bool(self._will_retry)
        try:
            return self._will_retry(error)
        except Exception:
            # Reporting must never hide the exception of the work.
            logger.debug("nobody knows whether another attempt follows", exc_info=True)
            return False

    def _stopped_by_signal(self, timeout_s: float) -> None:
        self._finish("cancelled", {"type": "SIGTERM", "message": "stopped by signal SIGTERM"})
        self._flush(timeout_s)

    def _finish(self, state: str, error: dict[str, str] | None) -> None:
        with self._lock:
            if self._over:
                return
            if self._curves_dirty:
                self._send_curves()
            self._state, self._error = state, error
            self._send()
            self._over = True
            self._wake.put(None)

    def _flush(self, timeout_s: float) -> None:
        deadline = time.monotonic() + timeout_s
        for sink in self._sinks:
            if isinstance(sink, FlushingSink):
                try:
                    sink.flush(max(deadline - time.monotonic(), 0.0))
                except Exception:  # reporting must never fail the work
                    logger.debug("a progress sink failed to flush", exc_info=True)

    # -- sending

    def _mark(self) -> None:
        if not self._dirty:
            self._dirty = True
            self._wake.put(None)

    def _keep_sending(self) -> None:
        """Send events when they are due, until the task is over. The thread sleeps in between; a change wakes it."""
        while True:
            with self._lock:
                if self._over:
                    return
                now = time.monotonic()
                pause = self._pause(now)
                if pause <= 0:
                    if self._curves_dirty and now - self._curves_sent_at >= CURVES_INTERVAL_S:
                        self._send_curves()
                    if self._pause(now) <= 0:
                        self._send()
                    pause = self._pause(time.monotonic())
            try:
                self._wake.get(timeout=max(pause, 0.001))
            except queue.Empty:
                continue

    def _pause(self, now: float) -> float:
        due = self._sent_at + (EVENT_INTERVAL_S if self._dirty else HEARTBEAT_S)
        if self._curves_dirty:
            due = min(due, self._curves_sent_at + CURVES_INTERVAL_S)
        return due - now

    def _send(self) -> None:
        """Send a snapshot. The caller holds the lock, so that sequences reach every sink in order."""
        now = time.monotonic()
        self._burst = min(float(BURST), self._burst + (now - self._sent_at) * 2)
        self._dirty = False
        self._sent_at = now
        self._sequence += 1
        self._samples.append((now, self._done))
        while len(self._samples) > 2 and self._samples[1][0] <= now - RATE_WINDOW_S:
            self._samples.popleft()
        facts = {
            "kind": self._kind,
            "dataset": self._dataset,
            "state": self._state,
            "phase": self._phase,
            "done": _plain(self._done) or 0,
            "total": self._total,
            "unit": self._unit,
            "rate": self._rate(now),
            "elapsed_s": round(now - self._started, 3),
            "counters": {name: _plain(value) or 0 for name, value in self._counters.items()},
            "metrics": dict(self._metrics),
            "message": self._message,
            "error": self._error,
            **({"result": self._result} if self._result else {}),
        }
        self._emit(progress_event(self.identity, self._sequence, time.time(), facts))

    def _rate(self, now: float) -> float | None:
        """Return the rate in units a second: over the last 30 s, or over the whole attempt once it is over."""
        since, done_then = (self._started, 0.0) if self._state in ATTEMPT_OVER else self._samples[0]
        done, span = _plain(self._done) or 0, now - since
        return round((done - done_then) / span, 3) if span >= 0.2 else None

    def _send_curves(self) -> None:
        self._curves_dirty = False
        self._curves_sent_at = time.monotonic()
        self._curves_sequence += 1
        facts = {"kind": self._kind, "dataset": self._dataset}
        series = {name: curve.points() for name, curve in self._curves.items()}
        self._emit(curves_event(self.identity, self._curves_sequence, time.time(), facts, series))

    def _emit(self, event: Event) -> None:
        if self._over:
            return
        for sink in self._sinks:
            try:
                sink.emit(event)
            except Exception:  # reporting must never fail the work
                logger.debug("a progress sink failed to take an event", exc_info=True)

    def _silence_in_child(self) -> None:
        # The parent continues to report this attempt, and a second reporter would contradict it. The lock is replaced
        # because a thread that does not exist in the child may have held it.
        self._lock = threading.RLock()
        self._over = True
        self._sinks = ()
        self._beat = None


_alive: weakref.WeakSet[ProgressTask] = weakref.WeakSet()


def _after_fork() -> None:
    for each in list(_alive):
        each._silence_in_child()


os.register_at_fork(after_in_child=_after_fork)


def _short(text: object, limit: int) -> str:
    said = str(text)
    return said if len(said) <= limit else said[: limit - 1] + "\N{HORIZONTAL ELLIPSIS}"


def _plain(value: Any) -> float | int | None:
    """Convert any numeric value, including numpy's, to a finite Python number; return ``None`` for everything else."""
    if value is None:
        return None
    if isinstance(value, int):
        return int(value)
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        return None
    if not math.isfinite(number):
        return None
    return int(number) if not isinstance(value, float) and number.is_integer() else number


def _outcome(
    kind: type[BaseException] | None, error: BaseException | None, skipped: bool, will_retry: bool
) -> tuple[str, dict[str, str] | None]:
    """Return the last state of an attempt, and its error, for the exception that ended its block."""
    if kind is None:
        return ("skipped" if skipped else "succeeded"), None
    said = {"type": kind.__name__, "message": _short(error if error is not None else "", TEXT_MAX)}
    if issubclass(kind, SystemExit):
        code = getattr(error, "code", None)
        if code is None or code == 0:
            return ("skipped" if skipped else "succeeded"), None
        said["message"] = _short(f"exit code {code}" if isinstance(code, int) else code, TEXT_MAX)
        return ("cancelled" if code in (130, 143) else "failed"), said
    if issubclass(kind, KeyboardInterrupt | GeneratorExit | LoadInterruptedError):
        said["message"] = said["message"] or "stopped by a person"
        return "cancelled", said
    if kind.__name__ == "AirflowSkipException":  # recognized by name, because Airflow is not imported here
        return "skipped", None
    return ("retrying" if will_retry else "failed"), said
