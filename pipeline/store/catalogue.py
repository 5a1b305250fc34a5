"""Which versions there are: small rows, read at ``TWO``, and at ``LOCAL_ONE`` only while a node is down."""

from __future__ import annotations

import json
import logging
from collections import OrderedDict
from collections.abc import Callable, Iterator, Set
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from functools import lru_cache, partial
from itertools import chain
from typing import Any, TypeVar
from uuid import UUID

import pyarrow as pa
import xxhash
from isal import isal_zlib

from pipeline.errors import (
    ChecksumMismatchError,
    ChunkMissingError,
    DatasetNotFoundError,
    StoreError,
    StoreUnavailableError,
    VersionNotFoundError,
)
from pipeline.names import VersionSelector
from pipeline.store.manifest import Page, PageRef, decode_page
from pipeline.store.mend import mend_pages
from pipeline.store.page_list import ListRef, PageList, decode_list, unpack
from pipeline.store.row_reader import RowReader
from pipeline.store.session import CassandraSession
from pipeline.store.version import Debt, Version, WriterRow

__all__ = ["SHELF", "Catalogue"]

logger = logging.getLogger(__name__)

SHELF = 0
Accepted = TypeVar("Accepted")
_ONE_VERSION = "WHERE dataset = ? AND number = ? AND hex = ?"
Rows = Callable[[str, tuple[Any, ...]], list[Any]]
_FIRST_VERSIONS = 8
_LISTS_KEPT = 64
_PAGES_KEPT = 8
_VERSIONS_KEPT = 64
_WRITERS_ASKED_FOR = 500
"""What more of them owe is looked for in the whole table, which costs as much as so many of its partitions."""
_DEBTS_A_REQUEST = 100
_DEBT_REQUESTS = 4
"""Side by side; each is a hundred partitions for its coordinator."""
_SUMMARY = (
    "number, hex, parent, mode, kind, writer, writers, run, code, rows, raw_bytes, stored_bytes, chunks, "
    "page_count, source, settings, committed_at, checksum, deleted_at, purged_at"
)


def _is_mark(row: Any) -> bool:
    """A node that missed the row of a version knows of its deletion alone."""
    return row.checksum is None and (row.deleted_at is not None or row.purged_at is not None)


class Catalogue(RowReader):
    """Reads the catalogue. Reads say whether they were ``degraded``; what is written goes through the ``Ledger``."""

    def __init__(self, cassandra: CassandraSession, *, strict: bool = False) -> None:
        """``strict``: what would be degraded raises ``StoreUnavailableError`` instead."""
        super().__init__(cassandra, strict=strict)
        # Versions share lists, and no list ever changes.
        self.page_list = lru_cache(_LISTS_KEPT)(self._page_list)
        # Nor does a page or a version's content: who reads again, epoch after epoch, asks for each once.
        self.known_page = lru_cache(_PAGES_KEPT)(self.page)
        self._known: OrderedDict[tuple[Any, ...], Version] = OrderedDict()

    def names(self) -> list[str]:
        """Every dataset that was ever published here, by name."""
        rows = self.rows("SELECT dataset FROM {ks}.datasets WHERE shelf = ?", (SHELF,))
        return [row.dataset for row in rows]

    def versions(self, dataset: str) -> list[Version]:
        """Every visible version, newest first, without schema and pages."""
        return [version for version in self.every_version(dataset) if version.deleted_at is None]

    def every_version(self, dataset: str, rows: Rows | None = None) -> list[Version]:
        """Every version that ever was, deleted ones too: their numbers are never used again.

        ``rows`` reads at another consistency level (``ALL``, before something is deleted).
        """
        query = f"SELECT {_SUMMARY} FROM {{ks}}.versions WHERE dataset = ?"  # noqa: S608 names of ours alone
        found = (rows or self.rows)(query, (dataset,))
        return [Version.from_row(dataset, row) for row in found if not _is_mark(row)]

    def latest(self, dataset: str) -> Version | None:
        """The first visible version in clustering order, or None; reads a few rows, however many there are."""
        first = self._versions_where(dataset, f"dataset = ? LIMIT {_FIRST_VERSIONS}", ())
        visible = [version for version in first if version.deleted_at is None]
        if not visible and len(first) == _FIRST_VERSIONS:
            visible = self.versions(dataset)
        return next(iter(visible), None)

    def numbered(self, dataset: str, number: int) -> list[Version]:
        """Every visible version of that number: one, or several that were published at the same moment."""
        found = self._versions_where(dataset, "dataset = ? AND number = ?", (number,))
        return [version for version in found if version.deleted_at is None]

    def _versions_where(self, dataset: str, where: str, values: tuple[Any, ...]) -> list[Version]:
        query = f"SELECT {_SUMMARY} FROM {{ks}}.versions WHERE {where}"  # noqa: S608 names of ours alone
        found = self.rows(query, (dataset, *values))
        return [Version.from_row(dataset, row) for row in found if not _is_mark(row)]

    def resolve(self, dataset: str, selector: VersionSelector) -> Version:
        """The version asked for, whole and with its checksum verified.

        Raises ``DatasetNotFoundError`` or ``VersionNotFoundError``. Only a time is looked for among all versions.
        """
        found, degraded = self._find(dataset, selector)
        if found is None and degraded:
            raise self.unknown(dataset, str(selector))
        if found is None:
            latest = self.latest(dataset)
            if latest is None:
                raise self.unknown(dataset)
            raise VersionNotFoundError(
                f"{dataset} has no version {selector}",
                hint=f"millrace versions {dataset} shows them; the latest is {latest.label}",
                dataset=dataset,
                version=str(selector),
            )
        whole = self.known_whole(found)
        return replace(whole, degraded=whole.degraded or degraded)

    def _find(self, dataset: str, selector: VersionSelector) -> tuple[Version | None, bool]:
        """The version, if it is there, and whether anything that was read for it was ``degraded``."""
        full, degraded = selector.full, False
        if selector.tag is not None:
            rows = self.rows("SELECT number, hex FROM {ks}.tags WHERE dataset = ? AND tag = ?", (dataset, selector.tag))
            degraded = self.degraded
            if not rows:
                return None, degraded
            full = (rows[0].number, rows[0].hex)
        if full is not None:
            found = next((v for v in self.numbered(dataset, full[0]) if v.hex == full[1]), None)
        elif selector.number is not None:
            found = next(iter(self.numbered(dataset, selector.number)), None)
        elif selector.as_of is not None:
            found = next((v for v in self.versions(dataset) if v.committed_at <= selector.as_of), None)
        else:
            found = self.latest(dataset)
        return found, degraded or self.degraded

    def unknown(self, dataset: str, version: str = "") -> StoreError:
        """The error for a name that was not found: with a node down nobody can say that it does not exist."""
        if self.degraded:
            down = ", ".join(self._cassandra.down()) or "one node"
            what = f"{dataset}@{version}" if version else f"a dataset {dataset!r}"
            return StoreUnavailableError(
                f"{what} is not known to the nodes that answer, and {down} does not answer",
                hint="it may be known there alone: ./run status",
                dataset=dataset,
                version=version or None,
                node=down,
            )
        return DatasetNotFoundError(
            f"there is no dataset {dataset!r}", hint="millrace ls shows what is there", dataset=dataset
        )

    def known_whole(self, version: Version) -> Version:
        """``whole``, from memory where this process has read it before and its row still says the same."""
        key = (version.dataset, version.number, version.hex)
        known = self._known.get(key)
        if known is not None:
            same = replace(version, schema_blob=known.schema_blob, pages_blob=known.pages_blob)
            if replace(known, deleted_at=same.deleted_at, purged_at=same.purged_at, degraded=same.degraded) == same:
                return same
        whole = self.whole(version)
        if not whole.degraded:
            self._known[key] = whole
            while len(self._known) > _VERSIONS_KEPT:
                self._known.popitem(last=False)
        return whole

    def whole(self, version: Version) -> Version:
        """The same version with schema and pages, its checksum verified."""
        query = f"SELECT {_SUMMARY}, arrow_schema, pages FROM {{ks}}.versions {_ONE_VERSION}"  # noqa: S608 ours alone
        values = (version.dataset, version.number, version.hex)
        rows = self.rows(query, values)
        degraded = self.degraded
        if not rows and degraded:
            raise self.unknown(version.dataset, version.label)
        if not rows or rows[0].purged_at is not None:
            raise VersionNotFoundError(
                f"{version.reference} was deleted a moment ago", dataset=version.dataset, version=version.label
            )
        for row in chain(rows, self._each_copy(query, values)):
            found = Version.from_row(version.dataset, row)
            whole = replace(found, schema_blob=row.arrow_schema, pages_blob=row.pages, degraded=degraded)
            actual = whole.compute_checksum()
            if actual == whole.checksum:
                return whole
        raise ChecksumMismatchError(
            f"the row of {version.reference} is not what was written",
            hint="no node that answers has a good copy: ./run status",
            stage="stored",
            expected=whole.checksum.hex(),
            actual=actual.hex(),
            dataset=version.dataset,
            version=version.label,
        )

    def schema(self, version: Version) -> pa.Schema:
        """The logical schema: every chunk is cast to it on reading."""
        blob = self._unspill(version, version.schema_blob or b"")
        return pa.ipc.read_schema(pa.py_buffer(isal_zlib.decompress(blob, wbits=31)))

    def lists(self, version: Version) -> tuple[list[ListRef], list[PageRef]]:
        """The lists that name the version's pages, or its pages where they are few; the other one is empty."""
        return unpack(self._unspill(version, version.pages_blob or b""))

    def _page_list(self, dataset: str, ref: ListRef) -> PageList:
        return self._page_data(dataset, ref.writer, ref.page, lambda data: decode_list(dataset, ref, data))

    def each_page_ref(self, version: Version) -> Iterator[PageRef]:
        """Every page of the version, in the order of its rows; the next list is read when the first is used up."""
        lists, pages = self.lists(version)
        yield from pages
        for one in lists:
            yield from self.page_list(version.dataset, one).refs

    def page_refs(self, version: Version) -> list[PageRef]:
        """Every page of the version, in the order of its rows."""
        return list(self.each_page_ref(version))

    def largest_chunk_bytes(self, version: Version) -> int:
        """Stored bytes of the version's largest chunk, from its row."""
        said = version.settings.get("largest_chunk_bytes")
        return int(max((page.largest_chunk_bytes for page in self.pages(version)), default=0) if said is None else said)

    def pages(self, version: Version) -> Iterator[Page]:
        """The decoded pages one after another; one page is in memory at a time."""
        for ref in self.each_page_ref(version):
            yield self.page(version.dataset, ref)

    def page(self, dataset: str, ref: PageRef) -> Page:
        """One page, checksum verified; a wrong copy is passed over for the other replica's."""
        return self._page_data(dataset, ref.writer, ref.page, lambda data: decode_page(dataset, ref, data))

    def _page_data(self, dataset: str, writer: UUID, page: int, accept: Callable[[bytes], Accepted]) -> Accepted:
        """What ``accept`` makes of the first copy that it does not refuse with ``ChecksumMismatchError``."""
        query = "SELECT data FROM {ks}.pages WHERE dataset = ? AND writer = ? AND page = ?"
        values = (dataset, writer, page)
        refused: ChecksumMismatchError | None = None
        for row in chain(self.rows(query, values), self._each_copy(query, values)):
            try:
                accepted = accept(row.data)
            except ChecksumMismatchError as error:
                refused = refused or error
                continue
            if refused is not None:
                self._mend(dataset, writer, page)
            return accepted
        raise refused or ChunkMissingError(
            f"page {page} of {dataset}/{writer.hex[:12]} is on no node that answers",
            hint="a node may be down: ./run status; nothing is lost until both have been asked",
            dataset=dataset,
            page=page,
            node=", ".join(self._cassandra.down()) or None,
        )

    def _mend(self, dataset: str, writer: UUID, page: int) -> None:
        """The good copy is written over the wrong one; a read never fails because of it."""
        try:
            mend_pages(self._cassandra, dataset, writer)
        except StoreError as error:
            logger.warning("a wrong copy of page %s of %s could not be replaced: %s", page, dataset, error)
        else:
            logger.warning("a wrong copy of page %s of %s was replaced by the good one", page, dataset)

    def writers(self, dataset: str, *, run: str | None = None, rows: Rows | None = None) -> list[WriterRow]:
        """What every attempt said about itself, of one run or of all."""
        found = (rows or self.rows)(
            "SELECT writer, run, fingerprint, split, attempt, first_row, version, host, started, last_seen, buckets, "
            "finished FROM {ks}.writers WHERE dataset = ?",
            (dataset,),
        )
        return [WriterRow.from_row(dataset, row) for row in found if run is None or row.run == run]

    def finished_pages(self, dataset: str, writer: UUID) -> list[PageRef]:
        """The manifest pages (numbers 0 and up) of one writer, in order, without reading their data."""
        return self._page_rows(dataset, writer, "page >= 0")

    def journal_pages(self, dataset: str, writer: UUID) -> list[PageRef]:
        """The journal pages (-1 and down) of one writer, in the order in which they were written."""
        return self._page_rows(dataset, writer, "page < 0")[::-1]

    def _page_rows(self, dataset: str, writer: UUID, which: str) -> list[PageRef]:
        query = (
            "SELECT page, chunks, rows, raw_bytes, stored_bytes, checksum FROM {ks}.pages "  # noqa: S608 ours alone
            f"WHERE dataset = ? AND writer = ? AND {which}"
        )
        rows = self.rows(query, (dataset, writer))
        return [PageRef(writer, r.page, r.chunks, r.rows, r.raw_bytes, r.stored_bytes, r.checksum) for r in rows]

    def tags(self, dataset: str) -> list[tuple[str, int, str]]:
        """Every tag of a dataset: its name, and number and hex of the version that it names.

        A tag that was taken away has number 0: a deleted row could not be overwritten by whoever's clock is behind.
        """
        rows = self.rows("SELECT tag, number, hex FROM {ks}.tags WHERE dataset = ?", (dataset,))
        return [(row.tag, row.number, row.hex) for row in rows if row.number]

    def debts(self, dataset: str, writers: Set[UUID]) -> list[Debt]:
        """What is on record as being on one node only, for these writers."""
        if len(writers) > _WRITERS_ASKED_FOR:
            with suppress(StoreError):  # the table may be full of tombstones after a long outage
                return self._debts_of_all(dataset, writers)
        ordered = sorted(writers)
        groups = [ordered[start : start + _DEBTS_A_REQUEST] for start in range(0, len(ordered), _DEBTS_A_REQUEST)]
        found: list[Debt] = []
        degraded = False
        with ThreadPoolExecutor(_DEBT_REQUESTS, thread_name_prefix="millrace-debts") as pool:
            for group, debts in zip(groups, pool.map(partial(self._debts_at_two, dataset), groups), strict=True):
                if debts is None:
                    debts = []
                    for writer in group:
                        debts += self._debts_of(dataset, writer)
                        degraded = degraded or self.degraded
                found += debts
        self.degraded = degraded
        return found

    def _debts_of_all(self, dataset: str, writers: Set[UUID]) -> list[Debt]:
        """The whole table, which is empty but after an outage: 5,000 partitions took 0.8 s, the table takes 0.02."""
        rows = self.rows("SELECT dataset, writer, bucket, note, chunks FROM {ks}.under_replicated", ())
        mine = (row for row in rows if row.dataset == dataset and row.writer in writers)
        return [Debt(dataset, row.writer, row.bucket, row.note, row.chunks) for row in mine]

    def _debts_at_two(self, dataset: str, writers: list[UUID]) -> list[Debt] | None:
        """Of many writers in one request, None while a node is gone: a version of 5,000 appends has 5,000 writers."""
        if len(writers) < 2:
            return None
        query = "SELECT writer, bucket, note, chunks FROM {ks}.under_replicated WHERE dataset = ? AND writer IN ?"
        statement = self._cassandra.prepare(query).bind((dataset, writers))
        hosts = self._cassandra.replicas(statement)
        if any(self._cassandra.is_gone(host) for host in hosts):
            return None
        rows = self._rows_of_two(statement, hosts)
        if rows is None:
            return None
        return [Debt(dataset, row.writer, row.bucket, row.note, row.chunks) for row in rows]

    def _debts_of(self, dataset: str, writer: UUID) -> list[Debt]:
        query = "SELECT bucket, note, chunks FROM {ks}.under_replicated WHERE dataset = ? AND writer = ?"
        return [Debt(dataset, writer, row.bucket, row.note, row.chunks) for row in self.rows(query, (dataset, writer))]

    def spilled(self, version: Version) -> list[UUID]:
        """The writers of the pages into which a version's row has spilled its schema or its page list.

        Lists among them may be shared with other versions.
        """
        blobs = (blob for blob in (version.schema_blob, version.pages_blob) if blob and blob[:2] != b"\x1f\x8b")
        return [UUID(hex=json.loads(blob)["writer"]) for blob in blobs] + [
            one.writer for one in (self.lists(version)[0] if version.pages_blob else [])
        ]

    def _unspill(self, version: Version, blob: bytes) -> bytes:
        if blob[:2] == b"\x1f\x8b":
            return blob
        where = json.loads(blob)

        def accept(data: bytes) -> bytes:
            actual = xxhash.xxh3_128_digest(data).hex()
            if actual == where["checksum"]:
                return data
            raise ChecksumMismatchError(
                f"a page of {version.reference} is not what was written",
                hint="no node that answers has a good copy: ./run status",
                stage="stored",
                expected=where["checksum"],
                actual=actual,
                dataset=version.dataset,
                version=version.label,
                page=where["page"],
            )

        return self._page_data(version.dataset, UUID(hex=where["writer"]), where["page"], accept)
