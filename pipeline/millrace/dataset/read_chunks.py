"""The chunks that a read of a version needs: those of its rows, of a split, or that may hold a row that passes."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from millrace.dataset.filters.prune import ChunkFilter
from millrace.store import Catalogue, ChunkRef, Page, PageRef, Version


@dataclass(frozen=True, slots=True)
class ReadChunks:
    """The chunks ``chunks`` of a version (None: all), from pages that this process may have cached."""

    catalogue: Catalogue
    version: Version
    chunks: range | None = None

    def count_rows(self) -> int:
        """Return the rows of the chunks; no chunk is read."""
        return sum(sum(page.row_counts()[part.start : part.stop]) for page, part in self._parts(self._pages()))

    def known_refs(self, num_rows: int | None = None) -> Iterator[ChunkRef]:
        """Yield the chunks of the first ``num_rows`` rows (None: all)."""
        left = math.inf if num_rows is None else num_rows
        if left <= 0:
            return
        for page, part in self._parts(self._pages()):
            for ref in page.refs(None if len(part) == page.table.num_rows else list(part)):
                yield ref
                left -= ref.rows
                if left <= 0:
                    return

    def kept(self, filter: ChunkFilter) -> Iterator[ChunkRef]:
        """Yield the chunks that may hold a row that passes; pages that cannot hold one are not read."""
        for page, part in self._parts(self._kept_pages(filter)):
            rows = filter.kept(page.stats_batch(), page.row_counts())
            yield from page.refs([row for row in rows if row in part])

    def _parts(self, pages: Iterator[tuple[int, PageRef]]) -> Iterator[tuple[Page, range]]:
        """Yield the pages with any of the chunks, and the rows of these chunks in them."""
        for first, ref in pages:
            chunks = range(first, first + ref.chunks) if self.chunks is None else self.chunks
            part = range(max(0, chunks.start - first), min(ref.chunks, chunks.stop - first))
            if self.chunks is None or part:
                yield self.catalogue.pages.cached_page(self.version.dataset, ref), part

    def _pages(self) -> Iterator[tuple[int, PageRef]]:
        """Yield each page after the index of its first chunk."""
        first = 0
        for ref in self.catalogue.pages.each_ref(self.version):
            yield first, ref
            first += ref.chunks

    def _kept_pages(self, filter: ChunkFilter) -> Iterator[tuple[int, PageRef]]:
        first = 0
        lists, pages = self.catalogue.pages.lists(self.version)
        for ref in pages:
            yield first, ref
            first += ref.chunks
        for list_ref in lists:
            page_list = self.catalogue.pages.page_list(self.version.dataset, list_ref)
            kept = set(filter.kept(page_list.stats, [ref.rows for ref in page_list.refs]))
            for row, ref in enumerate(page_list.refs):
                if row in kept:
                    yield first, ref
                first += ref.chunks
