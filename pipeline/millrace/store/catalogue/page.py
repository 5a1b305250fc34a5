"""Manifest pages of at most 1 MB, which describe the chunks of a version.

A page is an Arrow IPC stream of one record batch, gzip-compressed, one row per chunk (docs/format.md). It is written
once, after every chunk it names. Its checksum is stored in its row and in every reference to it. Pages are columnar so
that a filter can drop most of 250,000 chunks without creating an object for any of them.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import pyarrow as pa
import xxhash
from isal import isal_zlib

from millrace.errors import ChecksumMismatchError, ChunkFormatError
from millrace.store.catalogue.manifest import ChunkRef, PageRef, TileRef

PAGE_BYTES_MAX = 1_000_000
_RAW_BYTES_MAX = 256_000_000

_TILE = pa.struct(
    [
        pa.field("codec", pa.string(), nullable=False),
        pa.field("raw_bytes", pa.int32(), nullable=False),
        pa.field("stored_bytes", pa.int32(), nullable=False),
        pa.field("stored_checksum", pa.binary(16), nullable=False),
        pa.field("raw_checksum", pa.binary(8), nullable=False),
    ]
)


@dataclass(frozen=True, slots=True)
class Page:
    """A decoded page: the table of its chunks (bucket, chunk, rows, tiles, stats), one row per chunk."""

    dataset: str
    attempt_id: UUID
    table: pa.RecordBatch

    def stats_batch(self) -> pa.RecordBatch:
        """Return the statistics, one row per chunk, in the layout of ``millrace.chunks.stats_schema``.

        The schema is that of the chunks' physical types.
        """
        return pa.RecordBatch.from_struct_array(self.table.column("stats"))

    @property
    def largest_chunk_bytes(self) -> int:
        """Stored bytes of the largest chunk."""
        return max((ref.stored_bytes for ref in self.refs()), default=0)

    def row_counts(self) -> list[int]:
        """Return the number of rows of every chunk."""
        return list(self.table.column("rows").to_pylist())

    def refs(self, rows: Iterable[int] | None = None) -> list[ChunkRef]:
        """Return the chunk references of all rows, or of the given rows, in order."""
        # Leave out the statistics: they have three columns for each column of the rows, and taking one of them costs
        # 0.5 ms.
        table = self.table.select(["bucket", "chunk", "rows", "tiles"])
        if rows is not None:
            table = table.take(pa.array(list(rows), pa.int64()))
        lists = table.column("tiles")
        # Convert column by column into tuples, through numpy where the values are not numbers: 0.3 us per tile.
        # Dictionaries converted into a dataclass take 7 us, and a page names tens of thousands of tiles.
        codecs, raw_bytes, stored_bytes, *checksums = lists.flatten().flatten()
        encoded = [column.to_numpy(zero_copy_only=False).tolist() for column in (codecs, *checksums)]
        tiles = list(map(TileRef, encoded[0], raw_bytes.to_pylist(), stored_bytes.to_pylist(), *encoded[1:]))
        edges = list(itertools.accumulate(lists.value_lengths().to_pylist(), initial=0))
        columns = (table.column(name).to_pylist() for name in ("bucket", "chunk", "rows"))
        return [
            ChunkRef(self.dataset, self.attempt_id, bucket, chunk, count, tuple(tiles[start:end]))
            for bucket, chunk, count, start, end in zip(*columns, edges[:-1], edges[1:], strict=True)
        ]


def page_schema(stats: pa.Schema) -> pa.Schema:
    """Return the columns of a page whose chunks have statistics of this schema."""
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
    """Return the stored bytes of a page and their checksum.

    ``stats`` has one row per chunk. All of its batches have the same schema.
    """
    schema = page_schema(stats[0].schema)
    batch = pa.RecordBatch.from_arrays(
        [
            pa.array([ref.bucket for ref in refs], pa.int32()),
            pa.array([ref.chunk for ref in refs], pa.int32()),
            pa.array([ref.rows for ref in refs], pa.int64()),
            pa.array([ref.tiles for ref in refs], schema.field("tiles").type),
            pa.concat_batches(stats).to_struct_array(),
        ],
        schema=schema,
    )
    stored = encode_stream(batch)
    return stored, xxhash.xxh3_128_digest(stored)


def encode_stream(batch: pa.RecordBatch) -> bytes:
    """Return the stored bytes of a record batch: an Arrow IPC stream, compressed with gzip."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batch.schema) as stream:
        stream.write_batch(batch)
    stored: bytes = isal_zlib.compress(sink.getvalue(), 1, wbits=31)
    return stored


def decode_page(dataset: str, ref: PageRef, stored: bytes, *, raw_bytes_max: int = _RAW_BYTES_MAX) -> Page:
    """Return the page that ``ref`` names; raises when its bytes are not the written ones."""
    batch = checked_stream(dataset, ref.attempt_id, ref.page, ref.checksum, stored, raw_bytes_max=raw_bytes_max)
    return Page(dataset, ref.attempt_id, batch)


def checked_stream(
    dataset: str,
    attempt_id: UUID,
    page: int,
    checksum: bytes,
    stored: bytes,
    *,
    raw_bytes_max: int = _RAW_BYTES_MAX,
) -> pa.RecordBatch:
    """Return the record batch of a page's stored bytes, after verifying their checksum.

    Raises ``ChecksumMismatchError``, and ``ChunkFormatError`` for a gzip stream that is truncated or too long.
    """
    actual = xxhash.xxh3_128_digest(stored)
    where: dict[str, Any] = {"dataset": dataset, "attempt_id": attempt_id.hex, "page": page}
    name = f"page {page} of {dataset}/{attempt_id.hex[:12]}"
    if actual != checksum:
        raise ChecksumMismatchError(
            f"{name} has a wrong checksum",
            hint="millrace verify --each-replica names the node of the damaged copy; the other copy may be good",
            stage="stored",
            expected=checksum.hex(),
            actual=actual.hex(),
            **where,
        )
    inflater = isal_zlib.decompressobj(wbits=31)
    raw = inflater.decompress(stored, raw_bytes_max)
    if not inflater.eof or inflater.unused_data:
        raise ChunkFormatError(f"{name} is cut short or too long", **where)
    with pa.ipc.open_stream(raw) as stream:
        return stream.read_next_batch()
