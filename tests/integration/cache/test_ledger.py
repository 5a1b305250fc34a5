"""The ledger in a real Redis: reservations, eviction, pins, shares, and what deletions remove."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

import pytest

from millrace.cache import CachedPart, ChunkCache, Form
from millrace.cache import pins as pins_module
from millrace.cache.memory import BUFFERS_BYTES
from millrace.errors import UsageError
from millrace.settings import RedisSettings
from tests.waiting import until

WRITER = uuid4()
CHUNK_BYTES = 1_000_000
MIB = 1 << 20
MEMORY_BYTES = 42 * MIB


@dataclass(frozen=True)
class Tile:
    raw_bytes: int


@dataclass(frozen=True)
class Ref:
    """A chunk of 1 MB, and of three tiles of a third of that in its raw form."""

    chunk: int
    dataset: str = "flights"
    bucket: int = 0
    attempt_id: UUID = WRITER
    stored_bytes: int = CHUNK_BYTES
    tiles: tuple[Tile, ...] = field(default=(Tile(CHUNK_BYTES // 3),) * 3)


def refs(count: int, **options: Any) -> list[Any]:
    return [Ref(number, **options) for number in range(count)]


def part_of(chunks: Sequence[Any], version: str = "1-aaaaaa", form: Form = Form.STORED, **options: Any) -> CachedPart:
    given = {"split": None, "columns": None, "chunks": 0, "total_chunks": len(chunks), "bytes": 0, **options}
    return CachedPart(chunks[0].dataset, version, form, admitted_at=datetime.now(UTC), **given)


def put(cache: ChunkCache, chunk: Any, form: Form = Form.STORED) -> bool:
    if form is Form.RAW:
        return cache.put_raw(chunk, {tile: os.urandom(each.raw_bytes) for tile, each in enumerate(chunk.tiles)})
    return cache.put(chunk, [os.urandom(chunk.stored_bytes)])


def warm(
    cache: ChunkCache,
    chunks: Sequence[Any],
    version: str = "1-aaaaaa",
    form: Form = Form.STORED,
    on_admitted: Callable[[], object] = lambda: None,
) -> int:
    """Warm a version with these chunks; return the number of chunks that were admitted."""
    part, room = part_of(chunks, version, form), cache.room()
    assert room is not None
    with cache.warming(part, [cache.values(chunk, form, None, room) for chunk in chunks], room) as warming:
        on_admitted()
        for chunk in chunks[: warming.chunks]:
            if not cache.has([chunk], form)[0]:
                assert put(cache, chunk, form)
            warming.stored(cache.value_names(chunk, form, None))
        if warming.chunks:
            warming.complete(warming.chunks * CHUNK_BYTES)
    return warming.chunks


def cached(cache: ChunkCache) -> list[str]:
    return [part.name for part in cache.parts()]


def cache_of(server: Any, **settings: Any) -> ChunkCache:
    return ChunkCache(RedisSettings(url=server.url, **settings), cluster="Test Cluster", keyspace="k")


@pytest.fixture
def cache(redis_servers: Callable[..., Any]) -> Iterator[ChunkCache]:
    """Return a cache with memory for 40 chunks."""
    made = cache_of(redis_servers("--maxmemory", str(BUFFERS_BYTES + MEMORY_BYTES)))
    yield made
    made.close()


@pytest.fixture
def larger_cache(redis_servers: Callable[..., Any]) -> Iterator[ChunkCache]:
    """Return a cache with memory for 40 chunks while two warmings are in progress, and for 60 otherwise."""
    made = cache_of(redis_servers("--maxmemory", str(2 * BUFFERS_BYTES + MEMORY_BYTES)))
    yield made
    made.close()


def test_a_version_that_fits_is_listed_with_its_form_and_size(cache: ChunkCache) -> None:
    assert warm(cache, refs(5)) == 5
    [part] = cache.parts()
    assert (part.name, part.form, part.chunks, part.total_chunks) == ("flights@1-aaaaaa", Form.STORED, 5, 5)
    assert (part.bytes, part.share) == (5 * CHUNK_BYTES, 1.0)
    assert part.warmed_at is not None
    assert cache.forms("flights", "1-aaaaaa").of_version == (Form.STORED,)
    assert cache.forms("flights", "2-bbbbbb") == ((Form.STORED,), ())
    assert cache.forms("flight", "1-aaaaaa") == ((), ())
    assert cache.pins() == {}


def test_both_forms_of_a_version_are_parts_of_it_and_are_evicted_together(cache: ChunkCache) -> None:
    warm(cache, refs(3))
    warm(cache, refs(3), form=Form.RAW)
    assert [part.form for part in cache.parts()] == [Form.RAW, Form.STORED]
    assert cache.forms("flights", "1-aaaaaa").of_version == (Form.RAW, Form.STORED)
    assert cache.evict("flights", "1-aaaaaa") == 3
    assert cache.has(refs(3)) == cache.has(refs(3), Form.RAW) == [False] * 3
    assert cache.parts() == []


def test_the_reserved_memory_is_what_redis_uses(cache: ChunkCache) -> None:
    room = cache.room()
    assert room is not None
    before = cache.ping()["used_memory"]
    for form in Form:
        warm(cache, refs(10), form=form)
    grown = cache.ping()["used_memory"] - before
    values = [cache.values(chunk, form, None, room) for chunk in refs(10) for form in Form]
    needed = sum(size for each in values for size in each.values())
    # ``used_memory`` includes the connection's input buffer until Redis shrinks it.
    assert needed * 0.98 - 100_000 < grown < needed * 1.02 + 3_000_000


def test_reserved_memory_is_not_free_until_the_warming_ends(larger_cache: ChunkCache) -> None:
    cache = larger_cache
    chunks, room = refs(30), cache.room()
    assert room is not None
    values = [cache.values(chunk, Form.STORED, None, room) for chunk in chunks]
    with cache.warming(part_of(chunks), values, room) as warming:
        assert warming.chunks == 30
        other = [Ref(number, dataset="weather") for number in range(30)]
        part = part_of(other)
        others = [cache.values(chunk, Form.STORED, None, room) for chunk in other]
        with cache.warming(part, others, room) as second:
            assert 0 < second.chunks <= 12
            assert "weather@1-aaaaaa needs 3" in second.reason
            assert "reserved for versions being filled" in second.reason
    until(lambda: cache.pins() == {}, "the warmings have ended")
    left = cache.room()
    assert left is not None
    assert left.free_bytes > room.free_bytes - 1_000_000
    assert warm(cache, other) == 30


def test_two_warmings_at_once_stay_under_the_limit(redis_servers: Callable[..., Any]) -> None:
    for _ in range(3):
        server = redis_servers("--maxmemory", str(2 * BUFFERS_BYTES + MEMORY_BYTES))
        admitted: dict[str, int] = {}
        begin = threading.Barrier(2)

        def work(dataset: str, server: Any = server, begin: Any = begin, admitted: Any = admitted) -> None:
            cache = cache_of(server)
            begin.wait(20)
            admitted[dataset] = warm(cache, refs(30, dataset=dataset), on_admitted=lambda: begin.wait(20))
            cache.close()

        threads = [threading.Thread(target=work, args=(name,)) for name in ("flights", "weather")]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        cache = cache_of(server)
        # Each put of an admitted chunk succeeded; see ``warm``. One of them got all, the other one the rest.
        assert sorted(admitted) == ["flights", "weather"]
        assert max(admitted.values()) == 30
        assert sum(admitted.values()) <= 42
        assert cache.ping()["used_memory"] < 2 * BUFFERS_BYTES + MEMORY_BYTES
        cache.close()
        server.kill()


def test_two_warmings_of_one_version_reserve_its_memory_once(larger_cache: ChunkCache) -> None:
    cache = larger_cache
    chunks, room = refs(30), cache.room()
    assert room is not None
    values = [cache.values(chunk, Form.STORED, None, room) for chunk in chunks]
    with cache.warming(part_of(chunks), values, room) as first:
        with cache.warming(part_of(chunks), values, room) as second:
            assert (first.chunks, second.chunks) == (30, 30)
        assert 0 < warm(cache, refs(30, dataset="weather")) <= 12


_KILLED = """
import sys, time
from tests.integration.cache.test_ledger import *
chunks = refs(30)
cache = ChunkCache(RedisSettings(url=sys.argv[1]), cluster="Test Cluster", keyspace="k")
room = cache.room()
with cache.warming(part_of(chunks), [cache.values(c, Form.STORED, None, room) for c in chunks], room) as warming:
    for chunk in chunks[:10]:
        put(cache, chunk)
        warming.stored(cache.value_names(chunk, Form.STORED, None))
    print(warming.chunks, flush=True)
    time.sleep(600)
"""


def test_the_reservation_and_the_pin_of_a_killed_warming_end(larger_cache: ChunkCache) -> None:
    cache = larger_cache
    command = [sys.executable, "-c", _KILLED, f"redis://{cache.address}/0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "30\n"
        assert list(cache.pins()) == ["flights@1-aaaaaa"]
        assert warm(cache, refs(30, dataset="weather")) < 30
        cache.evict("weather")
        process.send_signal(signal.SIGKILL)
    expire_pins(cache)
    assert cache.pins() == {}
    assert warm(cache, refs(30, dataset="weather")) == 30


def expire_pins(cache: ChunkCache) -> None:
    """Let a minute pass for the pins in Redis."""
    redis, key = cache._client, cache._keys.ledger("pins")
    for member, score in redis.zrange(key, 0, -1, withscores=True):
        redis.zadd(key, {member: score - pins_module.PIN_S})


def test_an_interrupted_warming_continues_with_the_missing_chunks(cache: ChunkCache) -> None:
    chunks, room = refs(30), cache.room()
    assert room is not None
    values = [cache.values(chunk, Form.STORED, None, room) for chunk in chunks]
    with cache.warming(part_of(chunks), values, room) as warming:
        for chunk in chunks[:20]:
            put(cache, chunk)
            warming.stored(cache.value_names(chunk, Form.STORED, None))
    [part] = cache.parts()
    assert part.warmed_at is None
    assert warm(cache, chunks) == 30
    assert cache.has(chunks) == [True] * 30


# --- eviction


def test_the_least_used_versions_are_evicted_for_a_warming_that_needs_their_memory(cache: ChunkCache) -> None:
    for dataset in ("a", "b", "c"):
        assert warm(cache, refs(12, dataset=dataset)) == 12
    for job in ("one", "two"):
        cache.opened("a", "1-aaaaaa", job)
        cache.opened("c", "1-aaaaaa", job)
    assert warm(cache, refs(12, dataset="d")) == 12
    assert cached(cache) == ["a@1-aaaaaa", "c@1-aaaaaa", "d@1-aaaaaa"]
    assert cache.has(refs(12, dataset="b")) == [False] * 12


def test_what_is_pinned_is_never_evicted(cache: ChunkCache) -> None:
    assert warm(cache, refs(20, dataset="a")) == 20
    assert warm(cache, refs(10, dataset="b")) == 10
    with cache.pin("a", "1-aaaaaa"):
        until(lambda: list(cache.pins()) == ["a@1-aaaaaa"], "the pin is taken")
        assert warm(cache, refs(20, dataset="c")) == 20
        assert cached(cache) == ["a@1-aaaaaa", "c@1-aaaaaa"]
        assert warm(cache, refs(30, dataset="d")) < 30
        assert cache.has(refs(20, dataset="a")) == [True] * 20
        with pytest.raises(UsageError, match="a@1-aaaaaa is pinned by 1 job"):
            cache.evict("a")
    until(lambda: cache.pins() == {}, "the pin is released")
    assert cache.evict("a") == 20


_PINS = """
import sys, time
from tests.integration.cache.test_ledger import *
cache = ChunkCache(RedisSettings(url=sys.argv[1]), cluster="Test Cluster", keyspace="k")
with cache.pin("a", "1-aaaaaa"):
    while not cache.pins():
        time.sleep(0.01)
    print("pinned", flush=True)
    time.sleep(600)
"""


def test_the_pin_of_a_dead_job_ends_by_itself(cache: ChunkCache) -> None:
    warm(cache, refs(20, dataset="a"))
    command = [sys.executable, "-c", _PINS, f"redis://{cache.address}/0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as job:
        assert job.stdout is not None
        assert job.stdout.readline() == "pinned\n"
        job.send_signal(signal.SIGKILL)
    assert warm(cache, refs(30, dataset="b")) < 30
    expire_pins(cache)
    assert warm(cache, refs(30, dataset="b")) == 30
    assert cached(cache) == ["b@1-aaaaaa"]


def test_a_pin_comes_back_after_redis_has_lost_it(cache: ChunkCache, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("millrace.cache.cached_versions.RENEW_S", 0.05)
    with cache.pin("a", "1-aaaaaa"):
        for _ in range(2):
            until(lambda: list(cache.pins()) == ["a@1-aaaaaa"], "the pin is taken")
            cache._client.flushdb()
    cache.close()


def test_closing_the_cache_releases_the_pins_of_blocks_that_have_ended(cache: ChunkCache) -> None:
    other = ChunkCache(RedisSettings(url=f"redis://{cache.address}/0"), cluster="Test Cluster", keyspace="k")  # type: ignore[arg-type]
    for _ in range(20):
        with other.pin("a", "1-aaaaaa"):
            pass
    other.close()
    assert cache.pins() == {}


def test_chunks_that_another_version_shares_stay_when_a_version_is_evicted(cache: ChunkCache) -> None:
    assert warm(cache, refs(10)) == 10
    assert warm(cache, refs(15), "2-bbbbbb") == 15
    assert cache.evict("flights", "1-aaaaaa") == 0
    assert cache.has(refs(15)) == [True] * 15
    assert cache.evict("flights", "2-bbbbbb") == 15
    assert cache.has(refs(15)) == [False] * 15


def test_shared_chunks_need_memory_once(cache: ChunkCache) -> None:
    assert warm(cache, refs(30)) == 30
    assert warm(cache, refs(38), "2-bbbbbb") == 38
    assert cached(cache) == ["flights@1-aaaaaa", "flights@2-bbbbbb"]


def test_lost_values_are_deleted_when_their_memory_is_needed(cache: ChunkCache) -> None:
    for chunk in refs(30, dataset="old"):
        put(cache, chunk)
    assert cache.parts() == []
    assert warm(cache, refs(30)) == 30
    assert cache.has(refs(30, dataset="old")) == [False] * 30


def test_records_of_an_older_program_are_ignored(cache: ChunkCache) -> None:
    redis = cache._client
    redis.hset(f"{cache._keys.prefix}:entries", "flights@1-aaaaaa", b'{"dataset": "flights"}')
    redis.hset(cache._keys.ledger("parts"), "flights@1-aaaaaa stored x", b'{"dataset": "flights"}')
    redis.hset(cache._keys.ledger("parts"), "nonsense", b"\xff")
    assert cache.parts() == []
    assert warm(cache, refs(3)) == 3
    assert cached(cache) == ["flights@1-aaaaaa"]


# --- shares


@pytest.mark.parametrize("percent", [25, 50, 75])
def test_of_a_version_that_is_too_large_the_share_that_fits_is_hit_in_every_epoch(
    redis_servers: Callable[..., Any], percent: int
) -> None:
    count = 80
    memory_bytes = 3 * MIB + count * percent // 100 * 1_004_000
    cache = cache_of(redis_servers("--maxmemory", str(BUFFERS_BYTES + memory_bytes)))
    chunks = refs(count)
    admitted = warm(cache, chunks)
    [part] = cache.parts()
    assert abs(part.share - percent / 100) < 0.03
    hits = 0
    for epoch in range(3):
        for chunk in random.Random(epoch).sample(chunks, count):
            if cache.get(chunk, [CHUNK_BYTES], None) is not None:
                hits += 1
            elif cache.is_admitted("1-aaaaaa", chunk, Form.STORED):
                put(cache, chunk)
    assert abs(hits / (3 * count) - percent / 100) < 0.03
    assert cache.has(chunks) == [True] * admitted + [False] * (count - admitted)
    cache.close()


def test_a_lost_chunk_of_the_share_may_be_stored_again_and_no_other(cache: ChunkCache) -> None:
    chunks = refs(60)
    admitted = warm(cache, chunks)
    assert 30 < admitted < 60
    cache.delete(chunks[:1])
    allowed = [cache.is_admitted("1-aaaaaa", chunk, Form.STORED) for chunk in chunks]
    assert allowed == [True] * admitted + [False] * (60 - admitted)
    assert not cache.is_admitted("2-bbbbbb", chunks[0], Form.STORED)
    assert not cache.is_admitted("1-aaaaaa", chunks[0], Form.RAW)


def test_a_share_evicts_only_unused_versions_and_those_of_its_dataset(cache: ChunkCache) -> None:
    for dataset in ("used", "unused"):
        warm(cache, refs(12, dataset=dataset))
    cache.opened("used", "1-aaaaaa", "job")
    warm(cache, refs(12, attempt_id=uuid4()))
    assert warm(cache, refs(60), "2-bbbbbb") > 20
    assert cached(cache) == ["flights@2-bbbbbb", "used@1-aaaaaa"]


def test_a_share_grows_when_there_is_more_memory(cache: ChunkCache) -> None:
    warm(cache, refs(20, dataset="a"))
    with cache.pin("a", "1-aaaaaa"):
        until(lambda: bool(cache.pins()), "the pin is taken")
        first = warm(cache, refs(60))
    until(lambda: not cache.pins(), "the pin is released")
    cache.evict("a")
    assert first < 25 < warm(cache, refs(60))


# --- uses and deletions


def test_the_jobs_that_opened_a_version_are_counted_once_each(cache: ChunkCache) -> None:
    for job in ("one", "two", "one"):
        cache.opened("flights", "1-aaaaaa", job)
    uses = cache.uses()
    assert sorted(uses["flights@1-aaaaaa"]) == ["one", "two"]
    assert all(0 <= age_s < 60 for age_s in uses["flights@1-aaaaaa"].values())


def test_what_no_visible_version_names_is_removed(cache: ChunkCache) -> None:
    warm(cache, refs(10))
    warm(cache, refs(15), "2-bbbbbb")
    warm(cache, refs(5, dataset="weather"))
    put(cache, Ref(99))
    assert cache.remove_deleted("flights", {"1-aaaaaa"}, unlisted=False)
    assert cache.has(refs(15)) == [True] * 10 + [False] * 5
    assert cache.has([Ref(99)]) == [True]
    assert cache.remove_deleted("flights", {"1-aaaaaa"}, unlisted=True)
    assert cache.has([Ref(99)]) == [False]
    assert cache.remove_deleted("flights", set(), unlisted=True)
    assert cached(cache) == ["weather@1-aaaaaa"]
    assert cache.has(refs(5, dataset="weather")) == [True] * 5


def test_a_flushed_redis_is_warmed_again(cache: ChunkCache) -> None:
    warm(cache, refs(10))
    cache._client.flushdb()
    assert cache.forms("flights", "1-aaaaaa") == ((), ())
    assert warm(cache, refs(10)) == 10
    assert cache.has(refs(10)) == [True] * 10


def test_the_script_of_ten_thousand_chunks_takes_less_than_a_second(redis_servers: Callable[..., Any]) -> None:
    cache = cache_of(redis_servers("--maxmemory", "60gb"))
    chunks, room = refs(10_000), cache.room()
    assert room is not None
    values = [cache.values(chunk, Form.STORED, None, room) for chunk in chunks]
    began = time.monotonic()
    with cache.warming(part_of(chunks), values, room) as warming:
        assert warming.chunks == 10_000
    assert time.monotonic() - began < 20
    slowest: Any = max(entry["duration"] for entry in cache._client.slowlog_get(100)) if values else 0
    assert slowest < 1_000_000
    cache.close()
