"""Read the data that a version's row references, verified: its schema, page lists, pages and list of files."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator
from functools import lru_cache
from itertools import chain
from typing import TypeVar
from uuid import UUID

import pyarrow as pa
import xxhash
from isal import isal_zlib

from millrace.errors import ChecksumMismatchError, ChunkMissingError, StoreError
from millrace.store.catalogue.file_list import LoadedFile, decode_files
from millrace.store.catalogue.manifest import PageRef
from millrace.store.catalogue.page import Page, decode_page
from millrace.store.catalogue.page_list import ListRef, PageList, decode_list, decode_pages_blob
from millrace.store.catalogue.page_repair import repair_pages
from millrace.store.catalogue.row_reader import RowReader
from millrace.store.catalogue.version import Version

Accepted = TypeVar("Accepted")
_CACHED_LISTS = 64
_CACHED_PAGES = 8
_GZIP = b"\x1f\x8b"

logger = logging.getLogger(__name__)


class PageReader:
    """Reader of manifest pages, page lists and out-of-line schemas.

    A wrong copy is skipped for the other replica's, and then overwritten with it. Threads may share a reader; two that
    miss a cache at the same moment read the same page twice.
    """

    def __init__(self, reader: RowReader) -> None:
        self._reader = reader
        # Lists can be cached because versions share them and no list ever changes.
        self.page_list = lru_cache(_CACHED_LISTS)(self._page_list)
        self.file_list = lru_cache(_CACHED_LISTS)(self._file_list)
        # Pages never change either. A reader that repeats its reads, epoch after epoch, fetches a cached page once.
        self.cached_page = lru_cache(_CACHED_PAGES)(self.page)

    def schema(self, version: Version) -> pa.Schema:
        """Return the schema of the version. Every chunk is cast to it on reading."""
        blob = self._load_out_of_line(version, version.schema_blob or b"")
        return pa.ipc.read_schema(pa.py_buffer(isal_zlib.decompress(blob, wbits=31)))

    def lists(self, version: Version) -> tuple[list[ListRef], list[PageRef]]:
        """Return the lists that name the version's pages, or its pages where they are few; the other one is empty."""
        return decode_pages_blob(self._load_out_of_line(version, version.pages_blob or b""))

    def _page_list(self, dataset: str, ref: ListRef) -> PageList:
        return self._page_data(dataset, ref.attempt_id, ref.page, lambda data: decode_list(dataset, ref, data))

    def file_lists(self, version: Version) -> list[ListRef]:
        """Return the pages of the version's list of loaded files; none if the version has no list."""
        if version.files_blob is None:
            return []
        return decode_pages_blob(self._load_out_of_line(version, version.files_blob))[0]

    def _file_list(self, dataset: str, ref: ListRef) -> tuple[LoadedFile, ...]:
        return self._page_data(dataset, ref.attempt_id, ref.page, lambda data: decode_files(dataset, ref, data))

    def files(self, version: Version) -> list[LoadedFile]:
        """Return the files that the version's line has loaded, in the order in which they were added."""
        return [file for ref in self.file_lists(version) for file in self.file_list(version.dataset, ref)]

    def each_ref(self, version: Version) -> Iterator[PageRef]:
        """Yield every page of the version in row order. A list is read once the one before it is used up."""
        lists, pages = self.lists(version)
        yield from pages
        for ref in lists:
            yield from self.page_list(version.dataset, ref).refs

    def refs(self, version: Version) -> list[PageRef]:
        """Return every page of the version, in row order."""
        return list(self.each_ref(version))

    def page(self, dataset: str, ref: PageRef) -> Page:
        """Return one page, its checksum verified. A wrong copy is skipped for the other replica's."""
        return self._page_data(dataset, ref.attempt_id, ref.page, lambda data: decode_page(dataset, ref, data))

    def _page_data(self, dataset: str, attempt_id: UUID, page: int, accept: Callable[[bytes], Accepted]) -> Accepted:
        """Return the result of ``accept`` for the first copy that it does not reject with ``ChecksumMismatchError``.

        Raises that error when every copy is wrong, and ``ChunkMissingError`` when no responding node has the page.
        """
        query = "SELECT data FROM {ks}.pages WHERE dataset = ? AND attempt_id = ? AND page = ?"
        values = (dataset, attempt_id, page)
        mismatch: ChecksumMismatchError | None = None
        for row in chain(self._reader.rows(query, values), self._reader.each_copy(query, values)):
            try:
                accepted = accept(row.data)
            except ChecksumMismatchError as error:
                mismatch = mismatch or error
                continue
            if mismatch is not None:
                self._replace_wrong_copies(dataset, attempt_id, page)
            return accepted
        raise mismatch or ChunkMissingError(
            f"page {page} of {dataset}/{attempt_id.hex[:12]} is on no node that answers",
            hint="a node may be down: millrace doctor; the page is lost only if both nodes answer without it",
            dataset=dataset,
            page=page,
            node=", ".join(self._reader.cassandra.down()) or None,
        )

    def _replace_wrong_copies(self, dataset: str, attempt_id: UUID, page: int) -> None:
        """Write the good copy over the wrong one. A failure is logged and never fails the read."""
        try:
            repair_pages(self._reader.cassandra, dataset, attempt_id)
        except StoreError as error:
            logger.warning("a wrong copy of page %s of %s could not be replaced: %s", page, dataset, error)
        else:
            logger.warning("a wrong copy of page %s of %s was replaced by the good one", page, dataset)

    def finished(self, dataset: str, attempt_id: UUID) -> list[PageRef]:
        """Return the manifest pages (numbers 0 and up) of one attempt, in order, without reading their data."""
        return self._page_rows(dataset, attempt_id, "page >= 0")

    def journal(self, dataset: str, attempt_id: UUID) -> list[PageRef]:
        """Return the journal pages (-1 and down) of one attempt, in the order in which they were written."""
        return self._page_rows(dataset, attempt_id, "page < 0")[::-1]

    def _page_rows(self, dataset: str, attempt_id: UUID, which: str) -> list[PageRef]:
        query = (
            "SELECT page, chunks, rows, raw_bytes, stored_bytes, checksum FROM {ks}.pages "  # noqa: S608 constant names
            f"WHERE dataset = ? AND attempt_id = ? AND {which}"
        )
        rows = self._reader.rows(query, (dataset, attempt_id))
        return [PageRef(attempt_id, r.page, r.chunks, r.rows, r.raw_bytes, r.stored_bytes, r.checksum) for r in rows]

    def stored_out_of_line(self, version: Version) -> list[UUID]:
        """Return the attempts of the pages that hold a version's out-of-line columns and the lists that it names.

        Lists among them may be shared with other versions.
        """
        return [attempt_id for attempt_id, _, _ in self.out_of_line_keys(version)]

    def out_of_line_keys(self, version: Version) -> list[tuple[UUID, int, bytes]]:
        """Return attempt, number and checksum of each page of ``stored_out_of_line``."""
        blobs = (blob for blob in (version.schema_blob, version.pages_blob, version.files_blob) if blob)
        references = [json.loads(blob) for blob in blobs if blob[:2] != _GZIP]
        keys = [(UUID(hex=ref["attempt_id"]), ref["page"], bytes.fromhex(ref["checksum"])) for ref in references]
        page_lists = self.lists(version)[0] if version.pages_blob else []
        lists = [*page_lists, *self.file_lists(version)]
        return [*keys, *((one.attempt_id, one.page, one.checksum) for one in lists)]

    def _load_out_of_line(self, version: Version, blob: bytes) -> bytes:
        if blob[:2] == _GZIP:
            return blob
        where = json.loads(blob)

        def accept(data: bytes) -> bytes:
            actual = xxhash.xxh3_128_digest(data).hex()
            if actual == where["checksum"]:
                return data
            raise ChecksumMismatchError(
                f"a page of {version.reference} has a wrong checksum",
                hint="no node that answers has a good copy: millrace doctor",
                stage="stored",
                expected=where["checksum"],
                actual=actual,
                dataset=version.dataset,
                version=version.label,
                page=where["page"],
            )

        return self._page_data(version.dataset, UUID(hex=where["attempt_id"]), where["page"], accept)
