"""One open stream: a small object that waits for new content and sends it to a connection."""

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

from sse_bridge.content import CURSOR_EVERY_S, StreamContent

HEARTBEAT_S = 15.0
WRITE_TIMEOUT_S = 10.0
"""A client that accepts no data for this long is disconnected; it may reconnect with its cursor."""
ACK_TIMEOUT_MS = 12_000
"""The connection ends when the peer's kernel does not acknowledge data for this long."""
SEND_BUFFER_BYTES = 128 * 1024


class Stream:
    """The body of one response: an iterator over the bytes to send. The server always calls ``close``.

    ``quiet_s`` is the time without events after which the stream of a finished run ends. ``sock`` is the client's
    connection, and ``chunked`` whether the response is sent to it in chunks of HTTP/1.1. ``closed`` is true once the
    stream does not count towards the limits any more.
    """

    __slots__ = (
        *("address", "closed", "content", "disconnected", "quiet_s", "run", "sock"),
        *("_bye", "_ended", "_event", "_expires_s", "_is_direct", "_on_close", "_opened"),
        *("_sending_since_s", "_sent_s", "_unsent", "_waiting", "_watcher"),
    )

    def __init__(
        self,
        content: StreamContent,
        *,
        max_age_s: float,
        quiet_s: float | None,
        sock: Any,
        chunked: bool,
        address: str,
        on_close: Callable[[Stream, str], None],
    ) -> None:
        self.content, self.quiet_s, self.sock, self.address = content, quiet_s, sock, address
        self.run = content.selection.run
        self._on_close = on_close
        # The common case, an unfiltered event stream over plain HTTP/1.1, is written without a switch of greenlets.
        self._is_direct = sock is not None and chunked and not content.lines and content.selection.everything
        self._sent_s = time.monotonic()
        self._sending_since_s = 0.0  # when the current write began; 0 between writes
        self._expires_s = self._sent_s + max_age_s * random.uniform(0.8, 1.2)  # noqa: S311 - spreads reconnections
        self.closed = self.disconnected = self._opened = self._ended = self._waiting = False
        self._bye, self._unsent = "", b""
        self._event = Event()
        self._watcher: Any = None
        if sock is not None:
            self._watch_socket()

    # -- called by the server

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        self._sending_since_s = 0.0
        while not (self._ended or self.disconnected):
            if self._unsent:
                self._send_unsent()
            elif data := self._next_bytes():
                self._sent_s = self._sending_since_s = time.monotonic()
                self.content.metrics.sent_bytes.inc(len(data))
                return data
            else:
                self._waiting = True
                self._event.wait()
                self._waiting = False
                self._event.clear()
        raise StopIteration

    def close(self) -> None:
        """Release the watcher, the connection and the stream's share of the limits, once."""
        if self._watcher is not None:
            self._watcher.stop()
            self._watcher.close()
            self._watcher = None
        if not self.closed:
            # Bytes already written still arrive. Otherwise the server would keep the connection for another request.
            self._shut_down()
        self._on_close(self, self._bye or "disconnected")

    # -- called by the bridge

    def wake(self) -> None:
        """Let the stream's greenlet check whether there is something to send."""
        self._event.set()

    def write(self, chunk: bytes, head: int, now: float) -> bool:
        """Write a chunk of the response right away; return False if the stream is behind entry ``head`` or writes.

        Never blocks: the stream's own greenlet sends the bytes that the socket does not accept.
        """
        client = self.content.client
        if not (self._is_direct and self._waiting and client and client.next_entry == head and not self._unsent):
            return False
        try:
            sent = self.sock.send(chunk, timeout=0.0)
        except BlockingIOError:
            sent = 0
        except OSError:
            self._mark_disconnected()
            return True
        client.next_entry = self.content.hub.ring.head
        self._sent_s = now
        if sent < len(chunk):
            self._unsent = chunk[sent:]
            self._event.set()
        return True

    def send_liveness(self) -> None:
        """Send a liveness message."""
        self.content.liveness_due = True
        self._event.set()

    def end(self, reason: str) -> None:
        """End the stream after a last event, ``bye``."""
        if not self._bye:
            self._bye = reason
            self._event.set()

    def tick(self, now: float) -> None:
        """Check, once a second, for heartbeats, the maximum age, blocked clients and streams that are over."""
        if self._sending_since_s and now - self._sending_since_s > WRITE_TIMEOUT_S:
            self._abort("blocked")
        elif now > self._expires_s:
            self.end("max-age")
        elif now - self._sent_s >= HEARTBEAT_S:
            self.content.heartbeat_due = True
            self._event.set()
        elif self.content.cursor_moved and now - self._sent_s >= CURSOR_EVERY_S:
            self._event.set()
        self._end_when_over()

    # -- internal

    def _abort(self, reason: str) -> None:
        """End the connection without a ``bye``, even in the middle of a write."""
        if not self.disconnected:
            self._bye = reason
            self._shut_down()
            self._mark_disconnected()

    def _shut_down(self) -> None:
        if self.sock is not None:
            with suppress(OSError):
                self.sock.shutdown(socket.SHUT_RDWR)

    def _mark_disconnected(self) -> None:
        self.disconnected = True
        self._event.set()

    def _end_when_over(self) -> None:
        if self.quiet_s is not None and self.content.hub.is_complete(self.content.selection, self.quiet_s):
            self.end("over")

    def _send_unsent(self) -> None:
        unsent, self._unsent = self._unsent, b""
        self._sending_since_s = time.monotonic()
        try:
            self.sock.sendall(unsent)
        except OSError:
            self.disconnected = True
        self._sending_since_s = 0.0

    def _next_bytes(self) -> bytes:
        content = self.content
        if self._opened and self._bye:
            self._ended = True
            return content.final(self._bye)
        joining = content.client is None
        data = content.next_bytes(time.monotonic() - self._sent_s) if self._opened else content.opening()
        self._opened = True
        if joining and content.client is not None:
            self._end_when_over()
        return data

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
            self._mark_disconnected()
