"""Values are read from Redis into given memory, and the connection stays usable after every kind of reply."""

from __future__ import annotations

import os
import signal
import socketserver
import threading
import time
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass, field

import pyarrow as pa
import pytest
from redis import Redis
from redis import exceptions as redis_errors

from millrace.cache.client import make_pool
from millrace.compat.redis import Reply, read_values
from millrace.compat.versions import REDIS, stock_behaviour
from millrace.settings import RedisSettings

LARGE = os.urandom(3_000_000)
CLOSE = b"close"
STALL = b"stall"


@pytest.fixture(params=[False, True], ids=["private", "stock"], autouse=True)
def behaviour(request: pytest.FixtureRequest) -> Iterator[None]:
    with stock_behaviour(REDIS) if request.param else nullcontext():
        yield


def bulk(value: bytes) -> bytes:
    return b"$%d\r\n%b\r\n" % (len(value), value)


@dataclass
class Server:
    """A server with a value or replies for each key; a list of replies is used up one by one, down to the last.

    Ranges are cut from values, not from replies.
    """

    replies: dict[str, list[bytes]] = field(default_factory=dict)
    values: dict[str, bytes] = field(default_factory=dict)
    piece_bytes: int = 1 << 20
    port: int = 0
    connections: int = 0
    commands: list[tuple[str, ...]] = field(default_factory=list)

    def next_reply(self, key: str, *limits: str) -> bytes:
        if key in self.values:
            first, last = map(int, limits or (0, len(self.values[key])))
            return bulk(self.values[key][first : last + 1])
        replies = self.replies[key]
        return replies.pop(0) if len(replies) > 1 else replies[0]


class Handler(socketserver.StreamRequestHandler):
    scripted: Server

    def handle(self) -> None:
        self.scripted.connections += 1
        while line := self.rfile.readline():
            words = [self.rfile.read(int(self.rfile.readline()[1:]) + 2)[:-2].decode() for _ in range(int(line[1:]))]
            if words[0] not in ("GET", "GETRANGE"):
                self.wfile.write(b"+OK\r\n")
                continue
            self.scripted.commands.append(tuple(words))
            reply = self.scripted.next_reply(*words[1:])
            stalls, closes = reply.endswith(STALL), reply.endswith(CLOSE)
            self.send(reply.removesuffix(STALL).removesuffix(CLOSE))
            if stalls:
                self.rfile.read(1)
            if stalls or closes:
                return

    def send(self, reply: bytes) -> None:
        size = self.scripted.piece_bytes
        for start in range(0, len(reply), size):
            self.wfile.write(reply[start : start + size])
            if size < 100:
                time.sleep(0.001)


@pytest.fixture
def server() -> Iterator[Server]:
    scripted = Server()
    handler = type("Scripted", (Handler,), {"scripted": scripted})
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), handler) as listener:
        listener.daemon_threads = True
        scripted.port = listener.server_address[1]
        threading.Thread(target=listener.serve_forever, kwargs={"poll_interval": 0.01}).start()
        yield scripted
        listener.shutdown()


@pytest.fixture
def redis(server: Server) -> Iterator[Redis]:
    settings = RedisSettings(url=f"redis://127.0.0.1:{server.port}/0", timeout_s=0.5)  # type: ignore[arg-type]
    pool = make_pool(settings)
    yield Redis(connection_pool=pool)
    pool.disconnect()


def get(redis: Redis, *sizes: int, keys: str = "abcdef") -> tuple[Reply, list[bytes]]:
    """Read values of these sizes under the keys a, b, and so on."""
    commands = [("GET", key) for key, _ in zip(keys, sizes, strict=False)]
    reply, buffers = read_values(redis, commands, sizes, pa.allocate_buffer)
    return reply, [bytes(buffer) for buffer in buffers] if reply is Reply.COMPLETE else []


@pytest.mark.parametrize("size", [1, 9, 10, 3_000_000])
def test_values_of_several_keys_are_read_one_after_another(server: Server, redis: Redis, size: int) -> None:
    values = [LARGE[:size], LARGE[-size:], LARGE[: size // 2 + 1]]
    server.values = dict(zip("abc", values, strict=True))
    for _ in range(3):
        assert get(redis, *map(len, values)) == (Reply.COMPLETE, values)
    assert server.connections == 1


def test_a_value_that_arrives_byte_by_byte_is_read(server: Server, redis: Redis) -> None:
    server.replies = {"a": [bulk(b"x" * 40)], "b": [b"$-1\r\n"], "c": [bulk(b"y" * 11)]}
    server.piece_bytes = 1
    assert get(redis, 40, 11, keys="ac") == (Reply.COMPLETE, [b"x" * 40, b"y" * 11])
    assert get(redis, 40, 40) == (Reply.MISSING, [])
    assert server.connections == 1


@pytest.mark.parametrize("missing", [b"$-1\r\n", b"$0\r\n\r\n"])
@pytest.mark.parametrize("size", [5, 3_000_000])
def test_a_missing_value_leaves_the_connection_usable(server: Server, redis: Redis, missing: bytes, size: int) -> None:
    server.replies, server.values = {"a": [missing]}, {"b": LARGE[:size]}
    assert get(redis, size, size) == (Reply.MISSING, [])
    assert get(redis, size, keys="b") == (Reply.COMPLETE, [LARGE[:size]])
    assert server.connections == 1


@pytest.mark.parametrize("error", [b"-ERR no\r\n", b"-WRONGTYPE this key holds a list\r\n"])
def test_an_error_of_redis_is_raised_and_leaves_the_connection_usable(
    server: Server, redis: Redis, error: bytes
) -> None:
    server.replies = {"a": [bulk(b"12345")], "b": [error]}
    for _ in range(2):
        with pytest.raises(redis_errors.ResponseError):
            get(redis, 5, 1000)
    assert get(redis, 5) == (Reply.COMPLETE, [b"12345"])
    assert server.connections == 1


@pytest.mark.parametrize("size", [1, 4, 6, 49, 501, 3_000_000])
def test_a_value_of_another_size_is_not_returned_and_the_next_read_works(
    server: Server, redis: Redis, size: int
) -> None:
    server.replies = {"a": [bulk(LARGE[:size])], "b": [bulk(b"12345")]}
    for wanted in (5, 50, 500, 5000):
        assert get(redis, wanted) == (Reply.OTHER_SIZE, [])
        assert get(redis, 5, keys="b") == (Reply.COMPLETE, [b"12345"])


@pytest.mark.parametrize("size", [2_100_000, 3_000_000])
@pytest.mark.parametrize("wanted", [2_099_999, 2_100_001, 4_194_304])
def test_a_large_value_of_another_size_is_not_returned_and_the_next_read_works(
    server: Server, redis: Redis, size: int, wanted: int
) -> None:
    server.values = {"a": LARGE[:size], "b": LARGE[:wanted]}
    assert get(redis, wanted) == (Reply.OTHER_SIZE, [])
    assert get(redis, min(wanted, len(LARGE)), keys="b") == (Reply.COMPLETE, [LARGE[:wanted]])


@pytest.mark.parametrize("part", [b"$-1\r\n", b"$0\r\n\r\n"])
def test_a_large_value_that_is_lost_while_it_is_read_is_missing(server: Server, redis: Redis, part: bytes) -> None:
    server.replies = {"a": [bulk(LARGE[: 1 << 21]), part]}
    expected = Reply.MISSING if REDIS.is_installed() else Reply.OTHER_SIZE
    assert get(redis, len(LARGE)) == (expected, [])


def test_a_large_value_that_stops_is_a_timeout_and_the_next_read_works(server: Server, redis: Redis) -> None:
    server.replies = {"a": [bulk(LARGE[: 1 << 21])[: 1 << 20] + STALL], "b": [bulk(b"12345")]}
    began = time.monotonic()
    with pytest.raises(redis_errors.TimeoutError):
        get(redis, len(LARGE))
    assert 0.4 < time.monotonic() - began < 10
    assert get(redis, 5, keys="b") == (Reply.COMPLETE, [b"12345"])


@pytest.mark.parametrize("reply", [b"+abcde\r\n", b":12345\r\n", b"*1\r\n$5\r\nabcde\r\n"])
def test_a_reply_of_another_type_is_not_returned(server: Server, redis: Redis, reply: bytes) -> None:
    server.replies = {"a": [reply], "b": [bulk(b"12345")]}
    assert get(redis, 4)[0] is Reply.OTHER_SIZE
    assert get(redis, 4000)[0] is Reply.OTHER_SIZE
    assert get(redis, 5, keys="b") == (Reply.COMPLETE, [b"12345"])


def test_a_reply_outside_the_protocol_is_an_error_and_the_next_read_works(server: Server, redis: Redis) -> None:
    server.replies = {"a": [b"?what is this\r\n"], "b": [bulk(b"12345")]}
    with pytest.raises(redis_errors.RedisError):
        get(redis, 4)
    assert get(redis, 5, keys="b") == (Reply.COMPLETE, [b"12345"])


@pytest.mark.parametrize("part", [b"", b"$5", b"$5\r\n12", b"$5\r\n12345"])
def test_a_lost_connection_is_opened_again_once(server: Server, redis: Redis, part: bytes) -> None:
    server.replies = {"a": [part + CLOSE, bulk(b"12345")]}
    assert get(redis, 5) == (Reply.COMPLETE, [b"12345"])
    assert server.connections == 2
    server.replies = {"a": [part + CLOSE]}
    with pytest.raises(redis_errors.ConnectionError):
        get(redis, 5)
    server.replies = {"a": [bulk(b"67890")]}
    assert get(redis, 5) == (Reply.COMPLETE, [b"67890"])


@pytest.mark.parametrize("part", [b"", b"$5", b"$5\r\n12", b"$5\r\n12345"])
def test_a_timeout_is_raised_without_a_second_try_and_the_next_read_works(
    server: Server, redis: Redis, part: bytes
) -> None:
    server.replies = {"a": [part + STALL], "b": [bulk(b"12345")]}
    began = time.monotonic()
    with pytest.raises(redis_errors.TimeoutError):
        get(redis, 5)
    assert 0.4 < time.monotonic() - began < 10
    assert len(server.commands) == 1
    assert get(redis, 5, keys="b") == (Reply.COMPLETE, [b"12345"])


def test_an_interrupt_within_a_value_closes_the_connection(server: Server, redis: Redis) -> None:
    """The rest of the value must not be taken for the next reply."""
    server.replies = {"a": [bulk(b"1" * 1000)[:500] + STALL], "b": [bulk(b"12345")]}
    interrupted = threading.Event()

    def interrupt(*_: object) -> None:
        interrupted.set()
        raise KeyboardInterrupt

    previous = signal.signal(signal.SIGALRM, interrupt)
    signal.setitimer(signal.ITIMER_REAL, 0.15)
    try:
        with pytest.raises(KeyboardInterrupt):
            get(redis, 1000)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)
    assert interrupted.is_set()
    assert get(redis, 5, keys="b") == (Reply.COMPLETE, [b"12345"])


def test_ranges_of_a_value_are_read_into_allocated_memory(server: Server, redis: Redis) -> None:
    server.replies = {"a": [bulk(b"12345"), bulk(b"678")]}
    made: list[int] = []

    def allocate(size: int) -> pa.Buffer:
        made.append(size)
        return pa.allocate_buffer(size)

    reply, values = read_values(redis, [("GETRANGE", "a", 0, 4), ("GETRANGE", "a", 5, 7)], [5, 3], allocate)
    assert (reply, [bytes(value) for value in values]) == (Reply.COMPLETE, [b"12345", b"678"])
    assert server.commands == [("GETRANGE", "a", "0", "4"), ("GETRANGE", "a", "5", "7")]
    assert made in ([5, 3], [])


def test_a_forked_child_opens_a_connection_of_its_own(server: Server, redis: Redis) -> None:
    server.values = {"a": LARGE}
    assert get(redis, len(LARGE))[0] is Reply.COMPLETE
    child = os.fork()
    if not child:
        os._exit(get(redis, len(LARGE)) != (Reply.COMPLETE, [LARGE]))
    for _ in range(5):
        assert get(redis, len(LARGE)) == (Reply.COMPLETE, [LARGE])
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert server.connections == 2


def test_threads_use_connections_of_their_own(server: Server, redis: Redis) -> None:
    server.replies = {key: [bulk(key.encode() * 200_000)] for key in "abcd"}
    errors: list[object] = []

    def read(key: str) -> None:
        for _ in range(10):
            if get(redis, 200_000, keys=key) != (Reply.COMPLETE, [key.encode() * 200_000]):
                errors.append(key)

    threads = [threading.Thread(target=read, args=(key,)) for key in "abcd"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not errors
    assert server.connections <= 4
