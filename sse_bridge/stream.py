"""One open stream: a small object with its position in the hub, woken when there is something to send."""

from __future__ import annotations

import fcntl
import random
import socket
import struct
import termios
import time
from collections.abc import Iterator
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import gevent
from gevent.event import Event

from sse_bridge import encoder
from sse_bridge.filters import Filter
from sse_bridge.hub import ClientPosition, Hub

if TYPE_CHECKING:
    from sse_bridge.streams import Streams

__all__ = ["Stream"]

HEARTBEAT_S = 15.0
BLOCKED_S = 10.0
"""A client that accepts no data for this long is disconnected; it may reconnect with its cursor."""
GONE_MS = 12_000
"""The connection ends when the peer's kernel does not acknowledge data for this long."""
CURSOR_EVERY_S = 2.0
"""Interval at which a client whose filter passes nothing receives the current cursor."""
SEND_BUFFER_BYTES = 128 * 1024
RETRY_MS = (2_000, 5_000)


class Stream:
    """The body of one response: an iterator over the bytes to send. The server always calls ``close``."""

    __slots__ = (
        "_beat",
        "_bye",
        "_direct",
        "_ended",
        "_event",
        "_last_event_id",
        "_liveness",
        "_moved",
        "_opened",
        "_parked",
        "_place",
        "_rest",
        "_watcher",
        "address",
        "closed",
        "expires_s",
        "gone",
        "lines",
        "run",
        "sending_since_s",
        "sent_s",
        "settle_s", "sock",
        "streams",

        "wanted",
    )  # fmt: skip

    def __init__(
        self,
        streams: Streams,
        wanted: Filter,
        *,
        lines: bool,
        last_event_id: str,
        settle_s: float | None,
        sock: Any,
        chunked: bool,
        address: str,
    ) -> None:
        self.streams, self.wanted, self.lines, self.settle_s = streams, wanted, lines, settle_s
        self.sock, self.address = sock, address
        # The common case, an unfiltered event stream over plain HTTP/1.1, is written without a switch of greenlets.
        self._direct = sock is not None and chunked and not lines and wanted.everything
        self._parked = False
        self._rest = b""
        self.run = wanted.run
        now = time.monotonic()
        max_age_s = streams.settings.max_age_s
        self.expires_s = now + max_age_s * random.uniform(0.8, 1.2)  # noqa: S311 - spreads the reconnections
        self.sent_s = now
        self.sending_since_s = 0.0
        self.closed = self.gone = False
        self._last_event_id = last_event_id
        self._place: ClientPosition | None = None
        self._event = Event()
        self._opened = self._ended = self._beat = self._liveness = self._moved = False
        self._bye = ""
        self._watcher: Any = None
        if sock is not None:
            self._watch_socket()

    # -- called by the server

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        self.sending_since_s = 0.0
        while True:
            if self._ended or self.gone:
                raise StopIteration
            if self._rest:
                self._send_rest()
                continue
            data = self._step()
            if data:
                self.sent_s = self.sending_since_s = time.monotonic()
                self.streams.metrics.sent_bytes.inc(len(data))
                return data
            self._parked = True
            self._event.wait()
            self._parked = False
            self._event.clear()

    def close(self) -> None:
        """Release the watcher, the connection and the stream's share of the limits, once."""
        if self._watcher is not None:
            self._watcher.stop()
            self._watcher.close()
            self._watcher = None
        if self.sock is not None and not self.closed:
            # Bytes already written still arrive. Otherwise the server would keep the connection for another request.
            with suppress(OSError):
                self.sock.shutdown(socket.SHUT_RDWR)
        self.streams.left(self, self._bye or "gone")

    # -- called by the bridge

    def wake(self) -> None:
        """Let the stream's greenlet check whether there is something to send."""
        self._event.set()

    def write(self, chunk: bytes, before: int, now: float) -> bool:
        """Write a chunk of the response right away if this stream waits at ``before``; return False if it does not.

        Never blocks: the stream's own greenlet sends the bytes that the socket does not accept.
        """
        place = self._place
        if not (self._direct and self._parked and place is not None and place.next == before and not self._rest):
            return False
        try:
            sent = self.sock.send(chunk, timeout=0.0)
        except BlockingIOError:
            sent = 0
        except OSError:
            self.gone = True
            self._event.set()
            return True
        place.next = self.streams.hub.head
        self.sent_s = now
        if sent < len(chunk):
            self._rest = chunk[sent:]
            self._event.set()
        return True

    def tell_liveness(self) -> None:
        """Send a liveness message."""
        self._liveness = True
        self._event.set()

    def say_bye(self, reason: str) -> None:
        """End the stream after a last event, ``bye``."""
        if not self._bye:
            self._bye = reason
            self._event.set()

    def tick(self, now: float) -> None:
        """Check, once a second, for heartbeats, the maximum age, blocked clients and streams that are over."""
        if self.sending_since_s and now - self.sending_since_s > BLOCKED_S:
            self.cut("blocked")
        elif now > self.expires_s:
            self.say_bye("max-age")
        elif now - self.sent_s >= HEARTBEAT_S:
            self._beat = True
            self._event.set()
        elif self._moved and now - self.sent_s >= CURSOR_EVERY_S:
            self._event.set()
        self._end_when_over()

    def cut(self, reason: str) -> None:
        """End the connection without a ``bye``, even in the middle of a write."""
        if not self.gone:
            self.gone = True
            self._bye = reason
            if self.sock is not None:
                with suppress(OSError):
                    self.sock.shutdown(socket.SHUT_RDWR)
            self._event.set()

    # -- internal

    def _end_when_over(self) -> None:
        if self.settle_s is not None and self.streams.hub.settled(self.wanted, self.settle_s):
            self.say_bye("over")

    def _send_rest(self) -> None:
        rest, self._rest = self._rest, b""
        self.sending_since_s = time.monotonic()
        try:
            self.sock.sendall(rest)
        except OSError:
            self.gone = True
        self.sending_since_s = 0.0

    def _step(self) -> bytes:
        hub = self.streams.hub
        if not self._opened:
            self._opened = True
            opening = b"" if self.lines else encoder.comment("millrace", retry_ms=random.randint(*RETRY_MS))  # noqa: S311
            return opening + (self._joined(hub) if hub.ready else b"") or encoder.HEARTBEAT
        if self._bye:
            self._ended = True
            return self._last_words(hub)
        if not hub.ready:
            return self._pulse(hub)
        if self._place is None:
            return self._joined(hub)
        return self._news(hub) or self._pulse(hub)

    def _joined(self, hub: Hub) -> bytes:
        self._place, data = hub.join(self.wanted, lines=self.lines, last_event_id=self._last_event_id)
        if self._last_event_id and data:
            self.streams.metrics.resets.inc()
        if not data:  # resumed
            data = hub.more(self._place)
            self._liveness = True
        self._end_when_over()
        return data

    def _news(self, hub: Hub) -> bytes:
        place = self._place
        if place is None:
            return b""
        before = place.next
        data = hub.more(place)
        if data:
            self._moved = False
            if before < hub.tail:
                self.streams.metrics.resets.inc()
            self.streams.observe(time.time())
        elif place.next != before:
            self._moved = True
        if self._liveness:
            self._liveness = False
            data += hub.liveness(self.wanted, lines=self.lines)
        return data

    def _pulse(self, hub: Hub) -> bytes:
        beat, self._beat = self._beat, False
        now = time.monotonic()
        moved = self._moved and (beat or now - self.sent_s >= CURSOR_EVERY_S)
        if self.lines:
            return encoder.line({"type": "heartbeat", "cursor": hub.cursor}) if beat or moved else b""
        if moved:
            self._moved = False
            return encoder.id_only(hub.cursor)
        return encoder.HEARTBEAT if beat else b""

    def _last_words(self, hub: Hub) -> bytes:
        news = hub.more(self._place) if self._place is not None and hub.ready else b""
        if self.lines:
            return news + encoder.line({"type": "bye", "reason": self._bye, "cursor": hub.cursor})
        data = encoder.line({"reason": self._bye})[:-1]
        cursor = hub.cursor if self._place is not None and hub.ready else None
        # Spreads the reconnections. At a restart they come after the server has stopped accepting connections.
        retry_ms = random.randint(1_500, 4_000)  # noqa: S311
        return news + encoder.frame("bye", data, cursor=cursor, retry_ms=retry_ms)

    def _watch_socket(self) -> None:
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, GONE_MS)
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_BYTES)
        self._watcher = gevent.get_hub().loop.io(self.sock.fileno(), 1)
        self._watcher.start(self._readable)

    def _readable(self) -> None:
        """Handle a readable socket: a client sends no more data, so it has hung up or pipelines a request."""
        self._watcher.stop()
        waiting = struct.unpack("i", fcntl.ioctl(self.sock.fileno(), termios.FIONREAD, b"\0\0\0\0"))[0]
        if waiting == 0:
            self.gone = True
            self._event.set()
