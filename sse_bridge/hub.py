"""The hub: one state, one ring buffer of encoded events, and each client's position in the ring.

All code here runs on the worker's event loop and never yields, so each call sees a consistent state. A client
buffers no events, only its position. A client that is far behind gets only the newest event of each source. A
client whose position has left the ring gets a snapshot.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from typing import Any

from millrace.progress import utc_text
from millrace.settings import BridgeSettings
from sse_bridge import encoder
from sse_bridge.client import ClientPosition
from sse_bridge.cursor import Cursor, parse_cursor, precedes
from sse_bridge.filters import Filter
from sse_bridge.message_cache import MessageCache
from sse_bridge.records import Incoming, Skipped
from sse_bridge.ring import Entry, Ring, RingLimits, make_entry
from sse_bridge.state import BridgeState

logger = logging.getLogger(__name__)

BEHIND_EVENTS = 2_000
"""A client further behind than this gets only the newest event of each source."""


class Hub:
    """The bridge's in-memory state. ``settings`` gives its limits; ``clock`` returns Unix time.

    ``ready`` is False until the whole topic has been read once. ``epoch`` identifies the topic. ``answered_s`` is the
    time at which the last request was sent that Kafka answered.
    """

    def __init__(
        self,
        settings: BridgeSettings,
        clock: Callable[[], float],
        *,
        ring_limits: RingLimits | None = None,
        behind_events: int = BEHIND_EVENTS,
    ) -> None:
        self._settings = settings
        self.clock = clock
        self._ring_limits = ring_limits or RingLimits()
        self._behind_events = behind_events
        self._start_grace_s = settings.stalled_after_s / 2  # one heartbeat (10 s) and a margin
        self.ready = self.kafka_connected = False
        self.connected_since_s = self.answered_s = self.ready_since_s = 0.0
        self.disconnect_reason = "not connected to Kafka yet"
        self.counts = {"new": 0, "stale": 0, "late": 0, "poison": 0, "deleted": 0}
        self._messages = MessageCache(clock)
        self.ring = Ring(self._ring_limits, 0, ())
        self.begin("00000000", ())

    # -- input from Kafka

    def begin(self, epoch: str, first_offsets: tuple[int, ...]) -> None:
        """Reset everything, for the topic of this epoch whose partitions begin at these offsets."""
        self.epoch = epoch
        self.position = first_offsets
        self.ready = False
        self.state = BridgeState(
            stalled_after_s=self._settings.stalled_after_s,
            lost_after_s=self._settings.lost_after_s,
            sources_max=self._settings.max_sources,
        )
        # Entry numbers continue across resets, so that no old position can point into the new ring.
        self.ring = Ring(self._ring_limits, self.ring.head + 1, first_offsets)
        self._messages.clear()

    def apply(self, batch: Iterable[Incoming | Skipped]) -> tuple[list[Entry], bool]:
        """Apply records and add the new events to the ring. Records of a partition must be in offset order.

        Returns the new events, and whether a stalled or lost source has sent an event again.
        """
        entries: list[Entry] = []
        any_revived = False
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
                received_s = now_s if self.ready else min(now_s, record.broker_time_s)
                result, revived = self.state.apply(record, received_s)
                if result == "new":
                    labels = self.state.labels(record.event["data"])
                    entries.append(make_entry(record, labels, Cursor(self.epoch, tuple(position))))
            except Exception:
                # A bad event of a foreign producer must not withhold the rest of its batch from the clients.
                logger.exception("record %d/%d cannot be applied and is skipped", record.partition, record.offset)
                self.state.forget(record.event["source"])
                self.counts["poison"] += 1
                continue
            self.counts[result] += 1
            any_revived = any_revived or revived
        self.position = tuple(position)
        if entries:
            self.ring.append(entries)
        self._messages.clear()
        return entries, any_revived

    def mark_connected(self, requested_s: float | None = None) -> None:
        """Record that Kafka answered a request sent at ``requested_s`` (default: now). Timeouts count up to this time.

        If Kafka did not answer before, and the topic has been read, the timeouts of all sources restart now.
        """
        self.answered_s = self.clock() if requested_s is None else requested_s
        if not self.kafka_connected:
            if self.ready:
                self.connected_since_s = self.clock()
            self.kafka_connected, self.disconnect_reason = True, ""
            self._messages.clear()

    def mark_disconnected(self, reason: str) -> None:
        """Record that Kafka does not answer, and the reason."""
        if self.kafka_connected or self.disconnect_reason != reason:
            self.kafka_connected, self.disconnect_reason = False, reason
            self._messages.clear()

    def mark_caught_up(self) -> bool:
        """Record that the whole topic has been read. Return True the first time after ``begin``."""
        if self.ready:
            return False
        self.ready, self.ready_since_s = True, self.clock()
        return True

    def update_timeouts(self) -> list[str]:
        """Return the sources that have become ``stalled`` or ``lost``; none while Kafka does not answer."""
        now_s = self.clock()
        # After a start every running task gets the time to send one heartbeat.
        if not (self.ready and self.kafka_connected) or now_s - self.ready_since_s < self._start_grace_s:
            return []
        # Timeouts count up to Kafka's last answer: a broker that stops answering must not make sources time out.
        changed = self.state.update_timeouts(min(now_s, self.answered_s), self.connected_since_s)
        if changed:
            self._messages.clear()
        return changed

    def is_complete(self, selection: Filter, quiet_s: float) -> bool:
        """Return whether all tasks that pass are over and no further event of them is expected."""
        return self.ready and self.state.is_complete(selection, self.clock(), quiet_s)

    # -- output to clients

    @property
    def cursor(self) -> str:
        """Return the position after all records applied so far."""
        return str(Cursor(self.epoch, self.position))

    def join(self, selection: Filter, *, lines: bool = False, last_event_id: str = "") -> tuple[ClientPosition, bytes]:
        """Return a position for a new client and its first bytes: a snapshot, or nothing for a client that resumes.

        A client with an unusable cursor gets a snapshot of the type ``reset``. The entries from the returned position
        on continue exactly where these bytes end: no event is missing and none comes twice.
        """
        client = ClientPosition(selection, lines, self.ring.head)
        if not last_event_id:
            return client, self.snapshot(selection, lines=lines)
        cursor = parse_cursor(last_event_id)
        if cursor is None or not self._reachable(cursor):
            return client, self.snapshot(selection, lines=lines, event="reset")
        client.next_entry = self.ring.first_unseen(cursor.offsets)
        if not self.ring.continues(client.next_entry, cursor.offsets):
            client.resume_offsets = cursor.offsets
        return client, b""

    def _reachable(self, cursor: Cursor) -> bool:
        return (
            cursor.epoch == self.epoch
            and len(cursor.offsets) == len(self.position)
            and precedes(self.ring.oldest, cursor.offsets)
            and precedes(cursor.offsets, self.position)
        )

    def next_bytes(self, client: ClientPosition) -> bytes:
        """Return the bytes to send for everything between the client's position and the head; move it to the head.

        A client whose position has left the ring gets a snapshot of the type ``reset``.
        """
        first, client.next_entry = client.next_entry, self.ring.head
        if first >= self.ring.head:
            return b""
        if first < self.ring.tail:
            client.resume_offsets = None
            return self.snapshot(client.selection, lines=client.lines, event="reset")
        if client.resume_offsets is not None:
            offsets, client.resume_offsets = client.resume_offsets, None
            return client.encode_resumed(self.ring.entries_from(first), self.epoch, offsets)
        key = (first, client.lines, client.selection)
        return self._messages.get(key, lambda: client.encode(self.ring.entries_from(first), self._behind_events))

    def snapshot(self, selection: Filter, *, lines: bool = False, event: str = "snapshot") -> bytes:
        """Return the newest event of each source that passes, with the current time, as a frame or as a line."""

        def made() -> bytes:
            data = self.snapshot_json(selection, kind=event if lines else "")
            return data + b"\n" if lines else encoder.frame(event, data, cursor=self.cursor)

        return self._messages.get_timed((event, lines, selection, self.position), made)

    def snapshot_json(self, selection: Filter, *, kind: str = "", more: dict[str, Any] | None = None) -> bytes:
        """Return the snapshot as JSON without line breaks.

        The events are byte for byte those in Kafka, except that a line break between tokens becomes a space.
        """
        fields = {
            **({"type": kind} if kind else {}),
            "cursor": self.cursor,
            "time": utc_text(self.clock()),
            "liveness": self._liveness(selection),
            **(more or {}),
        }
        head = encoder.line(fields)[: -len(b"}\n")]
        events = b",".join(encoder.one_line(raw)[:-1] for raw in self.state.events(selection))
        return b"".join((head, b',"events":[', events, b"]}"))

    def liveness(self, selection: Filter, *, lines: bool = False) -> bytes:
        """Return the liveness message: the state of each running source that passes, by its timeout.

        The message has no id and moves no cursor.
        """

        def made() -> bytes:
            fields = {"time": utc_text(self.clock()), **self._liveness(selection)}
            if lines:
                return encoder.line({"type": "liveness", **fields})
            return encoder.frame("liveness", encoder.line(fields)[:-1])

        return self._messages.get_timed(("liveness", lines, selection), made)

    def _liveness(self, selection: Filter) -> dict[str, Any]:
        return {
            "kafka_connected": self.kafka_connected,
            "disconnect_reason": self.disconnect_reason,
            "tasks": self.state.liveness_json(selection),
        }
