"""The list of a version's pages. A few pages are listed in its row, many in page lists that versions share.

A page list is an Arrow IPC stream of one record batch, gzip-compressed, one row per page. A row has the totals of
its page and the bounds of the page's columns (docs/format.md). The list is stored like a page. A full list never
changes, so an append references its parent's full lists and rewrites only the last one. With the bounds a filter skips
whole pages before it fetches any.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any
from uuid import UUID

import pyarrow as pa
from isal import isal_zlib

from millrace.chunks import without_bounds
from millrace.errors import ChunkFormatError
from millrace.store.catalogue.manifest import PageRef
from millrace.store.catalogue.page import PAGE_BYTES_MAX, checked_stream, encode_stream

INLINE_PAGES = 4
"""Number of pages up to which a version's row names the pages itself, so that a filter reads each of them."""
_LIST_PAGES = 128
_LIST_BOUNDS = 4096

_PAGE = pa.schema(
    [
        pa.field("attempt_id", pa.binary(16), nullable=False),
        pa.field("page", pa.int32(), nullable=False),
        pa.field("chunks", pa.int32(), nullable=False),
        pa.field("rows", pa.int64(), nullable=False),
        pa.field("raw_bytes", pa.int64(), nullable=False),
        pa.field("stored_bytes", pa.int64(), nullable=False),
        pa.field("checksum", pa.binary(16), nullable=False),
        pa.field("added_by", pa.string(), nullable=False),
    ]
)


@dataclass(frozen=True, slots=True)
class ListRef:
    """The key of a list in the table ``pages``, the number of its pages or files, and the checksum of its bytes."""

    attempt_id: UUID
    page: int
    entries: int
    checksum: bytes

    def to_json(self) -> list[Any]:
        """Return a short list, for version rows."""
        return [self.attempt_id.hex, self.page, self.entries, self.checksum.hex()]

    @classmethod
    def from_json(cls, value: Sequence[Any]) -> ListRef:
        """Return the list reference that ``to_json`` encoded."""
        attempt_id, page, entries, checksum, *_ = value
        return cls(UUID(hex=attempt_id), page, entries, bytes.fromhex(checksum))


@dataclass(frozen=True, slots=True)
class PageList:
    """A decoded page list: its pages in order, and their statistics, one row per page."""

    refs: tuple[PageRef, ...]
    stats: pa.RecordBatch


def list_pages_max(columns: int) -> int:
    """Return the number of pages in a full list.

    It is 128, and less for wide tables, so that rewriting the last list stays cheap.
    """
    return max(8, min(_LIST_PAGES, _LIST_BOUNDS // max(1, columns)))


def encode_list(refs: Sequence[PageRef], stats: pa.RecordBatch) -> bytes:
    """Return the stored bytes of a list. ``stats`` has one row per page. Bounds that do not fit are left out."""
    stored = _encode(refs, stats)
    return stored if len(stored) <= PAGE_BYTES_MAX else _encode(refs, without_bounds(stats))


def _encode(refs: Sequence[PageRef], stats: pa.RecordBatch) -> bytes:
    pages = [{**asdict(ref), "attempt_id": ref.attempt_id.bytes} for ref in refs]
    stats_column = stats.to_struct_array()
    stats_field = pa.field("stats", stats_column.type, nullable=False)
    return encode_stream(pa.RecordBatch.from_pylist(pages, schema=_PAGE).append_column(stats_field, stats_column))


def decode_list(dataset: str, ref: ListRef, stored: bytes) -> PageList:
    """Return the list that ``ref`` names; raises like ``decode_page`` when its bytes are not the written ones."""
    batch = checked_stream(dataset, ref.attempt_id, ref.page, ref.checksum, stored)
    if batch.num_rows != ref.entries:
        raise ChunkFormatError(f"a list of {dataset} names {batch.num_rows} pages, not {ref.entries}", dataset=dataset)
    columns = [batch.column(name).to_pylist() for name in _PAGE.names]
    refs = tuple(PageRef(UUID(bytes=attempt_id), *facts) for attempt_id, *facts in zip(*columns, strict=True))
    return PageList(refs, pa.RecordBatch.from_struct_array(batch.column("stats")))


def encode_pages_blob(lists: Sequence[ListRef], pages: Sequence[PageRef]) -> bytes:
    """Return the blob for a version's row: the pages themselves, or the lists that name them.

    A large blob is stored out of line, and the row references it.
    """
    listing = {"lists": [ref.to_json() for ref in lists]} if lists else [page.to_json() for page in pages]
    text = json.dumps(listing, separators=(",", ":")).encode()
    packed: bytes = isal_zlib.compress(text, 1, wbits=31)
    return packed


def decode_pages_blob(blob: bytes) -> tuple[list[ListRef], list[PageRef]]:
    """Return the lists and the pages that ``encode_pages_blob`` encoded; one of the two is empty."""
    listing = json.loads(isal_zlib.decompress(blob, wbits=31))
    if isinstance(listing, dict):
        return [ListRef.from_json(item) for item in listing["lists"]], []
    return [], [PageRef.from_json(item) for item in listing]
