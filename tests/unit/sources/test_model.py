from __future__ import annotations

import json
import os
from collections.abc import Callable
from itertools import permutations
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from millrace.errors import InvalidSettingError, SourceNotFoundError, SourceTypeError, SourceUnreadableError, UsageError
from millrace.sources import SourceFile, SourceOptions, SourcePlan, merge_schemas, parse_type, plan_source
from millrace.sources.splits import Unit, group_units, parts_of
from millrace.sources.types import load_schema_file

Write = Callable[[str, bytes], Path]

NAMES = ["null", "bool_", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64", "float16"]
NAMES += ["float32", "float64", "string", "large_string", "binary", "large_binary"]
TYPES = [
    *(getattr(pa, name)() for name in NAMES),
    *(pa.date32(), pa.date64(), pa.time32("s"), pa.time32("ms"), pa.time64("us"), pa.time64("ns")),
    *(pa.timestamp(unit) for unit in ("s", "ms", "us", "ns")),
    *(pa.timestamp("us", zone) for zone in ("UTC", "Europe/Berlin", "+02:00")),
    *(pa.duration(unit) for unit in ("s", "ms", "us", "ns")),
    *(pa.decimal128(10, 2), pa.decimal256(40, 2), pa.binary(16), pa.list_(pa.int64())),
]


@pytest.mark.parametrize("kind", TYPES, ids=str)
def test_a_type_is_parsed_from_its_arrow_name(kind: pa.DataType) -> None:
    assert parse_type(str(kind)).equals(kind)
    assert parse_type(f"  {kind} ").equals(kind)


@pytest.mark.parametrize(
    ("spelling", "kind"),
    [
        ("Double", pa.float64()),
        ("decimal128(10,2)", pa.decimal128(10, 2)),
        ("fixed_size_binary(16)", pa.binary(16)),
        ("timestamp[ns,UTC]", pa.timestamp("ns", "UTC")),
        ("dictionary", pa.dictionary(pa.int32(), pa.string())),
        ("list<list<double>>", pa.list_(pa.list_(pa.float64()))),
    ],
)
def test_other_usual_spellings_of_types_are_parsed(spelling: str, kind: pa.DataType) -> None:
    assert parse_type(spelling).equals(kind)


@pytest.mark.parametrize("spelling", ["", "int", "integer", "timestamp", "decimal128(99,2)", "time32[us]", "list<x>"])
def test_an_unknown_type_is_refused_by_name(spelling: str) -> None:
    with pytest.raises(UsageError, match=r"unknown column type|not a possible type"):
        parse_type(spelling)


def test_a_schema_comes_from_arrow_parquet_and_json_files(write: Write, tmp_path: Path) -> None:
    schema = pa.schema([("a", pa.int8()), ("b", pa.timestamp("us", "UTC"))])
    write("schema.bin", schema.serialize().to_pybytes())
    with pa.ipc.new_file(tmp_path / "data.arrow", schema):
        pass
    with pa.ipc.new_stream(tmp_path / "data.arrows", schema):
        pass
    pq.write_table(schema.empty_table(), tmp_path / "data.parquet")
    write("schema.json", b'{"a": "int8", "b": "timestamp[us, tz=UTC]"}')
    for name in ("schema.bin", "data.arrow", "data.arrows", "data.parquet", "schema.json"):
        assert load_schema_file(str(tmp_path / name)).equals(schema)


@pytest.mark.parametrize("content", [b"", b"{", b"[1]", b'{"a": 1}', b'{"a": "nonsense"}', b"PAR1", b"ARROW1"])
def test_a_file_without_a_schema_is_refused(write: Write, content: bytes) -> None:
    with pytest.raises(UsageError):
        load_schema_file(str(write("schema", content)))


def test_a_schema_file_that_is_missing_or_not_regular_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SourceNotFoundError):
        load_schema_file(str(tmp_path / "nothing"))
    os.mkfifo(tmp_path / "fifo")
    with pytest.raises(SourceUnreadableError):
        load_schema_file(str(tmp_path / "fifo"))


@given(st.lists(st.sampled_from(TYPES), min_size=1, max_size=4))
@example([pa.float16(), pa.int8(), pa.uint8()])
@example([pa.float32(), pa.int32(), pa.uint32()])
def test_the_widest_schema_does_not_depend_on_the_order(kinds: list[pa.DataType]) -> None:
    schemas = [pa.schema([("a", kind)]) for kind in kinds]

    def merged(some: list[pa.Schema]) -> pa.Schema | None:
        try:
            return merge_schemas(some)
        except SourceTypeError:
            return None

    assert merged(schemas) == merged(schemas[::-1])


@pytest.mark.parametrize("order", list(permutations([pa.int64(), pa.uint64(), pa.float64()])))
def test_integers_without_a_common_type_are_refused_in_any_order(order: list[pa.DataType]) -> None:
    with pytest.raises(SourceTypeError, match=r"column 'id' is u?int64 in one part and u?int64 in another"):
        merge_schemas([pa.schema([("id", kind)]) for kind in order])


def test_merging_keeps_the_first_order_and_metadata_and_any_nullability() -> None:
    first = pa.schema([pa.field("a", pa.null()), pa.field("b", pa.int8(), nullable=False)], metadata={"k": "v"})
    second = pa.schema([pa.field("b", pa.int16()), pa.field("a", pa.string())])
    merged = merge_schemas([first, second])
    assert merged.names == ["a", "b"]
    assert merged.metadata == {b"k": b"v"}
    assert merged.field("b") == pa.field("b", pa.int16(), nullable=True)
    with pytest.raises(SourceTypeError, match=r"column 'a' is int64 in one part and string in another.*--column-type"):
        merge_schemas([pa.schema([("a", pa.int64())]), pa.schema([("a", pa.string())])])
    with pytest.raises(SourceTypeError, match="became"):
        merge_schemas([pa.schema([("a", pa.int64())]), pa.schema([("b", pa.int64())])])


@pytest.mark.parametrize(
    "wrong",
    [
        {"format": "xml"},
        {"delimiter": ""},
        {"delimiter": "ab"},
        {"delimiter": '"'},
        {"delimiter": "\n"},
        {"delimiter": "é"},
        {"infer_bytes": 0},
        {"max_unit_bytes": -1},
        {"max_unit_bytes": 2**40},
        {"max_splits": 0},
        {"max_splits": 1001},
        {"split_bytes": 1.5},
        {"piece_bytes": True},
    ],
    ids=str,
)
def test_a_wrong_option_is_refused_by_name(wrong: dict[str, Any]) -> None:
    with pytest.raises(InvalidSettingError, match="format" if "format" in wrong else next(iter(wrong))):
        SourceOptions(**wrong)


def test_options_survive_json() -> None:
    options = SourceOptions(
        format="csv", null_values=("NA", ""), column_types=(("a", "int8"),), delimiter=";", header=False
    )
    assert SourceOptions.from_json(json.loads(json.dumps(options.to_json()))) == options
    assert SourceOptions.from_json(json.loads(json.dumps(SourceOptions().to_json()))) == SourceOptions()
    with pytest.raises(InvalidSettingError, match="unknown source option 'other'"):
        SourceOptions.from_json({"other": 1})


def test_a_plan_survives_json_and_an_invalid_one_is_refused(write: Write) -> None:
    plan = plan_source(str(write("a.csv", b"a,b\n" + b"1,2\n" * 100)), SourceOptions(split_bytes=100))
    assert SourcePlan.from_json(json.loads(json.dumps(plan.to_json()))) == plan
    for wrong in ({}, {**plan.to_json(), "schema": "x"}, {**plan.to_json(), "files": "x"}):
        with pytest.raises(UsageError, match="this is not the plan"):
            SourcePlan.from_json(wrong)


def test_facts_change_with_the_source(write: Write) -> None:
    path = write("a.csv", b"a\n1\n")
    first = plan_source(str(path)).facts()
    assert first == plan_source(str(path)).facts()
    os.utime(path, ns=(1, 1))
    second = plan_source(str(path)).facts()
    assert first["digest"] != second["digest"]
    assert (second["format"], second["files"], second["bytes"], second["first_files"]) == ("csv", 1, 4, ["a.csv"])


@given(
    st.lists(st.lists(st.integers(0, 1000), min_size=1, max_size=5), min_size=1, max_size=8),
    st.integers(1, 3000),
    st.integers(1, 6),
)
def test_splits_cover_all_units_once_in_order_and_are_never_too_many(
    sizes: list[list[int]], split_bytes: int, max_splits: int
) -> None:
    files = [SourceFile(f"/{n}", f"{n}", sum(units), 0) for n, units in enumerate(sizes)]
    units = [
        Unit(number, start, start + 1, size, 1)
        for number, file_sizes in enumerate(sizes)
        for start, size in enumerate(file_sizes)
    ]
    splits = group_units(units, files, split_bytes=split_bytes, max_splits=max_splits, unit_name="batch")
    assert len(splits) <= max_splits
    assert sum(split.bytes for split in splits) == sum(map(sum, sizes))
    assert [split.index for split in splits] == list(range(len(splits)))
    covered = []
    for split in splits:
        for number, start, stop in parts_of(split):
            covered += [(number, at) for at in range(start, len(sizes[number]) if stop < 0 else stop)]
    assert covered == [(unit.file, unit.start) for unit in units]
