"""The hub: one state, one ring of encoded events, and every client a place in it.

Everything here runs on the worker's event loop, and nothing in it yields: what one call sees, no other changes
half-way. A client holds no events of its own, only its place. One that falls far behind gets the newest event
of each source instead of all of them; one that falls out of the ring gets a snapshot.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from millrace.progress.event import utc_text
from millrace.settings import BridgeSettings
from sse_bridge import encoder
from sse_bridge.cursor import Cursor, parse_cursor
from sse_bridge.filters import Filter, Labels
from sse_bridge.state import BridgeState, Incoming, Skipped

__all__ = ["Entry", "Hub", "Place"]

logger = logging.getLogger(__name__)

RING_EVENTS = 20_000
RING_BYTES = 32_000_000
JOINED_MAX = 256
SHARED_S = 0.1
"""For so long all clients get the same bytes of what tells its time."""
BEHIND_EVENTS = 2_000
"""A client further behind than this gets only the newest event of each source."""


@dataclass(frozen=True, slots=True)
class Entry:
    """An event that was passed on, ready to send, and the position after it."""

    source: str
    labels: Labels
    partition: int
    offset: int
    after: tuple[int, ...]
    time: str
    raw: bytes
    sse: bytes


@dataclass(slots=True)
class Place:
    """How far a client is: the number of the next entry; on a resumed stream also what it had seen before."""

    wanted: Filter
    lines: bool
    next: int
    seen: tuple[int, ...] | None = None
    """Set while entries may come that this client saw on an earlier connection."""


class Hub:
    """The bridge's memory. ``settings`` gives its limits; ``clock`` is Unix time.

    ``ready`` is False until the whole topic was read once; ``epoch`` names the topic.
    """

    def __init__(self, settings: BridgeSettings, clock: Callable[[], float]) -> None:
        self._settings = settings
        self._clock = clock
        self._start_grace_s = settings.stalled_after_s / 2  # a heartbeat and a little
        self.ready = False
        self.hearing = False
        self.hearing_since_s = 0.0
        self.heard_until_s = 0.0
        self.ready_since_s = 0.0
        self.disconnect_reason = "not connected to Kafka yet"
        self.counts = {"new": 0, "stale": 0, "late": 0, "poison": 0, "deleted": 0}
        self.begin("00000000", ())

    # -- what Kafka says

    def begin(self, epoch: str, first: tuple[int, ...]) -> None:
        """Start from nothing, with a topic of this epoch whose partitions begin at these offsets."""
        self.epoch = epoch
        self.position = first
        self.ready = False
        self.state = BridgeState(
            stalled_after_s=self._settings.stalled_after_s,
            lost_after_s=self._settings.lost_after_s,
            sources_max=self._settings.max_sources,
        )
        # Numbers of entries go on counting, so that no place can point into a ring of another time.
        self.tail = self.head = getattr(self, "head", 0) + 1
        self._ring: list[Entry] = []
        self._ring_bytes = 0
        self._oldest = first
        self._forget_made()

    def take(self, batch: Iterable[Incoming | Skipped]) -> tuple[list[Entry], bool]:
        """Take records, those of one partition in its order.

        Returns the events to pass on, and whether one that was silent has spoken again.
        """
        entries: list[Entry] = []
        revived = False
        now_s = self._clock()
        position = list(self.position)
        for record in batch:
            position[record.partition] = record.offset + 1
            if isinstance(record, Skipped):
                self.counts["deleted" if record.deletes else "poison"] += 1
                self.state.forget(record.deletes)
                continue
            try:
                # While the past is read, silence counts from when something was said; later, from when it was heard:
                # then the broker's clock does not matter.
                verdict, spoke = self.state.apply(record, now_s if self.ready else min(now_s, record.said_s))
                entry = self._entry(record, tuple(position)) if verdict == "new" else None
            except Exception:
                # One event of a foreign producer may not keep the others of its batch from the clients.
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
        """Kafka answered what it was asked at ``asked_s`` (now, without): until then it would have been heard.

        After a time of deafness everybody's silence counts from now.
        """
        self.heard_until_s = self._clock() if asked_s is None else asked_s
        if not self.hearing:
            if self.ready:
                self.hearing_since_s = self._clock()
            self.hearing, self.disconnect_reason = True, ""
            self._forget_made()

    def caught_up(self) -> bool:
        """The whole topic was read; True for the first time since it began."""
        if self.ready:
            return False
        self.ready, self.ready_since_s = True, self._clock()
        return True

    def deaf(self, why: str) -> None:
        """Kafka does not answer."""
        if self.hearing or self.disconnect_reason != why:
            self.hearing, self.disconnect_reason = False, why
            self._forget_made()

    def judge(self) -> list[str]:
        """The sources whose silence has got worse; none while the bridge itself hears nothing."""
        now_s = self._clock()
        # After a start every task that lives gets the time for one heartbeat.
        if not (self.ready and self.hearing) or now_s - self.ready_since_s < self._start_grace_s:
            return []
        # Silence counts up to Kafka's last answer: one that has just stopped answering makes nobody silent.
        changed = self.state.judge(min(now_s, self.heard_until_s), self.hearing_since_s)
        if changed:
            self._forget_made()
        return changed

    def settled(self, wanted: Filter, settle_s: float) -> bool:
        """Whether everything that passes is over and nothing more of it is to be expected."""
        return self.ready and self.state.settled(wanted, self._clock(), settle_s)

    # -- what clients get

    @property
    def cursor(self) -> str:
        """The position after everything that was taken so far."""
        return str(Cursor(self.epoch, self.position))

    def join(self, wanted: Filter, *, lines: bool = False, last_event_id: str = "") -> tuple[Place, bytes]:
        """A place for a new client and the bytes to begin with: a snapshot, or nothing for one that resumes.

        What comes after is exactly what follows from these bytes: no event is missing and none comes twice.
        """
        place = Place(wanted, lines, self.head)
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
        """Index of the first entry that may be new to a client; positions grow along the ring: bisect."""
        low, high = 0, len(self._ring)
        while low < high:
            middle = (low + high) // 2
            if all(a <= b for a, b in zip(self._ring[middle].after, seen, strict=True)):
                low = middle + 1
            else:
                high = middle
        return low

    def more(self, place: Place) -> bytes:
        """Everything between ``place`` and the head, in bytes to send; moves the place to the head."""
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
        # Bytes made once for many clients; with as many filters as clients nothing would ever be used twice.
        if len(self._joined) >= JOINED_MAX:
            self._joined.clear()

    def _resumed(self, place: Place, begin: int) -> bytes:
        """The entries a client has not seen yet, with positions that hold for what it had seen before.

        After a restart of the bridge the partitions lie in the ring in another order than the client got them
        in, so an entry's own position may lie before the client's in another partition.
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
        """The newest event of each source, as a frame or as a line, with the time of now."""

        def made() -> bytes:
            data = self.snapshot_json(wanted, kind=event if lines else "")
            return data + b"\n" if lines else encoder.frame(event, data, cursor=self.cursor)

        return self._of_now((event, lines, wanted, self.position), made)

    def snapshot_json(self, wanted: Filter, *, kind: str = "", more: dict[str, Any] | None = None) -> bytes:
        """The snapshot as one line of JSON; the events stand in it byte for byte as they stand in Kafka."""
        fields: dict[str, Any] = {"type": kind} if kind else {}
        fields |= {
            "cursor": self.cursor,
            "time": utc_text(self._clock()),
            "liveness": self._liveness(wanted),
            **(more or {}),
        }
        head = encoder.line(fields)[: -len(b"}\n")]
        events = b",".join(encoder.one_line(raw)[:-1] for raw in self.state.events(wanted))
        return b"".join((head, b',"events":[', events, b"]}"))

    def liveness(self, wanted: Filter, *, lines: bool = False) -> bytes:
        """What silence says now of everything that runs and passes; it has no id and moves no cursor."""

        def made() -> bytes:
            fields = {"time": utc_text(self._clock()), **self._liveness(wanted)}
            if lines:
                return encoder.line({"type": "liveness", **fields})
            return encoder.frame("liveness", encoder.line(fields)[:-1])

        return self._of_now(("liveness", lines, wanted), made)

    def _of_now(self, key: tuple[Any, ...], made: Callable[[], bytes]) -> bytes:
        """Bytes that tell their time, made once for all clients that ask within a tenth of a second."""
        now_s = self._clock()
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
    """Whether this entry and all that follow are new to a client that has seen this much."""
    return seen[entry.partition] <= entry.offset and all(a <= b for a, b in zip(seen, entry.after, strict=True))


def _newest(entries: list[Entry]) -> list[Entry]:
    """The last entry of each source, in their order: intermediate states are left out, last words never."""
    newest: dict[str, Entry] = {}
    for entry in reversed(entries):
        newest.setdefault(entry.source, entry)
    return list(newest.values())[::-1]
