"""Write the chunks of one load attempt into buckets, each chunk as one batch, and manifest pages after them."""

from __future__ import annotations

import time
from collections import deque
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
from cassandra.query import BatchStatement, BatchType

from millrace.chunks import Chunk
from millrace.store.catalogue.attempt import LoadAttempt, MetadataBucket
from millrace.store.catalogue.catalogue_writer import CatalogueWriter
from millrace.store.catalogue.manifest import ChunkRef, PageRef, TileRef
from millrace.store.catalogue.page import PAGE_BYTES_MAX
from millrace.store.chunks.page_writer import PageWriter
from millrace.store.chunks.unsynced_writes import UnsyncedWrites
from millrace.store.cluster.flights import Outcome, Write
from millrace.store.cluster.session import CassandraSession
from millrace.store.cluster.writer import ReplicatedWriter

_INSERT = "INSERT INTO {ks}.chunks (dataset, attempt_id, bucket, chunk, tile, data) VALUES (?, ?, ?, ?, ?, ?)"
_HEARTBEAT_S = 60.0
_RECORD_AGAIN_S = 600.0
"""After a pause this long ``repair`` may have taken the attempt for dead. It may then have removed the record of a
bucket that had no page."""


@dataclass(frozen=True, slots=True)
class AttemptReport:
    """The acknowledged data of one load attempt; ``pages`` name every chunk, in order.

    ``under_replicated`` counts chunks and catalogue rows that are proven on one replica only.
    """

    pages: tuple[PageRef, ...]
    under_replicated: int
    retries: int

    @property
    def rows(self) -> int:
        """Rows in all pages."""
        return sum(page.rows for page in self.pages)

    @property
    def chunks(self) -> int:
        """Chunks in all pages."""
        return sum(page.chunks for page in self.pages)


@dataclass(slots=True)
class _Bucket:
    number: int
    refs: list[ChunkRef] = field(default_factory=list)
    stats: list[pa.RecordBatch] = field(default_factory=list)
    pending: deque[tuple[ChunkRef, Future[Outcome]]] = field(default_factory=deque)
    stored_bytes: int = 0
    on_one_replica: int = 0
    closed: bool = False


class ChunkWriter:
    """Writer of the chunks of one load attempt. A chunk is one single-partition UNLOGGED batch, all or nothing.

    The order of writes is: the row in ``attempts``, the chunks of a bucket, the record that some of them have one
    replica, the bucket's page. A page therefore never names a chunk that was not written or whose missing replica is
    not on record. Memory: the stored bytes in the window, and the references of one page.
    """

    def __init__(
        self,
        cassandra: CassandraSession,
        writes: ReplicatedWriter,
        row: LoadAttempt,
        *,
        bucket_bytes: int,
        page_bytes_max: int = PAGE_BYTES_MAX,
    ) -> None:
        self._insert = cassandra.prepare(_INSERT)
        self._writes = writes
        self._catalogue_writer = CatalogueWriter(cassandra, writes)
        self._catalogue_writer.prepare_statements()
        self._row = row
        self._bucket_bytes = bucket_bytes
        self._buckets: deque[_Bucket] = deque()
        self._next_bucket = 0
        self._next_chunk = 0
        self.under_replicated = 0
        self.retries = 0
        self.acknowledged_rows = 0
        self.acknowledged_chunks = 0
        self._unsynced = UnsyncedWrites(
            writes.replica_loss_times, sync_window_s=cassandra.settings.commitlog_sync_window_s
        )
        self._pages = PageWriter(self._catalogue_writer, row, self._unsynced, page_bytes_max=page_bytes_max)
        # Rows that are not proven to be on two nodes. They are under-replicated like chunks, but no counter of chunks
        # includes them.
        self._under_replicated_rows = int(self._catalogue_writer.begin_attempt(row) < 2)
        self._unsynced.add(MetadataBucket.CATALOGUE)
        self._last_heartbeat = time.monotonic()

    def write(self, chunk: Chunk) -> ChunkRef:
        """Assign the chunk to a bucket and send it; wait while the window is full.

        Raises the error of an earlier chunk.
        """
        bucket = self._bucket_for(chunk.stored_bytes)
        tiles = tuple(
            TileRef(t.codec, t.raw_bytes, t.stored_bytes, t.stored_checksum, t.raw_checksum) for t in chunk.tiles
        )
        ref = ChunkRef(self._row.dataset, self._row.attempt_id, bucket.number, self._next_chunk, chunk.rows, tiles)
        self._next_chunk += 1
        bucket.refs.append(ref)
        bucket.stats.append(chunk.stats)
        bucket.stored_bytes += chunk.stored_bytes
        bucket.pending.append((ref, self._writes.submit(self._batch(ref, chunk))))
        self.count_acknowledged()
        return ref

    def count_acknowledged(self) -> None:
        """Count the chunks acknowledged so far, without waiting for others, and raise the first failure.

        Closed buckets that are fully acknowledged get their pages here.
        """
        for bucket in self._buckets:
            while bucket.pending and bucket.pending[0][1].done():
                self._count(bucket)
        self.record_lost_writes()
        while self._buckets and self._buckets[0].closed and not self._buckets[0].pending:
            self._complete(self._buckets.popleft(), last=False)
        if time.monotonic() - self._last_heartbeat > _HEARTBEAT_S:
            self._send_heartbeat()

    def finish(self) -> AttemptReport:
        """Wait for every acknowledgement, write the last pages, and return the report."""
        while self._buckets:
            bucket = self._buckets[0]
            while bucket.pending:
                self._count(bucket)
            self.record_lost_writes()
            self._buckets.popleft()
            self._complete(bucket, last=not self._buckets)
        self._pages.flush()
        self._send_heartbeat(finished=True)
        self.record_lost_writes()
        return AttemptReport(tuple(self._pages.pages), self._proven_on_one, self.retries)

    @property
    def _proven_on_one(self) -> int:
        return self.under_replicated + self._under_replicated_rows + self._pages.on_one_replica

    def record_lost_writes(self) -> int:
        """Record as under-replicated the writes that a node acknowledged just before it was lost; return their number.

        Those writes were proven once, but the lost node may not have synced them to its commit log.
        """
        before = self._proven_on_one
        open_buckets = {bucket.number: bucket for bucket in self._buckets}
        for number, count in self._unsynced.take_lost().items():
            chunks = count if number >= 0 else 0
            self.under_replicated += chunks
            self._under_replicated_rows += number < 0
            if number in open_buckets:
                open_buckets[number].on_one_replica += chunks  # its record is written later
            else:
                self._record(number, chunks)
        return self._proven_on_one - before

    def _record(self, bucket: int, chunks: int) -> None:
        self._catalogue_writer.record_under_replicated(self._row.dataset, self._row.attempt_id, bucket, chunks)

    def _send_heartbeat(self, *, finished: bool = False) -> None:
        self._last_heartbeat = time.monotonic()
        self._catalogue_writer.heartbeat(self._row, buckets=self._next_bucket, finished=finished)

    def _bucket_for(self, stored_bytes: int) -> _Bucket:
        current = self._buckets[-1] if self._buckets and not self._buckets[-1].closed else None
        if current is not None and current.stored_bytes + stored_bytes <= self._bucket_bytes:
            return current
        if current is not None:
            current.closed = True
        bucket = _Bucket(self._next_bucket)
        self._next_bucket += 1
        self._buckets.append(bucket)
        if bucket.number:
            self._send_heartbeat()
        return bucket

    def _batch(self, ref: ChunkRef, chunk: Chunk) -> Write:
        # Bound once: the statements of all attempts to write share the bytes of the tiles.
        rows = [
            self._insert.bind((ref.dataset, ref.attempt_id, ref.bucket, ref.chunk, tile.index, bytes(tile.stored)))
            for tile in chunk.tiles
        ]

        def make(level: int) -> Any:
            batch = BatchStatement(BatchType.UNLOGGED, consistency_level=level)
            for row in rows:
                batch.add(row)
            batch.is_idempotent = True
            return batch

        return Write(make, chunk.stored_bytes, f"chunk {ref}")

    def _count(self, bucket: _Bucket) -> None:
        ref, future = bucket.pending.popleft()
        outcome = future.result()
        self.acknowledged_rows += ref.rows
        self.acknowledged_chunks += 1
        self.retries += outcome.retries
        # An acknowledgement can be counted after the loss that concerns it was handled, because an earlier bucket was
        # waited for.
        if outcome.replicas < 2 or self._unsynced.is_lost(outcome.acknowledged_at):
            self.under_replicated += 1
            bucket.on_one_replica += 1
        else:
            self._unsynced.add(bucket.number, outcome.acknowledged_at)

    def _complete(self, bucket: _Bucket, *, last: bool) -> None:
        """Write the record of the bucket if it is under-replicated, and then its pages."""
        start = time.monotonic()
        if bucket.on_one_replica:
            self._record(bucket.number, bucket.on_one_replica)
        if not last:
            self._pages.journal(bucket.refs, bucket.stats)
        if bucket.on_one_replica and time.monotonic() - start > _RECORD_AGAIN_S:
            self._record(bucket.number, bucket.on_one_replica)
        self._pages.add(bucket.refs, bucket.stats)
