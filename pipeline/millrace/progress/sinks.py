"""Where events go. A sink may lose an event; it may never slow, stop or fail the work that reports."""

from __future__ import annotations

import threading
from typing import Protocol, runtime_checkable

from millrace.progress.event import Event

__all__ = ["FlushingSink", "MemorySink", "NullSink", "Sink"]


class Sink(Protocol):
    """Takes events. ``emit`` never blocks and never raises; ``close`` returns within ``timeout_s``."""

    def emit(self, event: Event) -> None:
        """Take the event, or lose it. Events of one source come in order of their sequence."""

    def close(self, timeout_s: float = 5.0) -> None:
        """Hand over what is still here, within the time given, then let go of everything."""


@runtime_checkable
class FlushingSink(Protocol):
    """A sink that can be asked to hand over what it holds; asked at the end of every task."""

    def flush(self, timeout_s: float = 5.0) -> bool:
        """Return True once everything taken so far has arrived, False when ``timeout_s`` is over."""


class NullSink:
    """Takes every event and keeps none."""

    def emit(self, event: Event) -> None:
        """Do nothing."""

    def close(self, timeout_s: float = 5.0) -> None:
        """Do nothing."""


class MemorySink:
    """Keeps every event in ``events``, in the order in which they came; for tests and for looking on."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.closed = False
        self._arrived = threading.Condition(threading.RLock())

    def emit(self, event: Event) -> None:
        """Keep the event."""
        with self._arrived:
            self.events.append(event)
            self._arrived.notify_all()

    def close(self, timeout_s: float = 5.0) -> None:
        """Note that it was closed; the events stay."""
        self.closed = True

    def wait_for(self, count: int, timeout_s: float = 10.0) -> bool:
        """Wait until at least ``count`` events are here; False when the time is over."""
        with self._arrived:
            return self._arrived.wait_for(lambda: len(self.events) >= count, timeout_s)
