"""Write the page list of a version. Full lists are shared with its parent; only the last list is new."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import pyarrow as pa
from isal import isal_zlib

from millrace.chunks import merge_stats, selected_stats, stats_schema
from millrace.store import (
    INLINE_PAGES,
    Catalogue,
    CatalogueWriter,
    ListRef,
    PageRef,
    Version,
    encode_list,
    encode_pages_blob,
    list_pages_max,
)

_SCHEMA_PAGE = -1
_LIST_PAGE = -2
_PAGES_PAGE = -3


@dataclass(frozen=True, slots=True)
class Listing:
    """Pages of a version: those of the full ``lists``, then ``pages``.

    ``known_stats`` holds the statistics of the pages of a list that was read.
    """

    dataset: str
    lists: tuple[ListRef, ...] = ()
    pages: tuple[PageRef, ...] = ()
    known_stats: Mapping[PageRef, pa.RecordBatch] = field(default_factory=dict)

    @classmethod
    def of(cls, catalogue: Catalogue, version: Version) -> Listing:
        """Return the listing with which an append to the version begins.

        Of several lists only the last one is read, and only if it is not full.
        """
        lists, pages = catalogue.pages.lists(version)
        if not lists or lists[-1].entries >= list_pages_max(len(catalogue.pages.schema(version))):
            return cls(version.dataset, tuple(lists), tuple(pages))
        last = catalogue.pages.page_list(version.dataset, lists[-1])
        known_stats = {page: last.stats.slice(row, 1) for row, page in enumerate(last.refs)}
        return cls(version.dataset, tuple(lists[:-1]), last.refs, known_stats)

    def followed_by(self, pages: Sequence[PageRef]) -> Listing:
        """Return the same listing with these pages after all others."""
        return replace(self, pages=(*self.pages, *pages))


def write_lists(
    catalogue: Catalogue,
    catalogue_writer: CatalogueWriter,
    dataset: str,
    label: str,
    schema: pa.Schema,
    listing: Listing,
) -> tuple[bytes, bytes, int]:
    """Write the schema and the page list; return ``schema_blob`` and ``pages_blob`` of the version's row.

    The third value is the number of replicas proven for both. The written data depends on the arguments alone. Pages
    without known statistics are read to compute them.
    """
    schema_data = isal_zlib.compress(schema.serialize(), 1, wbits=31)  # gzip, like all blobs of the catalogue
    schema_blob, schema_replicas = catalogue_writer.store_out_of_line(dataset, label, _SCHEMA_PAGE, schema_data)
    proven = [schema_replicas]
    lists, pages = list(listing.lists), listing.pages
    if lists or len(pages) > INLINE_PAGES:
        size = list_pages_max(len(schema))
        for start in range(0, len(pages), size):
            listed = pages[start : start + size]
            data = encode_list(listed, _stats(catalogue, dataset, schema, listed, listing.known_stats))
            attempt_id, checksum, replicas = catalogue_writer.write_page_by_content(
                dataset, label, _PAGES_PAGE, data, page_sums(listed)
            )
            lists.append(ListRef(attempt_id, _PAGES_PAGE, len(listed), checksum))
            proven.append(replicas)
        pages = ()
    pages_blob, list_replicas = catalogue_writer.store_out_of_line(
        dataset, label, _LIST_PAGE, encode_pages_blob(lists, pages)
    )
    return schema_blob, pages_blob, min(*proven, list_replicas)


def _stats(
    catalogue: Catalogue,
    dataset: str,
    schema: pa.Schema,
    pages: Sequence[PageRef],
    known_stats: Mapping[PageRef, pa.RecordBatch],
) -> pa.RecordBatch:
    """Return the statistics of the pages, one row for each page, with the types of ``schema``."""
    target = stats_schema(schema)
    rows = []
    for ref in pages:
        row = known_stats.get(ref)
        if row is None:
            page = catalogue.pages.page(dataset, ref)
            row = merge_stats(page.stats_batch(), page.row_counts())
        rows.append(selected_stats(row, range(len(schema)), schema, [ref.rows]))
    if not len(target):  # a table without columns has no number of rows
        return pa.RecordBatch.from_struct_array(pa.array([{}] * len(rows), pa.struct([])))
    return pa.Table.from_batches(rows, schema=target).combine_chunks().to_batches()[0]


def page_totals(pages: Sequence[PageRef]) -> dict[str, Any]:
    """Return the totals over the pages that a version's row records."""
    return {**page_sums(pages), "page_count": len(pages)}


def page_sums(pages: Sequence[PageRef]) -> dict[str, Any]:
    """Return the sums of rows, bytes and chunks over the pages."""
    return {
        name: sum(getattr(page, name) for page in pages) for name in ("rows", "raw_bytes", "stored_bytes", "chunks")
    }
