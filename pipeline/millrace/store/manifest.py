"""What a version is made of: references to chunks, kept in pages of at most 1 MB.

A page is an Arrow IPC stream of one record batch, gzip-compressed, one row per chunk (docs/format.md). It is
written once, after every chunk it names, and carries a checksum in its row and in whatever names it. Pages are
columnar so that a filter can drop most of 250,000 chunks without making an object for any of them.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple
from uuid import UUID

import numpy as np
import pyarrow as pa
import xxhash
from isal import isal_zlib

from millrace.chunks import decode_tile
from millrace.errors import ChecksumMismatchError, ChunkFormatError

__all__ = [
    "PAGE_BYTES_MAX",
    "ChunkRef",
    "Page",
    "PageRef",
    "TileRef",
    "checked_stream",
    "decode_page",
    "encode_page",
    "page_schema",
]

PAGE_BYTES_MAX = 1_000_000
_RAW_LIMIT_BYTES = 256_000_000
_CHECKSUM_BYTES = 16

_TILE = pa.struct(
    [
        pa.field("codec", pa.string(), nullable=False),
        pa.field("raw_bytes", pa.int32(), nullable=False),
        pa.field("stored_bytes", pa.int32(), nullable=False),
        pa.field("stored_checksum", pa.binary(16), nullable=False),
        pa.field("raw_checksum", pa.binary(8), nullable=False),
    ]
)


class TileRef(NamedTuple):
    """One tile as the manifest promises it."""

    codec: str
    raw_bytes: int
    stored_bytes: int
    stored_checksum: bytes
    raw_checksum: bytes

    def decode(self, stored: Any, where: Mapping[str, Any]) -> pa.RecordBatch:
        """The tile's columns, or ``decode_tile``'s errors: never what the manifest does not promise."""
        return decode_tile(
            stored,
            codec=self.codec,
            raw_bytes=self.raw_bytes,
            stored_checksum=self.stored_checksum,
            raw_checksum=self.raw_checksum,
            where=where,
        )


@dataclass(frozen=True, slots=True)
class ChunkRef:
    """A chunk's place (dataset, writer, bucket, chunk number), its rows and its tiles in order."""

    dataset: str
    writer: UUID
    bucket: int
    chunk: int
    rows: int
    tiles: tuple[TileRef, ...]

    @property
    def stored_bytes(self) -> int:
        """Bytes of all tiles as they are stored."""
        return sum(tile.stored_bytes for tile in self.tiles)

    @property
    def raw_bytes(self) -> int:
        """Bytes of all tiles when decoded."""
        return sum(tile.raw_bytes for tile in self.tiles)

    def __str__(self) -> str:
        return f"{self.dataset}/{self.writer.hex[:12]}/{self.bucket}/{self.chunk}"


@dataclass(frozen=True, slots=True)
class PageRef:
    """Where a page is and what it adds up to; a version row is a list of these.

    ``added_by`` is the label of the version that brought the page in: appends that were published at the same time
    are merged by it.
    """

    writer: UUID
    page: int
    chunks: int
    rows: int
    raw_bytes: int
    stored_bytes: int
    checksum: bytes
    added_by: str = ""

    def to_json(self) -> list[Any]:
        """A short list, for version rows and task results."""
        return [
            self.writer.hex,
            self.page,
            self.chunks,
            self.rows,
            self.raw_bytes,
            self.stored_bytes,
            self.checksum.hex(),
            self.added_by,
        ]

    @classmethod
    def from_json(cls, value: Sequence[Any]) -> PageRef:
        """The inverse of ``to_json``."""
        writer, page, chunks, rows, raw_bytes, stored_bytes, checksum, added_by = value
        return cls(UUID(hex=writer), page, chunks, rows, raw_bytes, stored_bytes, bytes.fromhex(checksum), added_by)


@dataclass(frozen=True, slots=True)
class Page:
    """A decoded page: the table of its chunks (bucket, chunk, rows, tiles, stats), one row per chunk."""

    dataset: str
    writer: UUID
    table: pa.RecordBatch

    def stats_batch(self) -> pa.RecordBatch:
        """Statistics, one row a chunk, as ``millrace.chunks.stats_schema`` lays them out for its physical types."""
        return pa.RecordBatch.from_struct_array(self.table.column("stats"))

    @property
    def largest_chunk_bytes(self) -> int:
        """Stored bytes of the largest chunk."""
        tiles = self.table.column("tiles")
        sizes = np.append(tiles.flatten().field("stored_bytes").to_numpy(zero_copy_only=False), 0).astype(np.int64)
        ends = np.cumsum(tiles.value_lengths().to_numpy(zero_copy_only=False))
        sums = np.concatenate([[0], np.cumsum(sizes)])
        return int(np.diff(np.concatenate([[0], sums[ends]])).max(initial=0))

    def row_counts(self) -> list[int]:
        """Rows of every chunk."""
        return list(self.table.column("rows").to_pylist())

    def refs(self, rows: Iterable[int] | None = None) -> list[ChunkRef]:
        """The chunk references, of all rows or of those given, in order."""
        # Without the statistics: they have three columns for each of the rows', and taking one of them costs 0.5 ms.
        table = self.table.select(["bucket", "chunk", "rows", "tiles"])
        if rows is not None:
            table = table.take(pa.array(list(rows), pa.int64()))
        lists = table.column("tiles")
        # Column by column, through numpy where there are no numbers, and as tuples: 0.3 us a tile, where dictionaries
        # made into a dataclass take 7, and a page names tens of thousands.
        codecs, raw_bytes, stored_bytes, *checksums = lists.flatten().flatten()
        held = [column.to_numpy(zero_copy_only=False).tolist() for column in (codecs, *checksums)]
        tiles = list(map(TileRef, held[0], raw_bytes.to_pylist(), stored_bytes.to_pylist(), *held[1:]))
        edges = list(itertools.accumulate(lists.value_lengths().to_pylist(), initial=0))
        columns = (table.column(name).to_pylist() for name in ("bucket", "chunk", "rows"))
        return [
            ChunkRef(self.dataset, self.writer, bucket, chunk, count, tuple(tiles[start:end]))
            for bucket, chunk, count, start, end in zip(*columns, edges[:-1], edges[1:], strict=True)
        ]


def page_schema(stats: pa.Schema) -> pa.Schema:
    """The columns of a page whose chunks have statistics of this schema."""
    return pa.schema(
        [
            pa.field("bucket", pa.int32(), nullable=False),
            pa.field("chunk", pa.int32(), nullable=False),
            pa.field("rows", pa.int64(), nullable=False),
            pa.field("tiles", pa.list_(pa.field("tile", _TILE, nullable=False)), nullable=False),
            pa.field("stats", pa.struct(list(stats)), nullable=False),
        ]
    )


def encode_page(refs: Sequence[ChunkRef], stats: Sequence[pa.RecordBatch]) -> tuple[bytes, bytes]:
    """The stored bytes of a page and their checksum; ``stats`` is one row per chunk, of one schema each page."""
    merged = pa.Table.from_batches(stats).combine_chunks().to_batches()
    stats_batch = merged[0] if merged else pa.RecordBatch.from_pylist([], schema=stats[0].schema)
    tiles = [
        [
            {
                "codec": t.codec,
                "raw_bytes": t.raw_bytes,
                "stored_bytes": t.stored_bytes,
                "stored_checksum": t.stored_checksum,
                "raw_checksum": t.raw_checksum,
            }
            for t in ref.tiles
        ]
        for ref in refs
    ]
    schema = page_schema(stats_batch.schema)
    if stats_batch.num_columns:
        stats_column = pa.StructArray.from_arrays(stats_batch.columns, fields=list(stats_batch.schema))
    else:
        stats_column = pa.array([{}] * len(refs), pa.struct([]))
    batch = pa.RecordBatch.from_arrays(
        [
            pa.array([ref.bucket for ref in refs], pa.int32()),
            pa.array([ref.chunk for ref in refs], pa.int32()),
            pa.array([ref.rows for ref in refs], pa.int64()),
            pa.array(tiles, schema.field("tiles").type),
            stats_column,
        ],
        schema=schema,
    )
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, schema) as stream:
        stream.write_batch(batch)
    stored = isal_zlib.compress(sink.getvalue(), 1, wbits=31)
    return stored, xxhash.xxh3_128_digest(stored)


def decode_page(dataset: str, ref: PageRef, stored: bytes) -> Page:
    """The page that ``ref`` names; raises when the bytes are not the ones that were written."""
    return Page(dataset, ref.writer, checked_stream(dataset, ref.writer, ref.page, ref.checksum, stored))


def checked_stream(dataset: str, writer: UUID, page: int, checksum: bytes, stored: bytes) -> pa.RecordBatch:
    """The one record batch of a page's stored bytes, their checksum verified before anything is decoded."""
    actual = xxhash.xxh3_128_digest(stored)
    where: dict[str, Any] = {"dataset": dataset, "writer": writer.hex, "page": page}
    name = f"page {page} of {dataset}/{writer.hex[:12]}"
    if actual != checksum:
        raise ChecksumMismatchError(
            f"{name} is not what was written",
            hint="millrace verify tells which node holds it; the other replica may still be good",
            stage="stored",
            expected=checksum.hex(),
            actual=actual.hex(),
            **where,
        )
    inflater = isal_zlib.decompressobj(wbits=31)
    raw = inflater.decompress(stored, _RAW_LIMIT_BYTES)
    if not inflater.eof or inflater.unused_data:
        raise ChunkFormatError(f"{name} is cut short or too long", **where)
    with pa.ipc.open_stream(raw) as stream:
        return stream.read_next_batch()
