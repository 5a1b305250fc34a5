"""A cache without its Redis: every read goes on quickly, and one warning reports the unreachable Redis."""

from __future__ import annotations

import contextlib
import logging
import socket
import socketserver
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from uuid import UUID, uuid4

import pytest

from millrace.cache import CachedForms, CachedPart, ChunkCache, Form, Room
from millrace.errors import CacheError, InvalidSettingError
from millrace.settings import RedisSettings


@dataclass(frozen=True)
class Key:
    chunk: int = 0
    dataset: str = "flights"
    bucket: int = 0
    attempt_id: UUID = field(default_factory=uuid4)


PART = CachedPart("flights", "1-aaaaaa", Form.STORED, None, None, 0, 1, 0, datetime.now(UTC))


@pytest.fixture
def closed_port() -> Iterator[int]:
    """Yield a bound port without a listener. A connection to it is refused at once."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield taken.getsockname()[1]


@contextlib.contextmanager
def answering(answer: bytes) -> Iterator[int]:
    """Yield a port that accepts the client's login and then answers each command with the same bytes."""

    class Server(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            while line := self.rfile.readline():
                words = [self.rfile.read(int(self.rfile.readline()[1:]) + 2) for _ in range(int(line[1:]))]
                signs_in = words[0].strip().upper() in (b"AUTH", b"SELECT", b"CLIENT", b"HELLO")
                self.wfile.write(b"+OK\r\n" if signs_in else answer)
                if not answer and not signs_in:
                    return

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Server) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}).start()
        try:
            yield server.server_address[1]
        finally:
            server.shutdown()


def cache_at(port: int, **settings: float) -> ChunkCache:
    chosen = RedisSettings(url=f"redis://:secret-word@127.0.0.1:{port}/0", **settings)  # type: ignore[arg-type]
    return ChunkCache(chosen, cluster="c", keyspace="k")


def test_no_method_of_a_read_raises_and_one_warning_names_the_unreachable_redis(
    closed_port: int, caplog: pytest.LogCaptureFixture
) -> None:
    cache = cache_at(closed_port)
    for _ in range(3):
        assert cache.get(Key(), [3, 4], None) is None
        assert cache.get(Key(), [3, 4], [1]) is None
        assert cache.put(Key(), [b"abc", b"defg"]) is False
        assert cache.has([Key(), Key()]) == [False, False]
        assert cache.delete([Key()]) == 0
        assert cache.forms("flights", "1-aaaaaa") == CachedForms((), ())
        assert cache.is_admitted("1-aaaaaa", Key(), Form.STORED) is False
        assert cache.remove_deleted("flights", [], unlisted=True) is False
        cache.opened("flights", "1-aaaaaa", "job")
        with cache.pin("flights", "1-aaaaaa"):
            pass
    [record] = caplog.records
    assert (record.name, record.levelno) == ("millrace.cache", logging.WARNING)
    assert f"127.0.0.1:{closed_port} does not work" in record.getMessage()
    assert "Cassandra" in record.getMessage()
    assert "secret-word" not in caplog.text


def test_warming_and_commands_name_the_address_and_hide_the_password(closed_port: int) -> None:
    cache = cache_at(closed_port)
    assert cache.room() is None
    with cache.warming(PART, [{"chunk:a": 10}], Room(100, 100)) as warming:
        assert (warming.chunks, warming.reason) == (0, f"the cache at 127.0.0.1:{closed_port} does not respond")
    for ask in (cache.ping, cache.parts, cache.pins, cache.uses, partial(cache.evict, "flights")):
        with pytest.raises(CacheError, match=f"127.0.0.1:{closed_port} does not respond") as error:
            ask()
        assert "secret-word" not in str(error.value)


def test_an_unresponsive_redis_gets_one_connection() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        cache = cache_at(listener.getsockname()[1], timeout_s=0.3)
        for _ in range(1000):
            assert cache.get(Key(), [3], None) is None
        listener.setblocking(False)
        connections = []
        with contextlib.suppress(BlockingIOError):
            while True:
                connections.append(listener.accept()[0])
        for connection in connections:
            connection.close()
        assert len(connections) == 1


def test_after_the_retry_time_one_short_probe_checks_redis(caplog: pytest.LogCaptureFixture) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        cache = cache_at(listener.getsockname()[1], timeout_s=60, retry_after_s=0.01)
        cache._circuit.failed(TimeoutError("gone"))
        time.sleep(0.02)
        began = time.monotonic()
        assert cache.get(Key(), [3], None) is None
        assert time.monotonic() - began < 30
    assert len(caplog.records) == 1


def test_a_closed_cache_is_a_miss(closed_port: int, caplog: pytest.LogCaptureFixture) -> None:
    cache = cache_at(closed_port)
    cache.close()
    assert cache.get(Key(), [3], None) is None
    assert cache.put(Key(), [b"abc"]) is False
    assert not caplog.records


def test_an_empty_address_is_refused_by_the_name_of_its_setting() -> None:
    with pytest.raises(InvalidSettingError, match=r"MILLRACE_REDIS__URL.*redis://host:port/db"):
        ChunkCache(RedisSettings(url=""), cluster="c", keyspace="k")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "answer",
    [
        b":5\r\n",
        b"*1\r\n$3\r\nabc\r\n",
        b"$-1\r\n",
        b"+abc\r\n",
        b"?what is this\r\n",
        b"$3\r\nab",
        b"-WRONGPASS no\r\n",
        b"",
    ],
)
def test_a_read_goes_on_after_invalid_answers_with_at_most_one_warning(
    answer: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    with answering(answer) as port:
        cache = cache_at(port, timeout_s=0.3)
        for _ in range(3):
            assert cache.get(Key(), [3, 4], None) is None
            assert cache.get(Key(), [3, 4], [1]) is None
            assert cache.has([Key()]) in ([False], [True])
            assert cache.put(Key(), [b"abc"]) in (False, True)
            assert cache.forms("flights", "1-aaaaaa") == CachedForms((), ())
            with cache.warming(PART, [{"chunk:a": 10}], Room(100, 100)) as warming:
                assert warming.chunks == 0
        for ask in (cache.ping, cache.parts, cache.pins, cache.uses):
            with contextlib.suppress(CacheError):
                ask()
        cache.close()
    assert len(caplog.records) <= 1
    assert "secret-word" not in caplog.text


def test_importing_the_package_imports_no_client() -> None:
    code = "import sys, millrace.cache; sys.exit('redis' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], timeout=60, check=False).returncode == 0
