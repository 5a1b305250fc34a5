"""Sinks, the receivers of events. A sink may lose an event; it must never slow, stop or fail the reporting work."""

from __future__ import annotations

import threading
from typing import Protocol, runtime_checkable

from millrace.progress.event import Event


class Sink(Protocol):
    """A receiver of events. ``emit`` never blocks and never raises; ``close`` returns within ``timeout_s``."""

    def emit(self, event: Event) -> None:
        """Accept the event, or lose it. Events of one source come in order of their sequence."""

    def close(self, timeout_s: float = 5.0) -> None:
        """Deliver the remaining events within ``timeout_s``, then release all resources."""


@runtime_checkable
class FlushingSink(Protocol):
    """A sink that can deliver its pending events on request; it is flushed at the end of every task."""

    def flush(self, timeout_s: float = 5.0) -> bool:
        """Return True once no accepted event is pending, False if ``timeout_s`` is over first."""


class NullSink:
    """A sink that discards every event."""

    def emit(self, event: Event) -> None:
        """Do nothing."""

    def close(self, timeout_s: float = 5.0) -> None:
        """Do nothing."""


class MemorySink:
    """A sink that keeps every event in ``events``, in order of arrival; for tests and inspection."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.closed = False
        self._arrived = threading.Condition(threading.RLock())

    def emit(self, event: Event) -> None:
        """Append the event to ``events``."""
        with self._arrived:
            self.events.append(event)
            self._arrived.notify_all()

    def close(self, timeout_s: float = 5.0) -> None:
        """Set ``closed``; the events stay."""
        self.closed = True

    def wait_for(self, count: int, timeout_s: float = 10.0) -> bool:
        """Wait until at least ``count`` events have arrived; return False if ``timeout_s`` is over first."""
        with self._arrived:
            return self._arrived.wait_for(lambda: len(self.events) >= count, timeout_s)
