"""Chunks in a real Redis in both forms: whatever happens to Redis, the rows are the same."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from typing import Any

import pytest
from redis import Redis

from millrace.cache import ChunkCache, Form
from millrace.compat.versions import REDIS, stock_behaviour
from millrace.dataset import ChunkDecoder, ChunkSource
from millrace.settings import RedisSettings
from tests.redis_server import damage_flipped, damage_foreign
from tests.unit.dataset.test_scan import LAYOUT, SCHEMA, Shelf, chunk, ref_of

ROWS = 20_000
CHUNKS = 6
FORMS = [(Form.RAW,), (Form.STORED,), (Form.RAW, Form.STORED), (Form.STORED, Form.RAW)]


@pytest.fixture(params=[False, True], ids=["private", "stock"], autouse=True)
def behaviour(request: pytest.FixtureRequest) -> Iterator[None]:
    with stock_behaviour(REDIS) if request.param else nullcontext():
        yield


class Chunks:
    """Chunks in a store in memory, all of them cached in both forms."""

    def __init__(self, server: Any) -> None:
        made = [chunk(number, ROWS) for number in range(CHUNKS)]
        self.refs = [ref_of(each, number) for number, each in enumerate(made)]
        self.shelf = Shelf(made)
        chosen = RedisSettings(url=server.url, timeout_s=0.5, retry_after_s=0.05)
        self.cache = ChunkCache(chosen, cluster="Millrace", keyspace="k")
        self.redis = Redis.from_url(server.url)

    def put(self) -> list[bool]:
        puts = []
        for ref, made in zip(self.refs, self.shelf.chunks, strict=True):
            stored = [tile.stored for tile in made.tiles]
            raw = {index: tile.inflate(stored[index], {}) for index, tile in enumerate(ref.tiles)}
            puts += [self.cache.put(ref, stored), self.cache.put_raw(ref, raw)]
        return puts

    def source(self, forms: tuple[Form, ...], columns: list[int] | None = None) -> ChunkSource:
        decoder = ChunkDecoder(SCHEMA, LAYOUT, columns)
        return ChunkSource(self.shelf, self.cache, decoder, forms=forms)  # type: ignore[arg-type]

    def keys(self, number: int) -> list[bytes]:
        return sorted([*self.redis.keys(f"*:raw:*:{number}:*"), *self.redis.keys(f"*:chunk:*:{number}")])


@pytest.fixture
def chunks(redis_server: Any) -> Iterator[Chunks]:
    made = Chunks(redis_server)
    assert all(made.put())
    yield made
    made.cache.close()
    made.redis.close()


def check_all_rows(source: ChunkSource, chunks: Chunks) -> None:
    def first_and_last(ref: Any) -> tuple[int, int, int]:
        with source.borrow(ref) as batch:
            numbers = batch["n"]
            return batch.num_rows, numbers[0].as_py(), numbers[-1].as_py()

    with ThreadPoolExecutor(3) as pool:
        read = list(pool.map(first_and_last, chunks.refs))
    assert read == [(ROWS, number * ROWS, number * ROWS + ROWS - 1) for number in range(CHUNKS)]


@pytest.mark.parametrize("forms", FORMS)
@pytest.mark.parametrize("columns", [None, [0]])
def test_both_forms_give_all_rows_without_the_store(
    chunks: Chunks, forms: tuple[Form, ...], columns: list[int] | None
) -> None:
    source = chunks.source(forms, columns)
    check_all_rows(source, chunks)
    assert (source.stats.redis, source.stats.cassandra, source.stats.rejected_by_checksum) == (CHUNKS, 0, 0)


def damage_shorter(redis: Redis, key: bytes, other: bytes) -> None:
    redis.set(key, redis.getrange(key, 0, -2))


def damage_longer(redis: Redis, key: bytes, other: bytes) -> None:
    redis.append(key, b"x" * 1_000_000)


@pytest.mark.parametrize("damage", [damage_flipped, damage_foreign, damage_shorter, damage_longer])
@pytest.mark.parametrize("forms", FORMS)
def test_a_wrong_value_is_counted_and_read_from_the_next_tier(
    chunks: Chunks, damage: Callable[..., None], forms: tuple[Form, ...]
) -> None:
    for key, other in zip(chunks.keys(2), chunks.keys(3), strict=True):
        damage(chunks.redis, key, other)
    source = chunks.source(forms)
    check_all_rows(source, chunks)
    assert (source.stats.redis, source.stats.cassandra) == (CHUNKS - 1, 1)
    assert source.stats.rejected_by_checksum == len(forms)


@pytest.mark.parametrize("forms", FORMS)
def test_an_evicted_value_is_read_from_the_next_tier(chunks: Chunks, forms: tuple[Form, ...]) -> None:
    chunks.redis.delete(*chunks.keys(2))
    source = chunks.source(forms)
    check_all_rows(source, chunks)
    assert (source.stats.redis, source.stats.cassandra, source.stats.rejected_by_checksum) == (CHUNKS - 1, 1, 0)


@pytest.mark.parametrize("forms", FORMS[:2])
def test_a_redis_that_is_stopped_flushed_or_started_again_costs_speed_only(
    chunks: Chunks, redis_server: Any, forms: tuple[Form, ...]
) -> None:
    chunks.redis.flushall()
    flushed = chunks.source(forms)
    check_all_rows(flushed, chunks)
    assert flushed.stats.cassandra == CHUNKS
    assert all(chunks.put())
    redis_server.signal(signal.SIGSTOP)
    frozen = chunks.source(forms)
    check_all_rows(frozen, chunks)
    assert frozen.stats.cassandra == CHUNKS
    redis_server.signal(signal.SIGCONT)
    redis_server.kill()
    killed = chunks.source(forms)
    check_all_rows(killed, chunks)
    assert killed.stats.cassandra == CHUNKS


def test_a_full_redis_keeps_what_fits_and_the_rest_comes_from_the_store(
    redis_servers: Callable[..., Any],
) -> None:
    chunks = Chunks(redis_servers("--maxmemory", "3mb"))
    puts = chunks.put()
    assert not all(puts)
    for forms in FORMS:
        source = chunks.source(forms)
        check_all_rows(source, chunks)
        assert source.stats.redis + source.stats.cassandra == CHUNKS
        assert source.stats.cassandra > 0 or Form.STORED in forms
    chunks.cache.close()
    chunks.redis.close()


def test_a_value_of_another_type_is_read_from_the_next_tier(chunks: Chunks) -> None:
    """Redis answers with an error, after which the circuit of the cache stays open for a short time."""
    [stored] = [key for key in chunks.keys(2) if b":chunk:" in key]
    chunks.redis.delete(stored)
    chunks.redis.rpush(stored, b"x")
    source = chunks.source((Form.STORED,))
    check_all_rows(source, chunks)
    assert source.stats.cassandra >= 1
