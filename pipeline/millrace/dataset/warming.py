"""Put a whole version into Redis, or none of it. The bytes are verified as in a read."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import asdict, dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any

from millrace.dataset.dataset import Dataset
from millrace.parallel import in_order
from millrace.progress import ProgressTask
from millrace.store import ChunkReader, ChunkRef

if TYPE_CHECKING:
    from millrace.cache import ChunkCache


_THREADS = 3
_AHEAD_BYTES = 30_000_000
_ASK_CHUNKS = 500


@dataclass(frozen=True, slots=True)
class WarmReport:
    """Result of warming a version.

    ``complete`` is True if every chunk of the version is in Redis now. ``reason`` says why not, else it is empty.
    ``chunks`` counts the chunks added now, ``already_cached`` those that were cached before. ``stored_bytes`` is
    the size of the version.
    """

    reference: str
    complete: bool
    reason: str
    chunks: int
    already_cached: int
    stored_bytes: int
    seconds: float

    def to_json(self) -> dict[str, Any]:
        """Return the fields as JSON-compatible values."""
        return asdict(self)


def warm(
    dataset: Dataset, reader: ChunkReader, cache: ChunkCache | None, *, switched_off: str, task: ProgressTask
) -> WarmReport:
    """Put every chunk that is not cached into Redis. If not all of them fit, remove those that were added.

    ``switched_off`` is the reason why ``cache`` is None, for the report. At most 30 MB of stored bytes are in flight.
    Errors of Redis are not raised; those of Cassandra are.
    """
    began = time.monotonic()
    version = dataset.version

    def report(reason: str = "", *, chunks: int = 0, already_cached: int = 0) -> WarmReport:
        seconds = round(time.monotonic() - began, 3)
        task.message(
            f"{version.reference} is not in Redis: {reason}"
            if reason
            else f"{version.reference} is in Redis, {version.rows:,} rows in {chunks + already_cached:,} chunks"
        )
        return WarmReport(version.reference, not reason, reason, chunks, already_cached, version.stored_bytes, seconds)

    if cache is None:
        return report(f"no cache is configured ({switched_off})")
    admission = cache.admit(version.dataset, version.label, version.stored_bytes)
    if not admission.admitted:
        return report(admission.reason)
    put, already_cached = _fill(dataset, reader, cache, task)
    if sum(put) + already_cached < version.chunks:
        _empty(dataset, cache, put)
        return report("Redis stored only part of it; that part was removed again")
    cache.warmed(version.dataset, version.label, chunks=version.chunks, stored_bytes=version.stored_bytes)
    return report(chunks=sum(put), already_cached=already_cached)


def _fill(dataset: Dataset, reader: ChunkReader, cache: ChunkCache, task: ProgressTask) -> tuple[bytearray, int]:
    """Put the missing chunks into Redis.

    Returns a flag for each chunk of the version, set if it was added now, and the number that were cached before.
    """
    put = bytearray()
    already_cached = 0

    def missing() -> Iterator[tuple[int, ChunkRef]]:
        nonlocal already_cached
        for refs in _grouped(dataset):
            for ref, is_cached in zip(refs, cache.has(refs), strict=True):
                put.append(0)
                if is_cached:
                    already_cached += 1
                    task.advance(ref.rows)
                else:
                    yield len(put) - 1, ref

    puts = in_order(
        lambda item: cache.put(item[1], reader.fetch(item[1])),
        missing(),
        threads=_THREADS,
        name="millrace-warm",
        bytes_max=_AHEAD_BYTES,
        size_of=lambda item: item[1].stored_bytes,
    )
    with closing(puts):
        for (position, ref), is_put in puts:
            put[position] = is_put.result()
            task.advance(ref.rows)
            task.count(chunks=1, bytes_stored=ref.stored_bytes, bytes_raw=ref.raw_bytes)
    return put, already_cached


def _empty(dataset: Dataset, cache: ChunkCache, put: bytearray) -> None:
    """Remove the chunks that were added now.

    Chunks that were cached before belong to versions that share chunks with this one.
    """
    flags = iter(put)
    for refs in _grouped(dataset):
        cache.delete([ref for ref in refs if next(flags)])
    cache.forget(dataset.version.dataset, dataset.version.label)


def _grouped(dataset: Dataset) -> Iterator[list[ChunkRef]]:
    refs = dataset.refs()
    while group := list(islice(refs, _ASK_CHUNKS)):
        yield group
