"""A narrower stored type is cast to the version's type without loss, or refused."""

from __future__ import annotations

import ast
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pytest

from millrace.arrow import nulls_of
from millrace.chunks import ChunkSettings, RowGrouper, TileLayout, assemble, cast_batch
from millrace.errors import ChunkFormatError
from millrace.load.encoding import encoded_chunks
from millrace.sources import SourceOptions, merge_schemas, open_source, plan_source
from tests.unit.chunks.encoded import decoded_tiles


def one(array: pa.Array) -> pa.RecordBatch:
    return pa.record_batch([array], ["c"])


def to(type_: pa.DataType) -> pa.Schema:
    return pa.schema([pa.field("c", type_, metadata={"unit": "m"})], metadata={"of": "version"})


def test_equal_schemas_are_the_same_object() -> None:
    batch = one(pa.array([1]))
    assert cast_batch(batch, batch.schema) is batch


def test_equal_types_share_their_buffers_and_take_the_metadata_of_the_schema() -> None:
    batch = one(pa.array([1, 2]))
    cast = cast_batch(batch, to(pa.int64()))
    assert cast.column(0).buffers()[1].address == batch.column(0).buffers()[1].address
    assert cast.schema.equals(to(pa.int64()), check_metadata=True)


@pytest.mark.parametrize(
    ("array", "type_"),
    [
        (pa.array([1, None], pa.int8()), pa.int64()),
        (pa.array([255], pa.uint8()), pa.int16()),
        (pa.array([-(2**53), 2**53]), pa.float64()),
        (pa.array([1.5, None], pa.float16()), pa.float64()),
        (pa.array(["a", None]), pa.large_string()),
        (pa.array(["a"], pa.large_string()), pa.string()),
        (pa.array(["a"]), pa.string_view()),
        (pa.array([b"a"]), pa.large_binary()),
        (pa.array(["a", None, "b"]).dictionary_encode(), pa.string()),
        (pa.array(["a", None, "b"]), pa.dictionary(pa.int8(), pa.string())),
        (pa.array(["a"]).dictionary_encode(), pa.dictionary(pa.int64(), pa.large_string())),
        (pa.array([[None], [], None]), pa.list_(pa.int64())),
        (pa.array([[1]]), pa.large_list(pa.float64())),
        (pa.array([{"a": None, "b": 1}]), pa.struct([("a", pa.string()), ("b", pa.float64())])),
        (pa.array([1], pa.decimal128(3, 1)), pa.decimal256(60, 2)),
        (pa.array([1], pa.int64()).view(pa.timestamp("s", "UTC")), pa.timestamp("ns", "UTC")),
        (pa.array([1], pa.int32()).view(pa.date32()), pa.date64()),
        (pa.array([1], pa.int32()).view(pa.time32("s")), pa.time64("us")),
        (pa.array([1]).view(pa.duration("s")), pa.duration("ms")),
    ],
    ids=str,
)
def test_a_wider_type_holds_the_same_values(array: pa.Array, type_: pa.DataType) -> None:
    cast = cast_batch(one(array), to(type_)).column(0)
    assert cast.type.equals(type_)
    if pa.types.is_temporal(type_):
        assert cast.cast(array.type).equals(array)
    else:
        assert cast.to_pylist() == array.to_pylist()


def test_nulls_become_any_type(every_type: Any) -> None:
    for type_ in every_type:
        if pa.types.is_union(type_):
            continue
        cast = cast_batch(one(pa.nulls(3)), to(type_)).column(0)
        assert cast.type.equals(type_)
        assert cast.to_pylist() == [None] * 3, type_


@pytest.mark.parametrize(
    ("array", "type_", "why"),
    [
        (pa.array([1.5]), pa.float32(), "lose or change"),
        (pa.array([1.5]), pa.int64(), "lose or change"),
        (pa.array([300]), pa.int8(), "lose or change"),
        (pa.array([1], pa.int8()), pa.uint64(), "lose or change"),
        (pa.array(["1"]), pa.int64(), "lose or change"),
        (pa.array([1]), pa.string(), "lose or change"),
        (pa.array([b"\xff"]), pa.string(), "lose or change"),
        (pa.array([True]), pa.int64(), "lose or change"),
        (pa.array([1], pa.decimal128(3, 1)), pa.decimal128(3, 2), "lose or change"),
        (pa.array([1]).view(pa.timestamp("ms")), pa.timestamp("s"), "lose or change"),
        (pa.array([1]).view(pa.timestamp("ms", "UTC")), pa.timestamp("ms"), "lose or change"),
        (pa.array([2**62]).view(pa.timestamp("s")), pa.timestamp("ns"), "timestamp"),
        (pa.array([{"a": 1}]), pa.struct([("b", pa.int64())]), "lose or change"),
        (pa.array([[1, 2]], pa.list_(pa.int64(), 2)), pa.list_(pa.int64(), 1), "lose or change"),
        (pa.array([[1]]), pa.list_(pa.string()), "lose or change"),
    ],
    ids=str,
)
def test_a_lossy_cast_is_refused_with_the_column(array: pa.Array, type_: pa.DataType, why: str) -> None:
    with pytest.raises(ChunkFormatError, match=f"column 'c' cannot be read as .*{why}"):
        cast_batch(one(array), to(type_))


def test_another_number_of_columns_is_refused() -> None:
    with pytest.raises(ChunkFormatError, match="1 columns cannot become the 2"):
        cast_batch(one(pa.array([1])), pa.schema([("c", pa.int64()), ("d", pa.int64())]))


def test_a_batch_without_columns_keeps_its_rows_and_takes_the_metadata() -> None:
    batch = pa.record_batch([pa.nulls(3)], ["x"]).select([])
    cast = cast_batch(batch, pa.schema([], metadata={"of": "version"}))
    assert (cast.num_rows, cast.schema.metadata) == (3, {b"of": b"version"})


NUMBERS = pa.array([2**53 + 1, None, -(2**62) - 1, 7])
DOUBLES = pa.array([float(2**53), None, -float(2**62), 7.0])
ENDS = pa.array([0, 1, 3, 3, 4], pa.int32())
SIZES = pa.array([1, 2, 0, 1], pa.int32())
KEYS = pa.array(["a", "b", "c", "d"])
AROUND: dict[str, Callable[[pa.Array], pa.Array]] = {
    "nothing": lambda array: array,
    "struct": lambda array: pa.StructArray.from_arrays([array], names=["n"]),
    "list": lambda array: pa.ListArray.from_arrays(ENDS, array),
    "large_list": lambda array: pa.LargeListArray.from_arrays(ENDS.cast(pa.int64()), array),
    "list_view": lambda array: pa.ListViewArray.from_arrays(ENDS.slice(0, 4), SIZES, array),
    "fixed_size_list": lambda array: pa.FixedSizeListArray.from_arrays(array, 2),
    "map": lambda array: pa.MapArray.from_arrays(ENDS, KEYS, array),
    "list of structs": lambda array: AROUND["list"](AROUND["struct"](array)),
    "struct of lists": lambda array: AROUND["struct"](AROUND["list"](array)),
    "dictionary": lambda array: array.dictionary_encode(),
}


@pytest.mark.parametrize("around", AROUND)
def test_integers_that_became_doubles_are_rounded_as_a_csv_reader_rounds_them(around: str) -> None:
    numbers, doubles = (AROUND[around](array) for array in (NUMBERS, DOUBLES))
    cast = cast_batch(one(numbers), to(doubles.type)).column(0)
    cast.validate(full=True)
    assert cast.equals(doubles)
    assert cast_batch(one(numbers.slice(1)), to(doubles.type)).column(0).equals(doubles.slice(1))


def test_dictionary_values_that_became_doubles_are_rounded_too() -> None:
    assert cast_batch(one(NUMBERS.dictionary_encode()), to(pa.float64())).column(0).equals(DOUBLES)


def test_a_timestamp_out_of_range_is_refused_beside_rounded_integers() -> None:
    type_ = pa.list_(pa.struct([("n", pa.int64()), ("t", pa.timestamp("s"))]))
    wide = pa.list_(pa.struct([("n", pa.float64()), ("t", pa.timestamp("ns"))]))
    with pytest.raises(ChunkFormatError, match=r"column 'c' cannot be read as .*timestamp"):
        cast_batch(one(pa.array([[{"n": 2**53 + 1, "t": 2**62}]], type_)), to(wide))


@pytest.mark.parametrize("around", [name for name in AROUND if name not in ("nothing", "dictionary")])
def test_nulls_within_become_any_type(around: str, every_type: Any) -> None:
    nulls = AROUND[around](pa.nulls(4))
    for type_ in every_type:
        wide = AROUND[around](nulls_of(4, type_))
        cast = cast_batch(one(nulls), to(wide.type)).column(0)
        cast.validate(full=True)
        assert cast.type.equals(wide.type)
        assert cast.to_pylist() == wide.to_pylist(), type_


@pytest.mark.parametrize("around", ["list", "struct of lists"])
def test_rows_of_one_group_widen_within_lists_too(around: str) -> None:
    batches = [one(AROUND[around](array)) for array in (NUMBERS, pa.array([1.5, 2.5, None, 0.5]))]
    grouper = RowGrouper(ChunkSettings(row_group_bytes=1_000_000))
    groups = [group for batch in batches for group in grouper.feed(batch)] + list(grouper.finish())
    [group] = groups
    assert group.to_batch().column(0).slice(0, 4).equals(AROUND[around](DOUBLES))


def test_a_version_whose_lists_became_lists_of_doubles_can_be_read(tmp_path: Path) -> None:
    lines = [b'{"a":[9007199254740992]}\n'] * 500 + [b'{"a":[1]}\n'] * 1500 + [b'{"a":[1.5]}\n'] * 10
    path = tmp_path / "a.jsonl"
    path.write_bytes(b"".join(lines))
    plan = plan_source(str(path), SourceOptions(infer_bytes=1_000))
    layout, chosen = TileLayout.for_schema(plan.schema), ChunkSettings(row_group_bytes=4_000)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("millrace.sources.text.blocks.BLOCK_BYTES", 3_000)
        with open_source(plan) as reader:
            chunks = list(encoded_chunks(SimpleNamespace(chunks=chosen, layout=layout), reader, threads=2))
    schema = merge_schemas([plan.schema, reader.schema])
    assert {chunk.schema.field(0).type for chunk in chunks} == {pa.list_(pa.int64()), pa.list_(pa.float64())}
    read = [assemble(decoded_tiles(chunk), layout, schema) for chunk in chunks]
    assert [row["a"] for batch in read for row in batch.to_pylist()] == [[2.0**53]] * 500 + [[1.0]] * 1500 + [
        [1.5]
    ] * 10


def test_the_documented_program_gives_the_same_columns() -> None:
    text = (Path(__file__).parents[3] / "docs" / "format.md").read_text()
    program = ast.parse(text.split("```python\n")[1].split("```")[0])
    program.body = [part for part in program.body if getattr(part, "name", "") in ("numbers", "column")]
    namespace: dict[str, Any] = {"pa": pa, "pc": pc}
    exec(compile(program, "docs/format.md", "exec"), namespace)
    assert namespace["column"](NUMBERS.dictionary_encode(), pa.float64()).equals(DOUBLES)
    for around in set(AROUND) - {"list_view", "dictionary"}:  # no source delivers and widens these
        wide = AROUND[around](DOUBLES)
        assert namespace["column"](AROUND[around](NUMBERS), wide.type).equals(wide), around
