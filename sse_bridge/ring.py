"""The ring buffer of encoded events, from which clients get the events after their position."""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass

from sse_bridge import encoder
from sse_bridge.cursor import Cursor, precedes
from sse_bridge.filters import Labels
from sse_bridge.records import Incoming


@dataclass(frozen=True, slots=True)
class Entry:
    """A published event, encoded for sending, and the position after it."""

    source: str
    labels: Labels
    partition: int
    offset: int
    after: tuple[int, ...]
    time: str
    raw: bytes
    sse: bytes


def make_entry(record: Incoming, labels: Labels, cursor: Cursor) -> Entry:
    """Encode a record; ``cursor`` is the position after it."""
    return Entry(
        source=record.event["source"],
        labels=labels,
        partition=record.partition,
        offset=record.offset,
        after=cursor.offsets,
        time=record.event["time"],
        raw=record.raw,
        sse=encoder.frame("progress", record.raw, cursor=str(cursor)),
    )


@dataclass(frozen=True, slots=True)
class RingLimits:
    """The largest number of events and of their bytes that a ring keeps."""

    events: int = 20_000
    bytes: int = 32_000_000


class Ring:
    """The newest entries. ``head`` is the number of the next entry, ``tail`` that of the oldest one.

    ``oldest`` are the offsets of the first records of each partition that are not older than the ring.
    """

    def __init__(self, limits: RingLimits, first_number: int, oldest: tuple[int, ...]) -> None:
        self.tail = self.head = first_number
        self.oldest = oldest
        self._limits = limits
        self._entries: list[Entry] = []
        self._bytes = 0

    def __len__(self) -> int:
        return len(self._entries)

    def append(self, entries: list[Entry]) -> None:
        """Add entries; above the limits by a tenth, remove the oldest ones."""
        self._entries.extend(entries)
        self.head += len(entries)
        self._bytes += sum(len(entry.sse) for entry in entries)
        limits = self._limits
        if len(self._entries) <= limits.events * 1.1 and self._bytes <= limits.bytes * 1.1:
            return
        oldest = list(self.oldest)
        removed = 0
        for entry in self._entries:
            if len(self._entries) - removed <= limits.events and self._bytes <= limits.bytes:
                break
            self._bytes -= len(entry.sse)
            oldest[entry.partition] = entry.offset + 1
            removed += 1
        del self._entries[:removed]
        self.tail += removed
        self.oldest = tuple(oldest)

    def entries_from(self, number: int) -> list[Entry]:
        """Return the entries from this number on."""
        return self._entries[number - self.tail :]

    def first_unseen(self, offsets: tuple[int, ...]) -> int:
        """Return the number of the first entry that may be new to a client that has reached these offsets.

        Positions grow along the ring, so this is a bisection.
        """
        return self.tail + bisect_left(self._entries, True, key=lambda entry: not precedes(entry.after, offsets))

    def continues(self, number: int, offsets: tuple[int, ...]) -> bool:
        """Return whether all entries from this number on are new to a client that has reached these offsets."""
        first = next(iter(self.entries_from(number)), None)
        return first is None or (offsets[first.partition] <= first.offset and precedes(offsets, first.after))
