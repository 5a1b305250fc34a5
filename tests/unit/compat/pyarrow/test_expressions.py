"""The structure of an expression is read exactly, whatever the names and literals in it."""

from __future__ import annotations

import functools

import pyarrow as pa
import pyarrow.compute as pc
import pytest

from millrace.chunks import compute_stats
from millrace.compat.pyarrow.expressions import Call, Column, Literal, read_expression, walk
from millrace.compat.versions import PYARROW, stock_behaviour
from millrace.dataset.filters.conditions import columns_for
from millrace.dataset.filters.prune import ChunkFilter


def test_the_structure_of_an_expression_is_read() -> None:
    expression = read_expression((pc.field("a") < 5) & ~pc.field("b").isin(["x", "y"]))
    assert isinstance(expression, Call)
    less, invert = expression.arguments
    assert expression.function == "and_kleene"
    assert less == Call("less", [Column(("a",)), Literal(pa.array([5]))])
    assert isinstance(invert, Call)
    (member,) = invert.arguments
    assert isinstance(member, Call)
    assert (invert.function, member.function, member.arguments) == ("invert", "is_in", [Column(("b",))])
    assert member.options is not None
    assert member.options["value_set"].values.to_pylist() == ["x", "y"]


def test_a_column_a_literal_and_a_field_of_a_struct_are_read() -> None:
    assert read_expression(pc.field("é\n'\"")) == Column(("é\n'\"",))
    assert read_expression(pc.field("")) == Column(("",))
    assert read_expression(pc.scalar(True)) == Literal(pa.array([True]))
    assert read_expression(pc.field("s", "t")) == Column(("s", "t"))


def test_a_condition_of_thousands_of_parts_is_read() -> None:
    condition = functools.reduce(lambda a, b: a | b, (pc.field(f"c{i}") == i for i in range(3000)))
    expression = read_expression(condition)
    assert expression is not None
    assert sum(isinstance(node, Column) for node in walk(expression)) == 3000


@pytest.mark.parametrize("condition", [pc.field(0) == 1, (pc.field("a") == 1) & (pc.field(1) < 2)], ids=str)
def test_a_column_by_position_cannot_be_read(condition: pc.Expression) -> None:
    assert read_expression(condition) is None
    assert columns_for(condition, pa.schema([("a", pa.int64()), ("b", pa.int64())])) is None


def test_outside_the_tested_versions_every_column_is_read_and_every_chunk_kept() -> None:
    schema = pa.schema([("a", pa.int64())])
    batches = [pa.record_batch([pa.array([n])], schema=schema) for n in range(3)]
    stats = pa.Table.from_batches([compute_stats(batch) for batch in batches]).combine_chunks().to_batches()[0]
    condition = pc.field("a") == 1
    assert ChunkFilter.of(condition, schema, [0]).kept(stats, [1, 1, 1]) == [1]
    with stock_behaviour(PYARROW):
        assert columns_for(condition, schema) is None
        assert ChunkFilter.of(condition, schema, [0]).kept(stats, [1, 1, 1]) == [0, 1, 2]


@pytest.mark.parametrize(
    ("name", "values", "condition"),
    [
        # The printed form shortens a long set of values, and a name may look like a part of it.
        ("a", [0.5], ~pc.field("a").isin(pa.array([*range(100), float("nan"), *range(100)], pa.float64()))),
        ("a, {value_set=float:", [0.1], pc.field("a, {value_set=float:").isin([0.1])),
        ("a", [0.5], ~(pc.field("a") < pa.scalar(float("nan")))),
    ],
    ids=["a NaN in a long set", "a name like a set", "NaN"],
)
def test_no_chunk_is_skipped_because_of_the_printed_form(
    name: str, values: list[float], condition: pc.Expression
) -> None:
    schema = pa.schema([(name, pa.float32())])
    batch = pa.record_batch([pa.array(values, pa.float32())], schema=schema)
    stats = compute_stats(batch)
    matching = pa.Table.from_batches([batch]).filter(condition).num_rows
    kept = ChunkFilter.of(condition, schema, [0]).kept(stats, [1])
    assert kept == [0] or not matching


def test_names_that_look_like_calls_do_not_keep_chunks() -> None:
    schema = pa.schema([("cast(nan)", pa.int64())])
    stats = compute_stats(pa.record_batch([pa.array([1, 2])], schema=schema))
    assert ChunkFilter.of(pc.field("cast(nan)") == 7, schema, [0]).kept(stats, [2]) == []
