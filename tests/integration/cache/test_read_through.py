"""A read that misses a chunk of a completely cached version puts it back into the cache."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from redis import Redis

from millrace.api import Store
from millrace.load import LoadOptions


@pytest.fixture
def warmed(store: Store, tmp_path: Path) -> Iterator[str]:
    source = tmp_path / "numbers.csv"
    source.write_text("n\n" + "".join(f"{n}\n" for n in range(20_000)))
    store.load("read_through", str(source), LoadOptions(chunk_bytes=65_536))
    assert store.warm("read_through").complete
    yield "read_through"
    if store.cache is not None:
        store.cache.evict("read_through")


def chunk_keys(redis: Redis, dataset: str) -> list[bytes]:
    return sorted(redis.keys(f"*:chunk:{dataset}:*"))


def test_a_chunk_missing_in_the_cache_is_read_from_cassandra_once_and_cached_again(store: Store, warmed: str) -> None:
    redis = Redis.from_url(store.settings.redis.url.get_secret_value())
    dataset = store.dataset(warmed)
    whole = dataset.to_table()
    assert dataset.stats.cassandra == 0
    redis.delete(chunk_keys(redis, warmed)[0])

    assert dataset.to_table().equals(whole)
    assert dataset.stats.cassandra == 1
    assert dataset.to_table().equals(whole)
    assert dataset.stats.cassandra == 0
    redis.close()


def test_a_version_that_was_never_admitted_leaves_nothing_in_the_cache(store: Store, warmed: str) -> None:
    redis = Redis.from_url(store.settings.redis.url.get_secret_value())
    dataset = store.dataset(warmed)
    redis.flushdb()
    dataset.to_table()
    assert dataset.stats.redis == 0
    assert chunk_keys(redis, warmed) == []
    redis.close()
