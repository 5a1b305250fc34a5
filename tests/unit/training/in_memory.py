"""A dataset in memory for tests of the loader: chunks, manifest pages, and a source that counts, waits and fails."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any
from uuid import UUID

import numpy as np
import pyarrow as pa

from millrace.chunks import TileLayout, compute_stats
from millrace.dataset import ScanStats, Tier
from millrace.store import ChunkRef, Page
from millrace.store.catalogue.manifest import PageRef
from millrace.store.catalogue.page import decode_page, encode_page
from millrace.training.loader import TrainingLoader
from millrace.training.options import LoaderOptions

ATTEMPT = UUID(int=7)


class MemorySource:
    """The chunks of a version; ``failing`` and ``delays_s`` have the indices of chunks."""

    def __init__(self, batches: Sequence[pa.RecordBatch], columns: Sequence[str] | None) -> None:
        names = list(batches[0].schema.names if columns is None else columns)
        self._batches = [batch.select(names) for batch in batches]
        self.schema = self._batches[0].schema
        self.places: dict[str, Any] = {}
        self.stats = ScanStats()
        self.borrowed: Counter[int] = Counter()
        self.failing: dict[int, Exception] = {}
        self.delays_s: dict[int, float] = {}
        self.gate: threading.Event | None = None

    @contextmanager
    def borrow(self, ref: ChunkRef) -> Iterator[pa.RecordBatch]:
        self.borrowed[ref.chunk] += 1
        if self.gate is not None:
            self.gate.wait(30)
        time.sleep(self.delays_s.get(ref.chunk, 0))
        if ref.chunk in self.failing:
            raise self.failing[ref.chunk]
        self.stats.add(Tier.CASSANDRA)
        yield self._batches[ref.chunk]

    def bytes_in_flight(self, ref: ChunkRef) -> int:
        return 2 * int(self._batches[ref.chunk].nbytes)

    def decoded_sizes(self, types: Mapping[str, pa.DataType]) -> Any:
        def bytes_max(ref: ChunkRef, rows: int) -> int:
            return sum(int(self._batches[ref.chunk].column(name).nbytes) for name in types) * rows // ref.rows

        return SimpleNamespace(bytes_max=bytes_max)


class MemoryDataset:
    """A version whose chunks are the given batches."""

    def __init__(
        self, batches: Sequence[pa.RecordBatch], *, reference: str = "flights@12-3fa9c1", chunks_a_page: int = 5
    ) -> None:
        self.batches = list(batches)
        self.schema = self.batches[0].schema
        name, _, label = reference.partition("@")
        self.version = SimpleNamespace(
            reference=reference,
            dataset=name,
            label=label,
            chunks=len(self.batches),
            raw_bytes=sum(batch.nbytes for batch in self.batches),
            layout=TileLayout.for_schema(self.schema),
        )
        self._chunks_a_page = chunks_a_page
        self._pages: list[Page] = []
        self.sources: list[MemorySource] = []
        self.prepare: Callable[[MemorySource], object] = lambda source: None
        """Called with each new source, to make its chunks slow or unreadable."""
        self.jobs: list[str] = []
        self.leases = 0
        self.leases_taken = 0

    @property
    def source(self) -> MemorySource:
        return self.sources[-1]

    def known_pages(self) -> Iterator[Page]:
        self._pages = self._pages or list(self._made_pages())
        return iter(self._pages)

    def _made_pages(self) -> Iterator[Page]:
        for first in range(0, len(self.batches), self._chunks_a_page):
            chunks = range(first, min(first + self._chunks_a_page, len(self.batches)))
            refs = [ChunkRef("flights", ATTEMPT, 0, chunk, self.batches[chunk].num_rows, ()) for chunk in chunks]
            stored, checksum = encode_page(refs, [compute_stats(self.batches[chunk]) for chunk in chunks])
            yield decode_page("flights", PageRef(ATTEMPT, 0, len(refs), 0, 0, 0, checksum), stored)

    def chunk_source(self, columns: Sequence[str] | None = None, **_options: Any) -> MemorySource:
        self.sources.append(MemorySource(self.batches, columns))
        self.prepare(self.source)
        return self.source

    @contextmanager
    def used_by(self, job: str | None) -> Iterator[Any]:
        if job is not None:
            self.jobs.append(job)
        self.leases += 1
        try:
            yield SimpleNamespace(wait_taken=lambda: setattr(self, "leases_taken", self.leases_taken + 1))
        finally:
            self.leases -= 1

    @contextmanager
    def opened(self) -> Iterator[MemoryDataset]:
        yield self

    def loader(self, global_batch_rows: int = 32, **options: Any) -> TrainingLoader:
        return TrainingLoader(self.opened, LoaderOptions(global_batch_rows=global_batch_rows, **options))


def numbered(chunk_rows: Sequence[int], *, width: int = 3, reference: str = "flights@12-3fa9c1") -> MemoryDataset:
    """Return a dataset whose column ``row`` counts the rows, with a column ``x`` of lists made of it."""
    batches, first = [], 0
    for rows in chunk_rows:
        numbers = np.arange(first, first + rows, dtype=np.int32)
        x = np.repeat(numbers[:, None], width, axis=1).astype(np.float32) + np.arange(width, dtype=np.float32) / 8
        lists = pa.FixedSizeListArray.from_arrays(pa.array(x.reshape(-1)), width)
        batches.append(pa.record_batch([pa.array(numbers), lists], ["row", "x"]))
        first += rows
    return MemoryDataset(batches, reference=reference)


def rows_of(batch: Any) -> list[int]:
    """Return the numbers of the rows of a batch, after checking that its columns agree."""
    rows, x = np.asarray(batch["row"]), np.asarray(batch["x"])
    assert (x[:, 0] == rows).all()
    assert (x - x[:, :1] == np.arange(x.shape[1], dtype=np.float32) / 8).all()
    return [int(row) for row in rows]


def epoch_rows(loader: TrainingLoader) -> list[list[int]]:
    """Return the rows of each batch of one epoch."""
    return [rows_of(batch) for batch in loader]
