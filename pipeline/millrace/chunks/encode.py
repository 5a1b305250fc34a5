"""Encode row groups as chunks, and assemble rows from decoded tiles."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import pyarrow as pa

from millrace.arrow import held_bytes
from millrace.chunks.cast import cast_batch
from millrace.chunks.compact import compact_batch
from millrace.chunks.encoding.stored_types import to_stored
from millrace.chunks.grouper import RowGroup
from millrace.chunks.layout import TileLayout
from millrace.chunks.matrix import columns_of, matrix_of, to_matrix
from millrace.chunks.narrow import narrow_batch
from millrace.chunks.settings import ChunkSettings
from millrace.chunks.split import split_bytes_row
from millrace.chunks.statistics.stats import compute_stats
from millrace.chunks.tile import TILE_RAW_BYTES_MAX, Tile, encode_tile
from millrace.errors import ChunkFormatError, RowTooLargeError


@dataclass(frozen=True, slots=True)
class Chunk:
    """Consecutive rows as encoded tiles, in the layout's order, of at most ``chunk_bytes`` stored bytes together.

    ``schema`` is the schema of the rows. ``stats`` is one row of ``stats_schema(schema)``. The types in the tiles may
    be narrower (``narrow_batch``).
    """

    rows: int
    tiles: tuple[Tile, ...]
    schema: pa.Schema
    stats: pa.RecordBatch

    @property
    def raw_bytes(self) -> int:
        """Return the bytes of all tiles before compression."""
        return sum(tile.raw_bytes for tile in self.tiles)

    @property
    def stored_bytes(self) -> int:
        """Return the bytes of all tiles as stored."""
        return sum(tile.stored_bytes for tile in self.tiles)


class OlderChunk(NamedTuple):
    """The number of tiles and of rows of a chunk that is older than a column: it has only the layout's first tiles."""

    tiles: int
    rows: int


def encode_columns(batch: pa.RecordBatch, columns: Sequence[int], index: int, settings: ChunkSettings) -> Tile:
    """Encode these columns of narrow rows as a tile; it keeps the number of rows even without columns."""
    return encode_tile(to_stored(batch.select(list(columns))), index, settings.codec, settings.codec_level)


def encode_row_group(
    rows: pa.RecordBatch | RowGroup,
    settings: ChunkSettings,
    layout: TileLayout,
    *,
    raw_bytes_max: int = TILE_RAW_BYTES_MAX,
) -> list[Chunk]:
    """Encode a row group as chunks in row order: one, or several where one would exceed ``chunk_bytes``.

    Without rows the list is empty. Rows that do not fit into one chunk are halved until they do. A single row that does
    not fit raises ``RowTooLargeError`` with the sizes of its columns; in a dataset of bytes it is cut into two rows
    instead. Rows of more than ``raw_bytes_max`` in memory do not fit, however small they are when stored. Raises
    ``SourceTypeError`` when a column's batches do not fit into one array. Safe to call from several threads.

    This function drops its reference to the rows once they are narrow, before the slow part. Their memory is then free
    unless the caller holds them.
    """
    schema = rows.schema
    if len(schema) != layout.column_count:
        raise ChunkFormatError(f"the layout is for {layout.column_count} columns, the rows have {len(schema)}")
    if _held_bytes(rows) > raw_bytes_max:
        waiting = _halves(rows.to_batch() if isinstance(rows, RowGroup) else rows)
    else:
        waiting = [compact_batch(narrow_batch(rows))]
    del rows
    chunks: list[Chunk] = []
    while waiting:
        part = waiting.pop()
        if not part.num_rows:
            continue
        tiles = None if _held_bytes(part) > raw_bytes_max else _encode(part, settings, layout, schema)
        if tiles is not None:
            # Narrow columns are faster to compute bounds from. The result has the rows' own schema, because all
            # chunks of a page share one.
            chunks.append(Chunk(part.num_rows, tiles, schema, compute_stats(part, schema)))
        elif part.num_rows > 1:
            waiting += _halves(part)
        elif settings.kind == "bytes":
            waiting += map(narrow_batch, reversed(split_bytes_row(cast_batch(part, schema))))
        else:
            raise _row_too_large(cast_batch(part, schema), settings, raw_bytes_max)
    return chunks


def _halves(batch: pa.RecordBatch) -> list[pa.RecordBatch]:
    """Return both halves of the rows, narrowed, with their own dictionary values only; the first half comes last."""
    half = batch.num_rows // 2
    pair = [batch.slice(half), batch.slice(0, half)]
    return [narrow_batch(compact_batch(part, always=True)) for part in pair]


def _held_bytes(rows: pa.RecordBatch | RowGroup) -> int:
    """Return the bytes that a reader needs for the rows; none without columns."""
    if not len(rows.schema):
        return 0
    return rows.nbytes if isinstance(rows, RowGroup) else held_bytes(rows)


def _encode(
    batch: pa.RecordBatch, settings: ChunkSettings, layout: TileLayout, schema: pa.Schema
) -> tuple[Tile, ...] | None:
    """Encode all tiles; return None as soon as they exceed ``chunk_bytes`` together.

    The rows are narrow. A matrix has the types of ``schema``, so that all chunks of a version have the same.
    """
    tiles: list[Tile] = []
    room = settings.chunk_bytes
    for index, columns in enumerate(layout.columns):
        # Tile by tile, because the stored types of all columns at once would take as much memory as the batch.
        if index in layout.matrices:
            matrix = to_matrix(batch.select(list(columns)), [schema.field(column) for column in columns])
            tile = encode_tile(matrix, index, settings.codec, settings.codec_level)
        else:
            tile = encode_columns(batch, columns, index, settings)
        room -= tile.stored_bytes
        if room < 0:
            return None
        tiles.append(tile)
    return tuple(tiles)


def _row_too_large(row: pa.RecordBatch, settings: ChunkSettings, raw_bytes_max: int) -> RowTooLargeError:
    sizes = {field.name: _stored_bytes(row.select([i]), settings, raw_bytes_max) for i, field in enumerate(row.schema)}
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


def _stored_bytes(row: pa.RecordBatch, settings: ChunkSettings, raw_bytes_max: int) -> int:
    if held_bytes(row) > raw_bytes_max:
        return held_bytes(row)
    return encode_tile(row, 0, settings.codec, settings.codec_level).stored_bytes


def assemble(
    tiles: Sequence[pa.RecordBatch],
    layout: TileLayout,
    schema: pa.Schema,
    columns: Sequence[int] | None = None,
) -> pa.RecordBatch:
    """Assemble rows of the version's schema from the decoded tiles ``layout.tiles_of(columns)``, in that order.

    ``columns`` are indices into ``schema``, in the order of the result; None means all. Columns whose type in the chunk
    is the version's are not copied; ``cast_batch`` widens the others. Raises ``ChunkFormatError`` when the tiles do not
    match the layout or each other.
    """
    selected = range(len(schema)) if columns is None else columns
    target = pa.schema([schema.field(column) for column in selected], metadata=schema.metadata)
    return cast_batch(assemble_as_stored(tiles, layout, schema, columns), target)


def assemble_as_stored(
    tiles: Sequence[pa.RecordBatch],
    layout: TileLayout,
    schema: pa.Schema,
    columns: Sequence[int] | None = None,
    *,
    older: OlderChunk | None = None,
) -> pa.RecordBatch:
    """Assemble rows as ``assemble`` does, but in the chunk's own types, which may be narrower.

    Only columns of a matrix are copied. The columns that an ``older`` chunk lacks have the type null.
    """
    selected = range(len(schema)) if columns is None else columns
    tile_indices = layout.tiles_of(columns, tile_count=older and older.tiles)
    if len(tiles) != len(tile_indices) or layout.column_count != len(schema):
        raise ChunkFormatError(
            f"{len(tiles)} tiles, {len(tile_indices)} expected by a layout of {layout.column_count} columns"
        )
    rows = {tile.num_rows for tile in tiles} or {older.rows if older else 0}
    if len(rows) != 1:
        raise ChunkFormatError(f"the tiles of one chunk differ in rows: {[tile.num_rows for tile in tiles]}")
    decoded: dict[int, tuple[pa.Array, pa.Field]] = {}
    for tile, index in zip(tiles, tile_indices, strict=True):
        if index in layout.matrices:
            decoded |= _matrix_columns(tile, layout, schema, index, set(selected))
            continue
        if tile.num_columns != len(layout.columns[index]):
            raise ChunkFormatError(f"tile {index} has {tile.num_columns} columns, not {len(layout.columns[index])}")
        for position, column in enumerate(layout.columns[index]):
            decoded[column] = (tile.column(position), tile.schema.field(position))
    if not len(selected):
        return tiles[0].select([]).replace_schema_metadata(schema.metadata)
    if older:
        missing = (column for column in selected if column not in decoded)
        decoded |= {column: (pa.nulls(*rows), pa.field(schema.field(column).name, pa.null())) for column in missing}
    physical = pa.schema([decoded[column][1] for column in selected])
    return pa.RecordBatch.from_arrays([decoded[column][0] for column in selected], schema=physical)


def _matrix_columns(
    tile: pa.RecordBatch, layout: TileLayout, schema: pa.Schema, index: int, selected: Collection[int]
) -> dict[int, tuple[pa.Array, pa.Field]]:
    """Return the selected columns of a matrix tile with their fields, by column index."""
    columns = layout.columns[index]
    matrix = matrix_of(tile, len(columns), index)
    positions = [position for position, column in enumerate(columns) if column in selected]
    return {
        columns[position]: (array, pa.field(schema.field(columns[position]).name, array.type))
        for position, array in zip(positions, columns_of(matrix, positions), strict=True)
    }
