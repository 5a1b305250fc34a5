"""Columns of one type are cast together, with the same result as one by one."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from millrace.arrow import wider_schema
from millrace.chunks import cast_batch, cast_stored_numbers
from millrace.chunks.encoding.stored_types import number_type, to_stored
from millrace.errors import ChunkFormatError, SourceTypeError

LOOKALIKE = pa.record_batch(
    [pa.array([{"divide_by_10": 5}], pa.struct([pa.field("divide_by_10", pa.int8(), False)]))], ["a"]
)
KINDS = ["i1", "i2", "u2", "i4", "d1", "d3", "dn", "dz", "text", "double"]


def column(kind: str, rows: int, rng: np.random.Generator, null: Any) -> pa.Array:
    numbers = {
        "i1": (-100, 100), "i2": (-30_000, 30_000), "u2": (0, 60_000), "i4": (-(2**31), 2**31 - 1), "d1": (-5, 5),
        "d3": (0, 60_000), "dn": (-9, 9), "dz": (0, 9), "text": (0, 9), "double": (0, 9),
    }[kind]  # fmt: skip
    drawn = rng.integers(*numbers, rows)
    if kind[0] in "iu":
        return pa.array(drawn.astype(kind), mask=null)
    if kind == "text":
        return pa.array(drawn.astype(str), mask=null)
    values = rng.random(rows) if kind == "double" else drawn / (1000 if kind == "d3" else 10)
    if kind == "dn":
        values[::3] = np.nan
    if kind == "dz":
        values[::3] = -0.0
    return pa.array(values, mask=null)


def same(one: pa.Array, other: pa.Array) -> bool:
    if pa.types.is_float64(one.type) and pa.types.is_float64(other.type):
        one, other = one.view(pa.int64()), other.view(pa.int64())
    return bool(one.equals(other))


@given(
    kinds=st.lists(st.sampled_from(KINDS), min_size=1, max_size=12),
    rows=st.sampled_from([1024, 20_000, 70_000]),
    nulls=st.lists(st.sampled_from([None, 0.2, 1.0]), min_size=12, max_size=12),
    cut=st.tuples(st.integers(0, 70), st.integers(0, 1100)),
    wider=st.booleans(),
    seed=st.integers(0, 2**32 - 1),
)
def test_columns_cast_together_equal_columns_cast_one_by_one(
    kinds: list[str], rows: int, nulls: list[float | None], cut: tuple[int, int], wider: bool, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    masks = [None if share is None else rng.random(rows) < share for share in nulls]
    arrays = [column(kind, rows, rng, mask) for kind, mask in zip(kinds, masks, strict=False)]
    batch = pa.record_batch(arrays, [str(i) for i in range(len(kinds))])
    fields = [
        field.with_type(pa.int64()) if wider and pa.types.is_integer(field.type) else field for field in batch.schema
    ]
    schema = pa.schema(fields)
    stored = to_stored(batch)
    for part, expected in ((stored, batch), (stored.slice(*cut), batch.slice(*cut))):
        back = cast_batch(part, schema)
        back.validate(full=True)
        for mine, theirs, field in zip(back.columns, expected.columns, schema, strict=True):
            assert mine.type == field.type
            assert same(mine, theirs.cast(field.type))
            assert mine.null_count == theirs.null_count


def test_wide_batches_of_one_type_are_not_mixed_up() -> None:
    columns = {f"c{n}": np.arange(5000) * (n + 1) % 30_000 / 10 for n in range(150)}
    batch = pa.record_batch({name: pa.array(values) for name, values in columns.items()})
    stored = to_stored(batch)
    assert {number_type(field.type) for field in stored.schema} == {pa.float64()}
    assert cast_batch(stored, batch.schema).equals(batch)


def test_a_null_part_of_a_stored_number_is_refused_as_damage() -> None:
    byte = pa.array([1, None, 3], pa.uint8())
    high = pa.array([0, 0, None], pa.int8())
    mark = pa.array([True, None, False])
    two = [pa.field("byte_0", pa.uint8(), nullable=False), pa.field("byte_1", pa.int8(), nullable=False)]
    complete = pa.StructArray.from_arrays([pa.array([1, 2, 3], pa.uint8()), high], fields=two)
    for parts, fields in (
        ([byte, pa.array([0, 0, 0], pa.int8())], two),
        ([pa.array([1, 2, 3], pa.uint8()), high], two),
        ([pa.array([1, None, 3], pa.int8())], [pa.field("divide_by_10", pa.int8(), nullable=False)]),
        ([complete], [pa.field("divide_by_10", complete.type, nullable=False)]),
        (
            [pa.array([1, 2, 3], pa.int8()), mark],
            [pa.field("divide_by_10", pa.int8(), nullable=False), pa.field("nan", pa.bool_(), nullable=False)],
        ),
    ):
        stored = pa.record_batch([pa.StructArray.from_arrays(parts, fields=fields)], ["a"])
        assert number_type(stored.schema.field(0).type) is not None
        with pytest.raises(ChunkFormatError, match="of a number is null"):
            cast_batch(stored, pa.schema([pa.field("a", pa.float64())]))


def test_stored_numbers_are_converted_only_where_the_schema_has_numbers() -> None:
    rng = np.random.default_rng(1)
    batch = pa.record_batch(
        [column(kind, 5000, rng, None) for kind in ("i2", "i4", "d3", "text")], ["a", "b", "c", "d"]
    )
    stored = to_stored(batch)
    schema = pa.schema([pa.field(name, pa.float64()) for name in "abc"] + [pa.field("d", pa.string())])
    assert cast_stored_numbers(stored, schema).equals(batch)
    assert cast_stored_numbers(stored, stored.schema) is stored


def test_no_schema_widens_from_a_struct_to_a_number() -> None:
    for struct in (to_stored(pa.record_batch([column("d3", 5000, np.random.default_rng(1), None)], ["a"])), LOOKALIKE):
        with pytest.raises(SourceTypeError):
            wider_schema(struct.schema, pa.schema([pa.field("a", pa.float64())]))


@pytest.mark.parametrize("rows", [0, 1, 1023])
def test_few_rows_are_stored_unchanged(rows: int) -> None:
    batch = pa.record_batch([pa.array(np.full(rows, 1.5)), pa.array(np.full(rows, 300, np.int16))], ["a", "b"])
    assert to_stored(batch) is batch
