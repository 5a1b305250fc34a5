"""Nested columns that Arrow's kernels do not compact: a chunk keeps only the values that its rows use."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from millrace.arrow.nested import nulls_of, with_children
from millrace.arrow.selection import filtered, taken
from millrace.chunks import (
    Chunk,
    ChunkSettings,
    RowGrouper,
    TileLayout,
    assemble,
    cast_batch,
    choose_row_group_bytes,
    column_stats,
    encode_row_group,
)
from millrace.chunks.compact import compact_batch
from tests.unit.arrow.arrays import OTHERS, PRIMITIVES
from tests.unit.chunks.encoded import decoded_tiles

SMALLEST = 64 * 1024
ROWS, LENGTH = 20_000, 6
INNER = [*PRIMITIVES, *OTHERS, pa.dictionary(pa.int8(), pa.string()), pa.list_view(pa.string_view())]
WRAPPERS: dict[str, Callable[[pa.DataType], pa.DataType]] = {
    "list": pa.list_,
    "large_list": pa.large_list,
    "list_view": pa.list_view,
    "fixed_size_list": lambda type_: pa.list_(type_, 2),
    "map": lambda type_: pa.map_(pa.string(), type_),
    "struct": lambda type_: pa.struct([pa.field("a", type_)]),
    "dense_union": lambda type_: pa.dense_union([pa.field("a", type_), pa.field("b", pa.int8())]),
    "sparse_union": lambda type_: pa.sparse_union([pa.field("a", type_), pa.field("b", pa.int8())]),
}


def chunks_of(array: pa.Array) -> tuple[list[Chunk], pa.Table]:
    """Encode the column as a load does, with row groups sized from a sample; return the chunks and the decoded rows."""
    batch = pa.record_batch([array], ["x"])
    layout = TileLayout.for_schema(batch.schema)
    small = ChunkSettings(chunk_bytes=SMALLEST)
    chosen = ChunkSettings(chunk_bytes=SMALLEST, row_group_bytes=choose_row_group_bytes(batch.slice(0, 5_000), small))
    grouper = RowGrouper(chosen)
    chunks = []
    for group in (*grouper.feed(batch), *grouper.finish()):
        chunks += encode_row_group(group, chosen, layout)
    back = [assemble(decoded_tiles(chunk), layout, batch.schema) for chunk in chunks]
    return chunks, pa.Table.from_batches(back)


def views(values: pa.Array, places: Any) -> pa.Array:
    return pa.ListViewArray.from_arrays(
        pa.array(places * LENGTH, pa.int32()), pa.array(np.full(len(places), LENGTH), pa.int32()), values
    )


def ordered(values: pa.Array) -> pa.Array:
    return views(values, np.arange(ROWS))


def backwards(values: pa.Array) -> pa.Array:
    return views(values, np.arange(ROWS)[::-1])


def large(values: pa.Array) -> pa.Array:
    offsets, sizes = pa.array(np.arange(ROWS) * LENGTH), pa.array(np.full(ROWS, LENGTH))
    return pa.LargeListViewArray.from_arrays(offsets, sizes, values)


def lists(values: pa.Array) -> pa.Array:
    return pa.ListArray.from_arrays(pa.array(np.arange(ROWS + 1) * LENGTH, pa.int32()), values)


def union(values: pa.Array) -> pa.Array:
    """Every second row is one of the numbers, not all of which are used; the other rows share one text."""
    codes = np.arange(ROWS) % 2
    numbers = np.sort(np.random.default_rng(1).permutation(len(values))[:ROWS])
    offsets = np.where(codes == 0, numbers, 0)
    return pa.UnionArray.from_dense(
        pa.array(codes, pa.int8()), pa.array(offsets, pa.int32()), [values, pa.array(["a"])]
    )


def sparse(values: pa.Array) -> pa.Array:
    dense = union(values)
    children = [values.take(dense.offsets), pa.array(["a"] * ROWS)]
    return pa.UnionArray.from_sparse(dense.type_codes, children)


@pytest.mark.parametrize("inside", ["plain", "struct", "list"])
@pytest.mark.parametrize(
    ("make", "twin"),
    [(ordered, lists), (backwards, lists), (large, lists), (union, sparse)],
    ids=["list_view", "backwards", "large_list_view", "dense_union"],
)
def test_chunks_of_views_and_unions_are_as_small_as_those_of_lists_and_sparse_unions(
    make: Any, twin: Any, inside: str
) -> None:
    values = pa.array(np.random.default_rng(0).integers(0, 2**62, ROWS * LENGTH))

    def wrapped(array: pa.Array) -> pa.Array:
        if inside == "struct":
            return pa.StructArray.from_arrays([array], ["y"])
        if inside == "list":
            return pa.ListArray.from_arrays(pa.array(range(len(array) + 1), pa.int32()), array)
        return array

    array = wrapped(make(values))
    chunks, back = chunks_of(array)
    like, _ = chunks_of(wrapped(twin(values)))
    assert sum(chunk.stored_bytes for chunk in chunks) <= 1.1 * sum(chunk.stored_bytes for chunk in like)
    assert max(chunk.stored_bytes for chunk in chunks) <= SMALLEST
    assert back["x"].to_pylist() == array.to_pylist()


@pytest.mark.parametrize(("kind", "inner"), list(product(WRAPPERS, INNER)), ids=str)
def test_a_compacted_slice_of_any_nested_column_is_equal(
    kind: str, inner: pa.DataType, any_array: Any, equal: Any
) -> None:
    type_ = WRAPPERS[kind](inner)
    array = any_array(type_, 60, np.random.default_rng(4))
    for start, rows in ((0, 60), (7, 40), (13, 1), (20, 0)):
        part = pa.record_batch([array.slice(start, rows)], ["x"])
        alone = compact_batch(part, always=True)
        alone.validate(full=True)
        assert equal(alone, part)
        again = pa.record_batch([with_children(part.column(0), type_, lambda child, _: child)], ["x"])
        again.validate(full=True)
        assert equal(again, part)


def test_offsets_and_sizes_of_null_views_are_ignored() -> None:
    validity = pa.array([True, False, True]).buffers()[1]
    offsets, sizes = (pa.py_buffer(np.array(numbers, np.int32)) for numbers in ([1, 900, 0], [1, 77, 1]))
    array = pa.Array.from_buffers(
        pa.list_view(pa.int64()), 3, [validity, offsets, sizes], children=[pa.array([5, 6, 7])]
    )
    alone = compact_batch(pa.record_batch([array], ["x"])).column(0)
    assert alone.to_pylist() == [[6], None, [5]]
    assert (len(alone.values), alone.sizes.to_pylist()) == (2, [1, 0, 1])


@pytest.mark.parametrize("mode", ["dense", "sparse"])
def test_a_compacted_union_keeps_its_type_codes_and_field_metadata(mode: str) -> None:
    fields = [pa.field("a", pa.int64(), nullable=False, metadata={"of": "a"}), pa.field("b", pa.string_view())]
    type_ = pa.union(fields, mode, [7, 3])
    children = [pa.array([1, 2, 3, 4]), pa.array(["a", "b", "c", "d"], pa.string_view())]
    buffers = [None, pa.py_buffer(np.array([7, 3, 7, 3], np.int8)), pa.py_buffer(np.array([3, 0, 1, 2], np.int32))]
    array = pa.Array.from_buffers(type_, 4, buffers[: 3 if mode == "dense" else 2], children=children)
    alone = compact_batch(pa.record_batch([array.slice(1, 2)], ["x"]), always=True).column(0)
    assert alone.to_pylist() == array.to_pylist()[1:3]
    assert alone.type.equals(type_, check_metadata=True)


@pytest.mark.parametrize("view", [pa.string_view(), pa.binary_view()], ids=str)
@pytest.mark.parametrize("always", [False, True])
def test_a_dictionary_of_views_keeps_only_the_used_values(view: pa.DataType, always: bool) -> None:
    words = pa.array([f"word {number:04} is longer than a view holds" for number in range(2_000)])
    column = pa.DictionaryArray.from_arrays(pa.array([7, None, 1_999, 7], pa.int32()), words.cast(view))
    batch = pa.record_batch([column], ["x"])
    layout = TileLayout.for_schema(batch.schema)
    [chunk] = encode_row_group(batch, ChunkSettings(), layout)
    assert chunk.raw_bytes < 2_000
    assert assemble(decoded_tiles(chunk), layout, batch.schema).to_pylist() == batch.to_pylist()
    stats = column_stats(chunk.stats, 0)[0]
    assert [stats.nulls, stats.minimum, stats.maximum] == [1, column[0].as_py(), column[2].as_py()]
    assert compact_batch(batch, always=always).to_pylist() == batch.to_pylist()


@pytest.mark.parametrize(("kind", "inner"), list(product(["plain", *WRAPPERS], INNER)), ids=str)
def test_rows_are_taken_from_every_type(kind: str, inner: pa.DataType, any_array: Any, equal: Any) -> None:
    type_ = inner if kind == "plain" else WRAPPERS[kind](inner)
    values = any_array(type_, 40, np.random.default_rng(0)).slice(3, 30)
    for places in ([], [29], [8, 0, 3, 3, 29, 28]):
        some = taken(values, np.array(places, np.int64))
        some.validate(full=True)
        joined = pa.concat_arrays([values.slice(0, 0), *(values.slice(place, 1) for place in places)])
        assert equal(pa.record_batch([some], ["x"]), pa.record_batch([joined], ["x"])), places
    mask = np.random.default_rng(1).random(30) < 0.5
    alone = pa.record_batch([filtered(values, mask)], ["x"])
    assert equal(alone, pa.record_batch([taken(values, np.flatnonzero(mask))], ["x"]))


def test_lists_of_fixed_size_zero_are_taken_compacted_and_cast() -> None:
    """``FixedSizeListArray.from_arrays`` of pyarrow 25 divides by the size, which ends the process."""
    values = pa.array([[], None, []], pa.list_(pa.string_view(), 0))
    assert taken(values, np.array([1, 2])).to_pylist() == [None, []]
    batch = pa.record_batch([values], ["x"])
    assert compact_batch(batch, always=True).to_pylist() == batch.to_pylist()
    wide = pa.schema([("x", pa.list_(pa.int64(), 0))])
    assert cast_batch(pa.record_batch([pa.array([[], None], pa.list_(pa.null(), 0))], ["x"]), wide).schema == wide


def test_filtered_rows_of_a_union_of_views_do_not_repeat_its_children() -> None:
    rows = 20_000
    words = pa.array([f"word {number:05} is longer than a view" for number in range(rows)], pa.string_view())
    codes, offsets = (pa.array(np.zeros(rows, np.int8)), pa.array(np.arange(rows), pa.int32()))
    union = pa.UnionArray.from_dense(codes, offsets, [words, pa.array([1])])
    half = filtered(union, np.arange(rows) % 2 == 0)
    assert half.to_pylist() == words.to_pylist()[::2]
    assert half.nbytes < 2 * union.nbytes


@pytest.mark.parametrize(("kind", "inner"), list(product(WRAPPERS, INNER)), ids=str)
def test_nulls_of_every_type_are_valid(kind: str, inner: pa.DataType) -> None:
    array = nulls_of(3, WRAPPERS[kind](inner))
    array.validate(full=True)
    assert array.type.equals(WRAPPERS[kind](inner))
    assert len(array) == 3


@pytest.mark.parametrize("child", ["fixed_size_list", "union"])
def test_rows_of_a_union_that_share_a_value_get_one_each(child: str) -> None:
    """``nbytes`` of pyarrow relies on this: it reads past the end of a shorter child, which ends the process."""
    rows = 1000
    codes, places = pa.array([0, 1] * rows, pa.int8()), pa.array(np.repeat(np.arange(rows), 2), pa.int32())
    inner = pa.UnionArray.from_dense(codes, places, [pa.array(range(rows))] * 2, ["a", "b"])
    value = pa.FixedSizeListArray.from_arrays(inner, 2) if child == "fixed_size_list" else inner.slice(0, rows)
    mine = [0, 0, *(place for row in range(rows // 2 - 1) for place in (900, row + 1))]
    shared = pa.UnionArray.from_dense(
        codes.slice(0, rows), pa.array(mine, pa.int32()), [value, pa.array(range(rows))], ["u", "v"]
    )
    used = compact_batch(pa.record_batch([shared], ["x"]))
    used.validate(full=True)
    assert len(used.column(0).field(0)) == rows // 2
    _, back = chunks_of(shared)
    assert back["x"].to_pylist() == shared.to_pylist()


def test_views_that_share_values_are_stored_as_views() -> None:
    values = pa.array(np.random.default_rng(0).integers(0, 2**62, 5000))
    sizes = pa.array(np.full(1000, 4000), pa.int32())
    shared = pa.ListViewArray.from_arrays(pa.array(range(1000), pa.int32()), sizes, values)
    batch = pa.record_batch([shared], ["x"])
    assert compact_batch(batch).nbytes <= 2 * batch.nbytes
    alone = compact_batch(batch.slice(10, 2))
    assert alone.nbytes < 4010 * 8
    assert alone.column(0).to_pylist() == shared.slice(10, 2).to_pylist()


@pytest.mark.parametrize("value", [pa.int64(), pa.dictionary(pa.uint8(), pa.string())], ids=str)
@pytest.mark.parametrize("kind", ["list", "struct", "map", "dense_union", "sparse_union"])
def test_nested_run_end_encoded_columns_can_be_empty_and_sized(kind: str, value: pa.DataType) -> None:
    type_ = WRAPPERS[kind](pa.run_end_encoded(pa.int32(), value))
    none = nulls_of(0, type_)
    none.validate(full=True)
    assert len(compact_batch(pa.record_batch([none], ["x"])).column(0)) == 0
    if kind == "list":
        runs = pa.RunEndEncodedArray.from_arrays(pa.array([2, 4], pa.int32()), pa.array([7, 8]))
        array = pa.ListArray.from_arrays(pa.array([0, 2, 4], pa.int32()), runs)
        batch = pa.record_batch([array], ["x"])
        assert choose_row_group_bytes(batch, ChunkSettings()) > 0
