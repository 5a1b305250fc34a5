"""Chunks that a filter skips by their statistics: never one with a matching row, for columns of every type."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from millrace.chunks import compute_stats
from millrace.dataset.filters.parser import parse_filter
from millrace.dataset.filters.prune import ChunkFilter
from tests.unit.arrow.arrays import DICTIONARIES, PRIMITIVES, make_array

REFUSED = (pa.ArrowNotImplementedError, pa.ArrowInvalid, pa.ArrowTypeError)
"""Errors of conditions that Arrow does not support for a type."""


def kept(chunks: list[pa.Array], condition: pc.Expression) -> list[int]:
    schema = pa.schema([pa.field("a", chunks[0].type)])
    batches = [pa.record_batch([chunk], schema=schema) for chunk in chunks]
    stats = pa.Table.from_batches([compute_stats(batch) for batch in batches]).combine_chunks().to_batches()[0]
    return ChunkFilter.of(condition, schema, [0]).kept(stats, [len(chunk) for chunk in chunks])


def holding(chunks: list[pa.Array], condition: pc.Expression) -> list[int]:
    """Return the positions of the chunks that do hold a matching row."""
    tables = [pa.table({"a": chunk}) for chunk in chunks]
    return [position for position, table in enumerate(tables) if table.filter(condition).num_rows]


def conditions(value: pa.Scalar) -> list[pc.Expression]:
    name = pc.field("a")
    return [
        name < value, name <= value, name > value, name >= value, name == value, name != value, ~(name > value),
        name.is_null(), name.is_valid(), (name == value) | name.is_null(),
    ]  # fmt: skip


@pytest.mark.parametrize("type_", PRIMITIVES + DICTIONARIES, ids=str)
def test_no_chunk_with_a_matching_row_is_skipped(type_: pa.DataType) -> None:
    rng = np.random.default_rng(11)
    chunks = [make_array(type_, length, rng, nulls=bool(length % 2)) for length in (3, 8, 1, 0, 9)]
    chunks.append(pa.nulls(4, type_))
    plain = [chunk.dictionary_decode() if pa.types.is_dictionary(type_) else chunk for chunk in chunks]
    tried = 0
    for value in [scalar for chunk in plain for scalar in chunk if scalar.is_valid][:6]:
        for condition in conditions(value):
            try:
                truly = holding(chunks, condition)
            except REFUSED:
                continue
            tried += 1
            assert set(truly) <= set(kept(chunks, condition)), condition
    assert tried or not _compares(type_)


def _compares(type_: pa.DataType) -> bool:
    """Return whether Arrow compares columns of this type with a value."""
    kinds = pa.types
    return not (kinds.is_null(type_) or kinds.is_interval(type_) or kinds.is_string_view(type_)
                or kinds.is_binary_view(type_))  # fmt: skip


def compound(one: Any, other: Any, type_: pa.DataType) -> list[pc.Expression]:
    """Return conditions built of comparisons, sets, negations and nulls."""
    name, values = pc.field("a"), pa.array([one, None], type_)
    low, high = pa.scalar(one, type_), pa.scalar(other, type_)
    above, below = name > low, name < high
    return [
        name.isin([one, other]), name.isin(values), ~name.isin([one]), ~name.isin(values),
        pc.is_in(name, value_set=values, skip_nulls=True), ~pc.is_in(name, value_set=values, skip_nulls=True),
        pc.coalesce(name, high) > low, pc.coalesce(name, high) == high, above.is_null(), ~above, ~(name == low),
        name.is_null(nan_is_null=True), ~name.is_null(), above | below, above & below, ~(above & below),
        ~(above | below), pc.if_else(above, True, False), pc.if_else(name.is_null(), True, name == high),
        above == below, name == name, name != name, pc.xor(above, name.is_null()),
        pc.and_not_kleene(name.is_valid(), above), above | name.is_null(), ~(above | name.is_null()),
        name > pa.scalar(None, type_), pc.scalar(low) < name,
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("type_", "values"),
    [
        (pa.int64(), [-3, 0, 1, 2, 5]),
        (pa.float64(), [-1.5, 0.0, -0.0, 2.5, float("inf"), float("nan")]),
        (pa.string(), ["", "a", "b", "c"]),
        (pa.timestamp("ns"), [-3, 0, 1, 2]),
        (pa.bool_(), [False, True]),
        (pa.dictionary(pa.int8(), pa.string()), ["a", "b", "c"]),
        (pa.dictionary(pa.int8(), pa.float64()), [-1.5, 2.5, float("nan")]),
    ],
)
def test_compound_conditions_skip_no_chunk_with_a_matching_row(type_: pa.DataType, values: list[Any]) -> None:
    rng = np.random.default_rng(17)
    plain = type_.value_type if pa.types.is_dictionary(type_) else type_
    left_out = 0
    for _ in range(25):
        chunks = []
        for _chunk in range(4):
            held = [values[i] for i in rng.integers(0, len(values), 2)]
            cells = [[held[0], held[0], held[1], None][i] for i in rng.integers(0, 4, rng.integers(1, 4))]
            array = pa.array(cells, plain)
            chunks.append(array.dictionary_encode().cast(type_) if plain != type_ else array)
        one, other = (values[i] for i in rng.integers(0, len(values), 2))
        for condition in compound(one, other, plain):
            try:
                truly = holding(chunks, condition)
            except REFUSED:
                continue
            kept_positions = kept(chunks, condition)
            assert set(truly) <= set(kept_positions), (condition, [chunk.to_pylist() for chunk in chunks])
            left_out += len(chunks) - len(kept_positions)
    assert left_out > 100


def test_conditions_that_arrow_casts_or_folds_skip_no_chunk_with_a_matching_row() -> None:
    name, zero = pc.field("a"), pc.scalar(0.0)
    single, single_01 = pa.array([0.1, 0.1], pa.float32()), pa.scalar(0.1, pa.float32())
    double = pa.array([0.1, 0.1])
    day = pa.array([datetime(2020, 1, 1, tzinfo=UTC).date()])
    for chunk, condition in (
        (single, name.isin([0.1])),
        (single.dictionary_encode(), name.isin([0.1])),
        (day, name.isin([datetime(2020, 1, 1, 12)])),
        (double, name.cast(pa.float32()) >= single_01),
        (double, name.cast(pa.float32()).isin(pa.array([0.1], pa.float32()))),
        (pa.array([2**32 - 1], pa.uint32()), name.cast("int32", safe=False) < pa.scalar(0, pa.int32())),
        (double, ~(name < pc.divide(zero, zero))),
        (double, ~(name < pc.scalar("NaN").cast(pa.float64()))),
        (double, ~(name < pc.sqrt(pc.scalar(-1.0)))),
    ):
        assert holding([chunk], condition) == [0], condition
        assert kept([chunk], condition) == [0], condition


def test_a_set_of_values_of_the_columns_type_skips_chunks() -> None:
    for type_, values in ((pa.int64(), [1, 5]), (pa.string(), ["a", "z"]), (pa.float32(), [1.0, 9.0])):
        chunks = [some(type_, value, value) for value in values]
        assert kept(chunks, pc.field("a").isin(pa.array(values[:1], type_))) == [0]


def some(type_: pa.DataType, *values: Any) -> pa.Array:
    return pa.array(values, type_)


def test_chunks_that_cannot_hold_a_matching_row_are_skipped() -> None:
    times = [datetime(2013, month, 1, tzinfo=UTC) for month in range(1, 7)]
    for type_, values in (
        (pa.int64(), [1, 2, 3, 4, 5, 6]),
        (pa.float64(), [0.5, 1.0, 2.0, 3.0, 4.0, 5.0]),
        (pa.string(), list("abcdef")),
        (pa.dictionary(pa.int8(), pa.string()), list("abcdef")),
        (pa.timestamp("us", "UTC"), times),
        (pa.timestamp("s", "Europe/Paris"), times),
    ):
        chunks = [some(type_, *values[i : i + 2]) for i in (0, 2, 4)]
        value = pa.scalar(values[2], type_.value_type if pa.types.is_dictionary(type_) else type_)
        assert kept(chunks, pc.field("a") < value) == [0], type_
        assert kept(chunks, pc.field("a") == value) == [1], type_
        assert kept(chunks, pc.field("a") > value) == [1, 2], type_
        with_nulls = [pa.concat_arrays([chunk, pa.nulls(1, type_)]) for chunk in chunks]
        assert kept(with_nulls, pc.field("a") < value) == [0], type_
        assert kept(with_nulls, pc.field("a") == value) == [1], type_
        assert kept(with_nulls, pc.field("a") > value) == [1, 2], type_
        assert kept(with_nulls, pc.field("a").is_null()) == [0, 1, 2], type_


def test_no_chunk_with_a_null_in_its_dictionary_is_wrongly_skipped() -> None:
    values = pa.array(["x", None])
    chunks = [pa.DictionaryArray.from_arrays(pa.array(indices, pa.int8()), values) for indices in ([1, 1], [0, 1])]
    for condition in (pc.field("a").is_null(), pc.field("a").is_valid(), pc.field("a") == "x"):
        assert set(holding(chunks, condition)) <= set(kept(chunks, condition))
    for values in (pa.array([1, None]), pa.array([1.5, None]), pa.array(["x", None])):
        coded = [pa.DictionaryArray.from_arrays(pa.array(indices, pa.int8()), values) for indices in ([0, 1], [0, 0])]
        for text in ("a is null", "not (a is not null)", f"a is null or a = {values[0].as_py()!r}"):
            condition = parse_filter(text, pa.schema([pa.field("a", coded[0].type)]))
            assert set(holding(coded, condition)) <= set(kept(coded, condition)), text


def test_null_counts_skip_chunks() -> None:
    chunks = [some(pa.int64(), 1, 2), some(pa.int64(), 1, None), pa.nulls(3, pa.int64())]
    assert kept(chunks, pc.field("a").is_null()) == [1, 2]
    assert kept(chunks, pc.field("a").is_valid()) == [0, 1]
    assert kept(chunks, pc.field("a") > 0) == [0, 1]


def test_a_chunk_without_bounds_is_kept() -> None:
    chunks = [some(pa.float64(), 1.0, float("nan")), some(pa.float64(), 1.0), some(pa.float64(), 7.0)]
    assert kept(chunks, pc.field("a") > 5) == [0, 2]
    assert kept([some(pa.string(), "x" * 65), some(pa.string(), "y")], pc.field("a") == "z") == [0]
