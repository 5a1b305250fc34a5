"""A dataset of thousands of versions, and a version of hundreds of thousands of chunks, made of catalogue rows only.

The first version, which gives the others their shape, is loaded like any other. For the others only catalogue rows are
written. ``Ask`` is a contestant that runs one query on such a dataset, and counts its requests and bytes.
"""

from __future__ import annotations

import functools
import itertools
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any
from uuid import uuid4

import pyarrow as pa
import pyarrow.compute as pc

from millrace import connect
from millrace.api import Store
from millrace.chunks import cast_batch, merge_stats, stats_schema
from millrace.cli.commands.show import describe
from millrace.load import LoadOptions
from millrace.load.lists import Listing, page_totals, write_lists
from millrace.store.catalogue.catalogue_writer import CatalogueWriter
from millrace.store.catalogue.manifest import ChunkRef, PageRef
from millrace.store.catalogue.page import encode_page
from millrace.store.catalogue.version import Version
from millrace.store.cluster.session import CassandraSession
from millrace.store.cluster.writer import ReplicatedWriter

__all__ = ["COLUMN", "Ask", "make_chunks", "make_versions"]

COLUMN = "n"
"""The column whose values rise by a million with each chunk that is made."""
_APART = 1_000_000
_THREADS = 8
_PAGE_CHUNKS = 3000


def make_versions(store: Store, name: str, versions: int) -> None:
    """Make versions of ``name`` until it has ``versions``.

    The last version has as many pages as there are versions, each by an attempt of its own. The others list only the
    first page. ``name`` has one version already, of one page.
    """
    first = store.version(name)
    ref, stats = _shape(store, first)
    listing = Listing.of(store.catalogue, first)
    (shape,) = listing.pages
    whole = cast_batch(merge_stats(stats, [ref.rows]), stats_schema(store.catalogue.pages.schema(first)))
    data, checksum = encode_page([ref], [stats])
    with ReplicatedWriter(store.cassandra, window_bytes=5_000_000) as writes, ThreadPoolExecutor(_THREADS) as pool:
        catalogue_writer = CatalogueWriter(store.cassandra, writes)

        def page(number: int) -> tuple[PageRef, pa.RecordBatch]:
            own = replace(shape, attempt_id=uuid4(), checksum=checksum, added_by=_label(number))
            catalogue_writer.page(name, own.attempt_id, 0, data, checksum, sums_of(own))
            return own, _moved(whole, number)

        numbers = range(first.number + 1, versions + 1)
        known = dict(pool.map(page, numbers))
        list(pool.map(lambda number: _publish(store, catalogue_writer, first, number, listing), numbers[:-1]))
        every = replace(listing, pages=(*listing.pages, *known), known_stats=known)
        _publish(store, catalogue_writer, first, versions, every)


def make_chunks(store: Store, name: str, chunks: int) -> None:
    """Make a version of ``name`` with ``chunks`` chunks, of which its parent has the first."""
    first = store.version(name)
    ref, stats = _shape(store, first)
    listing = Listing.of(store.catalogue, first)
    attempt_id = uuid4()
    pages: list[PageRef] = []
    with ReplicatedWriter(store.cassandra, window_bytes=5_000_000) as writes:
        catalogue_writer = CatalogueWriter(store.cassandra, writes)
        for start in range(first.chunks, chunks, _PAGE_CHUNKS):
            numbers = range(start, min(chunks, start + _PAGE_CHUNKS))
            refs = [replace(ref, attempt_id=attempt_id, bucket=n // 13, chunk=n) for n in numbers]
            data, checksum = encode_page(refs, [_moved(stats, n) for n in numbers])
            count = len(refs)
            sizes = (count * ref.rows, count * ref.raw_bytes, count * ref.stored_bytes)
            page = PageRef(attempt_id, len(pages), count, *sizes, checksum, _label(first.number + 1))
            catalogue_writer.page(name, attempt_id, page.page, data, checksum, sums_of(page))
            pages.append(page)
        _publish(store, catalogue_writer, first, first.number + 1, listing.followed_by(pages))


def _shape(store: Store, version: Version) -> tuple[ChunkRef, pa.RecordBatch]:
    page = store.catalogue.pages.page(version.dataset, next(store.catalogue.pages.each_ref(version)))
    return page.refs([0])[0], page.stats_batch().slice(0, 1)


def _moved(stats: pa.RecordBatch, by: int) -> pa.RecordBatch:
    index = stats.schema.get_field_index(COLUMN)
    nulls, low, high = stats.column(index).flatten()
    bounds = [pc.add(bound.cast(pa.int64()), by * _APART) for bound in (low, high)]
    field = pa.field(COLUMN, pa.struct([("nulls", pa.int64()), ("min", pa.int64()), ("max", pa.int64())]))
    return stats.set_column(index, field, pa.StructArray.from_arrays([nulls, *bounds], fields=list(field.type)))


def sums_of(page: PageRef) -> dict[str, int]:
    """Return the columns of the page's row beside its data: its sums of chunks, rows and bytes."""
    return {name: getattr(page, name) for name in ("chunks", "rows", "raw_bytes", "stored_bytes")}


def _label(number: int) -> str:
    return f"{number}-{number:06x}"


def _publish(store: Store, catalogue_writer: CatalogueWriter, first: Version, number: int, listing: Listing) -> None:
    label = _label(number)
    version = replace(
        first,
        number=number,
        hex=f"{number:06x}",
        parent=first.label if number == first.number + 1 else _label(number - 1),
        mode="append",
        attempts=len({page.attempt_id for page in listing.pages}),
        run=f"made_{number}",
        **page_totals(listing.pages),
    )
    schema = store.catalogue.pages.schema(first)
    schema_blob, pages_blob, _ = write_lists(store.catalogue, catalogue_writer, first.dataset, label, schema, listing)
    catalogue_writer.publish(replace(version, schema_blob=schema_blob, pages_blob=pages_blob))


class Ask:
    """Queries, one per run, in turn: ``versions``, ``show``, ``count_rows``, ``head``, ``filter`` and ``append``."""

    def __init__(self, dataset: str, questions: list[str], source: str = "", number: int = 0) -> None:
        self._store = connect()
        self._dataset, self._source, self._number = dataset, source, number
        self._questions: Iterator[Callable[[], int]] = itertools.cycle(getattr(self, f"_{name}") for name in questions)
        self._requests = self._read_bytes = self._written_bytes = 0
        self._counting = threading.Lock()
        submit = ReplicatedWriter.submit

        def counted_submit(attempt_id: ReplicatedWriter, write: Any) -> Any:
            with self._counting:
                self._requests += 1
                self._written_bytes += write.size_bytes
            return submit(attempt_id, write)

        CassandraSession.execute = self._counted(CassandraSession.execute)  # type: ignore[method-assign]
        CassandraSession.execute_watched = self._counted(CassandraSession.execute_watched)  # type: ignore[method-assign]
        ReplicatedWriter.submit = counted_submit  # type: ignore[method-assign,assignment]

    def _counted(self, ask: Callable[..., list[Any]]) -> Callable[..., list[Any]]:
        @functools.wraps(ask)
        def counted(session: CassandraSession, *args: Any, **kwargs: Any) -> list[Any]:
            rows = ask(session, *args, **kwargs)
            with self._counting:
                self._requests += 1
                self._read_bytes += sum(len(v) for row in rows for v in row if isinstance(v, bytes | str))
            return rows

        return counted

    def run(self) -> dict[str, Any]:
        """Run the next query; ``requests`` and bytes are of this run."""
        question = next(self._questions)
        self._requests = self._read_bytes = self._written_bytes = 0
        began = time.perf_counter()
        rows = question()
        return {
            "rows": rows,
            "seconds": time.perf_counter() - began,
            "requests": self._requests,
            "read_bytes": self._read_bytes,
            "written_bytes": self._written_bytes,
        }

    def profile(self) -> dict[str, Any]:
        """Do the same as ``run``."""
        return self.run()

    def close(self) -> None:
        """Disconnect."""
        self._store.close()

    def _versions(self) -> int:
        return len(self._store.versions(self._dataset))

    def _show(self) -> int:
        return int(describe(self._store, self._store.version(self._dataset))["rows"])

    def _count_rows(self) -> int:
        return self._store.dataset(self._dataset).count_rows()

    def _head(self) -> int:
        return int(self._store.dataset(self._dataset).head(5).num_rows)

    def _filter(self) -> int:
        dataset = self._store.dataset(self._dataset)
        return int(dataset.to_table(filter=pc.field(COLUMN) == self._number).num_rows)

    def _append(self) -> int:
        return self._store.load(self._dataset, self._source, LoadOptions(mode="append")).rows
