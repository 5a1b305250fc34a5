"""Measure on a sample how many bytes of rows fill a chunk. The whole load uses the result as a setting."""

from __future__ import annotations

import pyarrow as pa

from millrace.arrow import cumulative_row_bytes, held_bytes, nulls_of
from millrace.chunks.compact import compact_batch
from millrace.chunks.encode import encode_columns
from millrace.chunks.layout import TileLayout
from millrace.chunks.narrow import narrow_batch
from millrace.chunks.settings import ROW_GROUP_BYTES_MAX, ChunkSettings

RAW_BYTES_MAX = 32_000_000
_FILL = 0.9  # rows that compress a little worse than the sample still fit into one chunk
_SAMPLE_BYTES = 16_000_000


def choose_row_group_bytes(sample: pa.RecordBatch, settings: ChunkSettings) -> int:
    """Return the size of a row group whose chunk is about 90 % full, in the unit of ``cumulative_row_bytes``.

    A row group has at most 32 MB of raw Arrow at any compression ratio, which limits the memory of readers for a chunk.
    The same sample gives the same result on the same kind of CPU. The result must be recorded in the plan, because
    isal's compression ratio differs between CPUs.
    """
    if not sample.num_rows:
        return int(settings.chunk_bytes * _FILL)
    sums = cumulative_row_bytes(sample)
    rows = max(1, int(sums.searchsorted(_SAMPLE_BYTES, side="right")) - 1)
    counted = int(sums[rows])
    stored, raw = _sizes(sample.slice(0, rows), settings)
    # For sample.slice(0, 0) Arrow's writer would write the text of all rows.
    empty = pa.RecordBatch.from_arrays([nulls_of(0, type_) for type_ in sample.schema.types], schema=sample.schema)
    stored_empty, raw_empty = _sizes(empty, settings)
    room = max(settings.chunk_bytes * _FILL - stored_empty, settings.chunk_bytes * 0.1)
    by_stored = room * counted / max(1, stored - stored_empty)
    by_raw = RAW_BYTES_MAX * counted / max(1, raw - raw_empty)
    return max(1, min(int(by_stored), int(by_raw), ROW_GROUP_BYTES_MAX))


def _sizes(batch: pa.RecordBatch, settings: ChunkSettings) -> tuple[int, int]:
    batch = compact_batch(batch)
    # Later rows may need wider integers than the sample (numbers that count up), and must fit, too.
    narrow = narrow_batch(batch, integer_bits_min=32)
    tiles = (encode_columns(narrow, columns, 0, settings) for columns in TileLayout.for_schema(narrow.schema).columns)
    return sum(tile.stored_bytes for tile in tiles), held_bytes(batch)
