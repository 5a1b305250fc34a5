"""Helpers that encode real rows as chunks, and fixtures of an in-memory cluster that stores them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import numpy as np
import pyarrow as pa
import pytest

from millrace.chunks import Chunk, ChunkSettings, TileLayout, encode_row_group
from millrace.store.catalogue.attempt import AttemptRole, LoadAttempt
from millrace.store.cluster.writer import ReplicatedWriter
from tests.unit.store.fakes import FakeCassandra
from tests.unit.store.in_memory import cassandra, csv, settings, store

__all__ = ["cassandra", "csv", "settings", "store"]

SETTINGS = ChunkSettings(row_group_bytes=1_000_000)


@pytest.fixture
def make_writer() -> Iterator[Callable[..., ReplicatedWriter]]:
    """Yield a function that makes writers on an in-memory cluster; close them at the end."""
    made: list[ReplicatedWriter] = []

    def make(cassandra: FakeCassandra, window_bytes: int = 20_000_000, **options: Any) -> ReplicatedWriter:
        made.append(ReplicatedWriter(cassandra, window_bytes=window_bytes, **options))
        return made[-1]

    yield make
    for writer in made:
        writer.close()
        assert not writer._dispatcher.loop.thread.is_alive()


def make_chunk(rows: int, seed: int = 0, columns: int = 3, name: str = "c") -> Chunk:
    """Return a chunk of random int64 columns; they do not compress, so it has about ``rows * columns * 8`` bytes."""
    rng = np.random.default_rng(seed)
    values = [pa.array(rng.integers(-(2**62), 2**62, rows)) for _ in range(columns)]
    return encode(pa.RecordBatch.from_arrays(values, names=[f"{name}{i}" for i in range(columns)]))


def encode(batch: pa.RecordBatch) -> Chunk:
    """Return the batch encoded as one chunk."""
    (chunk,) = encode_row_group(batch, SETTINGS, TileLayout.for_schema(batch.schema))
    return chunk


def attempt_row(**changes: Any) -> LoadAttempt:
    values: dict[str, Any] = {
        "dataset": "flights",
        "attempt_id": uuid4(),
        "run": "run-1",
        "fingerprint": "f" * 64,
        "role": AttemptRole.SPLIT,
        "try_number": 1,
        "version": "1-abcdef",
        "host": "here",
        "started": datetime(2026, 11, 22, 10, tzinfo=UTC),
    }
    return LoadAttempt(**{**values, **changes})
