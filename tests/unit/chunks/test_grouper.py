"""The boundaries of row groups depend on rows and settings alone."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from millrace.arrow.sizes import cumulative_row_bytes
from millrace.chunks import ChunkSettings, RowGrouper, choose_row_group_bytes
from millrace.errors import InvalidSettingError, SourceTypeError


def groups(batches: list[pa.RecordBatch], row_group_bytes: int) -> list[pa.RecordBatch]:
    grouper = RowGrouper(ChunkSettings(row_group_bytes=row_group_bytes))
    made = [group.to_batch() for batch in batches for group in grouper.feed(batch)]
    return made + [group.to_batch() for group in grouper.finish()]


def cut(batch: pa.RecordBatch, edges: list[int]) -> Iterator[pa.RecordBatch]:
    points = [0, *sorted(min(edge, batch.num_rows) for edge in edges), batch.num_rows]
    for low, high in pairwise(points):
        yield batch.slice(low, high - low)


@settings(suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_row_groups_do_not_depend_on_how_rows_were_cut_into_batches(data: Any, any_batch: Any, equal: Any) -> None:
    batch = data.draw(any_batch(max_rows=40, max_columns=5))
    limit = data.draw(st.integers(1, 3000))
    edges = data.draw(st.lists(st.integers(0, 40), max_size=6))
    # Copies, so that no batch shares buffers or offsets with its neighbour.
    parts = [pa.concat_batches([part]) if part.num_columns else part for part in cut(batch, edges)]
    one, other = groups([batch], limit), groups(parts, limit)
    assert [group.num_rows for group in one] == [group.num_rows for group in other]
    start = 0
    for mine, theirs in zip(one, other, strict=True):
        assert equal(mine, theirs)
        assert equal(mine, batch.slice(start, mine.num_rows))
        start += mine.num_rows
    assert start == batch.num_rows


@given(limit=st.integers(1, 2000), sizes=st.lists(st.integers(0, 400), min_size=1, max_size=60))
def test_a_row_group_is_the_longest_run_of_rows_that_fits(limit: int, sizes: list[int]) -> None:
    batch = pa.record_batch([pa.array([b"x" * size for size in sizes])], ["b"])
    expected, room = [0], limit
    for size in sizes:
        if size + 8 > room and expected[-1]:
            expected.append(0)
            room = limit
        expected[-1] += 1
        room -= size + 8
    assert [group.num_rows for group in groups([batch], limit)] == expected


@given(
    values=st.lists(st.none() | st.integers(-1000, 1000), min_size=1, max_size=40),
    edges=st.lists(st.integers(0, 40), max_size=6),
    target=st.sampled_from([pa.int64(), pa.float64(), pa.string(), pa.date32(), pa.decimal128(30, 2), pa.bool_()]),
)
def test_a_column_that_widens_between_batches_moves_no_boundary(
    values: list[int | None], edges: list[int], target: pa.DataType
) -> None:
    numbers = pa.array(values, pa.int64())
    if target == pa.bool_():
        numbers = pc.greater(numbers, 0)
    elif target == pa.date32():
        numbers = numbers.cast(pa.int32())
    wide = pa.record_batch([numbers.cast(target)], ["v"])
    if wide.column(0).null_count == 0:
        wide = pa.record_batch([pa.array([*wide.column(0).to_pylist()[:-1], None], target)], ["v"])
    narrow = []
    for part in cut(wide, edges):
        column = part.column(0)
        if column.null_count == len(column):
            column = pa.nulls(len(column))
        elif target == pa.float64():
            column = column.cast(pa.int64())
        narrow.append(pa.record_batch([column], ["v"]))
    one, other = groups([wide], 50), groups(narrow, 50)
    assert [group.num_rows for group in one] == [group.num_rows for group in other]
    assert [v for g in other for v in g.column(0).to_pylist()] == wide.column(0).to_pylist()


def test_pending_rows_are_cast_to_the_wider_schema_of_a_later_batch() -> None:
    first = pa.record_batch([pa.nulls(2), pa.array([1, 2])], ["a", "b"])
    second = pa.record_batch([pa.array(["x"]), pa.array([0.5])], ["a", "b"])
    third = pa.record_batch([pa.nulls(1), pa.array([7])], ["a", "b"])
    [group] = groups([first, second, third], 10_000)
    assert group.schema.types == [pa.string(), pa.float64()]
    assert group.to_pydict() == {"a": [None, None, "x", None], "b": [1.0, 2.0, 0.5, 7.0]}


def test_a_column_that_cannot_widen_is_refused_by_name() -> None:
    first = pa.record_batch([pa.array([2**53 + 1])], ["n"])
    with pytest.raises(SourceTypeError, match="column 'n' changes from int64 to string") as error:
        groups([first, pa.record_batch([pa.array(["x"])], ["n"])], 10_000)
    assert "--column-type" in str(error.value)


@pytest.mark.parametrize(
    "parts",
    [
        [[f"{part}-{i}" for i in range(100)] for part in range(2)],
        [["a", None], ["b"]],
        [[[1]], [[2]]],
    ],
    ids=["too many", "a null", "lists"],
)
def test_dictionaries_that_cannot_be_unified_are_refused_with_the_column_and_a_fix(parts: list[list[Any]]) -> None:
    words = [pa.DictionaryArray.from_arrays(pa.array(range(len(part)), pa.int8()), pa.array(part)) for part in parts]
    with pytest.raises(SourceTypeError, match=r"column 'word'.*cannot hold.*: write it with plain values") as caught:
        groups([pa.record_batch([part], ["word"]) for part in words], 100_000)
    assert "--column-type" not in str(caught.value)


def test_bytes_below_a_null_do_not_count() -> None:
    hidden = pa.StringArray.from_buffers(
        3, pa.py_buffer(np.array([0, 100, 101, 201], "<i4")), pa.py_buffer(b"x" * 201), pa.py_buffer(b"\x02")
    )
    assert hidden.to_pylist() == [None, "x", None]
    clean = pa.array([None, "x", None])
    for array in (hidden, clean):
        assert list(cumulative_row_bytes(pa.record_batch([array], ["t"]))) == [0, 8, 17, 25]


def test_dictionaries_views_and_lists_count_the_bytes_of_their_values() -> None:
    words = ["aaaa", None, "bb", "aaaa"]
    sums = [0, 12, 20, 30, 42]
    plain = pa.array(words)
    for array in (plain, plain.dictionary_encode(), plain.cast(pa.string_view()), plain.cast(pa.large_string())):
        assert list(cumulative_row_bytes(pa.record_batch([array], ["t"]))) == sums, array.type
    lists = pa.array([[1, 2], None, [], [3]])
    for array in (lists, lists.cast(pa.large_list(pa.int64())), pa.array(lists.to_pylist(), pa.list_view(pa.int64()))):
        assert list(cumulative_row_bytes(pa.record_batch([array], ["l"]))) == [0, 24, 32, 40, 56]
        assert list(cumulative_row_bytes(pa.record_batch([array.slice(1, 3)], ["l"]))) == [0, 8, 16, 32]


@pytest.mark.parametrize("mode", ["dense", "sparse"])
def test_rows_of_a_sliced_union_count_the_same_bytes(mode: str) -> None:
    codes, values = pa.array([0, 1, 0, 1, 1], pa.int8()), [pa.array(range(5)), pa.array(["a", "bb", "c", "dddd", "e"])]
    if mode == "dense":
        union = pa.UnionArray.from_dense(codes, pa.array(range(5), pa.int32()), values)
    else:
        union = pa.UnionArray.from_sparse(codes, values)
    row_bytes = np.diff(cumulative_row_bytes(pa.record_batch([union], ["u"])))
    assert list(row_bytes) == [16, 18, 16, 20, 17]
    assert list(np.diff(cumulative_row_bytes(pa.record_batch([union.slice(1, 3)], ["u"])))) == [18, 16, 20]


def test_grouping_holds_no_more_than_one_row_group() -> None:
    grouper = RowGrouper(ChunkSettings(row_group_bytes=8000))
    batch = pa.record_batch([pa.array(range(300))], ["n"])
    waiting_rows = 0
    for _ in range(200):
        for group in grouper.feed(batch):
            assert group.num_rows == 1000
            assert group.nbytes <= 8000
            waiting_rows -= group.num_rows
        waiting_rows += 300
        assert waiting_rows <= 1000


def test_a_grouper_without_a_size_is_refused() -> None:
    with pytest.raises(InvalidSettingError, match="row_group_bytes is not set"):
        RowGrouper(ChunkSettings())


@pytest.mark.parametrize("codec", ["gzip", "zstd", "none"])
@pytest.mark.parametrize("noise", [2, 50, 256])
def test_the_chosen_size_fills_most_of_a_chunk(codec: str, noise: int) -> None:
    from millrace.chunks import TileLayout, encode_row_group

    rng = np.random.default_rng(1)
    rows = 400_000
    batch = pa.record_batch(
        [
            pa.array(rng.integers(0, noise, rows).astype("u1")),
            pa.array(np.arange(rows)),
            pa.array(rng.random(rows)),
            pa.array(rng.integers(0, 10_000, rows)).cast(pa.string()),
        ],
        ["a", "b", "c", "d"],
    )
    chosen = ChunkSettings(codec=codec, chunk_bytes=500_000)
    size = choose_row_group_bytes(batch.slice(0, 30_000), chosen)
    assert size == choose_row_group_bytes(batch.slice(0, 30_000), chosen)
    [first, *_] = groups([batch], size)
    chunks = encode_row_group(first, chosen, TileLayout.for_schema(batch.schema))
    assert len(chunks) == 1
    assert 400_000 <= chunks[0].stored_bytes <= 500_000


def test_the_chosen_size_is_capped_for_highly_compressible_data() -> None:
    batch = pa.record_batch([pa.array(np.zeros(500_000))], ["zero"])
    size = choose_row_group_bytes(batch, ChunkSettings())
    assert 30_000_000 <= size <= 33_000_000


def test_an_empty_sample_assumes_incompressible_data() -> None:
    assert choose_row_group_bytes(pa.record_batch([pa.array([], "i8")], ["n"]), ChunkSettings()) == 4_500_000
