"""Statistics by which a filter may skip a chunk: no value ever exceeds a bound."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from millrace.chunks import ColumnStats, cast_batch, column_stats, compute_stats, merge_stats, stats_schema
from millrace.chunks.statistics.text_bounds import text_bounds

ALIKE = [b"aaaaaa", b"aaaaaab", b"ab", b""]


def of(array: pa.Array) -> ColumnStats:
    [stats] = column_stats(compute_stats(pa.record_batch([array], ["c"])), 0)
    return stats


@pytest.mark.parametrize(
    ("array", "nulls", "low", "high"),
    [
        (pa.array([3, None, -5], pa.int8()), 1, -5, 3),
        (pa.array([2**64 - 1, 0], pa.uint64()), 0, 0, 2**64 - 1),
        (pa.array([1.5, float("nan"), None, -0.5]), 1, None, None),
        (pa.array([float("inf"), 1.0], pa.float32()), 0, 1.0, float("inf")),
        (pa.array([1.5, None, -2], pa.float16()), 1, -2.0, 1.5),
        (pa.array([float("nan"), float("nan")]), 0, None, None),
        (pa.array([None, None], pa.int64()), 2, None, None),
        (pa.nulls(4), 4, None, None),
        (pa.array([True, False, None]), 1, False, True),
        (pa.array([Decimal("1.10"), Decimal("-7.00")], pa.decimal256(50, 2)), 0, Decimal("-7.00"), Decimal("1.10")),
        (pa.array([Decimal("1.1"), Decimal("2.0")], pa.decimal32(5, 1)), 0, Decimal("1.1"), Decimal("2.0")),
        (pa.array([Decimal("1.1"), Decimal("2.0")], pa.decimal64(15, 1)), 0, Decimal("1.1"), Decimal("2.0")),
        (pa.array([dt.date(2013, 1, 2), dt.date(1900, 1, 1)]), 0, dt.date(1900, 1, 1), dt.date(2013, 1, 2)),
        (pa.array([dt.time(1), dt.time(2)], pa.time32("s")), 0, dt.time(1), dt.time(2)),
        (pa.array([dt.timedelta(5), dt.timedelta(-1)], pa.duration("s")), 0, dt.timedelta(-1), dt.timedelta(5)),
        (pa.array(["b", "", None]), 1, "", "b"),
        (pa.array(["z", "\U0001f642"], pa.string_view()), 0, "z", "\U0001f642"),
        (pa.array(["x" * 64, "y" * 65], pa.large_string()), 0, "x" * 64, None),
        (pa.array([b"\xff", b"\x00"], pa.binary_view()), 0, b"\x00", b"\xff"),
        (pa.array([b"ab", b"aa"], pa.binary(2)), 0, b"aa", b"ab"),
        (pa.array([b"a" * 65], pa.binary(65)), 0, None, None),
        (pa.array([[1], None]), 1, None, None),
        (pa.array([{"a": 1}]), 0, None, None),
        (pa.ExtensionArray.from_storage(pa.uuid(), pa.array([b"a" * 16, None], pa.binary(16))), 1, None, None),
        (pa.array(["k", None, "b"]).dictionary_encode(), 1, "b", "k"),
        (pa.DictionaryArray.from_arrays([1, None], ["a", "m", "z"]), 1, "m", "m"),
        (pa.DictionaryArray.from_arrays(pa.array([0]), pa.array([[1]])), 0, None, None),
    ],
    ids=lambda value: str(value.type) if isinstance(value, pa.Array) else "",
)
def test_bounds_and_nulls_of_each_type(array: pa.Array, nulls: int, low: Any, high: Any) -> None:
    assert of(array) == ColumnStats(nulls, low, high)


@pytest.mark.parametrize("zone", [None, "UTC", "Asia/Kolkata"])
@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
def test_bounds_of_timestamps_keep_unit_and_zone(unit: str, zone: str | None) -> None:
    column = pa.array([5, None, -7], pa.int64()).view(pa.timestamp(unit, zone))
    stats = compute_stats(pa.record_batch([column], ["t"]))
    assert stats.column(0).field("min").equals(column.slice(2, 1))
    assert stats.column(0).field("max").equals(column.slice(0, 1))


def test_bounds_in_nanoseconds_keep_their_last_digits() -> None:
    for type_ in (pa.time64("ns"), pa.timestamp("ns", "UTC"), pa.duration("ns")):
        column = pa.array([1_234_567_891, None, 7], pa.int64()).view(type_)
        assert of(column) == ColumnStats(1, column[2], column[0])


@given(
    words=st.lists(
        st.none() | st.binary(max_size=12) | st.sampled_from([b"aaaaaa", b"aaaaaab", b"ab", b""]), min_size=1
    ),
    prefix=st.sampled_from([b"", b"a", b"http://", b"\0"]),
    before=st.integers(0, 9),
    repeat=st.sampled_from([1, 3000]),
)
def test_text_bounds_are_those_of_arrow(words: Any, prefix: bytes, before: int, repeat: int) -> None:
    values = [None if word is None else prefix + word for word in words]
    if all(value is None for value in values):
        values.append(prefix)
    for type_ in (pa.binary(), pa.large_binary()):
        array = pa.array([b"\xff" * 3] * before + values * repeat, type_).slice(before)
        low, high = text_bounds(array)
        known = [value for value in values if value is not None]
        assert (low.as_py(), high.as_py()) == (min(known), max(known))


@pytest.mark.parametrize(
    "words",
    [
        ["b", "a", "ab"],
        ["a", "b", "ba", "bab"],
        [None, "a", "ab", "b"],
        [None, "b", "a", "ab"],
        ["m", None, "ma", "a"],
        ["", None, "x"],
        ["x", "xyzxyzxyz", "xyzxyzxyy", "a"],
    ],
    ids=str,
)
def test_text_bounds_where_one_text_is_a_prefix_of_another(words: list[str | None]) -> None:
    known = [word for word in words if word is not None]
    # Both orders, and the first two words only once, so that a bound may be a single row.
    for values in (words * 3000, words[::-1] * 3000, words[:2] + words[2:] * 3000):
        low, high = text_bounds(pa.array(values))
        assert (low.as_py(), high.as_py()) == (min(known), max(known))


def test_text_bounds_of_many_distinct_values_are_those_of_arrow() -> None:
    rng = np.random.default_rng(0)
    for width, letters in ((3, 2), (8, 4), (20, 2), (1, 256)):
        words = [bytes(rng.integers(0, letters, rng.integers(0, width + 1)).astype("u1")) for _ in range(5000)]
        masked = [None if i % 7 == 0 else word for i, word in enumerate(words)]
        for values in (words, masked):
            known = [value for value in values if value is not None]
            low, high = text_bounds(pa.array(values, pa.binary()))
            assert (low.as_py(), high.as_py()) == (min(known), max(known))


@settings(suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_statistics_of_any_batch_fit_their_schema_and_concatenate(data: Any, any_batch: Any) -> None:
    batch = data.draw(any_batch(max_columns=6))
    stats = compute_stats(batch)
    assert stats.schema.equals(stats_schema(batch.schema))
    assert stats.num_rows == 1
    assert [entry.nulls for entry in column_stats(stats, 0)] == [column.null_count for column in batch.columns]
    if batch.num_columns:
        many = pa.Table.from_batches([stats] * 3).combine_chunks()
        assert many.num_rows == 3
        assert column_stats(many, 2) == column_stats(stats, 0) or "nan" in str(column_stats(stats, 0))


def test_days_outside_of_pythons_range_are_bounds_as_arrow_scalars() -> None:
    days = pa.array([-2_076_497_994, 2_000_000_000], pa.int32()).view(pa.date32())
    assert of(days) == ColumnStats(0, days[0], days[1])


def test_statistics_of_a_narrow_chunk_cast_to_the_wider_schema() -> None:
    narrow = pa.record_batch([pa.nulls(2), pa.array([1, 5]), pa.array([1], pa.int64()).take([0, 0])], ["a", "b", "c"])
    wide = pa.schema([("a", pa.string()), ("b", pa.float64()), ("c", pa.int64())])
    stats = cast_batch(compute_stats(narrow), stats_schema(wide))
    assert stats.schema.equals(stats_schema(wide))
    assert column_stats(stats, 0) == (ColumnStats(2, None, None), ColumnStats(0, 1.0, 5.0), ColumnStats(0, 1, 1))


def test_columns_of_one_name_keep_their_own_statistics() -> None:
    batch = pa.RecordBatch.from_arrays([pa.array([1]), pa.array(["x"]), pa.array([2.0])], names=["a", "a", ""])
    assert column_stats(compute_stats(batch), 0) == (
        ColumnStats(0, 1, 1),
        ColumnStats(0, "x", "x"),
        ColumnStats(0, 2.0, 2.0),
    )


def test_statistics_of_no_columns_are_one_row_without_columns() -> None:
    stats = compute_stats(pa.record_batch([pa.nulls(3)], ["x"]).select([]))
    assert (stats.num_rows, stats.num_columns) == (1, 0)


def test_statistics_of_thousands_of_chunks_stay_small() -> None:
    rows = [
        compute_stats(pa.record_batch([pa.array([i, i + 1]), pa.array([f"k{i}", None])], ["n", "k"]))
        for i in range(2000)
    ]
    table = pa.Table.from_batches(rows).combine_chunks()
    assert table.nbytes < 2000 * 100
    assert column_stats(table, 1999) == (ColumnStats(0, 1999, 2000), ColumnStats(1, "k1999", "k1999"))


@given(st.lists(st.lists(st.one_of(st.none(), st.integers(-5, 5)), max_size=4), min_size=1, max_size=5))
def test_merged_statistics_equal_those_of_all_rows(groups: list[list[int | None]]) -> None:
    batches = [pa.RecordBatch.from_arrays([pa.array(group, pa.int64())], ["x"]) for group in groups]
    each = pa.Table.from_batches([compute_stats(batch) for batch in batches]).combine_chunks().to_batches()[0]
    together = pa.RecordBatch.from_arrays([pa.array([v for group in groups for v in group], pa.int64())], ["x"])
    assert merge_stats(each, [len(group) for group in groups]).to_pylist() == compute_stats(together).to_pylist()


@pytest.mark.parametrize("unknown", ["x" * 65, None])
def test_a_bound_that_is_missing_in_one_chunk_is_missing_after_a_merge(unknown: str | None) -> None:
    """Text over 64 bytes has no bound; a column of nulls has no values, so the bounds of the other chunk stay."""
    batches = [pa.RecordBatch.from_pydict({"x": pa.array([value], pa.string())}) for value in ("a", unknown)]
    each = pa.Table.from_batches([compute_stats(batch) for batch in batches]).combine_chunks().to_batches()[0]
    (merged,) = merge_stats(each, [1, 1]).to_pylist()
    expected = ("a", "a") if unknown is None else (None, None)
    assert (merged["x"]["min"], merged["x"]["max"]) == expected
    assert merged["x"]["nulls"] == (1 if unknown is None else 0)


def test_merged_statistics_of_every_kind_of_type() -> None:
    arrays = [
        pa.array([1.5, None]),
        pa.array([True, False]),
        pa.array(["b", "a"]),
        pa.array([b"b", b"a"]),
        pa.array([1, 2], pa.timestamp("ns")),
        pa.array([1, 2], pa.duration("s")),
        pa.array([Decimal("1.5"), Decimal("0.5")]),
        pa.array([[1], None], pa.list_(pa.int8())),
        pa.nulls(2),
    ]
    batch = pa.RecordBatch.from_arrays(arrays, [str(n) for n in range(len(arrays))])
    each = [compute_stats(batch.slice(n, 1)) for n in range(2)]
    table = pa.Table.from_batches(each).combine_chunks().to_batches()[0]
    assert merge_stats(table, [1, 1]).equals(compute_stats(batch))
