"""Chunks in a real Redis."""

from __future__ import annotations

import logging
import multiprocessing
import os
import random
import signal
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any
from uuid import UUID, uuid4

import pytest

from millrace.cache import ChunkCache
from millrace.settings import RedisSettings

WRITER = uuid4()
TILES = [os.urandom(size) for size in (700_000, 1, 600_000, 300_000, 900_000, 65_536, 1_000_000, 800_000)]
SIZES = [len(tile) for tile in TILES]


@dataclass(frozen=True)
class At:
    chunk: int
    dataset: str = "flights"
    bucket: int = 0
    attempt_id: UUID = WRITER


def cache_of(server: Any, keyspace: str = "k", **settings: Any) -> ChunkCache:
    chosen = RedisSettings(url=server.url, **settings)
    return ChunkCache(chosen, cluster="Millrace", keyspace=keyspace)


@pytest.fixture
def cache(redis_server: Any) -> Iterator[ChunkCache]:
    made = cache_of(redis_server)
    yield made
    made.close()


def test_a_chunk_comes_back_tile_by_tile(cache: ChunkCache) -> None:
    assert cache.get(At(0), SIZES, None) is None
    assert cache.put(At(0), [TILES[0], bytearray(TILES[1]), *(memoryview(tile) for tile in TILES[2:])])
    found = cache.get(At(0), SIZES, None)
    assert found is not None
    assert [bytes(tile) for tile in found] == TILES


def test_a_request_in_progress_when_the_cache_is_closed_leaves_no_connection_open(
    cache: ChunkCache, caplog: pytest.LogCaptureFixture
) -> None:
    def closed_in_between(redis: Any) -> Any:
        cache.close()
        return redis.ping()

    assert cache._call(closed_in_between, None) is True
    made = cache._pool._available_connections
    assert made, "nothing was asked"
    assert [connection._sock for connection in made] == [None] * len(made)
    assert not caplog.records


@pytest.mark.parametrize(
    "query", ["db=3", "client_name=millrace&socket_keepalive=false", "health_check_interval=1", "username=default&db=1"]
)
def test_accepted_options_of_the_url_do_not_change_chunks(redis_server: Any, query: str) -> None:
    chosen = RedisSettings(url=f"redis://127.0.0.1:{redis_server.port}?{query}")  # type: ignore[arg-type]
    cache = ChunkCache(chosen, cluster="Millrace", keyspace="k")
    assert cache.put(At(0), TILES)
    assert [bytes(tile) for tile in cache.get(At(0), SIZES, [0, 7]) or []] == [TILES[0], TILES[7]]
    cache.opened("flights", "1-aaaaaa", "job")
    assert list(cache.uses()) == ["flights@1-aaaaaa"]
    cache.close()


@pytest.mark.parametrize("tiles", [[0], [7], [1], [2, 3], [0, 7], [0, 2, 3, 4, 7], list(range(8)), []])
def test_a_projection_brings_the_tiles_asked_for(cache: ChunkCache, tiles: list[int]) -> None:
    cache.put(At(0), TILES)
    found = cache.get(At(0), SIZES, tiles)
    assert found is not None
    assert [bytes(tile) for tile in found] == [TILES[tile] for tile in tiles]
    assert cache.get(At(1), SIZES, tiles) is None or not tiles


def test_a_projection_moves_only_its_own_bytes(redis_server: Any, cache: ChunkCache) -> None:
    cache.put(At(0), TILES)
    client = cache._client

    def sent() -> int:
        return int(client.info("stats")["total_net_output_bytes"])

    before = sent()
    cache.get(At(0), SIZES, [1, 5])
    assert sent() - before < SIZES[1] + SIZES[5] + 50_000


def test_a_value_of_another_size_than_in_the_manifest_is_a_miss(cache: ChunkCache) -> None:
    cache.put(At(0), TILES)
    assert cache.get(At(0), [*SIZES[:-1], SIZES[-1] - 1], None) is None
    assert cache.get(At(0), [*SIZES[:-1], SIZES[-1] + 1], [7]) is None


def test_chunks_of_another_keyspace_dataset_or_writer_are_not_seen(redis_server: Any, cache: ChunkCache) -> None:
    cache.put(At(0), TILES)
    assert cache_of(redis_server, "other").get(At(0), SIZES, None) is None
    for place in (At(0, dataset="flight"), At(0, bucket=1), At(1), At(0, attempt_id=uuid4())):
        assert cache.get(place, SIZES, None) is None


def test_cached_chunks_can_be_listed_and_deleted(cache: ChunkCache) -> None:
    for chunk in range(0, 1200, 2):
        cache.put(At(chunk), [b"x"])
    assert cache.has(At(chunk) for chunk in range(1200)) == [True, False] * 600
    assert cache.delete(At(chunk) for chunk in range(600)) == 300
    assert cache.has([At(0), At(599), At(600)]) == [False, False, True]
    cache.put(At(0, dataset="flights_2"), [b"x"])
    assert cache.evict("flights") == 300
    assert cache.has([At(600), At(0, dataset="flights_2")]) == [False, True]


def test_many_threads_read_and_write_at_once(cache: ChunkCache) -> None:
    values = [[random.Random(chunk).randbytes(400_000 + chunk), b"end"] for chunk in range(24)]
    wrong: list[int] = []

    def work(seed: int) -> None:
        for chunk in random.Random(seed).sample(range(24), 24):
            sizes = [len(tile) for tile in values[chunk]]
            found = cache.get(At(chunk), sizes, None)
            if found is None:
                found = [memoryview(tile) for tile in values[chunk]] if cache.put(At(chunk), values[chunk]) else []
            if [bytes(tile) for tile in found] != values[chunk]:
                wrong.append(chunk)
            part = cache.get(At(chunk), sizes, [1])
            if part is None or bytes(part[0]) != b"end":
                wrong.append(chunk)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not wrong


def _in_child(cache: ChunkCache, answers: Any) -> None:
    found = cache.get(At(0), SIZES, None)
    answers.put(None if found is None else [bytes(tile) for tile in found] == TILES)


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_child_connects_again_and_the_parent_keeps_its_connection(cache: ChunkCache) -> None:
    cache.put(At(0), TILES)
    fork = multiprocessing.get_context("fork")
    answers = fork.Queue()
    children = [fork.Process(target=_in_child, args=(cache, answers)) for _ in range(3)]
    for child in children:
        child.start()
    for _ in range(20):
        found = cache.get(At(0), SIZES, None)
        assert found is not None
        assert bytes(found[0]) == TILES[0]
    assert [answers.get(timeout=60) for _ in children] == [True] * 3
    for child in children:
        child.join(60)


def test_a_full_redis_keeps_its_chunks_refuses_new_ones_and_logs_one_warning(
    redis_servers: Callable[..., Any], caplog: pytest.LogCaptureFixture
) -> None:
    cache = cache_of(redis_servers("--maxmemory", "20mb"))
    kept = [cache.put(At(chunk), TILES) for chunk in range(12)]
    assert True in kept
    assert False in kept
    assert cache.has([At(chunk) for chunk in range(12)]) == kept
    found = cache.get(At(kept.index(True)), SIZES, None)
    assert found is not None
    assert [record.levelno for record in caplog.records] == [logging.WARNING]
    assert "is full" in caplog.text


# --- Redis comes and goes


def test_a_killed_redis_is_a_miss_and_used_again_when_it_is_back(
    redis_server: Any, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "millrace.cache")
    cache = cache_of(redis_server, retry_after_s=0.05)
    assert cache.put(At(0), TILES)
    redis_server.kill()
    assert cache.get(At(0), SIZES, None) is None
    redis_server.start()
    deadline = time.monotonic() + 20
    while not cache.put(At(0), TILES):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert cache.get(At(0), SIZES, None) is not None
    assert [record.levelname for record in caplog.records] == ["WARNING", "INFO"]


def test_a_restart_between_two_reads_is_no_outage(redis_server: Any, caplog: pytest.LogCaptureFixture) -> None:
    cache = cache_of(redis_server)
    assert cache.put(At(0), TILES)
    redis_server.kill()
    redis_server.start()
    assert cache.put(At(0), TILES)
    assert cache.get(At(0), SIZES, None) is not None
    assert not caplog.records


def test_a_frozen_redis_delays_reads_by_one_timeout(redis_server: Any) -> None:
    cache = cache_of(redis_server, timeout_s=0.5, retry_after_s=60)
    cache.put(At(0), TILES)
    redis_server.signal(signal.SIGSTOP)
    try:
        began = time.monotonic()
        for _ in range(200):
            assert cache.get(At(0), SIZES, None) is None
        # A timeout at each of them would take 100 s.
        assert time.monotonic() - began < 50
    finally:
        redis_server.signal(signal.SIGCONT)


def test_a_redis_that_needs_a_password_is_used_only_with_it(
    redis_servers: Callable[..., Any], caplog: pytest.LogCaptureFixture
) -> None:
    server = redis_servers("--requirepass", "open-sesame")
    assert cache_of(server).put(At(0), TILES) is False
    assert len(caplog.records) == 1
    server.url = server.url.replace("redis://", "redis://:open-sesame@")
    assert cache_of(server).put(At(0), TILES)
    assert "open-sesame" not in caplog.text


def test_ping_returns_version_memory_and_policy(cache: ChunkCache) -> None:
    said = cache.ping()
    assert said["policy"] == "noeviction"
    assert said["maxmemory"] == 209_715_200
    assert 0 < said["used_memory"] < 20_000_000
    assert int(said["version"].split(".")[0]) >= 6
