"""An epoch hits a cache that is too small as often as the share of the data that it holds."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any
from uuid import uuid4

import numpy as np
import pyarrow as pa
import pytest
from redis import Redis

from millrace.api import Store
from millrace.load import LoadOptions
from millrace.settings import Settings, load_settings
from millrace.training import TrainingLoader
from tests.redis_server import RedisServer

OPTIONS: dict[str, Any] = {"global_batch_rows": 256, "lanes": 2, "window_chunks": 1}
ROWS, ROW_BYTES, CHUNK_ROWS = 200_000, 256, 2_500
LIMIT_BYTES = 200_000_000


@pytest.fixture(scope="module")
def version(store: Store) -> Iterator[str]:
    """Load 51 MB that no codec makes smaller in some 90 chunks."""
    name = f"share_{uuid4().hex[:8]}"
    values = np.random.default_rng(0).integers(0, 2**63 - 1, ROWS * ROW_BYTES // 8)
    table = pa.table({"x": pa.FixedSizeListArray.from_arrays(pa.array(values), ROW_BYTES // 8)})
    store.load(name, table, LoadOptions(chunk_bytes=CHUNK_ROWS * ROW_BYTES))
    yield store.version(name).reference
    store.delete(name, whole=True, now=True)


def tiers_of_epochs(loader: TrainingLoader, epochs: int) -> dict[str, int]:
    with loader:
        for _ in range(epochs):
            for _ in loader:
                pass
        return dict(loader.facts().tiers)


def limit_to_share(store: Store, server: RedisServer, version: str, share: float) -> None:
    """Leave Redis free memory for this share of the version."""
    assert store.cache is not None
    room = store.cache.room()
    assert room is not None
    needed = sum(room.cost_bytes(ref.stored_bytes) for ref in store.dataset(version).refs())
    with Redis.from_url(server.url) as redis:
        redis.config_set("maxmemory", LIMIT_BYTES - room.free_bytes + int(share * needed))


@pytest.mark.parametrize("percent", [25, 50, 75])
def test_an_epoch_hits_redis_as_often_as_its_share_of_the_data(
    settings: Settings, version: str, redis_servers: Callable[..., Any], percent: int
) -> None:
    server = redis_servers("--maxmemory", str(LIMIT_BYTES))
    chosen = load_settings(cassandra={"keyspace": settings.cassandra.keyspace}, redis={"url": server.url})
    with Store.connect(chosen) as store:
        limit_to_share(store, server, version, percent / 100)
        report = store.warm(version, form="stored")
        assert not report.complete
        tiers = tiers_of_epochs(store.dataset(version).training(**OPTIONS), 2)
    ratio = tiers["redis"] / sum(tiers.values())
    print(f"share {report.share}, hits {ratio:.3f}, {tiers}")
    assert abs(ratio - report.share) <= 0.03
    assert abs(ratio - percent / 100) <= 0.03


@pytest.mark.parametrize("percent", [25, 50, 75])
def test_an_epoch_hits_the_memory_of_the_process_as_often_as_its_share_of_the_data(
    store: Store, version: str, percent: int
) -> None:
    chunks = store.version(version).chunks
    cache_bytes = ROWS * ROW_BYTES * percent // 100
    tiers = tiers_of_epochs(store.dataset(version).training(cache_bytes=cache_bytes, **OPTIONS), 5)
    ratio = tiers["process"] / (sum(tiers.values()) - chunks)  # the first epoch hits nothing
    print(f"hits {ratio:.3f}, {tiers}")
    assert abs(ratio - percent / 100) <= 0.03
