"""An epoch hits a cache that is too small as often as the share of the data that it holds."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any
from uuid import uuid4

import numpy as np
import pyarrow as pa
import pytest

from millrace.api import Store
from millrace.cache.memory import BUFFERS_BYTES
from millrace.load import LoadOptions
from millrace.settings import Settings, load_settings
from millrace.training import TrainingLoader

OPTIONS: dict[str, Any] = {"global_batch_rows": 256, "lanes": 2, "window_chunks": 1}
ROWS, ROW_BYTES, CHUNK_ROWS = 200_000, 256, 2_500
USED_BYTES = 3 << 20
"""Memory of an empty Redis with its connections."""


@pytest.fixture(scope="module")
def version(store: Store) -> Iterator[str]:
    """Load 51 MB that no codec makes smaller in 80 chunks."""
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


@pytest.mark.parametrize("percent", [25, 50, 75])
def test_an_epoch_hits_redis_as_often_as_its_share_of_the_data(
    settings: Settings, version: str, redis_servers: Callable[..., Any], percent: int
) -> None:
    memory_bytes = BUFFERS_BYTES + USED_BYTES + ROWS * ROW_BYTES * percent // 100
    server = redis_servers("--maxmemory", str(memory_bytes))
    chosen = load_settings(cassandra={"keyspace": settings.cassandra.keyspace}, redis={"url": server.url})
    with Store.connect(chosen) as store:
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
