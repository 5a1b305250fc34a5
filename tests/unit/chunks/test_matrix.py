"""Columns in a matrix come back as those in tiles of their own, with the same statistics."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from millrace.chunks import (
    Chunk,
    ChunkSettings,
    OlderChunk,
    TileLayout,
    assemble,
    assemble_as_stored,
    encode_row_group,
    matrix_of,
)
from millrace.errors import ChunkFormatError
from tests.unit.chunks.encoded import decoded_tiles

NUMBERS = [
    *(pa.int8(), pa.int16(), pa.int32(), pa.int64(), pa.uint8(), pa.uint16(), pa.uint32(), pa.uint64()),
    *(pa.float16(), pa.float32(), pa.float64()),
]


def numbers(type_: pa.DataType, rows: int, rng: Any, nulls: float) -> pa.Array:
    """Return an array with nulls, NaN and -0.0 that begins in the middle of a byte of its bitmap."""
    low = 0 if pa.types.is_unsigned_integer(type_) else -100
    values = rng.integers(low, 100, rows + 3).astype(np.float64)
    if pa.types.is_floating(type_):
        values[rng.random(rows + 3) < 0.2] = np.nan
        values[rng.random(rows + 3) < 0.1] = -0.0
    return pa.array(values, pa.float64(), mask=rng.random(rows + 3) < nulls).cast(type_).slice(3)


def batch_of(type_: pa.DataType, width: int, rows: int, seed: int, nulls: float) -> pa.RecordBatch:
    """Return a text, then ``width`` numbers, then a whole number."""
    rng = np.random.default_rng(seed)
    columns = [numbers(type_, rows, rng, nulls) for _ in range(width)]
    names = ["text", *(f"x{number}" for number in range(width)), "last"]
    return pa.record_batch([pa.array([f"row {n}" for n in range(rows)]), *columns, pa.array(range(rows))], names)


def layout_of(width: int) -> TileLayout:
    return TileLayout(((0,), tuple(range(1, width + 1)), (width + 1,)), frozenset([1]))


def encoded(batch: pa.RecordBatch, layout: TileLayout, **options: Any) -> list[Chunk]:
    return encode_row_group(batch, ChunkSettings(**options), layout)


@given(data=st.data())
def test_any_numbers_come_back_equal_for_any_columns(data: Any) -> None:
    type_, width = data.draw(st.sampled_from(NUMBERS)), data.draw(st.integers(1, 9))
    rows, nulls = data.draw(st.integers(1, 2000)), data.draw(st.sampled_from([0, 0.3, 1]))
    batch = batch_of(type_, width, rows, data.draw(st.integers(0, 99)), nulls)
    codec = data.draw(st.sampled_from(["gzip", "zstd", "none"]))
    [chunk] = encoded(batch, layout_of(width), codec=codec)
    [alone] = encoded(batch, TileLayout.for_schema(batch.schema), codec=codec)
    assert chunk.stats.equals(alone.stats)
    wanted = data.draw(st.lists(st.integers(0, width + 1), unique=True))
    for columns in (None, wanted):
        tiles = decoded_tiles(chunk, layout_of(width).tiles_of(columns))
        found = assemble(tiles, layout_of(width), batch.schema, columns)
        found.validate(full=True)
        expected = batch if columns is None else batch.select(columns)
        for mine, theirs in zip(found.columns, expected.columns, strict=True):
            assert mine.type == theirs.type
            assert mine.is_valid().equals(theirs.is_valid())
            assert repr(mine.to_pylist()) == repr(theirs.to_pylist())  # NaN and -0.0 too


def test_the_tile_is_one_list_of_the_versions_type_with_zeros_below_nulls() -> None:
    batch = pa.record_batch({"a": pa.array([1, None, 3], pa.int64()), "b": pa.array([4, 5, 6], pa.int64())})
    [chunk] = encoded(batch, TileLayout(((0, 1),), frozenset([0])))
    [tile] = decoded_tiles(chunk)
    assert tile.schema.field(0).type == pa.list_(pa.int64(), 2)
    assert not tile.schema.field(0).nullable
    column = tile.column(0)
    assert column.to_pylist() == [[1, 4], [None, 5], [3, 6]]
    assert np.frombuffer(column.values.buffers()[1], np.int64).tolist() == [1, 4, 0, 5, 3, 6]


def test_equal_rows_give_equal_bytes_whatever_lies_below_their_nulls() -> None:
    layout = TileLayout(((0, 1),), frozenset([0]))
    chunks = []
    for below in (7, 9):
        values = np.array([1, below, 3])
        a = pa.array(values, pa.int64(), mask=np.array([False, True, False]))
        chunks += encoded(pa.record_batch({"a": a, "b": a}), layout)
    assert chunks[0].tiles == chunks[1].tiles


def test_a_row_group_that_is_halved_has_matrices_of_the_same_type() -> None:
    rng = np.random.default_rng(3)
    batch = pa.record_batch({f"c{n}": rng.random(20_000) for n in range(8)})
    layout = TileLayout((tuple(range(8)),), frozenset([0]))
    chunks = encoded(batch, layout, chunk_bytes=400_000)
    assert len(chunks) == 4
    rows = [assemble(decoded_tiles(chunk), layout, batch.schema) for chunk in chunks]
    assert pa.concat_batches(rows).equals(batch)


def test_columns_of_two_types_or_of_text_are_refused_by_name() -> None:
    layout = TileLayout(((0, 1),), frozenset([0]))
    for second in (pa.array([1.5]), pa.array(["x"])):
        batch = pa.record_batch({"a": pa.array([1.5], pa.float32()), "b": second})
        with pytest.raises(ChunkFormatError, match=r"column 'b' of type .* cannot be in a matrix of float"):
            encoded(batch, layout)


def test_a_tile_that_is_no_such_matrix_is_refused() -> None:
    layout = TileLayout(((0, 1),), frozenset([0]))
    schema = pa.schema({"a": pa.int32(), "b": pa.int32()})
    null_row = pa.array([[1, 2], None], pa.list_(pa.int32(), 2))
    text = pa.array([["x", "y"]], pa.list_(pa.string(), 2))
    for column in (pa.array([1]), pa.array([[1, 2, 3]], pa.list_(pa.int32(), 3)), null_row, text):
        with pytest.raises(ChunkFormatError, match="tile 0 is"):
            assemble([pa.record_batch([column], ["matrix"])], layout, schema)
    assert matrix_of(pa.record_batch([null_row.slice(0, 1)], ["m"]), 2, 0).to_pylist() == [[1, 2]]


def test_a_chunk_that_is_older_than_a_matrix_has_nulls() -> None:
    layout = TileLayout(((0,), (1, 2)), frozenset([1]))
    schema = pa.schema({"a": pa.int64(), "b": pa.float32(), "c": pa.float32()})
    old = pa.record_batch({"a": [1, 2]})
    found = assemble_as_stored([old], layout, schema, older=OlderChunk(1, 2))
    assert found.column("b").type == pa.null()
    assert found.column("a").to_pylist() == [1, 2]
