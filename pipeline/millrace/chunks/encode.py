"""Row groups become chunks, and tiles become rows again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pyarrow as pa

from millrace.chunks.cast import cast_batch
from millrace.chunks.compact import compact_batch
from millrace.chunks.grouper import RowGroup
from millrace.chunks.layout import TileLayout
from millrace.chunks.narrow import narrow_batch
from millrace.chunks.settings import ChunkSettings
from millrace.chunks.sizes import held_bytes
from millrace.chunks.split import split_bytes_row
from millrace.chunks.stats import compute_stats
from millrace.chunks.stored_types import to_stored
from millrace.chunks.tile import TILE_RAW_BYTES_MAX, Tile, encode_tile
from millrace.errors import ChunkFormatError, RowTooLargeError

__all__ = ["Chunk", "assemble", "assemble_as_stored", "encode_columns", "encode_row_group"]


@dataclass(frozen=True, slots=True)
class Chunk:
    """Consecutive rows, coded: tiles in the layout's order, at most ``chunk_bytes`` stored bytes together.

    ``schema`` is that of the rows, ``stats`` one row of ``stats_schema(schema)``; the tiles' own types may be
    narrower (``narrow_batch``).
    """

    rows: int
    tiles: tuple[Tile, ...]
    schema: pa.Schema
    stats: pa.RecordBatch

    @property
    def raw_bytes(self) -> int:
        """Bytes of all tiles before coding."""
        return sum(tile.raw_bytes for tile in self.tiles)

    @property
    def stored_bytes(self) -> int:
        """Bytes of all tiles as stored."""
        return sum(tile.stored_bytes for tile in self.tiles)


def encode_columns(batch: pa.RecordBatch, columns: Sequence[int], index: int, settings: ChunkSettings) -> Tile:
    """The tile of these columns of narrow rows; keeps the number of rows even without columns."""
    return encode_tile(to_stored(batch.select(list(columns))), index, settings.codec, settings.codec_level)


def encode_row_group(rows: pa.RecordBatch | RowGroup, settings: ChunkSettings, layout: TileLayout) -> list[Chunk]:
    """The row group's chunks in row order: one, or several where one would exceed ``chunk_bytes``; none for no rows.

    Which rows fit is found by halving. A single row that does not fit raises ``RowTooLargeError`` with the sizes of
    its columns; in a dataset of bytes its piece is cut into two rows instead. ``SourceTypeError`` when a column's
    batches do not fit into one array. Safe to call from several threads.

    The rows themselves are let go of once they are narrow, before the slow part, if the caller holds them no more.
    """
    schema = rows.schema
    if len(schema) != layout.column_count:
        raise ChunkFormatError(f"the layout is for {layout.column_count} columns, the rows have {len(schema)}")
    if _too_large_to_hold(rows):
        waiting = _halves(rows.whole() if isinstance(rows, RowGroup) else rows)
    else:
        waiting = [compact_batch(narrow_batch(rows))]
    del rows
    chunks: list[Chunk] = []
    while waiting:
        part = waiting.pop()
        if not part.num_rows:
            continue
        tiles = None if _too_large_to_hold(part) else _encode(part, settings, layout)
        if tiles is not None:
            # Bounds are found faster in the narrow columns; a page of chunks has one schema, the rows' own.
            chunks.append(Chunk(part.num_rows, tiles, schema, compute_stats(part, schema)))
        elif part.num_rows > 1:
            waiting += _halves(part)
        elif settings.kind == "bytes":
            waiting += map(narrow_batch, reversed(split_bytes_row(cast_batch(part, schema))))
        else:
            raise _row_too_large(cast_batch(part, schema), settings)
    return chunks


def _halves(batch: pa.RecordBatch) -> list[pa.RecordBatch]:
    """Both halves of the rows, the first one last: narrow, and without the dictionaries of the rows beside them."""
    half = batch.num_rows // 2
    pair = [batch.slice(half), batch.slice(0, half)]
    return [narrow_batch(compact_batch(part, always=True)) for part in pair]


def _too_large_to_hold(rows: pa.RecordBatch | RowGroup) -> bool:
    """Whether a reader would need more than 1 GiB for the rows, however small they are when stored."""
    held = rows.nbytes if isinstance(rows, RowGroup) else held_bytes(rows)
    return bool(len(rows.schema) and held > TILE_RAW_BYTES_MAX)


def _encode(batch: pa.RecordBatch, settings: ChunkSettings, layout: TileLayout) -> tuple[Tile, ...] | None:
    """All tiles, or None as soon as they are too large together."""
    tiles: list[Tile] = []
    room = settings.chunk_bytes
    for index, columns in enumerate(layout.columns):
        # Tile by tile: the forms of all columns at once would take as much memory as the batch.
        tile = encode_columns(batch, columns, index, settings)
        room -= tile.stored_bytes
        if room < 0:
            return None
        tiles.append(tile)
    return tuple(tiles)


def _row_too_large(row: pa.RecordBatch, settings: ChunkSettings) -> RowTooLargeError:
    sizes = {field.name: _stored_bytes(row.select([i]), settings) for i, field in enumerate(row.schema)}
    largest = sorted(sizes, key=lambda name: -sizes[name])[:3]
    total = sum(sizes.values())
    return RowTooLargeError(
        f"one row takes {total:,} stored bytes, a chunk holds at most {settings.chunk_bytes:,}; its largest columns: "
        + ", ".join(f"{name} {sizes[name]:,}" for name in largest),
        hint="store large values as files (a dataset of bytes), or split them before loading",
        row_bytes=total,
        chunk_bytes=settings.chunk_bytes,
        columns=sizes,
    )


def _stored_bytes(row: pa.RecordBatch, settings: ChunkSettings) -> int:
    if held_bytes(row) > TILE_RAW_BYTES_MAX:
        return held_bytes(row)
    return encode_tile(row, 0, settings.codec, settings.codec_level).stored_bytes


def assemble(
    tiles: Sequence[pa.RecordBatch],
    layout: TileLayout,
    schema: pa.Schema,
    columns: Sequence[int] | None = None,
) -> pa.RecordBatch:
    """Rows of the version's schema from the decoded tiles ``layout.tiles_of(columns)``, in that order.

    ``columns`` are indices into ``schema``, in the order wanted; None is all. Nothing is copied where the chunk's
    types are the version's; otherwise ``cast_batch`` widens them. ``ChunkFormatError`` when the tiles do not fit.
    """
    wanted = range(len(schema)) if columns is None else columns
    target = pa.schema([schema.field(column) for column in wanted], metadata=schema.metadata)
    return cast_batch(assemble_as_stored(tiles, layout, schema, columns), target)


def assemble_as_stored(
    tiles: Sequence[pa.RecordBatch],
    layout: TileLayout,
    schema: pa.Schema,
    columns: Sequence[int] | None = None,
) -> pa.RecordBatch:
    """The same rows in the types that the chunk has, which may be narrower; nothing is copied."""
    wanted = range(len(schema)) if columns is None else columns
    held = layout.tiles_of(columns)
    if len(tiles) != len(held) or layout.column_count != len(schema):
        raise ChunkFormatError(f"{len(tiles)} tiles for {len(held)} of a layout of {layout.column_count} columns")
    if len({tile.num_rows for tile in tiles}) != 1:
        raise ChunkFormatError(f"the tiles of one chunk differ in rows: {[tile.num_rows for tile in tiles]}")
    found = {}
    for tile, index in zip(tiles, held, strict=True):
        if tile.num_columns != len(layout.columns[index]):
            raise ChunkFormatError(f"tile {index} has {tile.num_columns} columns, not {len(layout.columns[index])}")
        for position, column in enumerate(layout.columns[index]):
            found[column] = (tile.column(position), tile.schema.field(position))
    if not len(wanted):
        return tiles[0].select([]).replace_schema_metadata(schema.metadata)
    physical = pa.schema([found[column][1] for column in wanted])
    return pa.RecordBatch.from_arrays([found[column][0] for column in wanted], schema=physical)
