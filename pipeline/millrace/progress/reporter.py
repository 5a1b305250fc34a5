"""The reporter of one task attempt: it collects the progress of the work and reports the end of its ``with`` block.

``SnapshotSender`` sends the events.
"""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any, Final, Self

from millrace.progress.exit_state import exit_state
from millrace.progress.identity import TaskIdentity
from millrace.progress.sender import HEARTBEAT_S, SnapshotSender
from millrace.progress.sigterm import register_sigterm_callback, unregister_sigterm_callback
from millrace.progress.sinks import Sink
from millrace.progress.snapshot import Snapshot
from millrace.progress.values import finite_number, short_text

logger = logging.getLogger(__name__)

FLUSH_S: Final = 5.0
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


def null_task() -> ProgressTask:
    """Return a task that reports to no sink and starts no thread; usable with and without ``with``."""
    return task(TaskIdentity("python", "none", "none"), kind="")


class ProgressTask:
    """A running attempt, created by ``task``. In a forked child it sends nothing.

    Calls return at once in any state of Kafka and are thread-safe.
    """

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
        heartbeat_s: float = HEARTBEAT_S,
    ) -> None:
        self.identity = identity
        self._snapshot = Snapshot(kind, dataset or "", total, unit)
        self._sender = SnapshotSender(identity, self._snapshot, sinks, heartbeat_s)
        self._will_retry = will_retry
        self._skipped = False

    # -- calls of the work

    def advance(self, amount: float = 1) -> None:
        """Add to ``done``. It never decreases, so a negative amount is ignored."""
        with self._sender.lock:
            if 0 < amount < math.inf:
                self._snapshot.done += amount
            self._sender.mark()

    def advance_to(self, done: float) -> None:
        """Set ``done``, unless that would decrease it."""
        with self._sender.lock:
            if self._snapshot.done < done < math.inf:
                self._snapshot.done = done
                self._sender.mark()

    def set_total(self, total: float | None) -> None:
        """Set the total amount of work; ``None`` while it is unknown."""
        with self._sender.lock:
            self._snapshot.total = finite_number(total)
            self._sender.mark()

    def phase(self, name: str) -> None:
        """Set the phase that begins. A change is sent immediately until the sender's budget is used up."""
        with self._sender.lock:
            if name != self._snapshot.phase:
                self._snapshot.phase = short_text(name, NAME_MAX)
                self._sender.send_now()

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
        with self._sender.lock:
            self._snapshot.counters.update(
                chunks=chunks,
                bytes_raw=bytes_raw,
                bytes_stored=bytes_stored,
                retries=retries,
                under_replicated=under_replicated,
            )
            self._sender.mark()

    def metrics(self, **newest: float) -> None:
        """Set the newest value of each given metric; at most 64 names are kept."""
        with self._sender.lock:
            metrics = self._snapshot.metrics
            for name, value in newest.items():
                key = short_text(name, NAME_MAX)
                if key in metrics or len(metrics) < METRICS_MAX:
                    metrics[key] = finite_number(value)
            self._sender.mark()

    def curve(self, metric: str, step: float, value: float) -> None:
        """Add a point to the curve of ``metric``; at most 16 metrics have one."""
        with self._sender.lock:
            if self._sender.curves.add(short_text(metric, NAME_MAX), step, value):
                self._sender.mark_curves()

    def limit_events(self, interval_s: float) -> None:
        """Send at most one event in ``interval_s``, with curves and changes of the phase, apart from first and last."""
        self._sender.limit_events(interval_s)

    def message(self, text: str) -> None:
        """Set the message that users see; at most 500 characters are kept."""
        with self._sender.lock:
            self._snapshot.message = short_text(text, TEXT_MAX)
            self._sender.mark()

    def result(self, **facts: Any) -> None:
        """Set the result of the work: JSON of at most 16 kB, which all later events carry.

        A result that is not JSON or too large is ignored, because reporting must never fail the work.
        """
        try:
            text = json.dumps(facts, allow_nan=False)
        except (TypeError, ValueError, RecursionError):
            logger.debug("the result is not JSON and is not reported", exc_info=True)
            return
        if len(text) > RESULT_BYTES_MAX:
            logger.debug("the result has %d bytes and is not reported; the limit is %d", len(text), RESULT_BYTES_MAX)
            return
        with self._sender.lock:
            self._snapshot.result = json.loads(text)
            self._sender.mark()

    def skip(self, reason: str = "") -> None:
        """End as ``skipped`` instead of ``succeeded`` when the block ends without an error."""
        with self._sender.lock:
            self._skipped = True
            if reason:
                self._snapshot.message = short_text(reason, TEXT_MAX)

    # -- start and end

    def __enter__(self) -> Self:
        self._sender.start()
        if self._sender.sinks:
            register_sigterm_callback(id(self), self._on_terminate)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        unregister_sigterm_callback(id(self))
        self._sender.finish(*exit_state(kind, error, self._skipped, self._retry_follows(error)))
        self._sender.join(timeout_s=1.0)
        self._sender.flush(FLUSH_S)

    def _retry_follows(self, error: BaseException | None) -> bool:
        if error is None or not callable(self._will_retry):
            return bool(self._will_retry)
        try:
            return self._will_retry(error)
        except Exception:
            # Reporting must never hide the exception of the work.
            logger.debug("will_retry failed, so the attempt is reported as failed", exc_info=True)
            return False

    def _on_terminate(self, timeout_s: float) -> None:
        self._sender.finish("cancelled", {"type": "SIGTERM", "message": "stopped by signal SIGTERM"})
        self._sender.flush(timeout_s)
