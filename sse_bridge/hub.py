"""The hub: one state, one ring buffer of encoded events, and each client's position in the ring.

All code here runs on the worker's event loop and never yields, so each call sees a consistent state. A client
buffers no events, only its position. A client that is far behind gets only the newest event of each source. A
client whose position has left the ring gets a snapshot.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from millrace.progress import utc_text
from millrace.settings import BridgeSettings
from sse_bridge import encoder
from sse_bridge.cursor import Cursor, parse_cursor
from sse_bridge.filters import Filter, Labels
from sse_bridge.state import BridgeState, Incoming, Skipped

__all__ = ["Entry", "Hub", "ClientPosition"]

logger = logging.getLogger(__name__)

RING_EVENTS = 20_000
RING_BYTES = 32_000_000
JOINED_MAX = 256
SHARED_S = 0.1
"""Snapshots and liveness messages contain the time. All clients get the same bytes of them for this long."""
BEHIND_EVENTS = 2_000
"""A client further behind than this gets only the newest event of each source."""


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


@dataclass(slots=True)
class ClientPosition:
    """A client's position: the number of its next entry; on a resumed stream also its earlier offsets."""

    wanted: Filter
    lines: bool
    next: int
    seen: tuple[int, ...] | None = None
    """Offsets that the client had reached on an earlier connection, while the next entries may precede them."""


class Hub:
    """The bridge's in-memory state. ``settings`` gives its limits; ``clock`` returns Unix time.

    ``ready`` is False until the whole topic has been read once. ``epoch`` identifies the topic.
    """

    def __init__(self, settings: BridgeSettings, clock: Callable[[], float]) -> None:
        self._settings = settings
        self.clock = clock
        self._start_grace_s = settings.stalled_after_s / 2  # one heartbeat (10 s) and a margin
        self.ready = False
        self.hearing = False
        self.hearing_since_s = 0.0
        self.heard_until_s = 0.0
        self.ready_since_s = 0.0
        self.disconnect_reason = "not connected to Kafka yet"
        self.counts = {"new": 0, "stale": 0, "late": 0, "poison": 0, "deleted": 0}
        self.begin("00000000", ())

    # -- input from Kafka

    def begin(self, epoch: str, first: tuple[int, ...]) -> None:
        """Reset everything, for the topic of this epoch whose partitions begin at the offsets ``first``."""
        self.epoch = epoch
        self.position = first
        self.ready = False
        self.state = BridgeState(
            stalled_after_s=self._settings.stalled_after_s,
            lost_after_s=self._settings.lost_after_s,
            sources_max=self._settings.max_sources,
        )
        # Entry numbers continue across resets, so that no old position can point into the new ring.
        self.tail = self.head = getattr(self, "head", 0) + 1
        self._ring: list[Entry] = []
        self._ring_bytes = 0
        self._oldest = first
        self._forget_made()

    def take(self, batch: Iterable[Incoming | Skipped]) -> tuple[list[Entry], bool]:
        """Apply records and add the new events to the ring. Records of a partition must be in offset order.

        Returns the new events, and whether a stalled or lost source has sent an event again.
        """
        entries: list[Entry] = []
        revived = False
        now_s = self.clock()
        position = list(self.position)
        for record in batch:
            position[record.partition] = record.offset + 1
            if isinstance(record, Skipped):
                self.counts["deleted" if record.deletes else "poison"] += 1
                self.state.forget(record.deletes)
                continue
            try:
                # During the first read of the topic, timeouts start at the broker's timestamp of an event. Afterwards
                # they start when it is received, so that the broker's clock does not matter.
                verdict, spoke = self.state.apply(record, now_s if self.ready else min(now_s, record.said_s))
                entry = self._entry(record, tuple(position)) if verdict == "new" else None
            except Exception:
                # A bad event of a foreign producer must not withhold the rest of its batch from the clients.
                logger.exception("record %d/%d cannot be taken", record.partition, record.offset)
                self.state.forget(record.event["source"])
                self.counts["poison"] += 1
                continue
            self.counts[verdict] += 1
            revived = revived or spoke
            if entry is not None:
                entries.append(entry)
        self.position = tuple(position)
        if entries:
            self._append(entries)
        self._forget_made()
        return entries, revived

    def _entry(self, record: Incoming, after: tuple[int, ...]) -> Entry:
        event = record.event
        cursor = str(Cursor(self.epoch, after))
        return Entry(
            source=event["source"],
            labels=self.state.labels(event["data"]),
            partition=record.partition,
            offset=record.offset,
            after=after,
            time=event["time"],
            raw=record.raw,
            sse=encoder.frame("progress", record.raw, cursor=cursor),
        )

    def _append(self, entries: list[Entry]) -> None:
        self._ring.extend(entries)
        self.head += len(entries)
        self._ring_bytes += sum(len(entry.sse) for entry in entries)
        if len(self._ring) <= RING_EVENTS * 1.1 and self._ring_bytes <= RING_BYTES * 1.1:
            return
        oldest = list(self._oldest)
        cut = 0
        for entry in self._ring:
            if len(self._ring) - cut <= RING_EVENTS and self._ring_bytes <= RING_BYTES:
                break
            self._ring_bytes -= len(entry.sse)
            oldest[entry.partition] = entry.offset + 1
            cut += 1
        del self._ring[:cut]
        self.tail += cut
        self._oldest = tuple(oldest)

    def heard(self, asked_s: float | None = None) -> None:
        """Record that Kafka answered a request sent at ``asked_s`` (default: now). Timeouts count up to this time.

        If Kafka did not answer before, and the topic has been read, the timeouts of all sources restart now.
        """
        self.heard_until_s = self.clock() if asked_s is None else asked_s
        if not self.hearing:
            if self.ready:
                self.hearing_since_s = self.clock()
            self.hearing, self.disconnect_reason = True, ""
            self._forget_made()

    def caught_up(self) -> bool:
        """Record that the whole topic has been read. Return True the first time after ``begin``."""
        if self.ready:
            return False
        self.ready, self.ready_since_s = True, self.clock()
        return True

    def deaf(self, why: str) -> None:
        """Record that Kafka does not answer, and the reason."""
        if self.hearing or self.disconnect_reason != why:
            self.hearing, self.disconnect_reason = False, why
            self._forget_made()

    def judge(self) -> list[str]:
        """Return the sources that have become ``stalled`` or ``lost``; none while Kafka does not answer."""
        now_s = self.clock()
        # After a start every running task gets the time to send one heartbeat.
        if not (self.ready and self.hearing) or now_s - self.ready_since_s < self._start_grace_s:
            return []
        # Timeouts count up to Kafka's last answer: a broker that stops answering must not make sources time out.
        changed = self.state.judge(min(now_s, self.heard_until_s), self.hearing_since_s)
        if changed:
            self._forget_made()
        return changed

    def settled(self, wanted: Filter, settle_s: float) -> bool:
        """Return whether all tasks that pass are over and no further event of them is expected."""
        return self.ready and self.state.settled(wanted, self.clock(), settle_s)

    # -- output to clients

    @property
    def cursor(self) -> str:
        """Return the position after all records applied so far."""
        return str(Cursor(self.epoch, self.position))

    def join(self, wanted: Filter, *, lines: bool = False, last_event_id: str = "") -> tuple[ClientPosition, bytes]:
        """Return a position for a new client and its first bytes: a snapshot, or nothing for a client that resumes.

        A client with an unusable cursor gets a snapshot of the type ``reset``. The entries from the returned position
        on continue exactly where these bytes end: no event is missing and none comes twice.
        """
        place = ClientPosition(wanted, lines, self.head)
        if not last_event_id:
            return place, self.snapshot(wanted, lines=lines)
        cursor = parse_cursor(last_event_id)
        if cursor is None or not self._reachable(cursor):
            return place, self.snapshot(wanted, lines=lines, event="reset")
        index = self._first_unseen(cursor.offsets)
        place.next = self.tail + index
        if index < len(self._ring) and not _comes_after(self._ring[index], cursor.offsets):
            place.seen = cursor.offsets
        return place, b""

    def _reachable(self, cursor: Cursor) -> bool:
        return (
            cursor.epoch == self.epoch
            and len(cursor.offsets) == len(self.position)
            and all(a <= b <= c for a, b, c in zip(self._oldest, cursor.offsets, self.position, strict=True))
        )

    def _first_unseen(self, seen: tuple[int, ...]) -> int:
        """Return the index of the first entry that may be new to a client; positions grow along the ring: bisect."""
        low, high = 0, len(self._ring)
        while low < high:
            middle = (low + high) // 2
            if all(a <= b for a, b in zip(self._ring[middle].after, seen, strict=True)):
                low = middle + 1
            else:
                high = middle
        return low

    def more(self, place: ClientPosition) -> bytes:
        """Return the bytes to send for everything between ``place`` and the head; move the place to the head.

        A place that has left the ring gets a snapshot of the type ``reset``.
        """
        begin, place.next = place.next, self.head
        if begin >= self.head:
            return b""
        if begin < self.tail:
            place.seen = None
            return self.snapshot(place.wanted, lines=place.lines, event="reset")
        if place.seen is not None:
            return self._resumed(place, begin)
        key = (begin, place.lines, place.wanted)
        if key not in self._joined:
            self._make_room()
            entries = self._ring[begin - self.tail :]
            if len(entries) > BEHIND_EVENTS:
                entries = _newest(entries)
            self._joined[key] = b"".join(
                encoder.one_line(entry.raw) if place.lines else entry.sse
                for entry in entries
                if place.wanted.passes(entry.labels)
            )
        return self._joined[key]

    def _forget_made(self) -> None:
        self._joined: dict[tuple[Any, ...], bytes] = {}
        self._timed: dict[tuple[Any, ...], tuple[float, bytes]] = {}

    def _make_room(self) -> None:
        # The cache serves clients with the same filter. If every client has its own filter, no entry is ever reused.
        if len(self._joined) >= JOINED_MAX:
            self._joined.clear()

    def _resumed(self, place: ClientPosition, begin: int) -> bytes:
        """Return the entries that a client has not received, with cursors that include its earlier offsets.

        After a restart of the bridge the ring may interleave the partitions in another order than the client
        received them. An entry's own position may then be behind the client's in another partition.
        """
        parts = []
        seen = place.seen or ()
        for entry in self._ring[begin - self.tail :]:
            if entry.offset < seen[entry.partition]:
                continue
            seen = tuple(max(a, b) for a, b in zip(seen, entry.after, strict=True))
            if place.wanted.passes(entry.labels):
                cursor = str(Cursor(self.epoch, seen))
                parts.append(
                    encoder.one_line(entry.raw)
                    if place.lines
                    else entry.sse
                    if seen == entry.after
                    else encoder.frame("progress", entry.raw, cursor=cursor)
                )
        place.seen = None
        return b"".join(parts)

    def snapshot(self, wanted: Filter, *, lines: bool = False, event: str = "snapshot") -> bytes:
        """Return the newest event of each source that passes, with the current time, as a frame or as a line."""

        def made() -> bytes:
            data = self.snapshot_json(wanted, kind=event if lines else "")
            return data + b"\n" if lines else encoder.frame(event, data, cursor=self.cursor)

        return self._of_now((event, lines, wanted, self.position), made)

    def snapshot_json(self, wanted: Filter, *, kind: str = "", more: dict[str, Any] | None = None) -> bytes:
        """Return the snapshot as JSON without line breaks.

        The events are byte for byte those in Kafka, except that a line break between tokens becomes a space.
        """
        fields: dict[str, Any] = {"type": kind} if kind else {}
        fields |= {
            "cursor": self.cursor,
            "time": utc_text(self.clock()),
            "liveness": self._liveness(wanted),
            **(more or {}),
        }
        head = encoder.line(fields)[: -len(b"}\n")]
        events = b",".join(encoder.one_line(raw)[:-1] for raw in self.state.events(wanted))
        return b"".join((head, b',"events":[', events, b"]}"))

    def liveness(self, wanted: Filter, *, lines: bool = False) -> bytes:
        """Return the liveness message: the state of each running source that passes, by its timeout.

        The message has no id and moves no cursor.
        """

        def made() -> bytes:
            fields = {"time": utc_text(self.clock()), **self._liveness(wanted)}
            if lines:
                return encoder.line({"type": "liveness", **fields})
            return encoder.frame("liveness", encoder.line(fields)[:-1])

        return self._of_now(("liveness", lines, wanted), made)

    def _of_now(self, key: tuple[Any, ...], made: Callable[[], bytes]) -> bytes:
        """Return bytes that contain the time, made once for all clients that ask within ``SHARED_S``."""
        now_s = self.clock()
        made_s, data = self._timed.get(key, (0.0, b""))
        if not 0 <= now_s - made_s < SHARED_S:
            if len(self._timed) >= JOINED_MAX:
                self._timed.clear()
            data = made()
            self._timed[key] = (now_s, data)
        return data

    def _liveness(self, wanted: Filter) -> dict[str, Any]:
        return {"hearing": self.hearing, "why": self.disconnect_reason, "tasks": self.state.silent(wanted)}


def _comes_after(entry: Entry, seen: tuple[int, ...]) -> bool:
    """Return whether this entry and all that follow are new to a client that has reached the offsets ``seen``."""
    return seen[entry.partition] <= entry.offset and all(a <= b for a, b in zip(seen, entry.after, strict=True))


def _newest(entries: list[Entry]) -> list[Entry]:
    """Return the last entry of each source, in ring order: intermediate states are left out, final ones never."""
    newest: dict[str, Entry] = {}
    for entry in reversed(entries):
        newest.setdefault(entry.source, entry)
    return list(newest.values())[::-1]
