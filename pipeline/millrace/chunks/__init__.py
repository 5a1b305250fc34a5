"""Encode record batches as chunks of at most 5 MB, and decode them.

``RowGrouper`` cuts a stream of batches into row groups. ``encode_row_group`` encodes a row group as chunks.
``decode_tile`` and ``assemble`` make rows from the tiles of a chunk. docs/format.md describes the format for other
programs.
"""

from millrace.chunks.cast import cast_batch, cast_stored_numbers
from millrace.chunks.choose import choose_row_group_bytes
from millrace.chunks.encode import Chunk, OlderChunk, assemble, assemble_as_stored, encode_row_group
from millrace.chunks.encoding.codecs import CODECS, Allocate
from millrace.chunks.grouper import RowGroup, RowGrouper
from millrace.chunks.layout import TileLayout
from millrace.chunks.matrix import columns_of, is_matrix_type, matrix_field, matrix_of
from millrace.chunks.narrow import DICTIONARY_VALUE_BYTES_MAX
from millrace.chunks.prepared import PREPARED_CHUNK_BYTES, prepared_grouper, prepared_layout, prepared_row_group_bytes
from millrace.chunks.settings import ChunkSettings
from millrace.chunks.statistics.stats import (
    ColumnStats,
    column_stats,
    compute_stats,
    merge_stats,
    selected_stats,
    stats_schema,
    without_bounds,
)
from millrace.chunks.tile import Tile, decode_raw_tile, decode_tile, inflate_tile

__all__ = [
    "Allocate",
    "CODECS",
    "Chunk",
    "ChunkSettings",
    "ColumnStats",
    "DICTIONARY_VALUE_BYTES_MAX",
    "OlderChunk",
    "PREPARED_CHUNK_BYTES",
    "RowGroup",
    "RowGrouper",
    "Tile",
    "TileLayout",
    "assemble",
    "assemble_as_stored",
    "cast_batch",
    "cast_stored_numbers",
    "choose_row_group_bytes",
    "column_stats",
    "columns_of",
    "compute_stats",
    "decode_raw_tile",
    "decode_tile",
    "encode_row_group",
    "inflate_tile",
    "is_matrix_type",
    "matrix_field",
    "matrix_of",
    "merge_stats",
    "prepared_grouper",
    "prepared_layout",
    "prepared_row_group_bytes",
    "selected_stats",
    "stats_schema",
    "without_bounds",
]
