"""``plan_epoch`` against real epochs: hit ratio, bytes from Cassandra, memory, and the time to the first batch."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from statistics import median
from typing import Any
from uuid import uuid4

import numpy as np
import pyarrow as pa
import pytest

from local_stack.settings import PYTHON_PATH
from millrace.api import Store
from millrace.cache.memory import BUFFERS_BYTES, value_cost_bytes
from millrace.dataset import Tier
from millrace.load import LoadOptions
from millrace.settings import RedisSettings, Settings
from millrace.training import EpochCost

CHUNKS, CHUNK_ROWS, CHUNK_BYTES = 48, 2_000, 520_000
OPTIONS: dict[str, Any] = {"global_batch_rows": 256, "seed": 3, "lanes": 4}
ROUNDS_MIN, ROUNDS_MAX = 7, 41
CLOSE = 0.25
EPOCHS = 10


def floats(rows: int) -> pa.Table:
    """Return rows of 64 random floats, which no codec makes smaller, and their number."""
    x = np.random.default_rng(0).random((rows, 64), np.float32)
    lists = pa.FixedSizeListArray.from_arrays(pa.array(x.ravel()), 64)
    return pa.table({"x": lists, "row": pa.array(np.arange(rows, dtype=np.int32))})


@pytest.fixture
def cached_store(settings: Settings, redis_servers: Callable[..., Any], request: Any) -> Iterator[Store]:
    """Connect with a Redis of its own that has room for the requested share of the chunks."""
    room = int(request.param * CHUNKS * (value_cost_bytes(CHUNK_BYTES) + 400))
    server = redis_servers("--maxmemory", str(BUFFERS_BYTES + room + 2_000_000))
    redis = RedisSettings(url=server.url)
    with Store.connect(settings.model_copy(update={"redis": redis})) as store:
        yield store


@pytest.fixture
def name(cached_store: Store) -> str:
    name = f"plan_{uuid4().hex[:8]}"
    rows = floats(CHUNKS * CHUNK_ROWS - 100)
    cached_store.load(name, rows, LoadOptions(chunk_bytes=CHUNK_BYTES, codec="none"))
    return name


def first_batch_s(store: Store, name: str) -> float:
    with store.dataset(name).training(**OPTIONS) as loader:
        began = time.perf_counter()
        next(iter(loader))
        return time.perf_counter() - began


@pytest.mark.parametrize("cached_store", [0.25, 0.5, 0.75], indirect=True)
def test_hit_ratio_and_bytes_are_those_of_an_epoch_with_the_same_cache(cached_store: Store, name: str) -> None:
    cached_store.warm(name)
    parts = cached_store.cache.parts() if cached_store.cache else []
    cache_bytes = sum(part.bytes for part in parts)
    cost = cached_store.plan_epoch(name, cache_bytes=cache_bytes, **OPTIONS)
    with cached_store.dataset(name).training(**OPTIONS) as loader:
        batches = sum(1 for _ in range(EPOCHS) for _ in loader)
        stats = loader.facts().tiers
        assert cost.memory_bytes == loader.prefetch_bytes
        assert cost.dropped_rows == loader.dropped_rows
    assert EPOCHS * cost.batches == batches
    # The next epoch's first windows are read while an epoch ends, so the loader has read a few chunks more.
    reads = sum(stats.values())
    assert 0 <= reads - EPOCHS * cost.chunk_reads <= 2 * OPTIONS["lanes"] * cost.window_chunks + 8
    assert abs(stats[Tier.REDIS] / reads - cost.hit_ratio) <= 0.03
    mean_bytes = cached_store.version(name).stored_bytes / CHUNKS
    cassandra_bytes = stats[Tier.CASSANDRA] / reads * cost.chunk_reads * mean_bytes
    assert abs(cassandra_bytes - cost.cassandra_bytes) <= CLOSE * cost.cassandra_bytes


@pytest.mark.parametrize("cached_store", [1.2], indirect=True)
@pytest.mark.parametrize("is_warm", [False, True])
def test_the_time_to_the_first_batch_is_that_of_a_loader(cached_store: Store, name: str, is_warm: bool) -> None:
    if is_warm:
        assert cached_store.warm(name).complete
    first_batch_s(cached_store, name)  # connections are made
    planned, measured = [], []
    for _ in range(ROUNDS_MAX):  # one after the other, because other programs slow both; more rounds on a busy machine
        planned.append(cached_store.plan_epoch(name, **OPTIONS).first_batch_s)
        measured.append(first_batch_s(cached_store, name))
        if len(planned) >= ROUNDS_MIN and abs(median(planned) / median(measured) - 1) <= CLOSE:
            return
    pytest.fail(f"planned {planned}, measured {measured}")


@pytest.mark.full
@pytest.mark.parametrize("cached_store", [0.5], indirect=True)
def test_the_memory_is_that_of_a_process_that_trains(cached_store: Store) -> None:
    name = f"plan_{uuid4().hex[:8]}"
    cached_store.load(name, floats(40 * 18_000), LoadOptions(codec="none"))
    options = {"global_batch_rows": 256, "lanes": 8, "window_chunks": 2}
    cost: EpochCost = cached_store.plan_epoch(name, **options)
    keyspace = cached_store.settings.cassandra.keyspace
    environment = {**os.environ, "PYTHONPATH": PYTHON_PATH, "MILLRACE_CASSANDRA__KEYSPACE": keyspace}
    program = [sys.executable, "-c", _TRAIN, name, json.dumps(options)]
    printed = subprocess.run(program, env=environment, capture_output=True, text=True, timeout=300, check=True).stdout
    assert abs(int(printed) - cost.memory_bytes) <= CLOSE * cost.memory_bytes


_TRAIN = """
import json, sys, time
from millrace import connect
from tests.integration.training.peak_memory import reset_peak, status_bytes
with connect() as store, store.dataset(sys.argv[1]).training(**json.loads(sys.argv[2])) as loader:
    reset_peak()
    before = status_bytes("VmHWM")
    for batch in loader:
        time.sleep(0.0005)
    print(status_bytes("VmHWM") - before)
"""
