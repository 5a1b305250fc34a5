"""A read that misses a chunk that a warming has cached puts it back into the cache."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from redis import Redis

from millrace.api import Store
from millrace.cache import Form
from millrace.load import LoadOptions


@pytest.fixture(params=list(Form))
def warmed(store: Store, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[str]:
    source = tmp_path / "numbers.csv"
    source.write_text("n\n" + "".join(f"{n}\n" for n in range(200_000)))
    store.load("read_through", str(source), LoadOptions(chunk_bytes=65_536, codec="none"))
    assert store.warm("read_through", form=request.param).complete
    yield "read_through"
    if store.cache is not None:
        store.cache.evict("read_through")


def chunk_keys(redis: Redis, dataset: str) -> list[bytes]:
    return sorted([*redis.keys(f"*:chunk:{dataset}:*"), *redis.keys(f"*:raw:{dataset}:*")])


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


def test_only_the_chunks_of_the_cached_share_are_put_back(store: Store, warmed: str) -> None:
    redis = Redis.from_url(store.settings.redis.url.get_secret_value())
    dataset, cache = store.dataset(warmed), store.cache
    assert cache is not None
    content = next(iter(redis.keys(f"*:content:{warmed}@*")))
    keys = chunk_keys(redis, warmed)
    count = dataset.version.chunks
    last_chunk = list(dataset.refs())[-1].chunk
    assert count > 1
    values = [value for value in redis.hkeys(content) if int(value.split(b":")[4]) == last_chunk]
    redis.hdel(content, *values)  # as if the last chunk had not fitted
    redis.delete(*keys)
    for cassandra in (count, 1, 1):
        dataset.to_table()
        assert dataset.stats.cassandra == cassandra
    assert len(chunk_keys(redis, warmed)) == len(keys) - len(values)
    redis.close()
