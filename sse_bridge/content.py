"""The content of one stream: its opening, the events that its filter passes, heartbeats, and the last event."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass

from sse_bridge import encoder
from sse_bridge.client import ClientPosition
from sse_bridge.filters import Filter
from sse_bridge.hub import Hub
from sse_bridge.metrics import Metrics

CURSOR_EVERY_S = 2.0
"""Interval at which a client whose filter passes nothing receives the current cursor."""
RETRY_MS = (2_000, 5_000)
RETRY_AFTER_BYE_MS = (1_500, 4_000)
"""Spreads the reconnections. At a restart they come after the server has stopped accepting connections."""


@dataclass(slots=True)
class StreamContent:
    """The content of one stream, and the client's position in it. It does no input or output.

    ``on_events`` is called when events are passed on.
    """

    hub: Hub
    metrics: Metrics
    selection: Filter
    lines: bool
    last_event_id: str
    on_events: Callable[[], None]
    client: ClientPosition | None = None
    """The position; ``None`` until the hub is ready and the client has joined."""
    liveness_due: bool = False
    heartbeat_due: bool = False
    cursor_moved: bool = False
    """Whether the client's position has moved past events that its filter did not pass."""

    def opening(self) -> bytes:
        """Return the first bytes: a snapshot if the hub is ready, else a heartbeat."""
        retry_ms = random.randint(*RETRY_MS)  # noqa: S311
        comment = b"" if self.lines else encoder.comment("millrace", retry_ms=retry_ms)
        return comment + (self._join() if self.hub.ready else b"") or encoder.HEARTBEAT

    def next_bytes(self, idle_s: float) -> bytes:
        """Return the bytes to send now, or nothing; ``idle_s`` is the time since the last ones."""
        if not self.hub.ready:
            return self._keepalive(idle_s)
        if self.client is None:
            return self._join()
        return self._events(self.client) or self._keepalive(idle_s)

    def final(self, reason: str) -> bytes:
        """Return the remaining events and the last one, ``bye``."""
        joined = self.client is not None and self.hub.ready
        remaining = self.hub.next_bytes(self.client) if self.client is not None and joined else b""
        if self.lines:
            return remaining + encoder.line({"type": "bye", "reason": reason, "cursor": self.hub.cursor})
        data = encoder.line({"reason": reason})[:-1]
        retry_ms = random.randint(*RETRY_AFTER_BYE_MS)  # noqa: S311
        return remaining + encoder.frame("bye", data, cursor=self.hub.cursor if joined else None, retry_ms=retry_ms)

    def _join(self) -> bytes:
        self.client, data = self.hub.join(self.selection, lines=self.lines, last_event_id=self.last_event_id)
        if self.last_event_id and data:
            self.metrics.resets.inc()
        if not data:  # resumed
            data = self.hub.next_bytes(self.client)
            self.liveness_due = True
        return data

    def _events(self, client: ClientPosition) -> bytes:
        position = client.next_entry
        data = self.hub.next_bytes(client)
        if data:
            self.cursor_moved = False
            if position < self.hub.ring.tail:
                self.metrics.resets.inc()
            self.on_events()
        elif client.next_entry != position:
            self.cursor_moved = True
        if self.liveness_due:
            self.liveness_due = False
            data += self.hub.liveness(self.selection, lines=self.lines)
        return data

    def _keepalive(self, idle_s: float) -> bytes:
        heartbeat_due, self.heartbeat_due = self.heartbeat_due, False
        moved = self.cursor_moved and (heartbeat_due or idle_s >= CURSOR_EVERY_S)
        if self.lines:
            return encoder.line({"type": "heartbeat", "cursor": self.hub.cursor}) if heartbeat_due or moved else b""
        if moved:
            self.cursor_moved = False
            return encoder.id_only(self.hub.cursor)
        return encoder.HEARTBEAT if heartbeat_due else b""
