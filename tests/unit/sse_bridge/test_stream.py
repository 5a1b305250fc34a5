"""Streams with a simulated connection: direct writes, slow and broken clients, heartbeats, and the end."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator
from typing import Any

import gevent
import pytest

from millrace.settings.tree import BridgeSettings, Settings
from sse_bridge.bridge import Bridge
from sse_bridge.consumer import Batch, Begin, BrokerUp
from sse_bridge.filters import Filter
from sse_bridge.records import Incoming, parse_record
from sse_bridge.stream import HEARTBEAT_S, WRITE_TIMEOUT_S, Stream
from tests.unit.sse_bridge.world import record


class Connection:
    """A socket that accepts at most ``accepted`` bytes of a direct write, or raises ``error``."""

    def __init__(self) -> None:
        self.own_end, self.client_end = socket.socketpair()
        self.sent = b""
        self.accepted: int | None = None
        self.error: OSError | None = None
        self.shut = False

    def setsockopt(self, *_options: Any) -> None:
        pass

    def fileno(self) -> int:
        return self.own_end.fileno()

    def send(self, data: bytes, timeout: float) -> int:
        assert timeout == 0.0, "a direct write never blocks"
        if self.error is not None:
            raise self.error
        accepted = data[: self.accepted]
        self.sent += accepted
        return len(accepted)

    def sendall(self, data: bytes) -> None:
        if self.error is not None:
            raise self.error
        self.sent += data

    def shutdown(self, _how: int) -> None:
        self.shut = True


class Served:
    """A bridge, one stream of it, and the bytes that the server's greenlet has taken from the stream."""

    def __init__(self, *, selection: Filter | None = None, ready: bool = True, **options: Any) -> None:
        self.bridge = Bridge(Settings(bridge=BridgeSettings()))
        self.bridge.handle(Begin("0000000a", (0,)))
        self.bridge.handle(BrokerUp(time.time()))
        self.offset = 0
        if ready:
            self.get_ready()
        self.connection = Connection()
        options = {"lines": False, "last_event_id": "", "quiet_s": None, "chunked": True, **options}
        self.stream: Stream = self.bridge.streams.open(
            selection or Filter(), address="127.0.0.1", sock=self.connection, **options
        )
        self.pieces: list[bytes] = []
        self.greenlet = gevent.spawn(self._serve)
        gevent.sleep(0)

    def _serve(self) -> None:
        for data in self.stream:
            self.pieces.append(data)
        self.stream.close()

    def get_ready(self) -> None:
        self.bridge.handle(Batch([], caught_up=True))

    def send(self, **facts: Any) -> None:
        raw = record("load", self.offset + 1, **facts)
        self.bridge.handle(Batch([Incoming(0, self.offset, raw, parse_record(raw), time.time())]))
        self.offset += 1
        gevent.sleep(0)

    def tick(self, after_s: float) -> None:
        self.stream.tick(time.monotonic() + after_s)
        gevent.sleep(0)

    @property
    def taken(self) -> bytes:
        return b"".join(self.pieces)

    def counted(self, metric: str) -> bool:
        return metric.encode() in self.bridge.metrics.text()


Serve = Callable[..., Served]


@pytest.fixture
def serve() -> Iterator[Serve]:
    every: list[Served] = []

    def one(**options: Any) -> Served:
        every.append(Served(**options))
        return every[-1]

    yield one
    for served in every:
        served.stream.close()
        served.stream.wake()
        gevent.sleep(0)
        served.connection.own_end.close()
        served.connection.client_end.close()


@pytest.fixture
def served(serve: Serve) -> Served:
    return serve()


def test_an_event_is_written_directly_to_a_client_that_waits(served: Served) -> None:
    assert b"event: snapshot" in served.taken
    served.send()
    size, chunk = served.connection.sent.split(b"\r\n", 1)
    assert int(size, 16) == len(chunk) - len(b"\r\n")
    assert chunk.startswith(b"id: 0000000a.1\nevent: progress\n")
    assert b"event: progress" not in served.taken


def test_bytes_that_the_socket_does_not_accept_follow_before_the_next_event(served: Served) -> None:
    served.connection.accepted = 10
    served.send()
    served.connection.accepted = None
    served.send()
    events = [line for line in served.connection.sent.split(b"\n") if line.startswith(b"id: ")]
    assert events == [b"id: 0000000a.1", b"id: 0000000a.2"]


def test_a_socket_that_accepts_nothing_gets_the_whole_chunk_later(served: Served) -> None:
    served.connection.error = BlockingIOError()
    chunk, head, now = b"3\r\nabc\r\n", served.bridge.hub.ring.head, time.monotonic()
    assert served.stream.write(chunk, head, now)
    assert not served.stream.write(chunk, head, now), "it still has unsent bytes"
    served.connection.error = None
    gevent.sleep(0)
    assert served.connection.sent == chunk


@pytest.mark.parametrize("when", ["direct", "rest"])
def test_a_broken_connection_ends_the_stream(served: Served, when: str) -> None:
    served.connection.error = BrokenPipeError() if when == "direct" else BlockingIOError()
    served.stream.write(b"3\r\nabc\r\n", served.bridge.hub.ring.head, time.monotonic())
    served.connection.error = BrokenPipeError()
    gevent.sleep(0)
    assert served.greenlet.ready()
    assert len(served.bridge.streams) == 0
    assert served.counted('closed_total{reason="disconnected"} 1.0')


def test_a_client_that_hangs_up_ends_the_stream(served: Served) -> None:
    served.connection.client_end.close()
    gevent.sleep(0.05)
    assert served.greenlet.ready()
    assert served.connection.shut


def test_a_client_that_sends_another_request_keeps_its_stream(served: Served) -> None:
    served.connection.client_end.send(b"GET / HTTP/1.1\r\n\r\n")
    gevent.sleep(0.05)
    assert not served.greenlet.ready()
    served.send()
    assert b"event: progress" in served.connection.sent


def test_a_blocked_client_is_disconnected_without_a_last_event(served: Served) -> None:
    served.stream._sending_since_s = time.monotonic()
    served.tick(WRITE_TIMEOUT_S + 1)
    assert served.connection.shut
    assert served.greenlet.ready()
    assert b"event: bye" not in served.taken
    assert served.counted('closed_total{reason="blocked"} 1.0')


def test_a_stream_ends_at_its_age_with_a_last_event(served: Served) -> None:
    served.tick(2 * BridgeSettings().max_age_s)
    assert b'event: bye\ndata: {"reason":"max-age"}' in served.taken
    assert served.greenlet.ready()


def test_a_stream_without_events_sends_heartbeats(served: Served) -> None:
    served.tick(HEARTBEAT_S)
    assert served.pieces[-1] == b": heartbeat\n"


def test_a_client_whose_filter_passes_nothing_gets_the_cursor(serve: Serve) -> None:
    served = serve(selection=Filter(run_id=frozenset(["other"])))
    served.send()
    served.tick(HEARTBEAT_S)
    assert served.pieces[-1] == b"id: 0000000a.1\n\n"
    served.tick(0)
    assert len(served.pieces) == 2


def test_lines_have_heartbeats_with_the_cursor_and_a_last_line(serve: Serve) -> None:
    served = serve(lines=True)
    served.send()
    served.tick(HEARTBEAT_S)
    assert served.pieces[-1] == b'{"type":"heartbeat","cursor":"0000000a.1"}\n'
    served.bridge.streams.drain()
    gevent.sleep(0)
    assert served.pieces[-1] == b'{"type":"bye","reason":"shutdown","cursor":"0000000a.1"}\n'


def test_a_stream_opened_before_the_topic_is_read_waits_with_heartbeats(serve: Serve) -> None:
    served = serve(ready=False)
    assert b"event: snapshot" not in served.taken
    served.tick(HEARTBEAT_S)
    assert served.pieces[-1] == b": heartbeat\n"
    served.get_ready()
    gevent.sleep(0)
    assert b"event: snapshot" in served.taken


def test_a_stream_that_ends_before_the_topic_is_read_has_no_cursor(serve: Serve) -> None:
    served = serve(ready=False)
    served.bridge.streams.drain()
    gevent.sleep(0)
    assert b"event: bye" in served.pieces[-1]
    assert b"id: " not in served.taken


def test_a_resumed_client_gets_missed_events_and_the_liveness(serve: Serve) -> None:
    served = serve(last_event_id="0000000a.0")
    served.send()
    assert b"event: liveness" in served.taken
    assert b"event: snapshot" not in served.taken
    unusable = serve(last_event_id="0000000b.0")
    assert b"event: reset" in unusable.taken
    assert unusable.counted("millrace_bridge_resets_total 1.0")


def test_a_stream_of_an_ended_run_ends(serve: Serve) -> None:
    served = serve(selection=Filter(frozenset(["d"]), frozenset(["r"])), quiet_s=0.0)
    served.send()
    assert not served.greenlet.ready()
    served.send(state="succeeded")
    served.tick(0)
    assert b'data: {"reason":"over"}' in served.taken
    assert len(served.bridge.streams) == 0
