"""Measure the limits of this machine in a few seconds: the highest rates that a load or a read can reach."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
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


@dataclass(frozen=True, slots=True)
class Ceiling:
    """One limit: ``value`` in ``unit``.

    If it could not be measured, ``value`` is None and ``note`` holds the reason.
    """

    what: str
    value: float | None
    unit: str = "MB/s"
    note: str = ""

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON: every field."""
        return asdict(self)


def measure_ceilings(settings: Settings) -> Iterator[Ceiling]:
    """Measure one limit after another, so that they do not disturb each other.

    Takes about four seconds on an idle machine. Never raises because a service is down. Leaves no data: the probe data
    in Redis, on disk and in Cassandra (38 MB under the name ``_doctor``, which no dataset can have) is deleted again.
    If that fails, the rows in Cassandra expire and the temporary file is removed with the process.
    """
    sample = _sample()
    threads = os.cpu_count() or 1
    yield from _gzip(sample, threads)
    yield _rate("xxh3 of stored bytes, 1 thread", len(sample), lambda: _digest(sample))
    yield from _tried("disk, written and synced", _disk, sample)
    yield from _tried("Redis", _redis, settings)
    yield from _tried("Cassandra driver", _cassandra, settings)


def _tried(what: str, measure: Callable[[Any], Iterator[Ceiling]], subject: Any) -> Iterator[Ceiling]:
    try:
        yield from measure(subject)
    except (MillraceError, OSError) as error:
        yield Ceiling(what, None, note=str(error))


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
    sink = pa.BufferOutputStream()
    table = pa.table(columns)
    with pa.ipc.new_stream(sink, table.schema) as stream:
        stream.write_table(table)
    plain: bytes = sink.getvalue().to_pybytes()
    return plain


def _rate(what: str, size_bytes: int, call: Callable[[], object]) -> Ceiling:
    """Return the best rate of several runs, which take at least a quarter of a second in total."""
    best, began = 0.0, time.perf_counter()
    while time.perf_counter() - began < _AT_LEAST_S:
        start = time.perf_counter()
        call()
        best = max(best, size_bytes / (time.perf_counter() - start))
    return Ceiling(what, round(best / 1e6, 1))


def _gzip(sample: bytes, threads: int) -> Iterator[Ceiling]:
    from millrace.chunks import CODECS

    codec = CODECS["gzip"]
    packed = codec.compress([sample], 1)
    with ThreadPoolExecutor(threads) as pool:

        def on_all(call: Callable[[], object]) -> Callable[[], object]:
            return lambda: [each.result() for each in [pool.submit(call) for _ in range(threads)]]

        names = f"{threads} thread{'s' if threads > 1 else ''}"
        size = len(sample) * threads
        yield _rate(f"gzip level 1, raw bytes in, {names}", size, on_all(lambda: codec.compress([sample], 1)))
        yield _rate(f"gunzip, raw bytes out, {names}", size, on_all(lambda: codec.decompress(packed, len(sample))))


def _digest(sample: bytes) -> bytes:
    import xxhash

    return xxhash.xxh3_128_digest(sample)


def _disk(sample: bytes) -> Iterator[Ceiling]:
    folder = millrace_home() / "tmp"
    with tempfile.TemporaryFile(dir=folder if folder.is_dir() else None) as file:
        start = time.perf_counter()
        for _ in range(8):
            file.write(sample)
        file.flush()
        os.fsync(file.fileno())
        yield Ceiling("disk, written and synced", round(8 * len(sample) / (time.perf_counter() - start) / 1e6, 1))


def _redis(settings: Settings) -> Iterator[Ceiling]:
    from millrace.cache import ChunkCache
    from millrace.store import ChunkRef

    if settings.redis.switched_off:
        yield Ceiling("Redis", None, note="switched off")
        return
    cache = ChunkCache(settings.redis, cluster=PROBE, keyspace=settings.cassandra.keyspace)
    refs = [ChunkRef(PROBE, uuid4(), 0, number, 0, ()) for number in range(_VALUES)]
    value = os.urandom(_VALUE_BYTES)
    try:
        cache.ping()
        start = time.perf_counter()
        kept = sum(cache.put(ref, [value], ttl_s=_PROBE_TTL_S) for ref in refs)
        put_s = time.perf_counter() - start
        if kept < _VALUES:
            yield Ceiling("Redis, put", None, note="Redis is full")
            return
        yield Ceiling("Redis, put", round(_VALUES * _VALUE_BYTES / put_s / 1e6, 1))
        start = time.perf_counter()
        found = sum(cache.get(ref, [_VALUE_BYTES], None) is not None for ref in refs)
        yield Ceiling("Redis, get", round(found * _VALUE_BYTES / (time.perf_counter() - start) / 1e6, 1))
    finally:
        cache.delete(refs)
        cache.close()


def _cassandra(settings: Settings) -> Iterator[Ceiling]:
    from millrace.store import CassandraSession, check_schema

    cassandra = CassandraSession.connect(settings.cassandra)
    try:
        check_schema(cassandra.session, settings.cassandra)
        if cassandra.down():
            yield Ceiling("Cassandra driver", None, note=f"{', '.join(cassandra.down())} is down")
            return
        attempt_id = uuid4()
        try:
            yield _written(cassandra, attempt_id)
            yield _read(cassandra, attempt_id)
        finally:
            _deleted(cassandra, attempt_id)
    finally:
        cassandra.close()


def _written(cassandra: CassandraSession, attempt_id: UUID) -> Ceiling:
    from cassandra.query import BatchStatement, BatchType

    from millrace.store import TWO, ReplicatedWriter, Write

    insert = cassandra.prepare(
        "INSERT INTO {ks}.chunks (dataset, attempt_id, bucket, chunk, tile, data) VALUES (?, ?, 0, ?, ?, ?) USING TTL ?"
    )
    tile = os.urandom(_VALUE_BYTES // _TILES)
    with ReplicatedWriter(cassandra, window_bytes=20_000_000) as writes:

        def batch(chunk: int) -> Write:
            def make(level: int) -> Any:
                statement = BatchStatement(BatchType.UNLOGGED, consistency_level=level)
                for number in range(_TILES):
                    statement.add(insert.bind((PROBE, attempt_id, chunk, number, tile, _PROBE_TTL_S)))
                statement.is_idempotent = True
                return statement

            return Write(make, _VALUE_BYTES, "a probe")

        start = time.perf_counter()
        outcomes = [sent.result(60) for sent in [writes.submit(batch(chunk)) for chunk in range(_VALUES)]]
        seconds = time.perf_counter() - start
    proven = min(outcome.replicas for outcome in outcomes)
    note = "" if proven >= TWO else "acknowledged by one node only"
    return Ceiling(
        "Cassandra, chunks written to two nodes", round(_VALUES * _VALUE_BYTES / seconds / 1e6, 1), note=note
    )


def _read(cassandra: CassandraSession, attempt_id: UUID) -> Ceiling:
    select = cassandra.prepare(
        "SELECT data FROM {ks}.chunks WHERE dataset = ? AND attempt_id = ? AND bucket = 0 AND chunk = ?"
    )

    def fetch(chunk: int) -> int:
        return sum(len(row.data) for row in cassandra.execute(select.bind((PROBE, attempt_id, chunk))))

    with ThreadPoolExecutor(4) as pool:
        start = time.perf_counter()
        fetched = sum(pool.map(fetch, range(_VALUES)))
        return Ceiling("Cassandra, chunks read", round(fetched / (time.perf_counter() - start) / 1e6, 1))


def _deleted(cassandra: CassandraSession, attempt_id: UUID) -> None:
    delete = cassandra.prepare("DELETE FROM {ks}.chunks WHERE dataset = ? AND attempt_id = ? AND bucket = 0")
    cassandra.execute(delete.bind((PROBE, attempt_id)))
