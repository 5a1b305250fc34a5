"""Fetch, verify and decode chunks from three tiers: the process, Redis and Cassandra."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Executor
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any
from uuid import UUID

import pyarrow as pa

from millrace.cache import Form
from millrace.chunks import Allocate
from millrace.dataset.chunk_decoder import ChunkDecoder
from millrace.dataset.chunk_loans import ChunkLoans, loans_through
from millrace.dataset.decoded_chunks import DecodedChunks
from millrace.dataset.decoded_sizes import DecodedSizes
from millrace.dataset.reused_memory import ReusedMemory, aligned_bytes
from millrace.dataset.scan_stats import ScanStats, Tier
from millrace.errors import ChecksumMismatchError, ChunkFormatError
from millrace.store import ChunkReader, ChunkRef

if TYPE_CHECKING:
    from millrace.cache import ChunkCache

Key = tuple[UUID, int, int]
Helper = Callable[[], Executor | None]
"""A function that returns the thread that decodes half of a chunk's tiles, or None if there is none now."""


def _no_helper() -> None:
    return None


class ChunkSource:
    """The chunks of one version as record batches of the decoder's columns.

    ``cache`` is asked for the ``forms`` in their order. A cached value that is missing or does not match the manifest
    is counted, and the chunk is read from the next tier. Chunks from Cassandra that a warming of ``refilled_version``
    had cached are put into Redis again. At most ``decoded_bytes_max`` bytes of decoded chunks stay in the process. Safe
    to use from several threads.
    """

    def __init__(
        self,
        reader: ChunkReader,
        cache: ChunkCache | None,
        decoder: ChunkDecoder,
        *,
        forms: Sequence[Form] = (Form.STORED,),
        refilled_version: str | None = None,
        decoded_bytes_max: int = 0,
    ) -> None:
        self._reader = reader
        self._cache = cache
        self._forms = tuple(forms)
        self._refilled_version = refilled_version
        self._decoded = DecodedChunks(decoded_bytes_max)
        self._loans = ChunkLoans(loans_through(reader))
        self.decoder = decoder
        self.schema = decoder.schema
        self.places = decoder.places
        self.stats = ScanStats()

    @property
    def decoded_bytes(self) -> int:
        """Return the bytes of the decoded chunks that stay in the process."""
        return self._decoded.bytes

    def batches(self, group: Sequence[ChunkRef], helper: Helper = _no_helper) -> list[pa.RecordBatch]:
        """Return the batch of each chunk of a group, from Redis or else by one request to the store.

        The chunks are of one bucket. The batches are in memory of their own.
        """
        # The chunks of a bucket have equally many tiles.
        if not self.decoder.tiles_of(group[0]):
            return [self.decoder.decode(ref, (), None) for ref in group]
        batches = [self._from_redis(ref, None, helper) for ref in group]
        missing = [ref for ref, batch in zip(group, batches, strict=True) if batch is None]
        fetched = iter(self._from_cassandra(missing, None, helper))
        return [next(fetched) if batch is None else batch for batch in batches]

    @contextmanager
    def borrow(self, ref: ChunkRef) -> Iterator[pa.RecordBatch]:
        """Yield the batch of a chunk, in memory that is reused after the block.

        Concurrent users of a chunk share one fetch, also those of other sources of the same columns in this process.
        """
        key = (ref.attempt_id, ref.bucket, ref.chunk)
        batch = self._decoded.get(key)
        if batch is not None:
            self.stats.add(Tier.PROCESS)
            yield batch
            return
        load = partial(self._load, key, ref)
        shared = partial(self.stats.add, Tier.PROCESS)
        with self._loans.lend((self.decoder.key, *key), load, on_shared=shared) as loan:
            yield loan

    def bytes_in_flight(self, ref: ChunkRef) -> int:
        """Return the bytes that ``borrow`` takes for a chunk at most: stored, raw, and cast to the version's types."""
        return self._memory_bytes(ref) + self.decoder.stored_bytes(ref) + self.decoder.cast_bytes(ref)

    def decoded_sizes(self, types: Mapping[str, pa.DataType]) -> DecodedSizes:
        """Return the sizes of the columns of ``types`` at most, decoded to these types."""
        return self.decoder.decoded_sizes(types)

    def _memory_bytes(self, ref: ChunkRef) -> int:
        """Return the size of the reused memory for a chunk: each raw tile, and the stored tiles that Redis may have."""
        tiles = [ref.tiles[tile] for tile in self.decoder.tiles_of(ref)]
        raw_bytes = sum(aligned_bytes(tile.raw_bytes) for tile in tiles)
        return raw_bytes + (sum(aligned_bytes(tile.stored_bytes) for tile in tiles) if self._cache else 0)

    def _load(self, key: Key, ref: ChunkRef, memory: ReusedMemory) -> pa.RecordBatch:
        if not self.decoder.tiles_of(ref):
            return self.decoder.decode(ref, (), None)
        batch = self._from_redis(ref, memory, _no_helper)
        if batch is None:
            [batch] = self._from_cassandra([ref], memory, _no_helper)
        self._decoded.keep(key, batch)
        return batch

    def _allocate(self, ref: ChunkRef, memory: ReusedMemory | None) -> Allocate:
        """Return the function that allocates for the next attempt to read a chunk; it reuses the memory of the last."""
        if memory is None:
            return pa.allocate_buffer  # type: ignore[no-any-return]
        memory.begin(self._memory_bytes(ref))
        return memory.allocate

    def _from_redis(self, ref: ChunkRef, memory: ReusedMemory | None, helper: Helper) -> pa.RecordBatch | None:
        if self._cache is None:
            return None
        batches = (self._cached(self._cache, form, ref, memory, helper) for form in self._forms)
        return next((batch for batch in batches if batch is not None), None)

    def _cached(
        self, cache: ChunkCache, form: Form, ref: ChunkRef, memory: ReusedMemory | None, helper: Helper
    ) -> pa.RecordBatch | None:
        allocate = self._allocate(ref, memory)
        is_raw = form is Form.RAW
        options: dict[str, Any] = {"allocate": allocate, "on_other_size": self.stats.reject}
        if is_raw:
            data = cache.get_raw(ref, [tile.raw_bytes for tile in ref.tiles], self.decoder.tiles_of(ref), **options)
        else:
            tiles = None if self.decoder.tiles is None else self.decoder.tiles_of(ref)
            data = cache.get(ref, [tile.stored_bytes for tile in ref.tiles], tiles, **options)
        if data is None:
            return None
        try:
            batch = self.decoder.decode(ref, data, helper(), is_raw=is_raw, allocate=allocate)
        except (ChecksumMismatchError, ChunkFormatError):
            self.stats.reject()  # the cache is not authoritative: the chunk is read from the next tier
            return None
        self.stats.add(Tier.REDIS, stored_bytes=self.decoder.stored_bytes(ref))
        return batch

    def _from_cassandra(
        self, refs: Sequence[ChunkRef], memory: ReusedMemory | None, helper: Helper
    ) -> Iterator[pa.RecordBatch]:
        if self.decoder.tiles is None:
            chunks = [self._reader.fetch(ref) for ref in refs]
        else:
            chunks = self._reader.fetch_many(refs, self.decoder.tiles_of(refs[0])) if refs else []
        for ref, stored in zip(refs, chunks, strict=True):
            batch = self.decoder.decode(ref, stored, helper(), allocate=self._allocate(ref, memory))
            self.stats.add(Tier.CASSANDRA, stored_bytes=self.decoder.stored_bytes(ref))
            if self._refilled_version is not None and self._cache is not None:
                self._refill(self._cache, self._refilled_version, ref, stored)
            yield batch

    def _refill(self, cache: ChunkCache, version: str, ref: ChunkRef, stored: Sequence[Any]) -> None:
        tiles = self.decoder.tiles_of(ref)
        if Form.RAW in self._forms and cache.is_admitted(version, ref, Form.RAW, tiles):
            where = {"dataset": ref.dataset, "chunk": str(ref)}
            pairs = zip(tiles, stored, strict=True)
            cache.put_raw(ref, {tile: ref.tiles[tile].inflate(data, {**where, "tile": tile}) for tile, data in pairs})
        if Form.STORED in self._forms and self.decoder.tiles is None and cache.is_admitted(version, ref, Form.STORED):
            cache.put(ref, stored)
