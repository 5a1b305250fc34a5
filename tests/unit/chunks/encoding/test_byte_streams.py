"""Integers split into byte columns: lossless, joined only for the exact struct types, and smaller when compressed."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from millrace.chunks import cast_batch
from millrace.chunks.encode import assemble_as_stored
from millrace.chunks.encoding.stored_types import from_stored, number_type, to_stored
from millrace.chunks.tile import encode_tile
from millrace.errors import ChunkFormatError
from tests.unit.chunks.encoded import through_a_chunk

SPLIT = [pa.int16(), pa.uint16(), pa.int32(), pa.uint32()]
OTHERS = [pa.int8(), pa.uint8(), pa.int64(), pa.uint64(), pa.float32(), pa.date32(), pa.time32("s"), pa.string()]
ROWS = 1024


def values(type_: pa.DataType, rows: int, seed: int, nulls: float = 0.0) -> pa.Array:
    """Return numbers whose high bytes repeat, and the numbers at the edges of the type."""
    info = np.iinfo(str(type_))
    rng = np.random.default_rng(seed)
    numbers = rng.integers(max(-1500, info.min), 1500, rows).astype(info.dtype)
    edges = [info.min, info.max, 0, 1, 255, 256, info.max - 255]
    numbers[: len(edges)] = np.array(edges[:rows], info.dtype)
    return pa.array(numbers, type_, mask=rng.random(rows) < nulls)


def joined(stored: pa.Array) -> pa.Array:
    [numbers] = from_stored([stored], number_type(stored.type))
    return numbers


def split(array: pa.Array) -> pa.Array:
    batch = pa.record_batch([array], pa.schema([pa.field("a", array.type, metadata={"unit": "km"})], {"made": "here"}))
    stored = to_stored(batch)
    assert stored.schema.metadata == batch.schema.metadata
    assert stored.schema.field(0).metadata == batch.schema.field(0).metadata
    stored.validate(full=True)
    return stored.column(0)


@pytest.mark.parametrize("type_", SPLIT)
@given(
    nulls=st.sampled_from([0.0, 0.1, 1.0]),
    first=st.integers(0, 70),
    cut=st.tuples(st.integers(0, 70), st.integers(0, 900)),
    seed=st.integers(0, 2**32 - 1),
)
def test_every_value_is_restored_from_every_slice(
    type_: pa.DataType, nulls: float, first: int, cut: tuple[int, int], seed: int
) -> None:
    array = values(type_, ROWS + 70, seed, nulls).slice(first)
    stored = split(array)
    assert number_type(stored.type) == type_
    for start, length in ((0, len(array)), cut):
        back = joined(stored.slice(start, length))
        back.validate(full=True)
        assert back.equals(array.slice(start, length))
        assert back.null_count == array.slice(start, length).null_count


@pytest.mark.parametrize("type_", SPLIT)
def test_random_integers_are_not_split(type_: pa.DataType) -> None:
    info = np.iinfo(str(type_))
    array = pa.array(np.random.default_rng(1).integers(info.min, info.max, 20_000, info.dtype, endpoint=True))
    assert split(array).type == type_


@pytest.mark.parametrize("type_", SPLIT)
def test_a_value_is_stored_as_its_bytes_in_little_endian_order(type_: pa.DataType) -> None:
    array = values(type_, ROWS, 3, 0.1)
    stored = split(array)
    for row in range(50):
        parts = stored[row].as_py()
        total = None if parts is None else sum(byte << 8 * i for i, byte in enumerate(parts.values()))
        assert total == array[row].as_py()


def test_other_types_and_few_rows_are_returned_as_the_same_object(any_array: Any) -> None:
    rng = np.random.default_rng(1)
    batch = pa.record_batch([any_array(type_, ROWS, rng) for type_ in OTHERS], [str(type_) for type_ in OTHERS])
    assert to_stored(batch) is batch
    short = pa.record_batch([values(pa.int16(), ROWS - 1, 1)], ["a"])
    assert to_stored(short) is short
    both = to_stored(batch.append_column("n", values(pa.int16(), ROWS, 1)))
    assert [both.column(i).type for i in range(len(OTHERS))] == OTHERS


@pytest.mark.parametrize(
    ("narrow", "wide"),
    [
        (pa.int16(), pa.int16()), (pa.int16(), pa.int32()), (pa.int16(), pa.int64()), (pa.int16(), pa.float64()),
        (pa.uint16(), pa.int32()), (pa.uint16(), pa.uint64()), (pa.int32(), pa.int64()), (pa.int32(), pa.float64()),
        (pa.uint32(), pa.int64()), (pa.uint32(), pa.uint32()),
    ],
)  # fmt: skip
def test_split_integers_widen_to_the_same_types_as_integers(narrow: pa.DataType, wide: pa.DataType) -> None:
    array = values(narrow, ROWS, 2, 0.1)
    stored = pa.record_batch([split(array)], ["a"])
    schema = pa.schema([pa.field("a", wide)])
    assert cast_batch(stored, schema).column(0).equals(array.cast(wide))


@pytest.mark.parametrize("wide", [pa.int8(), pa.uint16(), pa.string(), pa.bool_(), pa.list_(pa.uint8())])
def test_split_integers_are_refused_as_other_types(wide: pa.DataType) -> None:
    stored = pa.record_batch([split(values(pa.int16(), ROWS, 2))], ["a"])
    with pytest.raises(ChunkFormatError, match="column 'a' cannot be read as"):
        cast_batch(stored, pa.schema([pa.field("a", wide)]))


LOOKALIKES = [
    pa.struct([("byte_0", pa.uint8()), ("byte_1", pa.int8())]),  # nullable fields
    pa.struct([pa.field("low", pa.uint8(), False), pa.field("high", pa.int8(), False)]),
    pa.struct([pa.field("byte_0", pa.int8(), False), pa.field("byte_1", pa.int8(), False)]),
    pa.struct([pa.field("byte_0", pa.uint8(), False)]),
    pa.struct([]),
]


@pytest.mark.parametrize("type_", LOOKALIKES)
def test_no_other_struct_is_read_as_an_integer(type_: pa.DataType) -> None:
    assert number_type(type_) is None
    stored = pa.record_batch([pa.array([None, None], type_)], ["a"])
    with pytest.raises(ChunkFormatError, match="column 'a' cannot be read as"):
        cast_batch(stored, pa.schema([pa.field("a", pa.int64())]))


@pytest.mark.parametrize("type_", [split(values(kind, ROWS, 1)).type for kind in SPLIT])
def test_a_struct_column_of_the_same_type_stays_a_struct(type_: pa.DataType) -> None:
    child = [[1, 2, 3, 4][: type_.num_fields]] * ROWS
    array = pa.array([dict(zip([field.name for field in type_], row, strict=True)) for row in child], type_)
    batch = pa.record_batch([array, values(pa.int64(), ROWS, 1)], ["a", "b"])
    assert through_a_chunk(batch).equals(batch)


@pytest.mark.parametrize("codec", ["gzip", "zstd", "none"])
def test_a_chunk_stores_split_integers_and_returns_integers(codec: str) -> None:
    batch = pa.record_batch([values(type_, 5_000, 7, 0.2) for type_ in SPLIT], list("abcd"))
    stored = through_a_chunk(batch, codec, assemble_as_stored)
    assert [number_type(field.type) for field in stored.schema] == SPLIT
    assert all(pa.types.is_struct(field.type) for field in stored.schema)
    assert through_a_chunk(batch, codec).equals(batch)


def noisy(distinct: int, rows: int = 200_000) -> Any:
    rng = np.random.default_rng(distinct)
    return rng.integers(-(2**31), 2**31, distinct)[rng.integers(0, distinct, rows)]


@pytest.mark.parametrize(
    "numbers",
    [
        noisy(20),
        noisy(200),
        np.repeat(noisy(10_000, 40_000), 5),
        noisy(20).astype(np.int16),
        np.random.default_rng(3).integers(-(2**31), 2**31, 200)[np.random.default_rng(4).zipf(1.5, 200_000) % 200],
    ],
    ids=["20 distinct", "200 distinct", "runs", "20 distinct of two bytes", "zipf"],
)
def test_values_that_repeat_as_a_whole_do_not_grow_by_splitting(numbers: Any) -> None:
    original = pa.record_batch([pa.array(numbers.astype(np.int16 if numbers.dtype == np.int16 else np.int32))], ["a"])
    sizes = [encode_tile(batch, 0, "gzip", 1).stored_bytes for batch in (to_stored(original), original)]
    assert sizes[0] <= 1.1 * sizes[1]


@pytest.mark.parametrize(
    ("numbers", "of_whole"),
    [
        (np.arange(200_000), 0.02),
        (np.sort(np.random.default_rng(1).integers(0, 3_000_000, 200_000)), 0.5),
        (np.random.default_rng(1).integers(0, 3_000_000, 200_000), 0.75),
        (np.random.default_rng(1).lognormal(6, 1, 200_000), 1.01),
    ],
    ids=["count", "sorted", "identifiers", "prices"],
)
def test_splitting_makes_compressed_integers_smaller(numbers: Any, of_whole: float) -> None:
    original = pa.record_batch([pa.array(numbers.astype(np.int32))], ["a"])
    sizes = [encode_tile(batch, 0, "gzip", 1).stored_bytes for batch in (to_stored(original), original)]
    assert sizes[0] < of_whole * sizes[1]
