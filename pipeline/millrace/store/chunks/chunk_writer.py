"""Write the chunks of one load attempt into buckets, each chunk as one batch, and manifest pages after them."""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
from cassandra.query import BatchStatement, BatchType

from millrace.chunks import Chunk, without_bounds
from millrace.store.catalogue.attempt import LoadAttempt, MetadataBucket
from millrace.store.catalogue.catalogue_writer import CatalogueWriter
from millrace.store.catalogue.manifest import ChunkRef, PageRef, TileRef, journal_number
from millrace.store.catalogue.page import PAGE_BYTES_MAX, encode_page
from millrace.store.cluster.session import CassandraSession
from millrace.store.cluster.writer import Outcome, ReplicatedWriter, Write

__all__ = ["ChunkWriter", "WriterReport"]

_INSERT = "INSERT INTO {ks}.chunks (dataset, attempt_id, bucket, chunk, tile, data) VALUES (?, ?, ?, ?, ?, ?)"
_PAGE_FILL_BYTES = int(PAGE_BYTES_MAX * 0.9)
_SEEN_EVERY_S = 60.0
_NOTE_AGAIN_S = 600.0


@dataclass(frozen=True, slots=True)
class WriterReport:
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
    open: deque[tuple[ChunkRef, Future[Outcome]]] = field(default_factory=deque)
    stored_bytes: int = 0
    one_replica: int = 0
    closed: bool = False


class ChunkWriter:
    """Attempt of the chunks of one load attempt. A chunk is one single-partition UNLOGGED batch, all or nothing.

    The order of writes is: the row in ``attempts``, the chunks of a bucket, the record that some of them have one
    replica, the bucket's page. A page therefore never names a chunk that was not written or whose missing replica is
    not on record.

    Small journal pages (negative numbers) follow each bucket, so that a failed attempt can be resumed. Pages (0 and up)
    of up to 1 MB are the ones that versions reference. Memory: the stored bytes in the window, and the references of
    one page.
    """

    def __init__(
        self,
        cassandra: CassandraSession,
        writes: ReplicatedWriter,
        row: LoadAttempt,
        *,
        bucket_bytes: int,
    ) -> None:
        self._insert = cassandra.prepare(_INSERT)
        self._writes = writes
        self._catalogue_writer = CatalogueWriter(cassandra, writes)
        self._catalogue_writer.prepare_statements()
        self._row = row
        self._bucket_bytes = bucket_bytes
        self._buckets: deque[_Bucket] = deque()
        self._held: list[_Bucket] = []
        self._held_bytes = 0
        self._pages: list[PageRef] = []
        self._journal_pages = 0
        self._next_bucket = 0
        self._next_chunk = 0
        self.under_replicated = 0
        self.retries = 0
        self.acknowledged_rows = 0
        self.acknowledged_chunks = 0
        self.acknowledged_bytes = 0
        self._unsynced_s = cassandra.settings.commitlog_sync_window_s
        self._recent: deque[tuple[float, int]] = deque()
        self._losses_seen = 0
        # Rows and pages that are not proven to be on two nodes. They are under-replicated like chunks, but no counter
        # of chunks includes them.
        self._under_replicated_rows = int(self._catalogue_writer.begin_attempt(row) < 2)
        self._recent.append((time.monotonic(), MetadataBucket.CATALOGUE))
        self._seen = time.monotonic()

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
        bucket.open.append((ref, self._writes.submit(self._batch(ref, chunk))))
        self.settle()
        return ref

    def settle(self) -> None:
        """Count the chunks acknowledged so far, without waiting for others, and raise the first failure.

        Closed buckets that are fully acknowledged get their pages here.
        """
        for bucket in self._buckets:
            while bucket.open and bucket.open[0][1].done():
                self._count(bucket)
        self._look_back()
        while self._buckets and self._buckets[0].closed and not self._buckets[0].open:
            self._bucket_done(self._buckets.popleft(), last=False)
        if time.monotonic() - self._seen > _SEEN_EVERY_S:
            self._say_alive()

    def look_back(self) -> int:
        """Record the writes that became doubtful since ``finish`` because a node was lost, and return their number."""
        before = self.under_replicated + self._under_replicated_rows
        self._look_back()
        return self.under_replicated + self._under_replicated_rows - before

    def _look_back(self) -> None:
        """Record as under-replicated the writes that a node acknowledged just before it was lost.

        Those writes were proven once, but the lost node may not have synced them to its commit log.
        """
        losses = self._writes.losses[self._losses_seen :]
        self._losses_seen += len(losses)
        if losses:
            suspect = Counter(bucket for at, bucket in self._recent if self._is_near(at, losses))
            open_buckets = {bucket.number: bucket for bucket in self._buckets}
            for number, count in suspect.items():
                chunks = count if number >= 0 else 0
                self.under_replicated += chunks
                self._under_replicated_rows += number < 0
                if number in open_buckets:
                    open_buckets[number].one_replica += chunks  # its record is written later
                else:
                    self._catalogue_writer.record_under_replicated(
                        self._row.dataset, self._row.attempt_id, number, chunks
                    )
        horizon = time.monotonic() - 2 * self._unsynced_s
        while self._recent and self._recent[0][0] < horizon:
            self._recent.popleft()

    def _say_alive(self) -> None:
        self._seen = time.monotonic()
        self._catalogue_writer.heartbeat(self._row, buckets=self._next_bucket, finished=False)

    def finish(self) -> WriterReport:
        """Wait for every acknowledgement, write the last pages, and return the report."""
        while self._buckets:
            bucket = self._buckets.popleft()
            while bucket.open:
                self._count(bucket)
            self._buckets.appendleft(bucket)
            self._look_back()
            self._buckets.popleft()
            self._bucket_done(bucket, last=not self._buckets)
        self._flush_page()
        self._catalogue_writer.heartbeat(self._row, buckets=self._next_bucket, finished=True)
        self._look_back()
        return WriterReport(tuple(self._pages), self.under_replicated + self._under_replicated_rows, self.retries)

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
            self._say_alive()
        return bucket

    def _batch(self, ref: ChunkRef, chunk: Chunk) -> Write:
        # Bound once: the tiles' bytes are shared by every attempt's statement.
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
        ref, future = bucket.open.popleft()
        outcome = future.result()
        self.acknowledged_rows += ref.rows
        self.acknowledged_chunks += 1
        self.acknowledged_bytes += ref.stored_bytes
        self.retries += outcome.retries
        # An acknowledgement can be counted after the loss that concerns it was handled, because an earlier bucket was
        # waited for.
        if outcome.replicas < 2 or self._is_doubtful(outcome.at):
            self.under_replicated += 1
            bucket.one_replica += 1
        else:
            self._recent.append((outcome.at, bucket.number))

    def _is_doubtful(self, at: float) -> bool:
        """Return whether a loss that ``_look_back`` has already handled is close to this acknowledgement."""
        return self._is_near(at, self._writes.losses[: self._losses_seen])

    def _is_near(self, at: float, losses: Sequence[float]) -> bool:
        return any(abs(at - lost) <= self._unsynced_s for lost in losses)

    def _bucket_done(self, bucket: _Bucket, *, last: bool) -> None:
        noted = time.monotonic()
        if bucket.one_replica:
            self._catalogue_writer.record_under_replicated(
                self._row.dataset, self._row.attempt_id, bucket.number, bucket.one_replica
            )
        if not last:
            for data, checksum, sums in self._encode([bucket]):
                self._put_page(journal_number(self._journal_pages), data, checksum, sums)
                self._journal_pages += 1
                self._held_bytes += len(data)
        if bucket.one_replica and time.monotonic() - noted > _NOTE_AGAIN_S:
            # After a pause this long ``repair`` may have considered this attempt dead. It may have removed the record
            # because the bucket had no page.
            self._catalogue_writer.record_under_replicated(
                self._row.dataset, self._row.attempt_id, bucket.number, bucket.one_replica
            )
        self._held.append(bucket)
        if self._held_bytes >= _PAGE_FILL_BYTES:
            self._flush_page()

    def _flush_page(self) -> None:
        for data, checksum, sums in self._encode(self._held):
            number = len(self._pages)
            self._put_page(number, data, checksum, sums)
            counts = (sums["chunks"], sums["rows"], sums["raw_bytes"], sums["stored_bytes"])
            self._pages.append(PageRef(self._row.attempt_id, number, *counts, checksum))
        self._held.clear()
        self._held_bytes = 0

    def _put_page(self, number: int, data: bytes, checksum: bytes, sums: dict[str, int]) -> None:
        row = self._row
        replicas = self._catalogue_writer.page(
            row.dataset, row.attempt_id, number, data, checksum, sums, owner=row.attempt_id
        )
        self._under_replicated_rows += replicas < 2
        self._recent.append((time.monotonic(), MetadataBucket.PAGES))

    def _encode(self, buckets: list[_Bucket]) -> Iterator[tuple[bytes, bytes, dict[str, int]]]:
        """Yield pages of at most 1 MB. A widened column starts a new page, as a page's statistics have one schema."""
        refs = [ref for bucket in buckets for ref in bucket.refs]
        stats = [row for bucket in buckets for row in bucket.stats]
        start = 0
        for end in range(1, len(refs) + 1):
            if end == len(refs) or stats[end].schema != stats[start].schema:
                yield from _pages_of(refs[start:end], stats[start:end])
                start = end


def _pages_of(refs: list[ChunkRef], stats: list[pa.RecordBatch]) -> Iterator[tuple[bytes, bytes, dict[str, int]]]:
    data, checksum = encode_page(refs, stats)
    if len(data) > PAGE_BYTES_MAX and len(refs) > 1:
        middle = len(refs) // 2
        yield from _pages_of(refs[:middle], stats[:middle])
        yield from _pages_of(refs[middle:], stats[middle:])
        return
    if len(data) > PAGE_BYTES_MAX:
        # One chunk of thousands of columns. Bounds only save work, and readers expect that long text has none.
        data, checksum = encode_page(refs, [without_bounds(row) for row in stats])
    sums = {
        "chunks": len(refs),
        "rows": sum(ref.rows for ref in refs),
        "raw_bytes": sum(ref.raw_bytes for ref in refs),
        "stored_bytes": sum(ref.stored_bytes for ref in refs),
    }
    yield data, checksum, sums
