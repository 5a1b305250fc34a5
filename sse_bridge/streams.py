"""All open streams: their limits, their common timer, and the loop that writes an event to all clients."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from typing import Any

from millrace.errors import MillraceError
from millrace.progress import unix_s
from millrace.settings import BridgeSettings
from sse_bridge.content import StreamContent
from sse_bridge.filters import Filter
from sse_bridge.hub import Hub
from sse_bridge.metrics import Metrics
from sse_bridge.ring import Entry
from sse_bridge.stream import Stream


class Refused(MillraceError):
    """Raised when no further stream is accepted; ``context["limit"]`` names the limit that is reached."""


class Streams:
    """All open streams of a bridge and their limits. To be used on the event loop only."""

    def __init__(self, hub: Hub, settings: BridgeSettings, metrics: Metrics) -> None:
        self.hub, self.settings, self.metrics = hub, settings, metrics
        self._open: dict[Stream, None] = {}
        self._by_address: Counter[str] = Counter()
        self._by_run: Counter[tuple[str, str]] = Counter()
        self._writes = 0
        self._newest_event_s = 0.0
        self.draining = False

    def __len__(self) -> int:
        return len(self._open)

    def open(self, selection: Filter, *, address: str, lines: bool, last_event_id: str, **options: Any) -> Stream:
        """Open a stream; ``options`` are fields of ``Stream``.

        Raises ``Refused`` when a limit is reached or the bridge is shutting down.
        """
        run = selection.run
        limits: tuple[tuple[str, Callable[[], bool]], ...] = (
            ("shutdown", lambda: self.draining),
            ("total", lambda: len(self._open) >= self.settings.max_streams),
            ("address", lambda: self._by_address[address] >= self.settings.max_streams_per_address),
            ("run", lambda: run is not None and self._by_run[run] >= self.settings.max_streams_per_run),
        )
        for limit, reached in limits:
            if reached():
                self.metrics.refused.labels(limit).inc()
                raise Refused(f"no further stream is accepted: the limit is reached ({limit})", limit=limit)
        content = StreamContent(self.hub, self.metrics, selection, lines, last_event_id, on_events=self._observe)
        stream = Stream(
            content,
            max_age_s=self.settings.max_age_s,
            address=address,
            on_close=self._remove,
            **options,
        )
        self._open[stream] = None
        self._by_address[address] += 1
        if run is not None:
            self._by_run[run] += 1
        self.metrics.opened.inc()
        self.metrics.streams.set(len(self._open))
        return stream

    def _remove(self, stream: Stream, reason: str) -> None:
        """Remove a stream that has ended; it is counted once."""
        if stream.closed:
            return
        stream.closed = True
        self._open.pop(stream, None)
        _count_down(self._by_address, stream.address)
        if stream.run is not None:
            _count_down(self._by_run, stream.run)
        self.metrics.closed.labels(reason).inc()
        self.metrics.streams.set(len(self._open))

    def publish(self, entries: list[Entry]) -> None:
        """Write new events to the streams that can take them at once, and wake all others."""
        if entries:
            self._newest_event_s = unix_s(entries[-1].time) or 0.0  # a foreign producer may send an invalid time
        previous_head = self.hub.ring.head - len(entries)
        data = b"".join(entry.sse for entry in entries)
        chunk = b"%X\r\n%b\r\n" % (len(data), data)
        now = time.monotonic()
        written = 0
        for stream in list(self._open):
            if entries and stream.write(chunk, previous_head, now):
                written += 1
            else:
                stream.wake()
        if written:
            self.metrics.sent_bytes.inc(written * len(data))
            self._observe()

    def send_liveness(self) -> None:
        """Send a liveness message to every stream."""
        for stream in list(self._open):
            stream.send_liveness()

    def tick(self) -> None:
        """Run the periodic checks of every stream; call this once a second."""
        now = time.monotonic()
        for stream in list(self._open):
            stream.tick(now)

    def drain(self) -> None:
        """End all streams with a ``bye`` event and accept no more."""
        self.draining = True
        for stream in list(self._open):
            stream.end("shutdown")

    def _observe(self) -> None:
        """Record the age of the newest event when it is written.

        With more than 16 streams only every sixteenth write is recorded, because recording costs as much as a write.
        """
        self._writes += 1
        if self._newest_event_s and (self._writes % 16 == 0 or len(self._open) <= 16):
            self.metrics.produce_to_send_s.observe(max(time.time() - self._newest_event_s, 0.0))


def _count_down(counter: Counter[Any], key: Any) -> None:
    counter[key] -= 1
    if counter[key] <= 0:
        del counter[key]
