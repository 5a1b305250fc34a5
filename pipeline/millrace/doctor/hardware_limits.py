"""Measure the limits of this machine in a few seconds: the highest rates that a load or a read can reach."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID, uuid4

from millrace.errors import MillraceError
from millrace.settings import Settings, millrace_home

if TYPE_CHECKING:
    from millrace.store import CassandraSession


PROBE: Final = "_doctor"
"""The dataset of the probe data that is written to be measured; no load can have this name."""

_VALUE_BYTES: Final = 4_800_000
_VALUES: Final = 8
_TILES: Final = 8
_PROBE_TTL_S: Final = 300
"""TTL of the probe rows and of the probe keys in Redis, in case the process ends before it deletes them."""
_AT_LEAST_S: Final = 0.25


class Limit(StrEnum):
    """The first words of the names of limits that bind loads and reads; gzip counts raw, the others stored bytes."""

    GZIP = "gzip level 1, raw bytes in"
    GUNZIP = "gunzip, raw bytes out"
    RATIO = "raw bytes of a stored byte, gzip level 1"
    REDIS_GET = "Redis, get"
    WRITTEN = "Cassandra, chunks written to two nodes"
    READ = "Cassandra, chunks read"


@dataclass(frozen=True, slots=True)
class HardwareLimit:
    """One limit: ``value`` in ``unit``.

    If it could not be measured, ``value`` is None and ``note`` holds the reason.
    """

    name: str
    value: float | None
    unit: str = "MB/s"
    note: str = ""


def measure_limits(settings: Settings) -> Iterator[HardwareLimit]:
    """Measure one limit after another, so that they do not disturb each other.

    Takes about four seconds on an idle machine. Never raises because a service is down. Leaves no data: the probe data
    in Redis, on disk and in Cassandra (38 MB under the name ``_doctor``, which no dataset can have) is deleted again.
    If that fails, the rows in Cassandra expire and the temporary file is removed with the process.
    """
    import xxhash

    sample = _sample()
    yield from _gzip(sample, os.cpu_count() or 1)
    yield _best_rate("xxh3 of stored bytes, 1 thread", len(sample), lambda: xxhash.xxh3_128_digest(sample))
    yield from _tried("disk, written and synced", _disk, sample)
    yield from _tried("Redis", _redis, settings)
    yield from _tried("Cassandra driver", _cassandra, settings)


def _tried(name: str, measure: Callable[[Any], Iterator[HardwareLimit]], subject: Any) -> Iterator[HardwareLimit]:
    try:
        yield from measure(subject)
    except (MillraceError, OSError) as error:
        yield HardwareLimit(name, None, note=str(error))


def _rate(name: str, size_bytes: int, start: float, note: str = "") -> HardwareLimit:
    """Return the rate at which ``size_bytes`` were processed since ``start``, a time of ``time.perf_counter``."""
    return HardwareLimit(name, round(size_bytes / (time.perf_counter() - start) / 1e6, 1), note=note)


def _best_rate(name: str, size_bytes: int, call: Callable[[], object]) -> HardwareLimit:
    """Return the best rate of several runs, which take at least a quarter of a second in total."""
    rates: list[float] = []
    began = time.perf_counter()
    while time.perf_counter() - began < _AT_LEAST_S:
        start = time.perf_counter()
        call()
        rates.append(size_bytes / (time.perf_counter() - start))
    return HardwareLimit(name, round(max(rates) / 1e6, 1))


def _sample() -> bytes:
    """Return 8 MB that compress as tables do: numbers of a narrow range and repeated words."""
    import pyarrow as pa
    import pyarrow.compute as pc

    rows = 200_000
    noise = pc.random(rows, initializer=7)

    def below(limit: float) -> pa.Array:
        return pc.cast(pc.multiply(noise, limit), pa.int64(), safe=False)

    columns = {
        "number": below(2000),
        "value": pc.round(pc.multiply(noise, 1e4), 1),
        "word": pc.binary_join_element_wise("N", pc.cast(below(4000), pa.string()), ""),
        "day": pa.array(range(rows), pa.int64()),
    }
    table = pa.table(columns)
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as stream:
        stream.write_table(table)
    return bytes(sink.getvalue())


def _gzip(sample: bytes, threads: int) -> Iterator[HardwareLimit]:
    from millrace.chunks import CODECS

    codec = CODECS["gzip"]
    packed = codec.compress([sample], 1)
    with ThreadPoolExecutor(threads) as pool:

        def on_all(call: Callable[[], object]) -> Callable[[], object]:
            return lambda: [future.result() for future in [pool.submit(call) for _ in range(threads)]]

        names = f"{threads} thread{'s' if threads > 1 else ''}"
        size = len(sample) * threads
        yield _best_rate(f"{Limit.GZIP}, {names}", size, on_all(lambda: codec.compress([sample], 1)))
        yield _best_rate(f"{Limit.GUNZIP}, {names}", size, on_all(lambda: codec.decompress(packed, len(sample))))
        yield HardwareLimit(Limit.RATIO, round(len(sample) / len(packed), 2), "times")


def _disk(sample: bytes) -> Iterator[HardwareLimit]:
    folder = millrace_home() / "tmp"
    with tempfile.TemporaryFile(dir=folder if folder.is_dir() else None) as file:
        start = time.perf_counter()
        for _ in range(8):
            file.write(sample)
        file.flush()
        os.fsync(file.fileno())
        yield _rate("disk, written and synced", 8 * len(sample), start)


def _redis(settings: Settings, value_bytes: int = _VALUE_BYTES) -> Iterator[HardwareLimit]:
    from millrace.cache import ChunkCache
    from millrace.store import ChunkRef

    if settings.redis.switched_off:
        yield HardwareLimit("Redis", None, note="switched off")
        return
    refs = [ChunkRef(PROBE, uuid4(), 0, number, 0, ()) for number in range(_VALUES)]
    value = os.urandom(value_bytes)
    with closing(ChunkCache(settings.redis, cluster=PROBE, keyspace=settings.cassandra.keyspace)) as cache:
        try:
            cache.ping()
            start = time.perf_counter()
            stored = [cache.put(ref, [value], ttl_s=_PROBE_TTL_S) for ref in refs]
            if not all(stored):
                yield HardwareLimit("Redis, put", None, note="Redis is full")
                return
            yield _rate("Redis, put", _VALUES * value_bytes, start)
            start = time.perf_counter()
            hits = sum(cache.get(ref, [value_bytes], None) is not None for ref in refs)
            yield _rate(Limit.REDIS_GET, hits * value_bytes, start)
        finally:
            cache.delete(refs)


def _cassandra(settings: Settings) -> Iterator[HardwareLimit]:
    from millrace.store import CassandraSession, check_schema

    with closing(CassandraSession.connect(settings.cassandra)) as cassandra:
        check_schema(cassandra.session, settings.cassandra)
        if down := cassandra.down():
            yield HardwareLimit("Cassandra driver", None, note=f"{', '.join(down)} is down")
            return
        attempt_id = uuid4()
        try:
            yield _write_chunks(cassandra, attempt_id)
            yield _read_chunks(cassandra, attempt_id)
        finally:
            delete = "DELETE FROM {ks}.chunks WHERE dataset = ? AND attempt_id = ? AND bucket = 0"
            cassandra.execute(cassandra.prepare(delete).bind((PROBE, attempt_id)))


def _write_chunks(cassandra: CassandraSession, attempt_id: UUID) -> HardwareLimit:
    from cassandra.query import BatchStatement, BatchType

    from millrace.store import TWO, ReplicatedWriter, Write

    insert = cassandra.prepare(
        "INSERT INTO {ks}.chunks (dataset, attempt_id, bucket, chunk, tile, data) VALUES (?, ?, 0, ?, ?, ?) USING TTL ?"
    )
    tile = os.urandom(_VALUE_BYTES // _TILES)
    with ReplicatedWriter(cassandra, window_bytes=20_000_000) as writes:

        def write(chunk: int) -> Write:
            def make(level: int) -> Any:
                batch = BatchStatement(BatchType.UNLOGGED, consistency_level=level)
                for number in range(_TILES):
                    batch.add(insert.bind((PROBE, attempt_id, chunk, number, tile, _PROBE_TTL_S)))
                batch.is_idempotent = True
                return batch

            return Write(make, _VALUE_BYTES, "a probe")

        start = time.perf_counter()
        outcomes = [future.result(60) for future in [writes.submit(write(chunk)) for chunk in range(_VALUES)]]
        note = "" if all(outcome.replicas >= TWO for outcome in outcomes) else "acknowledged by one node only"
        return _rate(Limit.WRITTEN, _VALUES * _VALUE_BYTES, start, note)


def _read_chunks(cassandra: CassandraSession, attempt_id: UUID) -> HardwareLimit:
    select = cassandra.prepare(
        "SELECT data FROM {ks}.chunks WHERE dataset = ? AND attempt_id = ? AND bucket = 0 AND chunk = ?"
    )

    def fetch(chunk: int) -> int:
        return sum(len(row.data) for row in cassandra.execute(select.bind((PROBE, attempt_id, chunk))))

    with ThreadPoolExecutor(4) as pool:
        start = time.perf_counter()
        return _rate(Limit.READ, sum(pool.map(fetch, range(_VALUES))), start)
