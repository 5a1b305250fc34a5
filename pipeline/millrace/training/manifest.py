"""The chunks of a split, from the pages of the version's manifest."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from millrace.store import ChunkRef, Page


class Pages(Protocol):
    """The part of ``Dataset`` that this module uses."""

    @property
    def schema(self) -> pa.Schema:
        """The schema of the version."""

    def known_pages(self) -> Iterator[Page]:
        """Yield the manifest pages in order."""


class SplitManifest:
    """The chunks ``chunks`` of a version. An index counts from the first of them."""

    def __init__(self, dataset: Pages, chunks: range) -> None:
        self._dataset = dataset
        self._chunks = chunks

    def chunk_rows(self) -> NDArray[np.int64]:
        """Return the rows of each chunk."""
        rows = [np.asarray(page.row_counts(), np.int64)[part.start : part.stop] for page, part, _ in self._parts()]
        return np.concatenate([np.empty(0, np.int64), *rows])

    def null_counts(self, columns: Sequence[str]) -> Mapping[str, int | None]:
        """Return the nulls of each column in these chunks; None where the manifest does not have the number."""
        schema = self._dataset.schema
        counts: dict[str, int | None] = {name: 0 for name in columns if name in schema.names}
        for page, part, _ in self._parts():
            stats = page.stats_batch()
            for name in counts:
                counts[name] = _sum(counts[name], _nulls(page, stats, schema.get_field_index(name)), part)
        return counts

    def refs(self, indices: Collection[int]) -> dict[int, ChunkRef]:
        """Return the chunks with these indices; the others take no memory."""
        wanted = set(indices)
        refs: dict[int, ChunkRef] = {}
        for page, part, first in self._parts():
            rows = [row for row in part if first + row - part.start in wanted]
            numbers = (first + row - part.start for row in rows)
            refs.update(zip(numbers, page.refs(rows) if rows else [], strict=True))
        return refs

    def each_ref(self) -> Iterator[ChunkRef]:
        """Yield the chunks in stored order, with those of one page in memory at a time."""
        for page, part, _ in self._parts():
            yield from page.refs(list(part))

    def _parts(self) -> Iterator[tuple[Page, range, int]]:
        """Yield each page, its rows that are chunks of the split, and the index of the first of them."""
        begin = 0
        for page in self._dataset.known_pages():
            end = begin + page.table.num_rows
            first, stop = max(begin, self._chunks.start), min(end, self._chunks.stop)
            if first < stop:
                yield page, range(first - begin, stop - begin), first - self._chunks.start
            begin = end


def _nulls(page: Page, stats: pa.RecordBatch, column: int) -> pa.Array:
    """Return the nulls of a column in each chunk of a page; chunks that are older than the column have nulls only."""
    if column >= stats.num_columns:
        return pa.array(page.row_counts(), pa.int64())
    return stats.column(column).field("nulls")


def _sum(total: int | None, nulls: pa.Array, part: range) -> int | None:
    counts = nulls.slice(part.start, len(part))
    if total is None or counts.null_count:
        return None
    return total + int(pc.sum(counts).as_py() or 0)
