"""Reading chunks ahead: fetched, verified and decoded side by side, delivered in order, bounded in bytes."""

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

from millrace.chunks import TileLayout, assemble_as_stored, cast_batch
from millrace.chunks.sizes import held_bytes
from millrace.dataset.rows import only_rows, passing_rows
from millrace.errors import ChecksumMismatchError, ChunkFormatError
from millrace.settings import ReadSettings
from millrace.store.manifest import ChunkRef, TileRef

__all__ = ["CacheLike", "ReaderLike", "Scan", "ScanStats"]

_REQUEST_BYTES = 1_500_000
"""A request of a few tiles of many chunks: small enough that the next ones overlap with its decoding."""
_RAW_PER_STORED = 4
_SHORT_ROWS = 1 << 16
"""Chunks of fewer rows are made up by one thread at a time: a column takes less than to hand the interpreter over."""
_INFLATED = 1.1
_UNDONE_A_THREAD = 2


class CacheLike(Protocol):
    """What a scan asks of a cache; it never raises to a read."""

    def admitted(self, dataset: str, version: str) -> bool:
        """Whether the version was admitted as a whole, so that a chunk that is missing may be put back."""

    def get(self, place: Any, sizes: Sequence[int], tiles: Sequence[int] | None) -> list[Any] | None:
        """The stored tiles, or None."""

    def put(self, place: Any, tiles: Sequence[Any]) -> bool:
        """Keeps a whole chunk."""


class ReaderLike(Protocol):
    """What a scan asks of the store."""

    def fetch(self, ref: ChunkRef, tiles: Sequence[int] | None = None) -> list[bytes]:
        """The stored tiles, verified."""

    def fetch_many(self, refs: Sequence[ChunkRef], tiles: Sequence[int]) -> list[list[bytes]]:
        """The same tiles of several chunks of one bucket, verified."""


@dataclass(slots=True)
class ScanStats:
    """Where the chunks came from, and how many stored bytes were moved."""

    from_cache: int = 0
    from_cassandra: int = 0
    stored_bytes: int = 0
    rejected_by_checksum: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def add(self, *, cached: bool, stored_bytes: int) -> None:
        """Counts one chunk."""
        with self._lock:
            self.stored_bytes += stored_bytes
            if cached:
                self.from_cache += 1
            else:
                self.from_cassandra += 1

    def reject(self) -> None:
        """Counts a cached chunk that was not what the manifest names."""
        with self._lock:
            self.rejected_by_checksum += 1

    def to_json(self) -> dict[str, int]:
        """For ``--json``: how many chunks came from where."""
        return {
            "process": 0,
            "redis": self.from_cache,
            "cassandra": self.from_cassandra,
            "stored_bytes": self.stored_bytes,
        }


class Scan:
    """Record batches of the chunks given, in their order; each exactly the rows that were written.

    ``columns`` are indices into ``schema`` (None: all); only the tiles that hold them are fetched, and those of the
    columns ``used`` by ``condition``, which every row must pass. Memory: at most
    ``window_bytes`` of stored bytes asked for and not yet delivered, and four times as many decoded.
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
        # What every value takes is known of most types; how large text becomes is seen at the first chunks.
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
        """The schema of every batch."""
        return self._out

    def batches(self, refs: Iterable[ChunkRef], *, ahead: bool = True) -> Generator[pa.RecordBatch, None, None]:
        """The batches, one per chunk; a failed chunk raises where its rows would have been.

        Without ``ahead`` nothing but the first chunk is asked for until somebody wants the second batch.
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
                # Delivered before the next one is looked for: that may be pages further on, and fail.
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
            # Its thread ends with the last reference. Not shutdown(): the garbage collector may come here for an
            # abandoned generator in a thread that is inside submit() and holds the locks that shutdown() takes.
            self._helper = None

    def _groups(self, refs: Iterable[ChunkRef]) -> Iterator[list[ChunkRef]]:
        """One chunk a request, or, of a few tiles, as many chunks of one bucket as make a request of a chunk's size."""
        group: list[ChunkRef] = []
        group_bytes = 0
        for ref in refs:
            size = self._cost_bytes(ref)
            same = group and (group[0].writer, group[0].bucket) == (ref.writer, ref.bucket)
            full = group_bytes + size > _REQUEST_BYTES
            # How large chunks are when decoded is seen at the first ones, so they come one by one.
            if group and (self._tiles is None or not same or full or not self._measured):
                yield group
                group, group_bytes = [], 0
            group.append(ref)
            group_bytes += size
        if group:
            yield group

    def _cost_bytes(self, ref: ChunkRef) -> int:
        """What a chunk takes of the window: a column of zeros is a thousand times larger decoded than stored."""
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
            self.stats.reject()  # the cache is never the truth: Cassandra is asked
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
        """Whether decoding the tiles takes more than to check and copy them."""
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
        # Two threads at once may lose one of their sizes; the next chunk says it again.
        self._row_bytes = max(self._row_bytes, held_bytes(batch) / max(1, batch.num_rows))
        self._measured = True
        return batch

    def _decode_tiles(self, ref: ChunkRef, stored: Sequence[Any]) -> list[pa.RecordBatch]:
        """The tiles, one after another; half of them beside the others where this is the only chunk being read.

        A filter that keeps one chunk waits less for it where a core is idle.
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
        """The rows that pass, still as they are stored: only what is wanted is widened."""
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
    """What a value takes when decoded, apart from the bytes of text and of lists."""
    try:
        return int(type_.bit_width) // 8
    except ValueError:
        return 4
