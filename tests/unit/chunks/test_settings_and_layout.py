"""Settings are checked by name and range; a layout holds every column once."""

from __future__ import annotations

import json
import threading
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from millrace.chunks import ChunkSettings, TileLayout, encode_row_group
from millrace.errors import ChunkFormatError, InvalidSettingError


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"codec": "lz4"}, "codec is 'lz4'.*gzip, zstd, none"),
        ({"chunk_bytes": 65_535}, "chunk_bytes is 65535.*from 65,536 to 5,000,000"),
        ({"chunk_bytes": 5_000_001}, "chunk_bytes is 5000001.*from 65,536 to 5,000,000"),
        ({"chunk_bytes": "5MB"}, "chunk_bytes is '5MB'"),
        ({"codec_level": 4}, "codec_level is 4.*from 0 to 3 for the codec gzip"),
        ({"codec": "zstd", "codec_level": 0}, "from 1 to 22 for the codec zstd"),
        ({"row_group_bytes": 0}, "row_group_bytes is 0.*from 1 to"),
        ({"kind": "blob"}, "kind is 'blob'.*table, bytes"),
    ],
)
def test_a_setting_outside_its_range_is_refused_by_name(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidSettingError, match=message):
        ChunkSettings(**wrong)


@pytest.mark.parametrize("chunk_bytes", [65_536, 5_000_000])
def test_the_limits_of_the_range_are_allowed(chunk_bytes: int) -> None:
    assert ChunkSettings(chunk_bytes=chunk_bytes).chunk_bytes == chunk_bytes


def test_settings_survive_json() -> None:
    chosen = ChunkSettings("zstd", 3, 1_000_000, 2_000_000, "bytes")
    assert ChunkSettings.from_json(json.loads(json.dumps(chosen.to_json()))) == chosen


def test_settings_of_a_newer_version_are_refused_by_name() -> None:
    with pytest.raises(InvalidSettingError, match="unknown chunk settings: shuffle"):
        ChunkSettings.from_json({"codec": "gzip", "shuffle": True})


@given(count=st.integers(0, 1000))
def test_every_column_is_in_exactly_one_tile_beside_its_neighbours(count: int) -> None:
    layout = TileLayout.for_schema(pa.schema([(f"c{i}", pa.int8()) for i in range(count)]))
    assert [column for tile in layout.columns for column in tile] == list(range(count))
    sizes = [len(tile) for tile in layout.columns]
    assert max(sizes) - min(sizes) <= 1
    assert layout.column_count == count
    assert TileLayout.from_json(json.loads(json.dumps(layout.to_json()))) == layout


@pytest.mark.parametrize(
    ("columns", "tiles"),
    [(0, 1), (1, 1), (8, 8), (19, 8), (24, 8), (25, 9), (32, 11), (192, 64), (200, 64), (5000, 64)],
)
def test_the_number_of_tiles(columns: int, tiles: int) -> None:
    assert len(TileLayout.for_schema(pa.schema([(f"c{i}", pa.int8()) for i in range(columns)])).columns) == tiles


def test_a_projection_gives_the_tiles_that_it_needs() -> None:
    layout = TileLayout(((0, 1), (2,), (3, 4)))
    assert layout.tiles_of([4, 0]) == (0, 2)
    assert layout.tiles_of(None) == (0, 1, 2)
    assert layout.tiles_of([]) == (0,)
    with pytest.raises(ChunkFormatError, match="no column 5"):
        layout.tiles_of([5])


@pytest.mark.parametrize("columns", [(), ((0, 0),), ((0,), (2,)), ((1,),)])
def test_a_layout_that_misses_or_repeats_a_column_is_refused(columns: Any) -> None:
    with pytest.raises(ChunkFormatError, match="every column once"):
        TileLayout(columns)


def test_concurrent_encoding_gives_the_same_chunks() -> None:
    rng = np.random.default_rng(0)
    batches = [
        pa.record_batch([pa.array(rng.integers(0, 99, 50_000)), pa.array(rng.random(50_000))], ["a", "b"])
        for _ in range(6)
    ]
    layout = TileLayout.for_schema(batches[0].schema)
    alone = [encode_row_group(batch, ChunkSettings(), layout) for batch in batches]
    together: dict[int, Any] = {}
    threads = [
        threading.Thread(target=lambda i=i: together.update({i: encode_row_group(batches[i], ChunkSettings(), layout)}))
        for i in range(6)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    for i, chunks in enumerate(alone):
        assert [tile.stored for c in chunks for tile in c.tiles] == [t.stored for c in together[i] for t in c.tiles]
