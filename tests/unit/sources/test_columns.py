"""Parquet and Arrow: data of every Arrow type is read unchanged, as a whole and by splits."""

from __future__ import annotations

import decimal
import gzip
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from millrace.errors import SourceCorruptError, SourceFormatError, SourceTooLargeError, SourceTypeError, UsageError
from millrace.sources import SourceOptions, open_source, open_split, plan_source
from millrace.sources.parquet.reader import BATCH_BYTES, read_parquet

Read = Callable[..., pa.Table]
Write = Callable[[str, bytes], Path]

INT = st.integers(-100, 100)
TEXT = st.text(max_size=6)
BYTES = st.binary(max_size=20)
LEAVES: list[tuple[pa.DataType, st.SearchStrategy[Any]]] = [
    (pa.null(), st.none()),
    (pa.bool_(), st.booleans()),
    *((kind, INT) for kind in (pa.int8(), pa.int16(), pa.int32(), pa.int64())),
    *((kind, st.integers(0, 200)) for kind in (pa.uint8(), pa.uint16(), pa.uint32(), pa.uint64())),
    (pa.float32(), st.floats(width=32, allow_nan=False)),
    (pa.float64(), st.floats(allow_nan=False)),
    (pa.decimal128(12, 2), INT.map(lambda value: decimal.Decimal(value) / 4)),
    (pa.decimal256(50, 2), INT.map(lambda value: decimal.Decimal(value) / 4)),
    (pa.date32(), st.integers(-30_000, 30_000)),
    (pa.time32("ms"), st.integers(0, 86_399_999)),
    (pa.time64("us"), st.integers(0, 86_399_999_999)),
    (pa.timestamp("ms"), st.integers(-(2**40), 2**40)),
    (pa.timestamp("us", "Europe/Berlin"), st.integers(-(2**40), 2**40)),
    (pa.timestamp("ns", "UTC"), st.integers(-(2**60), 2**60)),
    (pa.string(), TEXT),
    (pa.large_string(), TEXT),
    (pa.string_view(), TEXT),
    (pa.binary(), BYTES),
    (pa.large_binary(), BYTES),
    (pa.binary_view(), BYTES),
    (pa.binary(4), st.binary(min_size=4, max_size=4)),
    (pa.dictionary(pa.int32(), pa.string()), st.sampled_from(["a", "b", "longer than twelve"])),
]
NESTED: list[tuple[pa.DataType, st.SearchStrategy[Any]]] = [
    (pa.list_(pa.int16()), st.lists(INT | st.none(), max_size=3)),
    (pa.large_list(pa.string()), st.lists(TEXT, max_size=3)),
    (pa.map_(pa.string(), pa.int64()), st.dictionaries(TEXT, INT, max_size=2).map(lambda d: list(d.items()))),
    (
        pa.struct([("x", pa.int64()), ("y", pa.list_(pa.struct([("z", pa.string())])))]),
        st.fixed_dictionaries({"x": INT | st.none(), "y": st.none() | st.lists(st.fixed_dictionaries({"z": TEXT}))}),
    ),
]
IPC_ONLY: list[tuple[pa.DataType, st.SearchStrategy[Any]]] = [
    # pyarrow writes lists of fixed size with nulls to Parquet but cannot read them back.
    (pa.list_(pa.int8(), 2), st.lists(INT, min_size=2, max_size=2)),
    (pa.float16(), st.floats(width=16, allow_nan=False).map(np.float16)),
    (pa.duration("ns"), INT),
    (pa.date64(), INT.map(lambda days: days * 86_400_000)),
    (pa.timestamp("s"), st.integers(-(2**30), 2**30)),
    (pa.month_day_nano_interval(), st.tuples(INT, INT, INT)),
]


@st.composite
def tables(draw: st.DrawFn, columns: list[tuple[pa.DataType, st.SearchStrategy[Any]]]) -> pa.Table:
    """Draw a table of these types, with nulls and possibly without rows."""
    picked = draw(st.lists(st.sampled_from(range(len(columns))), min_size=1, max_size=5))
    rows = draw(st.integers(0, 12))
    arrays = []
    for number in picked:
        kind, values = columns[number]
        drawn = draw(st.lists(st.none() | values, min_size=rows, max_size=rows))
        arrays.append(
            pa.array(drawn, pa.string()).dictionary_encode() if pa.types.is_dictionary(kind) else pa.array(drawn, kind)
        )
    return pa.table(arrays, names=[f"c{number}" for number in range(len(arrays))])


def same(one: pa.Table, other: pa.Table) -> bool:
    """Compare names, order, types, values and nulls. Dictionaries are equal if their decoded values are equal."""

    def plain(table: pa.Table) -> pa.Table:
        columns = [column.combine_chunks() for column in table.columns]
        return pa.table(
            [c.dictionary_decode() if pa.types.is_dictionary(c.type) else c for c in columns], table.schema.names
        )

    return bool(one.schema.equals(other.schema)) and bool(plain(one).equals(plain(other)))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("columns")


@pytest.mark.parametrize("compression", [None, "zstd", "lz4"])
@pytest.mark.parametrize("kind", ["file", "stream"])
def test_any_arrow_data_is_read_unchanged(
    folder: Path, read: Read, read_parts: Read, kind: str, compression: str | None
) -> None:
    path = folder / f"any.{kind}.arrow"
    options = pa.ipc.IpcWriteOptions(compression=compression, emit_dictionary_deltas=kind == "stream")

    @settings(max_examples=settings().max_examples // 5)
    @given(tables(LEAVES + NESTED + IPC_ONLY), st.integers(1, 5))
    def check(table: pa.Table, rows: int) -> None:
        make = pa.ipc.new_file if kind == "file" else pa.ipc.new_stream
        with make(path, table.schema, options=options) as writer:
            writer.write_table(table, max_chunksize=rows)
        assert same(read(path), table)
        assert same(read_parts(path, split_bytes=1), table)
        plan = plan_source(str(path), SourceOptions(split_bytes=1))
        assert plan.total_rows == table.num_rows
        assert len(plan.splits) == max(1, -(-table.num_rows // rows))

    check()


def test_any_parquet_data_is_read_unchanged(folder: Path, read: Read, read_parts: Read) -> None:
    path = folder / "any.parquet"

    @settings(max_examples=settings().max_examples // 2)
    @given(tables(LEAVES + NESTED), st.integers(1, 5))
    def check(table: pa.Table, rows: int) -> None:
        pq.write_table(table, path, row_group_size=rows)
        assert same(read(path), table)
        assert same(read_parts(path, split_bytes=1), table)
        plan = plan_source(str(path), SourceOptions(split_bytes=1))
        assert plan.total_rows == sum(split.rows or 0 for split in plan.splits) == table.num_rows

    check()


@pytest.mark.parametrize("ending", ["arrow", "parquet"])
def test_every_float_keeps_its_bits(tmp_path: Path, read: Read, ending: str) -> None:
    bits = np.array([0x7FF8000000000001, 0xFFF8000000000000, 0x8000000000000000, 0x7FF0000000000000], "u8")
    table = pa.table({"f": pa.array(bits.view("f8"))})
    path = tmp_path / f"f.{ending}"
    if ending == "parquet":
        pq.write_table(table, path)
    else:
        with pa.ipc.new_file(path, table.schema) as writer:
            writer.write_table(table)
    assert read(path).column("f").to_numpy().view("u8").tolist() == bits.tolist()


@pytest.mark.parametrize("ending", ["arrow", "arrows", "parquet"])
def test_a_gzipped_file_is_one_split_with_the_same_rows(
    write: Write, tmp_path: Path, read_parts: Read, ending: str
) -> None:
    table = pa.table({"a": range(1000), "b": ["x"] * 1000})
    plain = tmp_path / f"plain.{ending}"
    if ending == "parquet":
        pq.write_table(table, plain, row_group_size=100)
    else:
        with (pa.ipc.new_file if ending == "arrow" else pa.ipc.new_stream)(plain, table.schema) as writer:
            writer.write_table(table, max_chunksize=100)
    packed = write(f"packed.{ending}.gz", gzip.compress(plain.read_bytes()))
    assert len(plan_source(str(packed), SourceOptions(split_bytes=1)).splits) == 1
    assert read_parts(packed).equals(table)


def test_dictionaries_that_change_between_batches_are_read_by_splits_too(tmp_path: Path, read_parts: Read) -> None:
    path = tmp_path / "changes.arrows"
    batches = [
        pa.record_batch({"d": pa.array(words).dictionary_encode()})
        for words in (["a", "b"], ["b", "c", "c"], ["x"], ["x", "a"])
    ]
    with pa.ipc.new_stream(path, batches[0].schema) as writer:
        for batch in batches:
            writer.write_batch(batch)
    assert read_parts(path, split_bytes=1).column("d").to_pylist() == ["a", "b", "b", "c", "c", "x", "x", "a"]


def test_repeated_long_texts_of_a_small_file_are_read_in_bounded_memory(tmp_path: Path) -> None:
    path = tmp_path / "bomb.parquet"
    text = "x" * 200_000
    column = pa.DictionaryArray.from_arrays(pa.array([0] * 1_000, pa.int32()), pa.array([text]))
    pq.write_table(pa.table({"t": column.cast(pa.string())}), path)
    assert path.stat().st_size < 1_000_000
    before = pa.total_allocated_bytes()
    with open_source(plan_source(str(path))) as reader:
        rows = 0
        for batch in reader:
            rows += batch.num_rows
            assert batch.nbytes <= 8_000_000
            assert pa.total_allocated_bytes() - before < 50_000_000
    assert rows == 1_000


TEXT_2K, PAIR = "z" * 2_000, ["y" * 1_000, "z" * 1_000]
FEW_BYTES: dict[str, tuple[pa.DataType, list[Any], str]] = {
    "text of format 1.0": (pa.string(), [TEXT_2K] * 5, "1.0"),
    "bytes": (pa.large_binary(), [TEXT_2K.encode()] * 5, "2.6"),
    "views": (pa.string_view(), [TEXT_2K] * 5, "2.6"),
    "bytes of one size": (pa.binary(2_000), [TEXT_2K.encode()] * 5, "2.6"),
    "structs": (pa.struct([("t", pa.string()), ("n", pa.int8())]), [{"t": TEXT_2K, "n": 1}, None] * 5, "2.6"),
    "lists": (pa.list_(pa.string()), [PAIR, [], None, [None, *PAIR]] * 2, "2.6"),
    "large lists": (pa.large_list(pa.large_string()), [PAIR] * 5, "1.0"),
    "lists of two": (pa.list_(pa.string(), 2), [PAIR] * 5, "2.6"),
    "maps": (pa.map_(pa.string(), pa.list_(pa.binary())), [[("k" * 500, [b"z" * 1_500])], None] * 5, "2.6"),
    "numbers": (pa.list_(pa.int64()), [[0] * 1_000] * 2, "2.6"),
    "structs of numbers": (
        pa.list_(pa.struct([("a", pa.float64()), ("b", pa.int64())])),
        [[{"a": 0, "b": 1}] * 500],
        "2.6",
    ),
}


@pytest.mark.parametrize("name", FEW_BYTES)
def test_batches_are_bounded_by_their_decoded_size(tmp_path: Path, name: str) -> None:
    kind, values, version = FEW_BYTES[name]
    few = pa.array(values, kind)
    column = pa.concat_arrays([few] * (24_000_000 // few.nbytes))
    path = tmp_path / "few.parquet"
    pq.write_table(pa.table({"x": column, "n": range(len(column))}), path, version=version)
    assert path.stat().st_size < 1_000_000
    assert column.nbytes > 5 * BATCH_BYTES
    batches = [batch for batch, _ in read_parquet(plan_source(str(path)).files[0], plan_source(str(path)).schema)]
    assert max(batch.nbytes for batch in batches) <= 2 * BATCH_BYTES
    table = pa.Table.from_batches(batches)
    table.validate(full=True)
    assert table["n"].to_pylist() == list(range(len(column)))
    assert pa.concat_arrays(table["x"].chunks).equals(pq.read_table(path)["x"].combine_chunks())


def test_an_unregistered_extension_type_keeps_its_storage_and_its_name(tmp_path: Path, read: Read) -> None:
    field = pa.field("e", pa.int32(), metadata={"ARROW:extension:name": "some.type", "ARROW:extension:metadata": "x"})
    table = pa.table([pa.array([1, 2], pa.int32())], schema=pa.schema([field]))
    with pa.ipc.new_file(tmp_path / "e.arrow", table.schema) as writer:
        writer.write_table(table)
    assert read(tmp_path / "e.arrow").schema.field("e").metadata[b"ARROW:extension:name"] == b"some.type"


def test_a_registered_extension_type_is_read_unchanged(tmp_path: Path, read: Read) -> None:
    table = pa.table({"u": pa.array([b"0123456789abcdef", None], pa.uuid())})
    with pa.ipc.new_file(tmp_path / "u.arrow", table.schema) as writer:
        writer.write_table(table)
    assert read(tmp_path / "u.arrow").equals(table)
    pq.write_table(table, tmp_path / "u.parquet")
    assert read(tmp_path / "u.parquet").equals(table)


def test_an_extension_of_dictionaries_in_parquet_does_not_crash(tmp_path: Path, read: Read) -> None:
    words = pa.array(["a", "b", None] * 7).dictionary_encode()
    column = pa.ExtensionArray.from_storage(pa.opaque(words.type, "kind", "maker"), words)
    for rows in (21, 0):
        table = pa.table({"x": column.slice(0, rows)})
        pq.write_table(table, tmp_path / "x.parquet", row_group_size=10)
        assert read(tmp_path / "x.parquet").column("x").to_pylist() == table.column("x").to_pylist()


def test_unions_views_and_runs_are_read_unchanged(tmp_path: Path, read: Read, read_parts: Read) -> None:
    table = pa.table(
        {
            "union": pa.UnionArray.from_dense(
                pa.array([0, 1, 0], pa.int8()), pa.array([0, 0, 1], pa.int32()), [pa.array([1, 2]), pa.array(["x"])]
            ),
            "view": pa.array([[1], None, [2, 3]], pa.list_view(pa.int64())),
            "runs": pa.RunEndEncodedArray.from_arrays(pa.array([2, 3], pa.int32()), pa.array(["a", "b"])),
        }
    )
    with pa.ipc.new_file(tmp_path / "a.arrow", table.schema) as writer:
        writer.write_table(table, max_chunksize=2)
    assert read(tmp_path / "a.arrow").to_pylist() == table.to_pylist()
    assert read_parts(tmp_path / "a.arrow", split_bytes=1).to_pylist() == table.to_pylist()


@pytest.mark.parametrize("compression", [None, "zstd"])
@pytest.mark.parametrize("packed", [False, True])
def test_a_record_batch_above_the_limit_is_refused_with_its_size_even_if_it_is_stored_small(
    write: Write, tmp_path: Path, read: Read, compression: str | None, packed: bool
) -> None:
    table = pa.table({"a": pa.array([7] * 100_000)})
    path = tmp_path / "large.arrow"
    with pa.ipc.new_file(path, table.schema, options=pa.ipc.IpcWriteOptions(compression=compression)) as writer:
        writer.write_table(table, max_chunksize=1_000)
        writer.write_table(table)
    if packed:
        path = write("large.arrow.gz", gzip.compress(path.read_bytes()))
    assert read(path, max_unit_bytes=800_000).num_rows == 200_000
    with pytest.raises(
        SourceTooLargeError, match=r"large.arrow.*: record batch 100 \(100,000 rows\) has 800,0.. bytes"
    ):
        read(path, max_unit_bytes=700_000)


def test_a_row_group_above_the_limit_is_refused_with_its_size(tmp_path: Path, read: Read) -> None:
    pq.write_table(pa.table({"a": range(100_000)}), tmp_path / "large.parquet", use_dictionary=False)
    with pytest.raises(SourceTooLargeError, match=r"large.parquet: row group 0 has 800,\d+ bytes when decompressed"):
        read(tmp_path / "large.parquet", max_unit_bytes=700_000)


@pytest.mark.parametrize("ending", ["arrow", "parquet"])
def test_a_truncated_file_is_refused_and_never_read_in_part(tmp_path: Path, read: Read, ending: str) -> None:
    table = pa.table({"a": [1, 2, 3], "b": ["x", "y", None]})
    path = tmp_path / f"whole.{ending}"
    if ending == "parquet":
        pq.write_table(table, path)
    else:
        with pa.ipc.new_file(path, table.schema) as writer:
            writer.write_table(table, max_chunksize=1)
    data = path.read_bytes()
    cut = tmp_path / f"cut.{ending}"
    for size in range(12, len(data), 7):
        cut.write_bytes(data[:size])
        with pytest.raises(SourceCorruptError, match=f"cut.{ending} is damaged"):
            read(cut)


@pytest.mark.parametrize("ending", ["arrow", "parquet"])
def test_a_changed_byte_is_refused_or_read_as_pyarrow_reads_it(tmp_path: Path, read: Read, ending: str) -> None:
    """Arrow files have no checksums. Pages of Parquet have, so only bytes of the footer may change a value."""
    table = pa.table({"a": [1, 2, 3], "b": ["x", "y", None], "c": [[1], [], None]})
    path = tmp_path / f"whole.{ending}"
    footer = 0
    if ending == "parquet":
        pq.write_table(table, path, write_page_checksum=True)
        footer = path.stat().st_size - 8 - int.from_bytes(path.read_bytes()[-8:-4], "little")
    else:
        with pa.ipc.new_file(path, table.schema) as writer:
            writer.write_table(table)
    data = path.read_bytes()
    refused = 0
    for position in range(8, len(data), 5):
        path.write_bytes(data[:position] + bytes([data[position] ^ 0xFF]) + data[position + 1 :])
        try:
            rows = read(path)
        except (SourceCorruptError, SourceFormatError, SourceTooLargeError):
            refused += 1
            continue
        assert rows.equals(table if position < footer else read_by_pyarrow(path)), position
    assert refused


def read_by_pyarrow(path: Path) -> pa.Table:
    if path.suffix == ".parquet":
        return pq.read_table(path, page_checksum_verification=True, partitioning=None)
    with pa.ipc.open_stream(pa.py_buffer(path.read_bytes()[8:])) as stream:  # the part of the file before its footer
        return stream.read_all()


@pytest.mark.parametrize("name", ["a.parquet", "a.arrow", "a.feather"])
def test_a_csv_named_like_a_columnar_format_is_refused(write: Write, read: Read, name: str) -> None:
    with pytest.raises(SourceFormatError, match=f"{name} is named like"):
        read(write(name, b"a,b\n1,2\n"))


def test_files_of_a_folder_are_read_by_column_name_with_the_widest_types(
    tmp_path: Path, read: Read, read_parts: Read
) -> None:
    pq.write_table(pa.table({"x": pa.array([1], pa.int32()), "y": pa.nulls(1)}), tmp_path / "a.parquet")
    pq.write_table(pa.table({"y": ["q"], "x": pa.array([2], pa.int64())}), tmp_path / "b.parquet")
    assert read(tmp_path).to_pydict() == {"x": [1, 2], "y": [None, "q"]}
    assert read_parts(tmp_path, split_bytes=1).schema.types == [pa.int64(), pa.string()]


def test_files_whose_columns_or_types_differ_are_refused_by_name(tmp_path: Path, read: Read) -> None:
    pq.write_table(pa.table({"x": ["text"]}), tmp_path / "a.parquet")
    pq.write_table(pa.table({"x": [1]}), tmp_path / "b.parquet")
    with pytest.raises(SourceTypeError, match=r"b.parquet: column 'x' is int64, and string in the files before it"):
        read(tmp_path)
    pq.write_table(pa.table({"x": [1.5]}), tmp_path / "a.parquet")
    with pytest.raises(SourceTypeError, match=r"b.parquet: column 'x' is int64, and double in the files before it"):
        read(tmp_path)
    pq.write_table(pa.table({"z": [1]}), tmp_path / "b.parquet")
    with pytest.raises(SourceFormatError, match=r"b.parquet does not have the columns of a.parquet"):
        read(tmp_path)


def test_two_columns_of_one_name_are_refused(tmp_path: Path, read: Read) -> None:
    table = pa.table([pa.array([1]), pa.array([2])], names=["x", "x"])
    with pa.ipc.new_file(tmp_path / "a.arrow", table.schema) as writer:
        writer.write_table(table)
    with pytest.raises(SourceFormatError, match=r"a.arrow: two columns are named 'x'"):
        read(tmp_path / "a.arrow")


def test_types_and_nulls_cannot_be_given_for_data_that_has_its_own(write: Write, tmp_path: Path, read: Read) -> None:
    pq.write_table(pa.table({"x": [1]}), tmp_path / "a.parquet")
    with pytest.raises(UsageError, match=r"the types of Parquet data cannot be given: leave out --column-type"):
        read(tmp_path / "a.parquet", column_types=(("x", "string"),))
    with pytest.raises(UsageError, match=r"null values of JSON lines cannot be given: leave out --null-value"):
        read(write("a.jsonl", b'{"a":1}\n'), null_values=("NA",))
    with pytest.raises(UsageError, match="the types of bytes cannot be given"):
        read(tmp_path / "a.parquet", format="bytes", column_types=(("x", "string"),))


def test_a_stream_with_data_after_its_end_mark_is_refused(write: Write, tmp_path: Path, read: Read) -> None:
    table = pa.table({"x": [1]})
    with pa.ipc.new_stream(tmp_path / "a.arrows", table.schema) as writer:
        writer.write_table(table)
    data = (tmp_path / "a.arrows").read_bytes()
    for name, twice in (("b.arrows", data + data), ("b.arrows.gz", gzip.compress(data + data))):
        with pytest.raises(SourceCorruptError, match="more data after its end mark"):
            read(write(name, twice))


def test_a_split_of_row_groups_reads_only_those(tmp_path: Path) -> None:
    pq.write_table(pa.table({"x": range(100)}), tmp_path / "a.parquet", row_group_size=10)
    plan = plan_source(str(tmp_path / "a.parquet"), SourceOptions(split_bytes=1, max_splits=4))
    assert len(plan.splits) <= 4
    last = plan.splits[-1]
    with open_split(plan, last) as reader:
        assert sum(batch.num_rows for batch in reader) == last.rows
    assert last.label.startswith("a.parquet row group")


def test_an_arrow_file_whose_union_rows_share_a_value_is_read(tmp_path: Path) -> None:
    """pyarrow's ``nbytes`` reads past the end of such a child, which crashed the process."""
    rows = 2000
    element = pa.array([1])
    inner = pa.UnionArray.from_dense(
        pa.array([0], pa.int8()), pa.array([0], pa.int32()), [element, element], ["a", "b"]
    )
    codes, places = pa.array([0] * rows, pa.int8()), pa.array([0] * rows, pa.int32())
    shared = pa.UnionArray.from_dense(codes, places, [pa.concat_arrays([inner]), element], ["u", "v"])
    path = tmp_path / "a.arrow"
    with pa.ipc.new_file(path, pa.schema([("c", shared.type)])) as writer:
        writer.write_batch(pa.record_batch([shared], ["c"]))
    with open_source(plan_source(str(path), SourceOptions())) as reader:
        assert [value for batch in reader for value in batch["c"].to_pylist()] == [1] * rows


def test_a_row_group_with_fewer_rows_than_declared_is_refused(write: Write, read: Read) -> None:
    sink = io.BytesIO()
    pq.write_table(pa.table({"a": range(100)}), sink)
    # The last 100 in the footer is the row count of the row group. Thrift's zigzag encoding stores it as 200.
    before, after = sink.getvalue().rsplit(b"\xc8\x01", 1)
    path = write("a.parquet", before + b"\xca\x01" + after)
    with pytest.raises(SourceCorruptError, match="row group 0 has 100 rows of 101"):
        read(path)
