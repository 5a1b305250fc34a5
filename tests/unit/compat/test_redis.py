"""Commands are the same bytes with and without the private packer of redis-py."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest
from redis import Connection

from millrace.cache.client import make_pool
from millrace.compat.redis import large_value_packer
from millrace.compat.versions import REDIS, VersionRange, stock_behaviour
from millrace.settings import RedisSettings

LARGE = bytes(range(256)) * 400


@pytest.mark.parametrize(
    "command",
    [
        ("PING",),
        ("GET", "key"),
        ("CONFIG GET", "maxmemory"),
        ("SET", b"key", LARGE, "EX", 60),
        ("SET", "é", memoryview(LARGE)),
        ("MSET", b"a", b"", b"b", b"x" * 6001, b"c", b"y" * 5999),
    ],
    ids=lambda command: command[0],
)
def test_a_command_is_the_same_bytes(command: tuple[Any, ...]) -> None:
    packer = large_value_packer()
    ours = b"".join(map(bytes, packer.pack(*command)))
    plain = [bytes(part) if isinstance(part, memoryview) else part for part in command]
    assert ours == b"".join(map(bytes, Connection().pack_command(*plain)))


def test_a_large_value_is_not_copied() -> None:
    assert any(part is LARGE for part in large_value_packer().pack("SET", b"key", LARGE))


@pytest.mark.parametrize("ranges", [(), (REDIS,)], ids=["private", "stock"])
def test_a_buffer_of_arrow_is_sent_as_its_bytes(ranges: tuple[VersionRange, ...]) -> None:
    with stock_behaviour(*ranges):
        connection = make_pool(RedisSettings(url="redis://127.0.0.1:1")).make_connection()  # type: ignore[arg-type]
    packed = b"".join(map(bytes, connection.pack_command("SET", "key", memoryview(pa.py_buffer(LARGE)))))
    assert packed == b"*3\r\n$3\r\nSET\r\n$3\r\nkey\r\n$%d\r\n%b\r\n" % (len(LARGE), LARGE)


def test_outside_the_tested_versions_redis_py_chooses_the_packer() -> None:
    with stock_behaviour(REDIS):
        pool = make_pool(RedisSettings(url="redis://127.0.0.1:1"))  # type: ignore[arg-type]
    assert pool.connection_kwargs["command_packer"] is None
    assert pool.make_connection().pack_command("GET", "key") == [b"*2\r\n$3\r\nGET\r\n$3\r\nkey\r\n"]
