"""Chunks that a test encodes and decodes."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import pyarrow as pa

from millrace.chunks import Chunk, ChunkSettings, TileLayout, assemble, decode_tile, encode_row_group


def decoded_tiles(chunk: Chunk, indices: Iterable[int] | None = None) -> list[pa.RecordBatch]:
    """Decode the chunk's tiles, or those given, as a reader does."""
    tiles = chunk.tiles if indices is None else [chunk.tiles[index] for index in indices]
    return [
        decode_tile(
            tile.stored,
            codec=tile.codec,
            raw_bytes=tile.raw_bytes,
            stored_checksum=tile.stored_checksum,
            raw_checksum=tile.raw_checksum,
            where={"tile": tile.index},
        )
        for tile in tiles
    ]


def through_a_chunk(
    batch: pa.RecordBatch, codec: str = "gzip", how: Callable[..., pa.RecordBatch] = assemble
) -> pa.RecordBatch:
    """Encode the rows into one chunk and decode them: with their types, or as stored with ``assemble_as_stored``."""
    layout = TileLayout.for_schema(batch.schema)
    [chunk] = encode_row_group(batch, ChunkSettings(codec=codec), layout)
    return how(decoded_tiles(chunk), layout, batch.schema)
