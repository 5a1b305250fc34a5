"""Whatever happens to Redis or to a node of Cassandra while ranks read, their batches are the same."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence

import pytest
from redis import Redis

from local_stack.stack import Stack
from millrace.api import Store
from millrace.cache import Form
from millrace.dataset import ScanStats
from millrace.settings import Settings, load_settings
from millrace.training import TrainingLoader
from tests.integration.training.ranks import Batches, global_batches, hash_of, read_ranks
from tests.redis_server import RedisServer, damage_flipped, damage_foreign

WORLD, FAULT_AT = 2, 5


class Cache:
    """A warmed version in a Redis of its own, and the faults that happen to it."""

    def __init__(self, server: RedisServer, reference: str) -> None:
        self.server = server
        self.redis = Redis.from_url(server.url)
        self.name = reference.partition("@")[0]

    @property
    def keys(self) -> list[bytes]:
        return sorted([*self.redis.keys(f"*:chunk:{self.name}:*"), *self.redis.keys(f"*:raw:{self.name}:*")])

    def evict(self) -> None:
        keys = self.keys
        self.redis.delete(*random.Random(1).sample(keys, len(keys) // 2))

    def flip_a_bit(self) -> None:
        for key in self.keys:
            damage_flipped(self.redis, key, key)

    def put_foreign_values(self) -> None:
        keys = self.keys
        for key, other in zip(keys, [*keys[2:], *keys[:2]], strict=True):  # of the same column, in the raw form
            damage_foreign(self.redis, key, other)

    def stop(self) -> None:
        self.server.kill()

    def flush(self) -> None:
        self.redis.flushall()

    def fill(self) -> None:
        self.evict()
        self.redis.config_set("maxmemory", "1mb")


@pytest.fixture(params=list(Form))
def cached_store(
    request: pytest.FixtureRequest, settings: Settings, numbered: str, redis_server: RedisServer
) -> Iterator[Store]:
    """Connect a store to a Redis of its own, and warm the version in one form."""
    redis = {"url": redis_server.url, "timeout_s": 0.5, "retry_after_s": 0.05}
    with Store.connect(load_settings(cassandra={"keyspace": settings.cassandra.keyspace}, redis=redis)) as connected:
        assert connected.warm(numbered, form=request.param).complete
        yield connected


@pytest.fixture
def cache(cached_store: Store, redis_server: RedisServer, numbered: str) -> Iterator[Cache]:
    made = Cache(redis_server, numbered)
    yield made
    made.redis.close()


def read_with(store: Store, reference: str, fault: Callable[[], object]) -> tuple[str, list[ScanStats]]:
    """Return the hash of an epoch of two ranks during which the fault happens, and the counts of the ranks."""
    counts: list[ScanStats] = []

    def on_batch(number: int, loaders: Sequence[TrainingLoader]) -> None:
        if number == FAULT_AT:
            counts.extend(loader._opened.prepared.source.stats for loader in loaders)  # type: ignore[union-attr]
            fault()

    batches = global_batches(read_ranks(store, reference, WORLD, on_batch))
    assert len(batches) > 10 * FAULT_AT
    return hash_of(batches), counts


def total(counts: Sequence[ScanStats], name: str) -> int:
    return sum(getattr(each, name) for each in counts)


@pytest.mark.parametrize(
    ("fault", "is_rejected"),
    [
        (Cache.evict, False),
        (Cache.flip_a_bit, True),
        (Cache.put_foreign_values, True),
        (Cache.stop, False),
        (Cache.flush, False),
        (Cache.fill, False),
    ],
)
def test_the_batches_are_the_same_whatever_happens_to_redis(
    cached_store: Store,
    numbered: str,
    unbroken: Batches,
    cache: Cache,
    fault: Callable[[Cache], None],
    is_rejected: bool,
) -> None:
    result, counts = read_with(cached_store, numbered, lambda: fault(cache))
    assert result == hash_of(unbroken)
    assert total(counts, "redis") > 0, "the first chunks come from Redis"
    assert total(counts, "cassandra") >= 10, "the fault happens while chunks are read"
    assert (total(counts, "rejected_by_checksum") > 0) is is_rejected


def test_an_undisturbed_cache_serves_every_chunk(cached_store: Store, numbered: str, unbroken: Batches) -> None:
    result, counts = read_with(cached_store, numbered, lambda: None)
    assert result == hash_of(unbroken)
    assert (total(counts, "cassandra"), total(counts, "rejected_by_checksum")) == (0, 0)


def test_the_batches_are_the_same_while_a_node_is_killed(
    every_node: Stack, settings: Settings, numbered: str, unbroken: Batches
) -> None:
    cassandra = {"keyspace": settings.cassandra.keyspace}
    with Store.connect(load_settings(cassandra=cassandra, redis={"url": ""})) as store:
        result, counts = read_with(store, numbered, lambda: every_node.kill("cassandra-2"))
    assert result == hash_of(unbroken)
    assert total(counts, "redis") == 0
    assert total(counts, "cassandra") >= 40
