from __future__ import annotations

import gc
import gzip
import io
import json
import time
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq
import pytest
import zstandard

from millrace.dataset.exports.display_text import as_text
from millrace.dataset.exports.files import Exported, discard_parts, export, format_of
from millrace.dataset.exports.text_types import csv_type
from millrace.dataset.exports.writers import WRITERS
from millrace.errors import OutputError, StoreUnavailableError, UsageError

SIMPLE = pa.schema(
    [pa.field("n", pa.int64(), nullable=False), pa.field("s", pa.string(), metadata={"a": "b"})], {"made": "here"}
)


def simple(*numbers: int) -> pa.RecordBatch:
    texts = pa.array([None if n % 3 == 0 else f'{n},"q"\n' for n in numbers])
    return pa.record_batch([pa.array(numbers, pa.int64()), texts], schema=SIMPLE)


BATCHES = [simple(0, 1, 2), simple(), simple(3), simple(4, 5)]
TABLE = pa.Table.from_batches(BATCHES)


def put(path: Path, batches: list[pa.RecordBatch] | None = None, schema: pa.Schema = SIMPLE) -> Exported:
    format_, compression = format_of(str(path), None)
    return export(iter(BATCHES if batches is None else batches), schema, str(path), format_, compression)


def arrow(path: Path) -> pa.Table:
    with pa.memory_map(str(path)) as source:
        return pa.ipc.open_file(source).read_all()


# --- formats


def test_an_arrow_file_equals_the_dataset(tmp_path: Path) -> None:
    report = put(tmp_path / "f.arrow")
    back = arrow(tmp_path / "f.arrow")
    assert back.equals(TABLE, check_metadata=True)
    assert back.schema.equals(SIMPLE, check_metadata=True)
    assert report == Exported(6, (tmp_path / "f.arrow").stat().st_size)


def test_a_parquet_file_equals_the_dataset(tmp_path: Path) -> None:
    put(tmp_path / "f.parquet")
    assert pq.read_table(tmp_path / "f.parquet").equals(TABLE)
    assert pq.read_schema(tmp_path / "f.parquet").equals(SIMPLE)


def test_a_csv_file_distinguishes_null_and_empty_text(tmp_path: Path) -> None:
    schema = pa.schema([("n", pa.int64()), ("s", pa.string())])
    batch = pa.record_batch([pa.array([1, None, 3]), pa.array(["", None, 'a "b"\n,c'])], schema=schema)
    put(tmp_path / "f.csv", [batch], schema)
    options = pa_csv.ConvertOptions(strings_can_be_null=True, quoted_strings_can_be_null=False)
    parse = pa_csv.ParseOptions(newlines_in_values=True)
    assert pa_csv.read_csv(tmp_path / "f.csv", convert_options=options, parse_options=parse) == pa.table(batch)


def test_json_lines_have_one_object_per_row(tmp_path: Path) -> None:
    put(tmp_path / "f.jsonl")
    lines = (tmp_path / "f.jsonl").read_text().split("\n")
    assert lines.pop() == ""
    assert [json.loads(line) for line in lines] == TABLE.to_pylist()


@pytest.mark.parametrize("name", ["f.csv.gz", "f.jsonl.gz", "f.arrows.gz"])
def test_a_file_name_selects_gzip(tmp_path: Path, name: str) -> None:
    put(tmp_path / name.removesuffix(".gz"))
    put(tmp_path / name)
    assert gzip.decompress((tmp_path / name).read_bytes()) == (tmp_path / name.removesuffix(".gz")).read_bytes()


def test_a_file_name_selects_zstd(tmp_path: Path) -> None:
    put(tmp_path / "f.csv")
    put(tmp_path / "f.csv.zst")
    packed = io.BytesIO((tmp_path / "f.csv.zst").read_bytes())
    assert zstandard.ZstdDecompressor().stream_reader(packed).read() == (tmp_path / "f.csv").read_bytes()


@pytest.mark.parametrize("name", ["f.arrow", "f.feather", "f.ipc", "f.parquet", "f.pq", "f.csv", "f.jsonl", "f.arrows"])
def test_an_export_without_rows_writes_the_columns(tmp_path: Path, name: str) -> None:
    assert put(tmp_path / name, []).rows == 0
    if name.endswith((".arrow", ".feather", ".ipc")):
        assert arrow(tmp_path / name).schema == SIMPLE
    elif name.endswith((".parquet", ".pq")):
        assert pq.read_table(tmp_path / name).schema == SIMPLE
    elif name.endswith(".csv"):
        assert (tmp_path / name).read_text() == '"n","s"\n'


@pytest.mark.parametrize(
    ("target", "given", "expected"),
    [
        ("a/b.parquet", None, ("parquet", None)),
        ("B.PARQUET", None, ("parquet", None)),
        ("b.csv.GZ", None, ("csv", "gzip")),
        ("b.ndjson.zst", None, ("jsonl", "zstd")),
        ("b.txt", "csv", ("csv", None)),
        ("b.gz", "csv", ("csv", "gzip")),
        ("b.csv", "jsonl", ("jsonl", None)),
        ("-", "arrow", ("arrow", None)),
    ],
)
def test_the_format_follows_from_the_name_and_the_option(
    target: str, given: str | None, expected: tuple[str, str | None]
) -> None:
    assert format_of(target, given) == expected


@pytest.mark.parametrize(
    ("target", "given", "message"),
    [
        ("-", None, "does not determine a format"),
        ("f", None, "does not determine a format"),
        ("f.xlsx", None, "ends in one of .parquet"),
        ("f.gz", None, "does not determine a format"),
        ("f.csv", "xml", "unknown format 'xml'.*parquet, csv, arrow"),
        ("f.parquet.gz", None, "parquet files are not compressed as a whole"),
        ("f.arrow.zst", None, "arrow files are not compressed as a whole"),
    ],
)
def test_a_name_without_a_usable_format_is_refused(target: str, given: str | None, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        format_of(target, given)


# --- types


def dictionary(values: list[str | None], index: pa.DataType) -> pa.Array:
    return pa.array(values, pa.string()).dictionary_encode().cast(pa.dictionary(index, pa.string()))


@pytest.mark.parametrize("shape", ["plain", "struct", "list", "map", "extension"])
def test_dictionaries_that_differ_between_batches_share_one_in_the_file(tmp_path: Path, shape: str) -> None:
    batches = []
    for values in (["a", "b", None], [], [None], ["c", "a", "c"], ["b", "d", "a"]):
        column = dictionary(list(values), pa.int8())
        if shape == "struct":
            column = pa.StructArray.from_arrays([column], ["x"])
        if shape == "list":
            column = pa.ListArray.from_arrays(pa.array([0, len(column)], pa.int32()), column)
        if shape == "extension":
            column = pa.ExtensionArray.from_storage(pa.opaque(column.type, "kind", "maker"), column)
        if shape == "map":
            keys = pa.array([str(i) for i in range(len(column))], pa.string())
            column = pa.MapArray.from_arrays(pa.array([0, len(column)], pa.int32()), keys, column)
        batches.append(pa.record_batch([column], ["x"]))
    for name in ("f.arrow", "f.arrows"):
        put(tmp_path / name, batches, batches[0].schema)
        source = pa.ipc.open_file if name == "f.arrow" else pa.ipc.open_stream
        back = source((tmp_path / name).read_bytes()).read_all()
        assert back.schema == batches[0].schema
        assert back.to_pylist() == pa.Table.from_batches(batches).to_pylist()


def test_too_many_values_for_one_dictionary_are_refused_in_a_file_and_written_to_a_stream(tmp_path: Path) -> None:
    batches = [pa.record_batch([dictionary([f"{b}-{i}" for i in range(100)], pa.int8())], ["x"]) for b in range(3)]
    with pytest.raises(UsageError, match=r"column 'x': 200 different values are more than .* int8 .*\.arrows"):
        put(tmp_path / "f.arrow", batches, batches[0].schema)
    assert list(tmp_path.iterdir()) == []
    put(tmp_path / "f.arrows", batches, batches[0].schema)
    back = pa.ipc.open_stream((tmp_path / "f.arrows").read_bytes()).read_all()
    assert back.schema == batches[0].schema
    assert back.to_pylist() == [row for batch in batches for row in batch.to_pylist()]


EXTENSIONS = [
    pa.uuid(), pa.json_(), pa.bool8(), pa.opaque(pa.timestamp("ns"), "kind", "maker"),
    pa.fixed_shape_tensor(pa.int32(), [2]), pa.dictionary(pa.int8(), pa.uuid()),
]  # fmt: skip
ODD = {
    "csv": [
        *EXTENSIONS,
        pa.list_(pa.int8()), pa.struct([("a", pa.int8())]), pa.map_(pa.string(), pa.int8()), pa.binary(),
        pa.large_binary(), pa.binary(3), pa.binary_view(), pa.month_day_nano_interval(), pa.list_view(pa.int8()),
        pa.run_end_encoded(pa.int32(), pa.int8()), pa.dense_union([pa.field("a", pa.int8())]),
        pa.dictionary(pa.int8(), pa.list_(pa.int8())), pa.dictionary(pa.int8(), pa.binary()),
    ],
    "parquet": [
        pa.dictionary(pa.int8(), pa.string_view()), pa.list_(pa.dictionary(pa.int8(), pa.binary_view())),
        pa.dictionary(pa.int8(), pa.uuid()), pa.opaque(pa.dictionary(pa.int8(), pa.string()), "kind", "maker"),
        pa.month_day_nano_interval(), pa.struct([]), pa.run_end_encoded(pa.int32(), pa.int8()),
        pa.dense_union([pa.field("a", pa.int8())]), pa.dictionary(pa.int8(), pa.list_(pa.int8())),
        pa.list_(pa.struct([("x", pa.month_day_nano_interval())])),
    ],
    "jsonl": [
        *EXTENSIONS, *(pa.list_(kind) for kind in EXTENSIONS), pa.struct([("u", pa.uuid())]),
        pa.large_list_view(pa.int8()),
        pa.binary(), pa.binary(3), pa.list_(pa.binary()), pa.month_day_nano_interval(), pa.list_view(pa.int8()),
        pa.run_end_encoded(pa.int32(), pa.int8()), pa.dense_union([pa.field("a", pa.int8())]),
    ],
}  # fmt: skip


@pytest.mark.parametrize(("format_", "kind"), [(name, kind) for name, kinds in ODD.items() for kind in kinds], ids=str)
def test_a_type_that_a_format_cannot_hold_is_refused_with_the_columns_name(
    tmp_path: Path, format_: str, kind: pa.DataType
) -> None:
    schema = pa.schema([("fine", pa.int8()), ("odd one", kind)])
    with pytest.raises(UsageError, match=r"cannot hold column 'odd one'.*\.arrow file"):
        export(iter(()), schema, str(tmp_path / "f"), format_)
    assert list(tmp_path.iterdir()) == []


KINDS = [
    pa.bool_(), pa.int8(), pa.uint64(), pa.float16(), pa.float32(), pa.float64(), pa.string(), pa.large_string(),
    pa.string_view(), pa.date32(), pa.date64(), pa.time32("ms"), pa.time64("ns"), pa.timestamp("ms"),
    pa.timestamp("ns", "Europe/Berlin"), pa.duration("us"), pa.decimal32(5, 2), pa.decimal128(20, 3),
    pa.decimal256(50, 2), pa.null(), pa.dictionary(pa.int8(), pa.string()), pa.dictionary(pa.int16(), pa.date32()),
    pa.dictionary(pa.int16(), pa.timestamp("ns")),
]  # fmt: skip
NESTED = [
    pa.list_(pa.timestamp("ms")), pa.large_list(pa.string()), pa.list_(pa.int8(), 2), pa.map_(pa.string(), pa.int8()),
    pa.struct([("a", pa.list_(pa.dictionary(pa.int8(), pa.string()))), ("b", pa.decimal128(5, 2))]),
]  # fmt: skip


@pytest.mark.parametrize("kind", KINDS + NESTED, ids=str)
def test_every_format_writes_the_types_it_can_hold(tmp_path: Path, kind: pa.DataType) -> None:
    schema = pa.schema([("x", kind)])
    batches = [pa.record_batch([some(kind)], schema=schema)]
    table = pa.Table.from_batches(batches)
    put(tmp_path / "f.arrow", batches, schema)
    assert arrow(tmp_path / "f.arrow").equals(table)
    put(tmp_path / "f.jsonl", batches, schema)
    assert len((tmp_path / "f.jsonl").read_text().splitlines()) == len(batches[0])
    if kind in KINDS:
        numbered = pa.record_batch([pa.array([1, 2]), batches[0].column(0)], ["n", "x"])
        put(tmp_path / "f.csv", [numbered], numbered.schema)
        assert (tmp_path / "f.csv").read_text().splitlines()[0] == '"n","x"'
    if not pa.types.is_fixed_size_list(kind):
        put(tmp_path / "f.parquet", batches, schema)
        assert text_of(pq.read_table(tmp_path / "f.parquet")) == text_of(table)


def some(kind: pa.DataType) -> pa.Array:
    """Return a small value that every format can hold, and a null."""
    if pa.types.is_dictionary(kind):
        return some(kind.value_type).dictionary_encode().cast(kind)
    if pa.types.is_null(kind):
        return pa.nulls(2)
    if pa.types.is_decimal(kind):
        return pa.array([Decimal("1.25"), None], kind)
    if pa.types.is_struct(kind):
        children = [some(field.type) for field in kind]
        return pa.StructArray.from_arrays(children, fields=list(kind), mask=pa.array([False, True]))
    if pa.types.is_map(kind):
        return pa.array([[("k", 1)], None], kind)
    if pa.types.is_fixed_size_list(kind) or pa.types.is_list(kind) or pa.types.is_large_list(kind):
        if pa.types.is_dictionary(kind.value_type):
            return pa.ListArray.from_arrays(pa.array([0, None, 2], pa.int32()), some(kind.value_type))
        values = some(kind.value_type).to_pylist()
        return pa.array([[values[0], values[0]], None], kind)
    if pa.types.is_boolean(kind):
        return pa.array([True, None])
    if kind == pa.string_view() or pa.types.is_string(kind) or pa.types.is_large_string(kind):
        return pa.array(["é", None], kind)
    if pa.types.is_float16(kind):
        return pa.array([1.5, None], pa.float32()).cast(kind)
    return pa.array([86_400_000, None] if pa.types.is_date64(kind) else [1, None], kind)


def text_of(table: pa.Table) -> list[list[str | None]]:
    return [as_text(chunk) for column in table.columns for chunk in column.chunks]


def test_text_views_in_a_dictionary_are_written_as_text(tmp_path: Path) -> None:
    words = pa.DictionaryArray.from_arrays(pa.array([1, None, 0], pa.int8()), pa.array(["a", "b"], pa.string_view()))
    batch = pa.record_batch([words], ["x"])
    numbered = pa.record_batch([pa.array([1, 2, 3]), words], ["n", "x"])
    put(tmp_path / "f.csv", [numbered], numbered.schema)
    assert (tmp_path / "f.csv").read_text() == '"n","x"\n1,"b"\n2,\n3,"a"\n'
    put(tmp_path / "f.jsonl", [batch], batch.schema)
    assert (tmp_path / "f.jsonl").read_text() == '{"x":"b"}\n{"x":null}\n{"x":"a"}\n'


def test_lists_of_nulls_keep_their_length_in_json_lines(tmp_path: Path) -> None:
    pairs = [{"a": [None, None], "t": None}, {"a": [None], "t": None}, {"a": [], "t": None}, None]
    kind = pa.struct([("a", pa.list_(pa.null())), ("t", pa.timestamp("s"))])
    batch = pa.record_batch([pa.array(pairs, kind), pa.array([[None, None], None, [], [None]])], ["p", "n"])
    put(tmp_path / "f.jsonl", [batch], batch.schema)
    assert [json.loads(line) for line in (tmp_path / "f.jsonl").read_text().splitlines()] == batch.to_pylist()


def test_fixed_size_lists_are_written_to_parquet_unless_one_is_null(tmp_path: Path) -> None:
    schema = pa.schema([("x", pa.struct([("y", pa.list_(pa.int8(), 2))]))])
    batch_of_rows = pa.record_batch(
        [pa.array([{"y": [1, 2]}, {"y": [3, None]}], schema.field("x").type)], schema=schema
    )
    put(tmp_path / "f.parquet", [batch_of_rows], schema)
    assert pq.read_table(tmp_path / "f.parquet").to_pylist() == batch_of_rows.to_pylist()
    for hole in ({"y": None}, None):
        holed = pa.record_batch([pa.array([{"y": [1, 2]}, hole], schema.field("x").type)], schema=schema)
        with pytest.raises(UsageError, match="cannot hold column 'x': a null in a list of fixed size"):
            put(tmp_path / "g.parquet", [holed], schema)
    assert not (tmp_path / "g.parquet").exists()


def test_tensors_are_written_to_parquet_unless_one_is_null(tmp_path: Path) -> None:
    kind = pa.fixed_shape_tensor(pa.int32(), [2])
    for values, fine in (([[1, 2], [3, 4]], True), ([[1, 2], None], False)):
        batch = pa.record_batch([pa.ExtensionArray.from_storage(kind, pa.array(values, kind.storage_type))], ["x"])
        if fine:
            put(tmp_path / "f.parquet", [batch], batch.schema)
            assert pq.read_table(tmp_path / "f.parquet").equals(pa.table(batch))
        else:
            with pytest.raises(UsageError, match="cannot hold column 'x': a null in a list of fixed size"):
                put(tmp_path / "g.parquet", [batch], batch.schema)


def test_json_lines_refuse_nan_and_infinity_with_the_column(tmp_path: Path) -> None:
    batch = pa.record_batch({"a": [1.0, 2.0], "b": [[1.0], [float("inf")]]})
    with pytest.raises(UsageError, match="JSON cannot hold column 'b': NaN or infinity"):
        put(tmp_path / "f.jsonl", [batch], batch.schema)
    assert list(tmp_path.iterdir()) == []


def test_json_lines_refuse_two_columns_of_one_name(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot hold column 'a': a name that occurs twice"):
        put(tmp_path / "f.jsonl", [], pa.schema([("a", pa.int8()), ("a", pa.int8())]))


def test_json_lines_refuse_a_struct_with_equal_field_names(tmp_path: Path) -> None:
    kind = pa.struct([("f", pa.int64()), ("f", pa.string())])
    for odd in (
        kind,
        pa.list_(kind),
        pa.map_(pa.string(), kind),
        pa.dictionary(pa.int8(), pa.struct([("", pa.int8())] * 2)),
    ):
        with pytest.raises(UsageError, match="column 'pair'") as caught:
            put(tmp_path / "f.jsonl", [], pa.schema([("pair", odd)]))
        assert "NaN" not in str(caught.value)
        if not pa.types.is_dictionary(odd):
            assert "a field name occurs twice" in str(caught.value)


def test_json_lines_refuse_text_that_is_not_utf_8(tmp_path: Path) -> None:
    text = pa.Array.from_buffers(pa.string(), 1, pa.array([b"\xff"]).buffers())
    batch = pa.record_batch([text], ["t"])
    with pytest.raises(UsageError, match="column 't': text that is not UTF-8"):
        put(tmp_path / "f.jsonl", [batch], batch.schema)


def test_maps_are_written_to_json_lines_as_entries_of_key_and_value(tmp_path: Path) -> None:
    kind = pa.map_(pa.string(), pa.timestamp("s"))
    batch = pa.record_batch([pa.array([[("a", 1), ("b", None)], None, []], kind)], ["m"])
    put(tmp_path / "f.jsonl", [batch], batch.schema)
    first, second, third = (tmp_path / "f.jsonl").read_text().splitlines()
    assert first == '{"m":[{"key":"a","value":"1970-01-01 00:00:01"},{"key":"b","value":null}]}'
    assert (second, third) == ('{"m":null}', '{"m":[]}')


def test_ten_thousand_columns_are_written_to_json_lines_in_linear_time(tmp_path: Path) -> None:
    """A quadratic implementation took 24 s; the linear one takes 0.1 s."""
    table = pa.table([pa.array([7, 8, 9])] * 10_000, names=[f"g{i:05}.1" for i in range(10_000)])
    began = time.process_time()
    put(tmp_path / "f.jsonl", table.to_batches(), table.schema)
    assert time.process_time() - began < 5
    assert [json.loads(line)["g09999.1"] for line in (tmp_path / "f.jsonl").read_text().splitlines()] == [7, 8, 9]


# --- dates and times

MOST = 2**63 - 1
BEYOND = {
    "2147483647 (date32[day])": pa.array([2**31 - 1], pa.int32()).view(pa.date32()),
    "2932897 (date32[day])": pa.array([2_932_897], pa.int32()).view(pa.date32()),
    "-719529 (date32[day])": pa.array([-719_529], pa.int32()).view(pa.date32()),
    "9223286400000000000 (date64[ms])": pa.array([9223286400000000000], pa.int64()).view(pa.date64()),
    "86400 (time32[s])": pa.array([86_400], pa.int32()).view(pa.time32("s")),
    "-1 (time32[ms])": pa.array([-1], pa.int32()).view(pa.time32("ms")),
    "86400000000 (time64[us])": pa.array([86_400_000_000], pa.int64()).view(pa.time64("us")),
    f"{MOST} (time64[ns])": pa.array([MOST], pa.int64()).view(pa.time64("ns")),
    **{
        f"{number} ({kind})": pa.array([number], pa.int64()).view(kind)
        for kind in (*(pa.timestamp(u, z) for u in ("s", "ms", "us") for z in (None, "UTC", "Asia/Tokyo", "+05:30")),)
        for number in (MOST, -MOST - 1, 253_402_300_800 * {"s": 1, "ms": 10**3, "us": 10**6}[kind.unit])
    },
    f"{-MOST - 1} (timestamp[ns])": pa.array([-MOST - 1], pa.int64()).view(pa.timestamp("ns")),
}


@pytest.mark.parametrize("shape", ["plain", "list", "struct", "map", "dictionary"])
@pytest.mark.parametrize("shown", BEYOND)
def test_a_date_or_time_without_a_text_form_is_refused_and_shown_as_its_number(
    tmp_path: Path, shown: str, shape: str
) -> None:
    column: pa.Array = BEYOND[shown]
    ends = pa.array([0, 1], pa.int32())
    column = {
        "plain": lambda: column,
        "list": lambda: pa.ListArray.from_arrays(ends, column),
        "struct": lambda: pa.StructArray.from_arrays([column], ["x"]),
        "map": lambda: pa.MapArray.from_arrays(ends, pa.array(["k"]), column),
        "dictionary": lambda: pa.DictionaryArray.from_arrays(pa.array([0], pa.int8()), column),
    }[shape]()
    batch = pa.record_batch([pa.array([1]), column], ["id", "at"])
    for name in ("f.csv", "f.jsonl") if shape in ("plain", "dictionary") else ("f.jsonl",):
        with pytest.raises(UsageError, match="cannot hold column 'at': no text represents ") as caught:
            put(tmp_path / name, [batch], batch.schema)
        assert shown in str(caught.value)
    assert list(tmp_path.iterdir()) == []
    assert shown in (as_text(column)[0] or "")


@pytest.mark.parametrize("shape", ["plain", "list", "struct", "dictionary", "map"])
@pytest.mark.parametrize("kind", [pa.date64(), pa.timestamp("s"), pa.timestamp("s", "UTC")], ids=str)
def test_a_date_or_timestamp_out_of_range_for_parquet_is_refused_with_the_column(
    tmp_path: Path, kind: pa.DataType, shape: str
) -> None:
    ends = pa.array([0, 1], pa.int32())
    for number, fine in ((185_542_587_100_800_000, True), (185_542_587_187_200_000, False)):
        values = pa.array([number // (1 if kind == pa.date64() else 20)], pa.int64()).view(kind)
        column = {
            "plain": lambda values=values: values,
            "list": lambda values=values: pa.ListArray.from_arrays(ends, values),
            "struct": lambda values=values: pa.StructArray.from_arrays([values], ["x"]),
            "map": lambda values=values: pa.MapArray.from_arrays(ends, pa.array(["k"]), values),
            "dictionary": lambda values=values: pa.DictionaryArray.from_arrays(pa.array([0], pa.int8()), values),
        }[shape]()
        batch = pa.record_batch([pa.array([1]), column], ["id", "at"])
        if fine and kind == pa.date64():
            put(tmp_path / "g.parquet", [batch], batch.schema)
        elif not fine:
            with pytest.raises(UsageError, match=r"Parquet cannot hold column 'at': .* is out of range"):
                put(tmp_path / "f.parquet", [batch], batch.schema)
    assert not (tmp_path / "f.parquet").exists()


LAST = {
    pa.date32(): (-719_528, 2_932_896), pa.date64(): (-719_528 * 86_400_000, 2_932_896 * 86_400_000),
    pa.time32("s"): (0, 86_399), pa.time64("ns"): (0, 86_400 * 10**9 - 1),
    **{
        pa.timestamp(unit, zone): (-62_167_219_200 * per_s, 253_402_300_800 * per_s - 1)
        for unit, per_s in (("s", 1), ("ms", 10**3), ("us", 10**6))
        for zone in (None, "UTC", "Asia/Tokyo", "America/New_York", "+05:30", "Nowhere/At_all")
    },
    **{
        pa.timestamp("ns", zone): (-9_223_372_036 * 10**9, MOST) for zone in (None, "UTC", "Asia/Tokyo", "+05:30")
    },
}  # fmt: skip


@pytest.mark.parametrize("kind", LAST, ids=str)
def test_the_first_and_last_date_or_time_with_a_text_form_load_again(tmp_path: Path, kind: pa.DataType) -> None:
    width = pa.int32() if kind.bit_width == 32 else pa.int64()
    for number in LAST[kind]:
        batch = pa.record_batch([pa.array([number, None], width).view(kind), pa.array([1, 2])], ["at", "id"])
        put(tmp_path / "f.csv", [batch], batch.schema)
        convert = pa_csv.ConvertOptions(column_types={"at": kind})
        back = pa_csv.read_csv(tmp_path / "f.csv", convert_options=convert)["at"].chunk(0)
        assert back.view(width).to_pylist() == [number, None]
        put(tmp_path / "f.jsonl", [batch], batch.schema)
        written = [json.loads(line)["at"] for line in (tmp_path / "f.jsonl").read_text().splitlines()]
        assert written == [(tmp_path / "f.csv").read_text().split("\n")[1].split(",")[0], None]


@pytest.mark.parametrize(
    ("zone", "second", "text"),
    [
        ("America/New_York", -2_900_000_000, "1878-02-07 04:26:40Z"),
        ("Europe/Amsterdam", -1_600_000_000, "1919-04-20 11:33:20Z"),
        ("Africa/Monrovia", 0, "1970-01-01 00:00:00Z"),
        ("America/New_York", 0, "1969-12-31 19:00:00-0500"),
        ("Asia/Kathmandu", 0, "1970-01-01 05:30:00+0530"),
    ],
)
def test_a_timestamp_whose_offset_has_seconds_is_written_in_utc(
    tmp_path: Path, zone: str, second: int, text: str
) -> None:
    column = pa.array([second, None], pa.timestamp("s", zone))
    batch = pa.record_batch([column, pa.array([1, 2])], ["at", "id"])
    put(tmp_path / "f.csv", [batch], batch.schema)
    assert (tmp_path / "f.csv").read_text() == f'"at","id"\n{text},1\n,2\n'
    put(tmp_path / "f.jsonl", [batch], batch.schema)
    assert json.loads((tmp_path / "f.jsonl").read_text().splitlines()[0])["at"] == text
    assert as_text(column) == [text, None]


# --- CSV of one column


@pytest.mark.parametrize("kind", [pa.int64(), pa.float16(), pa.bool_(), pa.date32(), pa.null(), pa.timestamp("us")])
def test_a_null_in_a_single_column_is_written_as_a_row(tmp_path: Path, kind: pa.DataType) -> None:
    column = (
        pa.nulls(4)
        if pa.types.is_null(kind)
        else pa.array([1, None, 0, None], pa.int32())
        .cast(pa.int64())
        .cast(pa.float32() if kind == pa.float16() else pa.int32() if kind == pa.date32() else kind)
        .cast(kind)
    )
    batches = [pa.record_batch([piece], ["n"]) for piece in (column.slice(0, 3), column.slice(3))]
    put(tmp_path / "f.csv", batches, batches[0].schema)
    assert (tmp_path / "f.csv").read_text().count('""\n') == column.null_count
    back = pa_csv.read_csv(
        tmp_path / "f.csv", convert_options=pa_csv.ConvertOptions(column_types={"n": csv_type(kind)})
    )
    assert back["n"].to_pylist() == column.to_pylist()


def test_a_null_in_a_single_column_of_text_is_refused(tmp_path: Path) -> None:
    holed = pa.record_batch([pa.array(["a", None, ""])], ["t"])
    for batch in (holed, pa.record_batch([holed.column(0).dictionary_encode()], ["t"])):
        with pytest.raises(UsageError, match="CSV cannot hold column 't': a null in an only column of text"):
            put(tmp_path / "f.csv", [batch], batch.schema)
    batch_of_rows = pa.record_batch([pa.array(["a", "", "b\n\nc"])], ["t"])
    put(tmp_path / "f.csv", [batch_of_rows], batch_of_rows.schema)
    parse = pa_csv.ParseOptions(newlines_in_values=True)
    assert pa_csv.read_csv(tmp_path / "f.csv", parse_options=parse)["t"].to_pylist() == ["a", "", "b\n\nc"]


# --- files


def broken(error: BaseException) -> Iterator[pa.RecordBatch]:
    yield simple(1, 2)
    raise error


@pytest.mark.parametrize("name", ["f.arrow", "f.parquet", "f.csv", "f.csv.gz", "f.jsonl", "f.arrows.zst"])
@pytest.mark.parametrize("error", [StoreUnavailableError("gone"), KeyboardInterrupt(), ValueError("a bug")], ids=repr)
def test_a_failed_read_leaves_the_existing_file_and_no_other(tmp_path: Path, name: str, error: BaseException) -> None:
    (tmp_path / name).write_bytes(b"before")
    format_, compression = format_of(name, None)
    with pytest.raises(type(error)):
        export(broken(error), SIMPLE, str(tmp_path / name), format_, compression)
    assert [(each.name, each.read_bytes()) for each in tmp_path.iterdir()] == [(name, b"before")]


def test_a_file_gets_its_name_only_when_it_is_complete(tmp_path: Path) -> None:
    seen = []

    def batches() -> Iterator[pa.RecordBatch]:
        for batch in BATCHES:
            seen.append((tmp_path / "f.csv").exists())
            yield batch

    export(batches(), SIMPLE, str(tmp_path / "f.csv"), "csv")
    assert seen == [False] * len(BATCHES)
    assert [each.name for each in tmp_path.iterdir()] == ["f.csv"]


def test_discarding_parts_removes_unfinished_files(tmp_path: Path) -> None:
    def batches() -> Iterator[pa.RecordBatch]:
        yield BATCHES[0]
        assert [each.suffix for each in tmp_path.iterdir()] == [".part"]
        discard_parts()
        assert list(tmp_path.iterdir()) == []

    with pytest.raises(OutputError, match=r"f\.csv cannot be written: No such file"):
        export(batches(), SIMPLE, str(tmp_path / "f.csv"), "csv")
    assert list(tmp_path.iterdir()) == []


def test_an_exported_file_has_the_default_permissions(tmp_path: Path) -> None:
    put(tmp_path / "f.csv")
    (tmp_path / "other").touch()
    assert (tmp_path / "f.csv").stat().st_mode == (tmp_path / "other").stat().st_mode


def test_an_export_to_a_link_writes_its_target(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "f.csv").symlink_to("real/g.csv")
    put(tmp_path / "f.csv")
    assert (tmp_path / "f.csv").is_symlink()
    assert [each.name for each in (tmp_path / "real").iterdir()] == ["g.csv"]


def test_a_folder_or_a_path_in_a_missing_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "d.csv").mkdir()
    with pytest.raises(UsageError, match="is a folder"):
        put(tmp_path / "d.csv")
    with pytest.raises(UsageError, match="there is no folder"):
        put(tmp_path / "missing" / "f.csv")
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match="cannot be written: Not a directory"):
        put(tmp_path / "file" / "f.csv")


def test_a_device_is_written_to_and_not_replaced() -> None:
    assert export(iter(BATCHES), SIMPLE, "/dev/null", "csv").rows == 6
    assert not Path("/dev/null").is_file()


@pytest.mark.parametrize("format_", ["csv", "arrow", "parquet", "jsonl"])
def test_a_full_disk_is_an_error_of_one_line(format_: str) -> None:
    with pytest.raises(OutputError, match=r"/dev/full cannot be written: .*[Nn]o space left") as caught:
        export(iter(BATCHES), SIMPLE, "/dev/full", format_)
    assert "\n" not in str(caught.value)


def test_standard_output_takes_every_format(capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    written = {}
    for name in WRITERS:
        assert export(iter(BATCHES), SIMPLE, "-", name) == Exported(6, 0)
        written[name] = capfdbinary.readouterr().out
    assert pa.ipc.open_file(written["arrow"]).read_all() == TABLE
    assert pa.ipc.open_stream(written["arrows"]).read_all() == TABLE
    assert pq.read_table(io.BytesIO(written["parquet"])) == TABLE
    assert written["csv"].startswith(b'"n","s"\n0,\n')
    assert written["jsonl"].count(b"\n") == 6


@pytest.mark.parametrize(("format_", "reader"), [("arrow", pa.ipc.open_file), ("parquet", pq.read_table)])
def test_a_failed_export_to_standard_output_is_not_a_valid_file(
    capfdbinary: pytest.CaptureFixture[bytes], format_: str, reader: Callable[[io.BytesIO], object]
) -> None:
    with pytest.raises(StoreUnavailableError):
        export(broken(StoreUnavailableError("gone")), SIMPLE, "-", format_)
    gc.collect()
    written = capfdbinary.readouterr().out
    assert written
    with pytest.raises(pa.ArrowInvalid):
        reader(io.BytesIO(written))


# --- values as text


@pytest.mark.parametrize("kind", [*KINDS, *NESTED, *ODD["csv"], *ODD["parquet"], *ODD["jsonl"]], ids=str)
def test_a_value_of_any_type_can_be_shown(kind: pa.DataType) -> None:
    column = pa.nulls(2, kind)
    assert len(as_text(column)) == 2


def test_values_are_shown_as_in_an_export() -> None:
    assert as_text(pa.array([1, None], pa.timestamp("ns"))) == ["1970-01-01 00:00:00.000000001", None]
    assert as_text(pa.array([b"\0a"])) == ["b'\\x00a'"]
    assert as_text(pa.array([[1, None]])) == ["[1, None]"]


MOMENT = pa.array([1, None], pa.timestamp("ns"))
SHOWN = "1970-01-01 00:00:00.000000001"


@pytest.mark.parametrize(
    ("column", "expected"),
    [
        (pa.ListViewArray.from_arrays([0], [2], MOMENT), [f"['{SHOWN}', None]"]),
        (pa.LargeListViewArray.from_arrays([0], [2], MOMENT), [f"['{SHOWN}', None]"]),
        (pa.UnionArray.from_sparse(pa.array([0, 0], pa.int8()), [MOMENT]), [SHOWN, None]),
        (pa.UnionArray.from_dense(pa.array([0, 0], pa.int8()), pa.array([0, 1], pa.int32()), [MOMENT]), [SHOWN, None]),
        (pa.RunEndEncodedArray.from_arrays(pa.array([2, 3], pa.int32()), MOMENT), [SHOWN, SHOWN, None]),
        (MOMENT.dictionary_encode(), [SHOWN, None]),
        (pa.array([{"t": 1}], pa.struct([("t", pa.timestamp("ns"))])), [f"{{'t': '{SHOWN}'}}"]),
        (pa.array([2_000_000_000], pa.int32()).view(pa.date32()), None),
        (pa.ExtensionArray.from_storage(pa.opaque(MOMENT.type, "kind", "maker"), MOMENT), None),
        (pa.array([b"0123456789abcdef"], pa.uuid()), ["30313233-3435-3637-3839-616263646566"]),
    ],
    ids=lambda value: str(value.type) if isinstance(value, pa.Array) else "",
)
def test_values_within_any_type_are_shown(column: pa.Array, expected: list[str | None] | None) -> None:
    shown = as_text(column)
    assert len(shown) == len(column)
    assert [value is None for value in shown] == [not value.is_valid for value in column]
    assert expected is None or shown == expected


def test_a_struct_with_equal_or_empty_field_names_is_shown_with_all_fields() -> None:
    for name in ("f", ""):
        fields = [pa.field(name, pa.int64()), pa.field(name, pa.string())]
        column = pa.StructArray.from_arrays([pa.array([1, 2]), pa.array(["x", None])], fields=fields)
        expected = [f"{{{name!r}: 1, {name!r}: 'x'}}", f"{{{name!r}: 2, {name!r}: None}}"]
        assert as_text(column) == expected
        assert as_text(pa.ListArray.from_arrays(pa.array([0, 2], pa.int32()), column)) == [f"[{', '.join(expected)}]"]
        maps = pa.MapArray.from_arrays(pa.array([0, 1], pa.int32()), pa.array(["k"]), column.slice(0, 1))
        assert as_text(maps) == [f"[('k', {expected[0]})]"]
