"""Keep the newest undelivered event of each source in bounded memory, with counts of the events in flight."""

from __future__ import annotations

import threading
from collections import Counter
from dataclasses import dataclass
from typing import Final

from millrace.progress.event import Event

SLOTS_MAX: Final = 10_000
IN_FLIGHT_PER_SOURCE: Final = 16
"""More would only fill the queue of an unreachable broker with events that are older than the one in the slot."""


@dataclass(slots=True)
class EventCounts:
    """Numbers of events: delivered, and dropped. An event that a newer one replaced in its slot is neither."""

    delivered: int = 0
    dropped: int = 0


class EventSlots:
    """One slot for each source, in which a newer event replaces an older one. Thread-safe; ``lock`` is reentrant."""

    def __init__(self, counts: EventCounts) -> None:
        # A signal handler may interrupt a thread inside of this object and use it, so the lock is reentrant.
        self.lock = threading.RLock()
        self._counts = counts
        self._slots: dict[str, Event] = {}
        self._in_flight: Counter[str] = Counter()
        self._newest: dict[str, str] = {}

    def __len__(self) -> int:
        return len(self._slots)

    @property
    def in_flight(self) -> int:
        """Return the number of events that have been taken and are neither delivered nor put back."""
        return self._in_flight.total()

    @property
    def idle(self) -> bool:
        """Return whether no event waits or is in flight."""
        with self.lock:
            return not self._slots and not self._in_flight

    def put(self, event: Event) -> None:
        """Put the event into the slot of its source, unless a newer one of this source was put before."""
        source = event["source"]
        with self.lock:
            if self._newest.get(source, "") > event["sequence"]:
                return
            if source not in self._slots and len(self._slots) >= SLOTS_MAX:
                self._slots.pop(next(iter(self._slots)))
                self._counts.dropped += 1
            self._slots[source] = event
            # Ordered by last event, so that the oldest source is evicted: a scheduler that runs for months reports an
            # unbounded number of sources.
            self._newest.pop(source, None)
            self._newest[source] = event["sequence"]
            if len(self._newest) > SLOTS_MAX:
                self._newest.pop(next(iter(self._newest)))

    def take(self) -> list[Event]:
        """Take the events of all sources that have few events in flight; they are in flight afterwards."""
        with self.lock:
            free = [source for source in self._slots if self._in_flight[source] < IN_FLIGHT_PER_SOURCE]
            taken = [self._slots.pop(source) for source in free]
            self._in_flight.update(free)
            return taken

    def mark_delivered(self, event: Event) -> None:
        """Count an event in flight as delivered."""
        with self.lock:
            self._land(event["source"])
            self._counts.delivered += 1

    def mark_dropped(self, event: Event) -> None:
        """Count an event in flight as dropped."""
        with self.lock:
            self._land(event["source"])
            self._counts.dropped += 1

    def put_back(self, event: Event) -> None:
        """Return an event in flight to its slot, unless a newer one is in it."""
        with self.lock:
            self._land(event["source"])
            self._slots.setdefault(event["source"], event)

    def is_newest(self, event: Event) -> bool:
        """Return whether no newer event of the same source was put."""
        return bool(self._newest.get(event["source"]) == event["sequence"])

    def drop_all(self) -> int:
        """Drop all events that wait; return the number of all dropped events, with those still in flight."""
        with self.lock:
            # Events in flight are counted by their delivery reports, which the purge of the producer triggers.
            self._counts.dropped += len(self._slots)
            self._slots.clear()
            return self._counts.dropped + self.in_flight

    def _land(self, source: str) -> None:
        self._in_flight[source] -= 1
        if self._in_flight[source] <= 0:
            del self._in_flight[source]
