"""Put the admitted chunks of one part of a version into Redis."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING

from millrace.cache import CachedPart, Form
from millrace.dataset.dataset import Dataset
from millrace.dataset.selection import column_indices
from millrace.dataset.splits import split_chunks
from millrace.parallel import in_order
from millrace.progress import ProgressTask
from millrace.store import ChunkReader, ChunkRef

if TYPE_CHECKING:
    from millrace.cache import ChunkCache, Room, Values, Warming


_THREADS = 3
_AHEAD_BYTES = 30_000_000
_ASK_CHUNKS = 500
_WAITS_S = (0.1, 0.4)


@dataclass(frozen=True, slots=True)
class Filled:
    """The chunks of a part that are in Redis: added now and cached before; ``share`` is their fraction of the part."""

    form: str
    added: int
    already_cached: int
    rows: int
    share: float


NOT_FILLED = Filled("", 0, 0, 0, 0.0)


@dataclass(frozen=True, slots=True)
class VersionPart:
    """A version, or one split of it: a range of chunks, and the indices of the tiles that are cached (None: all)."""

    dataset: Dataset
    split: str | None
    columns: tuple[str, ...] | None
    chunks: range
    tiles: tuple[int, ...] | None

    @classmethod
    def of(cls, dataset: Dataset, split: str | None, columns: tuple[str, ...] | None) -> VersionPart:
        """Return the part; raise ``UsageError`` for an unknown split or column."""
        version = dataset.version
        chunks = range(version.chunks) if split is None else split_chunks(dataset.schema, split, version.reference)
        tiles = None
        if columns is not None:
            tiles = tuple(version.layout.tiles_of(column_indices(columns, dataset.schema, version)))
        return cls(dataset, split, columns, chunks, tiles)

    def refs(self, count: int | None = None) -> Iterator[ChunkRef]:
        """Return the chunks in order, at most the first ``count``."""
        end = self.chunks.stop if count is None else self.chunks.start + count
        return islice(self.dataset.refs(), self.chunks.start, end)

    def values(self, cache: ChunkCache, form: Form, room: Room) -> list[Values]:
        """Return the values of each chunk in order, up to the first chunks that exceed Redis' memory limit."""
        chunks, sum_bytes = [], 0
        for ref in self.refs():
            chunks.append(cache.values(ref, form, self.tiles, room))
            sum_bytes += sum(chunks[-1].values())
            if sum_bytes > room.limit_bytes:
                break
        return chunks

    def record(self, form: Form) -> CachedPart:
        """Return the record for the ledger of a warming that begins now."""
        version = self.dataset.version
        return CachedPart(
            version.dataset, version.label, form, self.split, self.columns, 0, len(self.chunks), 0, datetime.now(UTC)
        )


class Filling:
    """One filling of the admitted chunks of a part. At most 30 MB are in flight."""

    def __init__(
        self,
        part: VersionPart,
        reader: ChunkReader,
        cache: ChunkCache,
        form: Form,
        warming: Warming,
        task: ProgressTask,
    ) -> None:
        self._part = part
        self._reader = reader
        self._cache = cache
        self._form = form
        self._warming = warming
        self._task = task
        self._added = bytearray()
        """A flag for each chunk, set if it was added now."""
        self._cached = self._rows = self._bytes = 0
        self._has_failed = False

    def fill(self) -> Filled | None:
        """Put the missing chunks into Redis and complete the warming.

        If one cannot be stored, remove those that were added and return None. Chunks that were cached before stay, as
        they belong to versions that share chunks with this one.
        """
        puts = in_order(
            lambda item: self._put(item[1]),
            self._missing(),
            threads=_THREADS,
            name="millrace-warm",
            bytes_max=_AHEAD_BYTES,
            size_of=lambda item: self._size_bytes(item[1]),
        )
        with closing(puts):
            for (position, ref), is_put in puts:
                self._added[position] = is_put.result()
                self._task.advance(ref.rows)
                self._task.count(chunks=1, bytes_stored=ref.stored_bytes, bytes_raw=ref.raw_bytes)
        added = sum(self._added)
        if added + self._cached < self._warming.chunks:
            self._abandon()
            return None
        self._warming.complete(self._bytes)
        share = self._warming.chunks / max(1, len(self._part.chunks))
        return Filled(self._form.value, added, self._cached, self._rows, share if self._part.chunks else 1.0)

    def _missing(self) -> Iterator[tuple[int, ChunkRef]]:
        """Yield the admitted chunks that are not in Redis, with their positions."""
        for refs in self._groups():
            cached = self._cache.has(refs, self._form, self._part.tiles)
            for ref, is_cached in zip(refs, cached, strict=True):
                self._added.append(0)
                self._rows += ref.rows
                self._bytes += self._size_bytes(ref)
                if is_cached:
                    self._cached += 1
                    self._task.advance(ref.rows)
                else:
                    yield len(self._added) - 1, ref
                if self._has_failed:
                    return

    def _put(self, ref: ChunkRef) -> bool:
        if self._form is Form.STORED:
            is_put = _repeated(partial(self._cache.put, ref, self._reader.fetch(ref)))
        else:
            is_put = _repeated(partial(self._cache.put_raw, ref, self._raw(ref)))
        self._has_failed = self._has_failed or not is_put
        if is_put:
            self._warming.stored(self._cache.value_names(ref, self._form, self._part.tiles))
        return is_put

    def _raw(self, ref: ChunkRef) -> dict[int, memoryview]:
        """Return the verified raw bytes of each tile of the part."""
        tiles = self._tiles(ref)
        where = {"dataset": ref.dataset, "chunk": str(ref)}
        stored = self._reader.fetch(ref, tiles)
        return {
            tile: memoryview(ref.tiles[tile].inflate(data, {**where, "tile": tile}))
            for tile, data in zip(tiles, stored, strict=True)
        }

    def _tiles(self, ref: ChunkRef) -> list[int]:
        """Return the tiles of the part that the chunk has; a chunk that is older than a column lacks the last ones."""
        tiles = range(len(ref.tiles)) if self._part.tiles is None else self._part.tiles
        return [tile for tile in tiles if tile < len(ref.tiles)]

    def _size_bytes(self, ref: ChunkRef) -> int:
        if self._form is Form.STORED:
            return ref.stored_bytes
        return sum(ref.tiles[tile].raw_bytes for tile in self._tiles(ref))

    def _abandon(self) -> None:
        refs = zip(self._part.refs(), self._added, strict=False)
        added = (ref for ref, is_added in refs if is_added)
        self._warming.abandon(
            [name for ref in added for name in self._cache.value_names(ref, self._form, self._part.tiles)]
        )

    def _groups(self) -> Iterator[list[ChunkRef]]:
        refs: Iterator[ChunkRef] = self._part.refs(self._warming.chunks)
        while group := list(islice(refs, _ASK_CHUNKS)):
            yield group


def _repeated(put: Callable[[], bool]) -> bool:
    """Return whether a value could be stored; buffers of readers may fill Redis' memory for a moment."""
    for wait_s in _WAITS_S:
        if put():
            return True
        time.sleep(wait_s)
    return put()
