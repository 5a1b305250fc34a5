"""Decoded rows equal the encoded rows, and no chunk exceeds the size limit."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from millrace.chunks import (
    Chunk,
    ChunkSettings,
    RowGroup,
    TileLayout,
    assemble,
    compute_stats,
    encode_row_group,
    stats_schema,
)
from millrace.errors import ChunkFormatError, RowTooLargeError
from tests.unit.chunks.encoded import decoded_tiles

SMALLEST = 64 * 1024


def decode(chunk: Chunk, layout: TileLayout, schema: pa.Schema, columns: list[int] | None = None) -> pa.RecordBatch:
    tiles = decoded_tiles(chunk, layout.tiles_of(columns))
    return assemble(tiles, layout, schema, columns)


def rejoin(chunks: list[Chunk], layout: TileLayout, schema: pa.Schema) -> pa.RecordBatch:
    return pa.concat_batches([decode(chunk, layout, schema) for chunk in chunks])


@settings(suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_any_batch_is_decoded_unchanged(data: Any, any_batch: Any, equal: Any) -> None:
    batch = data.draw(any_batch())
    chosen = ChunkSettings(codec=data.draw(st.sampled_from(["gzip", "zstd", "none"])))
    layout = TileLayout.for_schema(batch.schema)
    chunks = encode_row_group(batch, chosen, layout)
    assert len(chunks) == (1 if batch.num_rows else 0)
    for chunk in chunks:
        assert equal(decode(chunk, layout, batch.schema), batch)
        assert chunk.rows == batch.num_rows
        assert chunk.schema.equals(batch.schema)
        assert chunk.stats.num_rows == 1
        assert chunk.stats.schema.equals(stats_schema(batch.schema))
        selected = data.draw(st.permutations(range(batch.num_columns)))[: batch.num_columns // 2]
        assert equal(decode(chunk, layout, batch.schema, list(selected)), batch.select(list(selected)))


@settings(suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_a_row_group_of_many_batches_gives_the_same_chunks_as_one_batch(data: Any, any_batch: Any, equal: Any) -> None:
    batch = data.draw(any_batch(max_rows=60))
    edges = sorted(data.draw(st.lists(st.integers(0, batch.num_rows), max_size=4)))
    cuts = [0, *edges, batch.num_rows]
    group = RowGroup(tuple(batch.slice(low, high - low) for low, high in pairwise(cuts)))
    layout = TileLayout.for_schema(batch.schema)
    chosen = ChunkSettings(codec="none", chunk_bytes=SMALLEST)
    chunks, alone = (encode_row_group(rows, chosen, layout) for rows in (group, batch))
    assert [(chunk.rows, chunk.stats, chunk.schema) for chunk in chunks] == [
        (chunk.rows, chunk.stats, chunk.schema) for chunk in alone
    ]
    if chunks:
        assert equal(rejoin(chunks, layout, batch.schema), batch)


def test_every_type_is_unchanged_after_a_cut_into_small_chunks(every_type: Any, any_array: Any, equal: Any) -> None:
    rng = np.random.default_rng(5)
    for type_ in every_type:
        weight = pa.array([rng.bytes(400) for _ in range(700)])
        batch = pa.record_batch([any_array(type_, 700, rng), weight], ["value", "weight"]).slice(3, 690)
        layout = TileLayout.for_schema(batch.schema)
        chunks = encode_row_group(batch, ChunkSettings(chunk_bytes=SMALLEST), layout)
        assert len(chunks) >= 5, type_
        assert all(chunk.stored_bytes <= SMALLEST for chunk in chunks)
        start = 0
        for chunk in chunks:
            assert equal(decode(chunk, layout, batch.schema), batch.slice(start, chunk.rows)), type_
            start += chunk.rows
        assert start == 690


@settings(suppress_health_check=[HealthCheck.too_slow])
@given(
    rows=st.integers(1, 3000),
    noise=st.integers(0, 256),
    limit=st.integers(SMALLEST, 300_000),
    codec=st.sampled_from(["gzip", "zstd", "none"]),
)
def test_a_chunk_is_never_larger_than_the_limit(rows: int, noise: int, limit: int, codec: str) -> None:
    rng = np.random.default_rng(rows)
    texts = pa.array([rng.integers(0, noise + 1, rng.integers(0, 300)).astype("u1").tobytes() for _ in range(rows)])
    batch = pa.record_batch([pa.array(range(rows)), texts, pa.array(rng.random(rows))], ["n", "t", "r"])
    layout = TileLayout.for_schema(batch.schema)
    chunks = encode_row_group(batch, ChunkSettings(codec=codec, chunk_bytes=limit), layout)
    assert max(chunk.stored_bytes for chunk in chunks) <= limit
    assert rejoin(chunks, layout, batch.schema).equals(batch)


@pytest.mark.parametrize("excess", [-1, 0, 1])
def test_the_limit_itself_is_allowed_and_one_byte_more_is_not(excess: int) -> None:
    plain = ChunkSettings(codec="none")
    layout = TileLayout(((0,),))
    data = np.random.default_rng(0).bytes(1_000_000)

    def size(length: int) -> int:
        batch = pa.record_batch([pa.array([data[:length], b""])], ["b"])
        return encode_row_group(batch, plain, layout)[0].stored_bytes

    full = size(len(data))
    batch = pa.record_batch([pa.array([data, b""])], ["b"])
    chunks = encode_row_group(batch, ChunkSettings(codec="none", chunk_bytes=full - excess), layout)
    assert len(chunks) == (2 if excess > 0 else 1)


def test_a_row_that_no_chunk_can_hold_is_refused_with_its_columns_and_sizes() -> None:
    rng = np.random.default_rng(0)
    batch = pa.record_batch(
        [pa.array([1, 2]), pa.array([b"", rng.bytes(90_000)]), pa.array(["x", "y"])], ["id", "image", "label"]
    )
    with pytest.raises(RowTooLargeError, match=r"one row takes 9\d,\d{3} stored bytes.*65,536.*image 9\d,\d{3}") as e:
        encode_row_group(batch, ChunkSettings(chunk_bytes=SMALLEST), TileLayout.for_schema(batch.schema))
    assert e.value.context["chunk_bytes"] == SMALLEST
    assert list(e.value.context["columns"]) == ["id", "image", "label"]


def test_highly_compressible_rows_are_cut_at_the_raw_size_limit() -> None:
    limit = 1_000_000
    layout = TileLayout(((0,),))
    batch = pa.record_batch([pa.array([b"0" * 300_000] * 8)], ["zeros"])
    chunks = encode_row_group(batch, ChunkSettings(), layout, raw_bytes_max=limit)
    assert [chunk.rows for chunk in chunks] == [2] * 4
    large = pa.record_batch([pa.array([b"0" * 2_000_000])], ["zeros"])
    with pytest.raises(RowTooLargeError, match="one row takes 2,000,0"):
        encode_row_group(large, ChunkSettings(), layout, raw_bytes_max=limit)


def test_fields_that_are_not_nullable_stay_so() -> None:
    schema = pa.schema([pa.field("data", pa.binary(), nullable=False, metadata={"a": "b"})], metadata={"c": "d"})
    batch = pa.RecordBatch.from_arrays([pa.array([b"x"])], schema=schema)
    layout = TileLayout.for_schema(schema)
    [chunk] = encode_row_group(batch, ChunkSettings(), layout)
    assert decode(chunk, layout, schema).schema.equals(schema, check_metadata=True)
    assert chunk.schema.equals(schema, check_metadata=True)


@pytest.mark.parametrize("length", [1, SMALLEST - 1, SMALLEST, SMALLEST + 1, 400_001])
def test_pieces_of_a_byte_dataset_are_cut_to_fit(length: int) -> None:
    piece = np.random.default_rng(length).bytes(length)
    batch = pa.record_batch(
        [pa.array(["a/b", "c"]), pa.array([700, 0]), pa.array([piece, b""])], ["path", "offset", "data"]
    )
    layout = TileLayout.for_schema(batch.schema)
    chunks = encode_row_group(batch, ChunkSettings(chunk_bytes=SMALLEST, kind="bytes"), layout)
    assert max(chunk.stored_bytes for chunk in chunks) <= SMALLEST
    rows = rejoin(chunks, layout, batch.schema).to_pylist()
    at = 700
    for row in rows[:-1]:
        assert (row["path"], row["offset"]) == ("a/b", at)
        at += len(row["data"])
    assert b"".join(row["data"] for row in rows[:-1]) == piece
    assert rows[-1] == {"path": "c", "offset": 0, "data": b""}


def test_a_row_of_a_byte_dataset_without_bytes_to_cut_is_refused() -> None:
    name = np.random.default_rng(0).bytes(50_000).hex()
    batch = pa.record_batch([pa.array([name]), pa.array([b""])], ["path", "data"])
    plain = ChunkSettings(codec="none", chunk_bytes=SMALLEST, kind="bytes")
    with pytest.raises(RowTooLargeError, match="without its bytes"):
        encode_row_group(batch, plain, TileLayout.for_schema(batch.schema))


def test_rows_without_columns_keep_their_number() -> None:
    batch = pa.record_batch([pa.nulls(7)], ["x"]).select([])
    layout = TileLayout.for_schema(batch.schema)
    [chunk] = encode_row_group(batch, ChunkSettings(), layout)
    assert len(chunk.tiles) == 1
    assert decode(chunk, layout, batch.schema).num_rows == 7


def test_a_wide_table_keeps_every_column_in_its_place() -> None:
    columns = {f"c{i}": pa.array(np.full(50, i, "f4") + np.arange(50)) for i in range(200)}
    batch = pa.record_batch(columns)
    layout = TileLayout.for_schema(batch.schema)
    [chunk] = encode_row_group(batch, ChunkSettings(), layout)
    assert len(chunk.tiles) == 64
    assert decode(chunk, layout, batch.schema).equals(batch)
    assert decode(chunk, layout, batch.schema, [199, 3]).equals(batch.select([199, 3]))
    assert layout.tiles_of([199, 3]) == (1, 63)


def test_an_incompressible_tile_is_stored_with_the_codec_none() -> None:
    rng = np.random.default_rng(0)
    batch = pa.record_batch([pa.array([rng.bytes(50_000)]), pa.array(["a" * 50_000])], ["noise", "text"])
    [chunk] = encode_row_group(batch, ChunkSettings(), TileLayout(((0,), (1,))))
    assert [tile.codec for tile in chunk.tiles] == ["none", "gzip"]


def test_a_slice_does_not_carry_the_values_of_other_rows() -> None:
    rng = np.random.default_rng(0)
    words = pa.array([rng.bytes(100).hex() for _ in range(20_000)])
    column = pa.DictionaryArray.from_arrays(pa.array(np.arange(20_000), pa.int32()), words)
    nested = pa.ListArray.from_arrays(pa.array(np.arange(20_001), pa.int32()), column)
    views = words.cast(pa.string_view())
    for array in (column, nested, views, pa.StructArray.from_arrays([column], ["d"])):
        batch = pa.record_batch([array], ["w"])
        layout = TileLayout.for_schema(batch.schema)
        uncut = encode_row_group(batch, ChunkSettings(), layout)
        cut = encode_row_group(batch, ChunkSettings(chunk_bytes=SMALLEST), layout)
        assert sum(c.raw_bytes for c in cut) < 1.5 * sum(c.raw_bytes for c in uncut)
        assert [v for c in cut for v in decode(c, layout, batch.schema).column(0).to_pylist()] == array.to_pylist()


def test_each_part_of_a_cut_row_group_keeps_only_the_values_it_uses() -> None:
    words = pa.array([np.random.default_rng(i).bytes(1000) for i in range(100)])
    sorted_rows = pa.array(np.repeat(np.arange(100), 200), pa.int32())
    batch = pa.record_batch([pa.DictionaryArray.from_arrays(sorted_rows, words)], ["w"])
    chunks = encode_row_group(batch, ChunkSettings(chunk_bytes=SMALLEST), TileLayout(((0,),)))
    assert [chunk.rows for chunk in chunks] == [10_000, 10_000]


def test_unused_categories_stay_in_a_small_dictionary() -> None:
    column = pa.DictionaryArray.from_arrays(pa.array([2, 0, 2], pa.int8()), pa.array(["x", "y", "z"]), ordered=True)
    batch = pa.record_batch([column], ["grade"])
    layout = TileLayout.for_schema(batch.schema)
    [chunk] = encode_row_group(batch, ChunkSettings(), layout)
    assert decode(chunk, layout, batch.schema).column(0).dictionary.to_pylist() == ["x", "y", "z"]
    assert compute_stats(batch).column(0)[0].as_py() == {"nulls": 0, "min": "x", "max": "z"}


def test_a_layout_for_other_columns_is_refused() -> None:
    batch = pa.record_batch([pa.array([1])], ["a"])
    with pytest.raises(ChunkFormatError, match="2 columns, the rows have 1"):
        encode_row_group(batch, ChunkSettings(), TileLayout(((0, 1),)))


def test_tiles_of_different_chunks_are_not_assembled() -> None:
    schema = pa.schema([("a", pa.int64()), ("b", pa.int64())])
    layout = TileLayout(((0,), (1,)))
    one = pa.record_batch([pa.array([1, 2])], ["a"])
    other = pa.record_batch([pa.array([1])], ["b"])
    with pytest.raises(ChunkFormatError, match="differ in rows"):
        assemble([one, other], layout, schema)
    with pytest.raises(ChunkFormatError, match="1 tiles, 2 expected"):
        assemble([one], layout, schema)
    with pytest.raises(ChunkFormatError, match="tile 1 has 2 columns"):
        assemble([one, pa.record_batch([pa.array([1, 2]), pa.array([1, 2])], ["b", "c"])], layout, schema)
