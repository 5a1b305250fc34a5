"""Put a whole version into Redis, or none of it, from the same verified bytes that reads get."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from millrace.dataset.dataset import Dataset
from millrace.progress import ProgressTask
from millrace.store import ChunkReader, ChunkRef

if TYPE_CHECKING:
    from millrace.cache import ChunkCache

__all__ = ["WarmReport", "warm"]

_THREADS = 3
_AHEAD_BYTES = 30_000_000
_ASK_CHUNKS = 500


@dataclass(frozen=True, slots=True)
class WarmReport:
    """Result of warming a version.

    ``admitted`` is False if the version does not fit as a whole; ``reason`` holds the cause. ``chunks`` counts the
    chunks put in now, ``already`` those that were there before. ``stored_bytes`` is the size of the version.
    """

    reference: str
    admitted: bool
    reason: str
    chunks: int
    already: int
    stored_bytes: int
    seconds: float

    @property
    def whole(self) -> bool:
        """Whether every chunk is in Redis now."""
        return self.admitted and not self.reason

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON: every field, and ``whole``."""
        return {**asdict(self), "whole": self.whole}


def warm(dataset: Dataset, reader: ChunkReader, cache: ChunkCache | None, *, task: ProgressTask) -> WarmReport:
    """Put every chunk that is not there into Redis; leave no chunk of a version that does not fit.

    Holds at most 30 MB of stored bytes in flight. Never raises because of Redis; errors of Cassandra are raised.
    """
    began = time.monotonic()
    version = dataset.version

    def report(*, admitted: bool, reason: str = "", chunks: int = 0, already: int = 0) -> WarmReport:
        seconds = round(time.monotonic() - began, 3)
        task.message(
            f"{version.reference} is not in Redis: {reason}"
            if reason
            else f"{version.reference} is in Redis, {version.rows:,} rows in {chunks + already:,} chunks"
        )
        return WarmReport(version.reference, admitted, reason, chunks, already, version.stored_bytes, seconds)

    if cache is None:
        return report(admitted=False, reason="no cache is configured (MILLRACE_REDIS__URL is empty)")
    admission = cache.admit(version.dataset, version.label, version.stored_bytes)
    if not admission.admitted:
        return report(admitted=False, reason=admission.reason)
    put, already = _fill(dataset, reader, cache, task)
    if sum(put) + already < version.chunks:
        _empty(dataset, cache, put)
        return report(admitted=False, reason="Redis took only part of it; what it took was removed again")
    cache.warmed(version.dataset, version.label, chunks=version.chunks, stored_bytes=version.stored_bytes)
    return report(admitted=True, chunks=sum(put), already=already)


def _fill(dataset: Dataset, reader: ChunkReader, cache: ChunkCache, task: ProgressTask) -> tuple[bytearray, int]:
    """Put the missing chunks into Redis.

    Returns a flag for each chunk of the version, set if it was put in now, and the number that were there before.
    """
    put = bytearray()
    already = 0
    waiting: deque[tuple[int, ChunkRef, Future[bool]]] = deque()
    held_bytes = 0

    def collect() -> None:
        nonlocal held_bytes
        position, ref, future = waiting.popleft()
        held_bytes -= ref.stored_bytes
        put[position] = future.result()
        task.advance(ref.rows)
        task.count(chunks=1, bytes_stored=ref.stored_bytes, bytes_raw=ref.raw_bytes)

    with ThreadPoolExecutor(_THREADS, thread_name_prefix="millrace-warm") as pool:
        try:
            for refs in _grouped(dataset):
                for ref, there in zip(refs, cache.has(refs), strict=True):
                    put.append(0)
                    if there:
                        already += 1
                        task.advance(ref.rows)
                        continue
                    while waiting and held_bytes + ref.stored_bytes > _AHEAD_BYTES:
                        collect()
                    waiting.append((len(put) - 1, ref, pool.submit(_put, reader, cache, ref)))
                    held_bytes += ref.stored_bytes
            while waiting:
                collect()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
    return put, already


def _put(reader: ChunkReader, cache: ChunkCache, ref: ChunkRef) -> bool:
    return cache.put(ref, reader.fetch(ref))


def _empty(dataset: Dataset, cache: ChunkCache, put: bytearray) -> None:
    """Remove the chunks that were put in now.

    Chunks that were there before belong to versions that share chunks with this one.
    """
    flags = iter(put)
    for refs in _grouped(dataset):
        cache.delete([ref for ref in refs if next(flags)])
    cache.forget(dataset.version.dataset, dataset.version.label)


def _grouped(dataset: Dataset) -> Iterator[list[ChunkRef]]:
    group: list[ChunkRef] = []
    for ref in dataset.refs():
        group.append(ref)
        if len(group) == _ASK_CHUNKS:
            yield group
            group = []
    if group:
        yield group
