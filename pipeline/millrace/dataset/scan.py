"""Read chunks ahead: fetch, verify and decode them concurrently within a limit of bytes, and deliver them in order."""

from __future__ import annotations

import itertools
import os
import threading
from collections.abc import Generator, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc

from millrace.chunks import TileLayout
from millrace.dataset.chunk_decoder import ChunkDecoder
from millrace.errors import ChecksumMismatchError, ChunkFormatError
from millrace.parallel import in_order
from millrace.settings import ReadSettings
from millrace.store import ChunkReader, ChunkRef

if TYPE_CHECKING:
    from millrace.cache import ChunkCache

_REQUEST_BYTES = 1_500_000
"""Maximum of a request for a few tiles of many chunks: small enough that its decoding overlaps with the next ones."""
_UNFINISHED_A_THREAD = 2


@dataclass(slots=True)
class ScanStats:
    """Counts of chunks by their source, and of the stored bytes that were moved."""

    from_cache: int = 0
    from_cassandra: int = 0
    stored_bytes: int = 0
    rejected_by_checksum: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def add(self, *, cached: bool, stored_bytes: int) -> None:
        """Count one chunk."""
        with self._lock:
            self.stored_bytes += stored_bytes
            if cached:
                self.from_cache += 1
            else:
                self.from_cassandra += 1

    def reject(self) -> None:
        """Count a cached chunk that does not match the manifest."""
        with self._lock:
            self.rejected_by_checksum += 1

    def to_json(self) -> dict[str, int]:
        """Return the number of chunks from each source and the stored bytes, for ``--json``."""
        return {
            "process": 0,
            "redis": self.from_cache,
            "cassandra": self.from_cassandra,
            "stored_bytes": self.stored_bytes,
        }


class Scan:
    """A read of the given chunks as record batches, in their order. Each batch has exactly the rows as written.

    ``columns`` are indices into ``schema`` (None: all). Only the tiles that hold them, or the columns ``used`` by
    ``condition``, are fetched. With ``condition`` only the rows that pass it are returned. Memory: at most
    ``window_bytes`` of stored bytes that are requested and not yet delivered, and four times as many decoded bytes.
    """

    def __init__(
        self,
        reader: ChunkReader,
        cache: ChunkCache | None,
        schema: pa.Schema,
        layout: TileLayout,
        columns: Sequence[int] | None,
        settings: ReadSettings,
        *,
        refilled_version: str | None = None,
        condition: pc.Expression | None = None,
        used: Sequence[int] = (),
    ) -> None:
        self._reader = reader
        self._cache = cache
        self._decoder = ChunkDecoder(schema, layout, columns, condition, used)
        self._settings = settings
        self._refilled_version = refilled_version
        self._helper: ThreadPoolExecutor | None = None
        self._groups_in_progress = 0
        self._counting = threading.Lock()
        self.stats = ScanStats()

    def batches(self, refs: Iterable[ChunkRef], *, ahead: bool = True) -> Generator[pa.RecordBatch, None, None]:
        """Yield the batches, one per chunk; the error of a chunk is raised in place of its batch.

        Without ``ahead`` only the first chunk is requested until the caller asks for the second batch.
        """
        threads = self._settings.decode_threads or (os.cpu_count() or 1) + 2
        self._helper = ThreadPoolExecutor(1, thread_name_prefix="millrace-tiles") if threads > 1 else None
        refs = iter(refs)
        groups = in_order(
            self._read,
            self._groups(refs),
            threads=threads,
            name="millrace-read",
            unfinished_max=_UNFINISHED_A_THREAD * threads,
            bytes_max=self._settings.window_bytes,
            size_of=lambda group: sum(map(self._decoder.cost_bytes, group)),
        )
        try:
            for ref in [] if ahead else itertools.islice(refs, 1):
                # Yielded before the next chunk is located, which may be several pages later and may fail.
                yield from self._read([ref])
            for _, batches in groups:
                yield from batches.result()
        finally:
            groups.close()
            # The helper's thread ends with the last reference to it. shutdown() could deadlock: the garbage collector
            # may run this block for an abandoned generator in a thread that is inside submit() and holds the locks
            # that shutdown() takes.
            self._helper = None

    def _groups(self, refs: Iterable[ChunkRef]) -> Iterator[list[ChunkRef]]:
        """Yield the chunks of each request: one chunk, or for a few tiles several chunks of one bucket.

        A request for several chunks has at most ``_REQUEST_BYTES``.
        """
        group: list[ChunkRef] = []
        group_bytes = 0
        for ref in refs:
            size = self._decoder.cost_bytes(ref)
            is_same_bucket = group and (group[0].attempt_id, group[0].bucket) == (ref.attempt_id, ref.bucket)
            is_full = group_bytes + size > _REQUEST_BYTES
            # The first chunks show the decoded size, so they are requested one by one.
            if group and (
                self._decoder.tiles is None or not is_same_bucket or is_full or not self._decoder.is_measured
            ):
                yield group
                group, group_bytes = [], 0
            group.append(ref)
            group_bytes += size
        if group:
            yield group

    def _read(self, group: list[ChunkRef]) -> list[pa.RecordBatch]:
        with self._counting:
            self._groups_in_progress += 1
        try:
            return self.read_group(group)
        finally:
            with self._counting:
                self._groups_in_progress -= 1

    def read_group(self, group: Sequence[ChunkRef]) -> list[pa.RecordBatch]:
        """Return the batch of each chunk of a group, from the cache or else by one request to the store."""
        # The chunks of a bucket have equally many tiles.
        if not self._decoder.tiles_of(group[0]):
            return [self._decode(ref, ()) for ref in group]
        batches = [self._cached(ref) for ref in group]
        missing = [ref for ref, batch in zip(group, batches, strict=True) if batch is None]
        fetched = iter(self._fetch(missing))
        return [next(fetched) if batch is None else batch for batch in batches]

    def _cached(self, ref: ChunkRef) -> pa.RecordBatch | None:
        if self._cache is None:
            return None
        tiles = None if self._decoder.tiles is None else self._decoder.tiles_of(ref)
        stored = self._cache.get(ref, [tile.stored_bytes for tile in ref.tiles], tiles)
        if stored is None:
            return None
        try:
            batch = self._decode(ref, stored)
        except (ChecksumMismatchError, ChunkFormatError):
            self.stats.reject()  # the cache is not authoritative: the chunk is read from Cassandra
            return None
        self.stats.add(cached=True, stored_bytes=self._decoder.stored_bytes(ref))
        return batch

    def _fetch(self, refs: list[ChunkRef]) -> Iterator[pa.RecordBatch]:
        if self._decoder.tiles is None:
            chunks = [self._reader.fetch(ref) for ref in refs]
        else:
            chunks = self._reader.fetch_many(refs, self._decoder.tiles_of(refs[0])) if refs else []
        for ref, stored in zip(refs, chunks, strict=True):
            batch = self._decode(ref, stored)
            self.stats.add(cached=False, stored_bytes=self._decoder.stored_bytes(ref))
            if self._refilled_version and self._cache is not None and self._decoder.tiles is None:
                self._cache.refill(self._refilled_version, ref, stored)
            yield batch

    def _decode(self, ref: ChunkRef, stored: Sequence[Any]) -> pa.RecordBatch:
        # A read of a single chunk, as with a selective filter, takes less time with two threads if a core is idle.
        return self._decoder.decode(ref, stored, None if self._groups_in_progress > 1 else self._helper)
