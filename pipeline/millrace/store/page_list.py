"""The list of a version's pages: a few in its row, many in lists that versions share.

A list is a page of pages: an Arrow IPC stream of one record batch, gzip-compressed, one row a page, with what the page
adds up to and the bounds of its columns (docs/format.md). A list that is full never changes, so an append names its
parent's full lists and writes only the last one anew; and a filter drops whole pages before it fetches any.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import pyarrow as pa
from isal import isal_zlib

from millrace.chunks import without_bounds
from millrace.errors import ChunkFormatError
from millrace.store.manifest import PAGE_BYTES_MAX, PageRef, checked_stream

__all__ = ["INLINE_PAGES", "ListRef", "PageList", "decode_list", "encode_list", "list_pages_max", "pack", "unpack"]

INLINE_PAGES = 4
"""So many pages stand in the version's row itself, and a filter simply reads them."""
_LIST_PAGES = 128
_LIST_BOUNDS = 4096

_PLACE = pa.schema(
    [
        pa.field("writer", pa.binary(16), nullable=False),
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
    """Where a list is, how many pages it names, and the checksum of its bytes."""

    writer: UUID
    page: int
    pages: int
    checksum: bytes

    def to_json(self) -> list[Any]:
        """A short list, for version rows."""
        return [self.writer.hex, self.page, self.pages, self.checksum.hex()]

    @classmethod
    def from_json(cls, value: Sequence[Any]) -> ListRef:
        """The inverse of ``to_json``."""
        writer, page, pages, checksum, *_ = value
        return cls(UUID(hex=writer), page, pages, bytes.fromhex(checksum))


@dataclass(frozen=True, slots=True)
class PageList:
    """A decoded list: its pages in order, and their statistics, one row a page."""

    refs: tuple[PageRef, ...]
    stats: pa.RecordBatch


def list_pages_max(columns: int) -> int:
    """Pages in a full list: 128, fewer for wide tables, so that writing the last list anew stays cheap."""
    return max(8, min(_LIST_PAGES, _LIST_BOUNDS // max(1, columns)))


def encode_list(refs: Sequence[PageRef], stats: pa.RecordBatch) -> bytes:
    """The stored bytes of a list; ``stats`` has one row a page. Bounds are left out where they would not fit."""
    stored = _encode(refs, stats)
    return stored if len(stored) <= PAGE_BYTES_MAX else _encode(refs, without_bounds(stats))


def _encode(refs: Sequence[PageRef], stats: pa.RecordBatch) -> bytes:
    if stats.num_columns:
        stats_column = pa.StructArray.from_arrays(stats.columns, fields=list(stats.schema))
    else:
        stats_column = pa.array([{}] * len(refs), pa.struct([]))
    places = pa.RecordBatch.from_pylist(
        [
            {
                "writer": ref.writer.bytes,
                "page": ref.page,
                "chunks": ref.chunks,
                "rows": ref.rows,
                "raw_bytes": ref.raw_bytes,
                "stored_bytes": ref.stored_bytes,
                "checksum": ref.checksum,
                "added_by": ref.added_by,
            }
            for ref in refs
        ],
        schema=_PLACE,
    )
    schema = _PLACE.append(pa.field("stats", stats_column.type, nullable=False))
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, schema) as stream:
        stream.write_batch(pa.RecordBatch.from_arrays([*places.columns, stats_column], schema=schema))
    stored: bytes = isal_zlib.compress(sink.getvalue(), 1, wbits=31)
    return stored


def decode_list(dataset: str, ref: ListRef, stored: bytes) -> PageList:
    """The list that ``ref`` names; raises like ``decode_page`` when the bytes are not the ones that were written."""
    batch = checked_stream(dataset, ref.writer, ref.page, ref.checksum, stored)
    if batch.num_rows != ref.pages:
        raise ChunkFormatError(f"a list of {dataset} names {batch.num_rows} pages, not {ref.pages}", dataset=dataset)
    columns = [batch.column(name).to_pylist() for name in _PLACE.names]
    refs = tuple(PageRef(UUID(bytes=writer), *facts) for writer, *facts in zip(*columns, strict=True))
    return PageList(refs, pa.RecordBatch.from_struct_array(batch.column("stats")))


def pack(lists: Sequence[ListRef], pages: Sequence[PageRef]) -> bytes:
    """What a version's row holds, or points at: the pages themselves, or the lists that name them."""
    listing: Any = [page.to_json() for page in pages]
    if lists:
        listing = {"lists": [one.to_json() for one in lists]}
    text = json.dumps(listing, separators=(",", ":")).encode()
    packed: bytes = isal_zlib.compress(text, 1, wbits=31)
    return packed


def unpack(blob: bytes) -> tuple[list[ListRef], list[PageRef]]:
    """The inverse of ``pack``; one of the two is empty."""
    listing = json.loads(isal_zlib.decompress(blob, wbits=31))
    if isinstance(listing, dict):
        return [ListRef.from_json(item) for item in listing["lists"]], []
    return [], [PageRef.from_json(item) for item in listing]
