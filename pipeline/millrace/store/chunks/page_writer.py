"""Write the manifest pages of one load attempt."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pyarrow as pa

from millrace.chunks import without_bounds
from millrace.store.catalogue.attempt import LoadAttempt, MetadataBucket
from millrace.store.catalogue.catalogue_writer import CatalogueWriter
from millrace.store.catalogue.manifest import ChunkRef, PageRef, journal_number
from millrace.store.catalogue.page import encode_page
from millrace.store.chunks.unsynced_writes import UnsyncedWrites

EncodedPage = tuple[bytes, bytes, dict[str, int]]
"""The stored bytes of a page, their checksum, and the sums over its chunks."""


class PageWriter:
    """Writer of the pages of one attempt, which name its chunks in order.

    Small journal pages (negative numbers) follow each bucket, so that a failed attempt can be resumed. Pages (0 and up)
    of up to ``page_bytes_max`` stored bytes are the ones that versions reference. Memory: the references of one page.
    """

    def __init__(
        self, catalogue_writer: CatalogueWriter, row: LoadAttempt, unsynced: UnsyncedWrites, *, page_bytes_max: int
    ) -> None:
        self._catalogue_writer = catalogue_writer
        self._row = row
        self._unsynced = unsynced
        self._page_bytes_max = page_bytes_max
        self._refs: list[ChunkRef] = []
        self._stats: list[pa.RecordBatch] = []
        self._journal_bytes = 0
        self._journal_pages = 0
        self.pages: list[PageRef] = []
        self.on_one_replica = 0
        """Pages that are proven on one replica only."""

    def add(self, refs: Sequence[ChunkRef], stats: Sequence[pa.RecordBatch]) -> None:
        """Add the chunks of a bucket, and write a page when enough chunks are added."""
        self._refs += refs
        self._stats += stats
        if self._journal_bytes >= self._page_bytes_max * 0.9:
            self.flush()

    def journal(self, refs: Sequence[ChunkRef], stats: Sequence[pa.RecordBatch]) -> None:
        """Write the journal pages of a bucket."""
        for data, checksum, sums in self._encode(refs, stats):
            self._put(journal_number(self._journal_pages), data, checksum, sums)
            self._journal_pages += 1
            self._journal_bytes += len(data)

    def flush(self) -> None:
        """Write the pages of the chunks added since the last page."""
        for data, checksum, sums in self._encode(self._refs, self._stats):
            number = len(self.pages)
            self._put(number, data, checksum, sums)
            counts = (sums["chunks"], sums["rows"], sums["raw_bytes"], sums["stored_bytes"])
            self.pages.append(PageRef(self._row.attempt_id, number, *counts, checksum))
        self._refs.clear()
        self._stats.clear()
        self._journal_bytes = 0

    def _put(self, number: int, data: bytes, checksum: bytes, sums: dict[str, int]) -> None:
        row = self._row
        replicas = self._catalogue_writer.page(
            row.dataset, row.attempt_id, number, data, checksum, sums, owner=row.attempt_id
        )
        self.on_one_replica += replicas < 2
        self._unsynced.add(MetadataBucket.PAGES)

    def _encode(self, refs: Sequence[ChunkRef], stats: Sequence[pa.RecordBatch]) -> Iterator[EncodedPage]:
        """Yield pages of at most ``page_bytes_max``. A page's statistics have one schema."""
        start = 0
        for end in range(1, len(refs) + 1):
            if end == len(refs) or stats[end].schema != stats[start].schema:
                yield from self._encode_equal(refs[start:end], stats[start:end])
                start = end

    def _encode_equal(self, refs: Sequence[ChunkRef], stats: Sequence[pa.RecordBatch]) -> Iterator[EncodedPage]:
        """Yield pages of chunks whose statistics have one schema."""
        data, checksum = encode_page(refs, stats)
        if len(data) > self._page_bytes_max and len(refs) > 1:
            middle = len(refs) // 2
            yield from self._encode_equal(refs[:middle], stats[:middle])
            yield from self._encode_equal(refs[middle:], stats[middle:])
            return
        if len(data) > self._page_bytes_max:
            # One chunk of thousands of columns. Bounds only save work, and readers expect that long text has none.
            data, checksum = encode_page(refs, [without_bounds(row) for row in stats])
        sums = {
            "chunks": len(refs),
            "rows": sum(ref.rows for ref in refs),
            "raw_bytes": sum(ref.raw_bytes for ref in refs),
            "stored_bytes": sum(ref.stored_bytes for ref in refs),
        }
        yield data, checksum, sums
