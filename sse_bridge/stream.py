"""One open stream: a small object with its position in the hub, woken when there is something to send."""

from __future__ import annotations

import fcntl
import random
import socket
import struct
import termios
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import gevent
from gevent.event import Event

from sse_bridge import encoder
from sse_bridge.client import ClientPosition
from sse_bridge.filters import Filter
from sse_bridge.hub import Hub
from sse_bridge.metrics import Metrics

HEARTBEAT_S = 15.0
WRITE_TIMEOUT_S = 10.0
"""A client that accepts no data for this long is disconnected; it may reconnect with its cursor."""
ACK_TIMEOUT_MS = 12_000
"""The connection ends when the peer's kernel does not acknowledge data for this long."""
CURSOR_EVERY_S = 2.0
"""Interval at which a client whose filter passes nothing receives the current cursor."""
SEND_BUFFER_BYTES = 128 * 1024
RETRY_MS = (2_000, 5_000)


class Stream:
    """The body of one response: an iterator over the bytes to send. The server always calls ``close``."""

    __slots__ = (
        "_bye",
        "_client",
        "_cursor_moved",
        "_direct",
        "_ended",
        "_event",
        "_heartbeat_due",
        "_hub",
        "_last_event_id",
        "_liveness",
        "_metrics",
        "_on_close",
        "_on_send",
        "_opened",
        "_unsent",
        "_waiting",
        "_watcher",
        "address",
        "closed",
        "disconnected",
        "expires_s",
        "lines",
        "quiet_s",
        "run",
        "selection",
        "sending_since_s",
        "sent_s",
        "sock",
    )

    def __init__(
        self,
        hub: Hub,
        metrics: Metrics,
        selection: Filter,
        *,
        max_age_s: float,
        lines: bool,
        last_event_id: str,
        quiet_s: float | None,
        sock: Any,
        chunked: bool,
        address: str,
        on_send: Callable[[], None],
        on_close: Callable[[Stream, str], None],
    ) -> None:
        self._hub, self._metrics, self._on_send, self._on_close = hub, metrics, on_send, on_close
        self.selection, self.lines, self.quiet_s = selection, lines, quiet_s
        self.sock, self.address = sock, address
        # The common case, an unfiltered event stream over plain HTTP/1.1, is written without a switch of greenlets.
        self._direct = sock is not None and chunked and not lines and selection.everything
        self._waiting = False
        self._unsent = b""
        self.run = selection.run
        now = time.monotonic()
        self.expires_s = now + max_age_s * random.uniform(0.8, 1.2)  # noqa: S311 - spreads the reconnections
        self.sent_s = now
        self.sending_since_s = 0.0
        self.closed = self.disconnected = False
        self._last_event_id = last_event_id
        self._client: ClientPosition | None = None
        self._event = Event()
        self._opened = self._ended = self._heartbeat_due = self._liveness = self._cursor_moved = False
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
            if self._ended or self.disconnected:
                raise StopIteration
            if self._unsent:
                self._send_unsent()
                continue
            data = self._step()
            if data:
                self.sent_s = self.sending_since_s = time.monotonic()
                self._metrics.sent_bytes.inc(len(data))
                return data
            self._waiting = True
            self._event.wait()
            self._waiting = False
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
        self._on_close(self, self._bye or "disconnected")

    # -- called by the bridge

    def wake(self) -> None:
        """Let the stream's greenlet check whether there is something to send."""
        self._event.set()

    def write(self, chunk: bytes, head: int, now: float) -> bool:
        """Write a chunk of the response right away; return False if the stream is behind entry ``head`` or writes.

        Never blocks: the stream's own greenlet sends the bytes that the socket does not accept.
        """
        client = self._client
        if not (
            self._direct and self._waiting and client is not None and client.next_entry == head and not self._unsent
        ):
            return False
        try:
            sent = self.sock.send(chunk, timeout=0.0)
        except BlockingIOError:
            sent = 0
        except OSError:
            self.disconnected = True
            self._event.set()
            return True
        client.next_entry = self._hub.ring.head
        self.sent_s = now
        if sent < len(chunk):
            self._unsent = chunk[sent:]
            self._event.set()
        return True

    def send_liveness(self) -> None:
        """Send a liveness message."""
        self._liveness = True
        self._event.set()

    def end(self, reason: str) -> None:
        """End the stream after a last event, ``bye``."""
        if not self._bye:
            self._bye = reason
            self._event.set()

    def tick(self, now: float) -> None:
        """Check, once a second, for heartbeats, the maximum age, blocked clients and streams that are over."""
        if self.sending_since_s and now - self.sending_since_s > WRITE_TIMEOUT_S:
            self.abort("blocked")
        elif now > self.expires_s:
            self.end("max-age")
        elif now - self.sent_s >= HEARTBEAT_S:
            self._heartbeat_due = True
            self._event.set()
        elif self._cursor_moved and now - self.sent_s >= CURSOR_EVERY_S:
            self._event.set()
        self._end_when_over()

    def abort(self, reason: str) -> None:
        """End the connection without a ``bye``, even in the middle of a write."""
        if not self.disconnected:
            self.disconnected = True
            self._bye = reason
            if self.sock is not None:
                with suppress(OSError):
                    self.sock.shutdown(socket.SHUT_RDWR)
            self._event.set()

    # -- internal

    def _end_when_over(self) -> None:
        if self.quiet_s is not None and self._hub.is_complete(self.selection, self.quiet_s):
            self.end("over")

    def _send_unsent(self) -> None:
        unsent, self._unsent = self._unsent, b""
        self.sending_since_s = time.monotonic()
        try:
            self.sock.sendall(unsent)
        except OSError:
            self.disconnected = True
        self.sending_since_s = 0.0

    def _step(self) -> bytes:
        hub = self._hub
        if not self._opened:
            self._opened = True
            opening = b"" if self.lines else encoder.comment("millrace", retry_ms=random.randint(*RETRY_MS))  # noqa: S311
            return opening + (self._join(hub) if hub.ready else b"") or encoder.HEARTBEAT
        if self._bye:
            self._ended = True
            return self._final_bytes(hub)
        if not hub.ready:
            return self._keepalive(hub)
        if self._client is None:
            return self._join(hub)
        return self._next_bytes(hub) or self._keepalive(hub)

    def _join(self, hub: Hub) -> bytes:
        self._client, data = hub.join(self.selection, lines=self.lines, last_event_id=self._last_event_id)
        if self._last_event_id and data:
            self._metrics.resets.inc()
        if not data:  # resumed
            data = hub.next_bytes(self._client)
            self._liveness = True
        self._end_when_over()
        return data

    def _next_bytes(self, hub: Hub) -> bytes:
        client = self._client
        if client is None:
            return b""
        position = client.next_entry
        data = hub.next_bytes(client)
        if data:
            self._cursor_moved = False
            if position < hub.ring.tail:
                self._metrics.resets.inc()
            self._on_send()
        elif client.next_entry != position:
            self._cursor_moved = True
        if self._liveness:
            self._liveness = False
            data += hub.liveness(self.selection, lines=self.lines)
        return data

    def _keepalive(self, hub: Hub) -> bytes:
        beat, self._heartbeat_due = self._heartbeat_due, False
        now = time.monotonic()
        moved = self._cursor_moved and (beat or now - self.sent_s >= CURSOR_EVERY_S)
        if self.lines:
            return encoder.line({"type": "heartbeat", "cursor": hub.cursor}) if beat or moved else b""
        if moved:
            self._cursor_moved = False
            return encoder.id_only(hub.cursor)
        return encoder.HEARTBEAT if beat else b""

    def _final_bytes(self, hub: Hub) -> bytes:
        remaining = hub.next_bytes(self._client) if self._client is not None and hub.ready else b""
        if self.lines:
            return remaining + encoder.line({"type": "bye", "reason": self._bye, "cursor": hub.cursor})
        data = encoder.line({"reason": self._bye})[:-1]
        cursor = hub.cursor if self._client is not None and hub.ready else None
        # Spreads the reconnections. At a restart they come after the server has stopped accepting connections.
        retry_ms = random.randint(1_500, 4_000)  # noqa: S311
        return remaining + encoder.frame("bye", data, cursor=cursor, retry_ms=retry_ms)

    def _watch_socket(self) -> None:
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, ACK_TIMEOUT_MS)
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_BYTES)
        self._watcher = gevent.get_hub().loop.io(self.sock.fileno(), 1)
        self._watcher.start(self._readable)

    def _readable(self) -> None:
        """Handle a readable socket: a client sends no more data, so it has hung up or pipelines a request."""
        self._watcher.stop()
        readable_bytes = struct.unpack("i", fcntl.ioctl(self.sock.fileno(), termios.FIONREAD, b"\0\0\0\0"))[0]
        if readable_bytes == 0:
            self.disconnected = True
            self._event.set()
