"""Read chunks ahead: fetch, verify and decode them concurrently within a limit of bytes, and deliver them in order."""

from __future__ import annotations

import itertools
import os
import threading
from collections import deque
from collections.abc import Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Protocol

import pyarrow as pa
import pyarrow.compute as pc

from millrace.arrow import held_bytes
from millrace.chunks import TileLayout, assemble_as_stored, cast_batch
from millrace.dataset.filters.rows import only_rows, passing_rows
from millrace.errors import ChecksumMismatchError, ChunkFormatError
from millrace.settings import ReadSettings
from millrace.store import ChunkRef, TileRef

__all__ = ["CacheLike", "ReaderLike", "Scan", "ScanStats"]

_REQUEST_BYTES = 1_500_000
"""Maximum of a request for a few tiles of many chunks: small enough that its decoding overlaps with the next ones."""
_RAW_PER_STORED = 4
_SHORT_ROWS = 1 << 16
"""Chunks of fewer rows are assembled by one thread at a time: a column takes less time than passing the GIL."""
_INFLATED = 1.1
_UNDONE_A_THREAD = 2


class CacheLike(Protocol):
    """The interface of a cache for a scan; its methods never raise to a read."""

    def admitted(self, dataset: str, version: str) -> bool:
        """Return whether the version was admitted as a whole, so that a read may put back a missing chunk."""

    def get(self, place: Any, sizes: Sequence[int], tiles: Sequence[int] | None) -> list[Any] | None:
        """Return the stored tiles, or None if they are not cached."""

    def put(self, place: Any, tiles: Sequence[Any]) -> bool:
        """Store a whole chunk."""


class ReaderLike(Protocol):
    """The interface of the store for a scan."""

    def fetch(self, ref: ChunkRef, tiles: Sequence[int] | None = None) -> list[bytes]:
        """Return the stored tiles of a chunk, verified."""

    def fetch_many(self, refs: Sequence[ChunkRef], tiles: Sequence[int]) -> list[list[bytes]]:
        """Return the same tiles of several chunks of one bucket, verified."""


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
    """A read of the given chunks as record batches, in their order; each batch holds exactly the rows as written.

    ``columns`` are indices into ``schema`` (None: all). Only the tiles that hold them, or the columns ``used`` by
    ``condition``, are fetched. With ``condition`` only the rows that pass it are returned. Memory: at most
    ``window_bytes`` of stored bytes that are requested and not yet delivered, and four times as many decoded bytes.
    """

    def __init__(
        self,
        reader: ReaderLike,
        cache: CacheLike | None,
        schema: pa.Schema,
        layout: TileLayout,
        columns: Sequence[int] | None,
        settings: ReadSettings,
        *,
        fill_cache: bool = False,
        condition: pc.Expression | None = None,
        used: Sequence[int] = (),
    ) -> None:
        self._reader = reader
        self._cache = cache
        self._layout = layout
        self._columns = list(range(len(schema))) if columns is None else list(columns)
        self._condition = condition
        self._used = list(used)
        self._fetched = [*self._columns, *(column for column in self._used if column not in self._columns)]
        self._tiles = None if columns is None else list(layout.tiles_of(self._fetched))
        if self._tiles is not None and len(self._tiles) == len(layout.columns):
            self._tiles = None
        self._schema = schema
        self._out = pa.schema([schema.field(i) for i in self._columns], schema.metadata)
        self._row_bytes: float = sum(_fixed_bytes(field.type) for field in self._out)
        # The decoded size is known for types of fixed width. For other types the first chunks show it.
        self._measured = all(_is_fixed(field.type) for field in self._out)
        self._settings = settings
        self._fill_cache = fill_cache
        self._helper: ThreadPoolExecutor | None = None
        self._reading = 0
        self._counting = threading.Lock()
        self._short = threading.Lock()
        self.stats = ScanStats()

    @property
    def schema(self) -> pa.Schema:
        """Return the schema of every batch."""
        return self._out

    def batches(self, refs: Iterable[ChunkRef], *, ahead: bool = True) -> Generator[pa.RecordBatch, None, None]:
        """Yield the batches, one per chunk; the error of a chunk is raised in place of its batch.

        Without ``ahead`` only the first chunk is requested until the caller asks for the second batch.
        """
        threads = self._settings.decode_threads or (os.cpu_count() or 1) + 2
        waiting: deque[tuple[int, Future[list[pa.RecordBatch]]]] = deque()
        held_bytes = 0

        def full(size: int) -> bool:
            undone = sum(not future.done() for _, future in waiting)
            return held_bytes + size > self._settings.window_bytes or undone >= _UNDONE_A_THREAD * threads

        pool = ThreadPoolExecutor(threads, thread_name_prefix="millrace-read")
        self._helper = ThreadPoolExecutor(1, thread_name_prefix="millrace-tiles") if threads > 1 else None
        try:
            refs = iter(refs)
            for ref in [] if ahead else itertools.islice(refs, 1):
                # Yielded before the next chunk is looked for, which may be several pages later and may fail.
                yield from pool.submit(self._read, [ref]).result()
            for group in self._groups(refs):
                size = sum(self._cost_bytes(ref) for ref in group)
                while waiting and full(size):
                    done_bytes, future = waiting.popleft()
                    yield from future.result()
                    held_bytes -= done_bytes
                waiting.append((size, pool.submit(self._read, group)))
                held_bytes += size
            while waiting:
                yield from waiting.popleft()[1].result()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
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
            size = self._cost_bytes(ref)
            same = group and (group[0].attempt_id, group[0].bucket) == (ref.attempt_id, ref.bucket)
            full = group_bytes + size > _REQUEST_BYTES
            # The first chunks show the decoded size, so they are requested one by one.
            if group and (self._tiles is None or not same or full or not self._measured):
                yield group
                group, group_bytes = [], 0
            group.append(ref)
            group_bytes += size
        if group:
            yield group

    def _cost_bytes(self, ref: ChunkRef) -> int:
        """Return the bytes that a chunk takes of the window: its stored or a quarter of its decoded size.

        The larger one counts. A column of zeros is a thousand times larger decoded than stored.
        """
        # Tiles may hold narrower types than the version's: 38 bytes a row of flights become 151, and text that
        # repeats is stored as a dictionary.
        decoded_bytes = max(sum(tile.raw_bytes for tile in self._wanted(ref)), int(ref.rows * self._row_bytes))
        return max(self._wanted_bytes(ref), decoded_bytes // _RAW_PER_STORED)

    def _wanted(self, ref: ChunkRef) -> Sequence[TileRef]:
        return ref.tiles if self._tiles is None else [ref.tiles[i] for i in self._tiles]

    def _wanted_bytes(self, ref: ChunkRef) -> int:
        return sum(tile.stored_bytes for tile in self._wanted(ref))

    def _read(self, group: list[ChunkRef]) -> list[pa.RecordBatch]:
        with self._counting:
            self._reading += 1
        try:
            return self._read_group(group)
        finally:
            with self._counting:
                self._reading -= 1

    def _read_group(self, group: list[ChunkRef]) -> list[pa.RecordBatch]:
        batches = [self._cached(ref) for ref in group]
        missing = [ref for ref, batch in zip(group, batches, strict=True) if batch is None]
        fetched = iter(self._fetch(missing))
        return [next(fetched) if batch is None else batch for batch in batches]

    def _cached(self, ref: ChunkRef) -> pa.RecordBatch | None:
        if self._cache is None:
            return None
        stored = self._cache.get(ref, [tile.stored_bytes for tile in ref.tiles], self._tiles)
        if stored is None:
            return None
        try:
            batch = self._decode(ref, stored)
        except (ChecksumMismatchError, ChunkFormatError):
            self.stats.reject()  # the cache is not authoritative: the chunk is read from Cassandra
            return None
        self.stats.add(cached=True, stored_bytes=self._wanted_bytes(ref))
        return batch

    def _fetch(self, refs: list[ChunkRef]) -> Iterator[pa.RecordBatch]:
        if self._tiles is None:
            many = [self._reader.fetch(ref) for ref in refs]
        else:
            many = self._reader.fetch_many(refs, self._tiles) if refs else []
        for ref, stored in zip(refs, many, strict=True):
            batch = self._decode(ref, stored)
            self.stats.add(cached=False, stored_bytes=self._wanted_bytes(ref))
            if self._fill_cache and self._cache is not None and self._tiles is None:
                self._cache.put(ref, stored)
            yield batch

    def _decode(self, ref: ChunkRef, stored: Sequence[Any]) -> pa.RecordBatch:
        if ref.rows >= _SHORT_ROWS:
            return self._assembled(ref, self._decode_tiles(ref, stored))
        if not self._is_inflated(ref):
            with self._short:
                return self._assembled(ref, self._decode_tiles(ref, stored))
        decoded = self._decode_tiles(ref, stored)
        with self._short:
            return self._assembled(ref, decoded)

    def _is_inflated(self, ref: ChunkRef) -> bool:
        """Return whether decoding the tiles takes more than verifying and copying them."""
        return sum(tile.raw_bytes for tile in self._wanted(ref)) > _INFLATED * self._wanted_bytes(ref)

    def _assembled(self, ref: ChunkRef, decoded: Sequence[pa.RecordBatch]) -> pa.RecordBatch:
        batch = assemble_as_stored(decoded, self._layout, self._schema, self._fetched)
        if batch.num_rows != ref.rows:
            raise ChunkFormatError(
                f"chunk {ref} holds {batch.num_rows} rows, its manifest says {ref.rows}",
                dataset=ref.dataset,
                chunk=str(ref),
                expected=ref.rows,
                actual=batch.num_rows,
            )
        if self._condition is not None:
            batch = self._passing(batch, self._condition)
        batch = cast_batch(batch, self._out)
        # Of two threads at once one may overwrite the other's size. The next chunk measures it again.
        self._row_bytes = max(self._row_bytes, held_bytes(batch) / max(1, batch.num_rows))
        self._measured = True
        return batch

    def _decode_tiles(self, ref: ChunkRef, stored: Sequence[Any]) -> list[pa.RecordBatch]:
        """Decode the tiles one after another, or half of them in a second thread if no other group is being read.

        A read of a single chunk, as with a selective filter, then takes less time if a core is idle.
        """
        tiles = range(len(ref.tiles)) if self._tiles is None else self._tiles
        jobs = list(zip(tiles, stored, strict=True))
        helper = self._helper
        if helper is None or len(jobs) < 2 or self._reading > 1:
            return _decoded(ref, jobs)
        beside = helper.submit(_decoded, ref, jobs[1::2])
        decoded: list[Any] = [None] * len(jobs)
        decoded[::2] = _decoded(ref, jobs[::2])
        decoded[1::2] = beside.result()
        return decoded

    def _passing(self, batch: pa.RecordBatch, condition: pc.Expression) -> pa.RecordBatch:
        """Return the rows that pass, in their stored types: the caller widens these rows only."""
        fields = pa.schema([self._schema.field(column) for column in self._used])
        tested = cast_batch(batch.select([self._fetched.index(column) for column in self._used]), fields)
        return only_rows(batch.select(list(range(len(self._columns)))), passing_rows(tested, condition))


def _decoded(ref: ChunkRef, jobs: Sequence[tuple[int, Any]]) -> list[pa.RecordBatch]:
    where = {"dataset": ref.dataset, "chunk": str(ref)}
    return [ref.tiles[index].decode(data, {**where, "tile": index}) for index, data in jobs]


def _is_fixed(type_: pa.DataType) -> bool:
    kinds = pa.types
    return bool(kinds.is_primitive(type_) or kinds.is_decimal(type_) or kinds.is_fixed_size_binary(type_))


def _fixed_bytes(type_: pa.DataType) -> int:
    """Return the bytes of a decoded value, without the bytes of text and of lists."""
    try:
        return int(type_.bit_width) // 8
    except ValueError:
        return 4
