from __future__ import annotations

import gzip
import io
import re
import zipfile
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.csv as pc
import pytest
from hypothesis import given
from hypothesis import strategies as st

from millrace.errors import SourceEmptyError, SourceFormatError, SourceTooLargeError, SourceTypeError, UsageError
from millrace.sources import SourceOptions, open_source, open_split, plan_source
from millrace.sources.csv import header, parser
from millrace.sources.text import blocks

Read = Callable[..., pa.Table]
Write = Callable[[str, bytes], Path]

FLIGHTS = pc.ConvertOptions(null_values=["NA"], strings_can_be_null=True)
CELLS = st.one_of(
    st.text(alphabet='ab1 ,"\n\r\té.-', max_size=6),
    st.integers(-(2**63), 2**63).map(str),
    st.floats(allow_nan=True).map(repr),
    st.sampled_from(["", "NA", "null", "true", "0", "2020-02-03", "2020-02-03 04:05:06", "04:05:06", "x"]),
)


def csv_text(rows: list[list[str]], end: str, quote_all: bool, last_end: bool) -> bytes:
    def cell(value: str) -> str:
        if quote_all or set(value) & set(',"\n\r'):
            return '"' + value.replace('"', '""') + '"'
        return value

    text = end.join(",".join(map(cell, row)) for row in rows)
    return (text + end if last_end else text).encode()


TABLES = st.integers(1, 4).flatmap(
    lambda width: st.tuples(
        st.just([f"c{number}" for number in range(width)]),
        st.lists(st.lists(CELLS, min_size=width, max_size=width), min_size=1, max_size=25),
    )
)
TEXTS = st.builds(
    lambda table, end, quote_all, last: csv_text([table[0], *table[1]], end, quote_all, last),
    TABLES,
    st.sampled_from(["\n", "\r\n", "\r"]),
    st.booleans(),
    st.booleans(),
)


def as_pyarrow(data: bytes, convert: pc.ConvertOptions | None = None) -> pa.Table:
    return pc.read_csv(
        io.BytesIO(data),
        parse_options=pc.ParseOptions(newlines_in_values=True),
        convert_options=convert,
    )


def same(one: pa.Table, other: pa.Table) -> bool:
    """Compare names, order, types, values and nulls. NaN equals NaN."""
    return bool(one.schema.equals(other.schema)) and repr(one.to_pydict()) == repr(other.to_pydict())


def same_or_refused(run: Callable[[], pa.Table], expected: pa.Table, data: bytes) -> bool:
    """Return whether the table is the same, or is refused for a whole number that pyarrow rounded to a double."""
    try:
        return same(run(), expected)
    except SourceTypeError as error:
        match = re.search(r" has (-?\d+), which a double cannot represent", error.message)
        if match is None:
            raise
        column = expected.column(error.context["column"])
        number, doubles = int(match[1]), column.to_pylist()
        return match[1].encode() in data and int(float(number)) != number and float(number) in doubles


def test_flights_are_read_as_by_pyarrow(flights_csv: Path, read: Read, read_parts: Read) -> None:
    expected = pc.read_csv(flights_csv, convert_options=FLIGHTS)
    assert expected.column("tailnum").null_count == 2512
    plan = plan_source(str(flights_csv), SourceOptions(null_values=("NA",)))
    assert len(plan.splits) == 2
    assert plan.schema.equals(expected.schema)
    assert read(flights_csv, null_values=("NA",)).equals(expected)
    assert read_parts(flights_csv, null_values=("NA",)).equals(expected)


def test_flights_with_default_nulls_keep_text_as_it_is(flights_csv: Path, read: Read) -> None:
    assert read(flights_csv, infer_bytes=1_000_000).equals(pc.read_csv(flights_csv))


def test_the_zip_of_the_package_is_read_as_it_is(flights_zip: Path, flights_csv: Path, read: Read) -> None:
    assert zipfile.is_zipfile(flights_zip)
    assert read(flights_zip, null_values=("NA",)).equals(pc.read_csv(flights_csv, convert_options=FLIGHTS))


@given(data=TEXTS)
def test_any_text_is_read_as_by_pyarrow(
    data: bytes, tmp_path_factory: pytest.TempPathFactory, read: Read, read_parts: Read
) -> None:
    path = tmp_path_factory.mktemp("csv") / "any.csv"
    path.write_bytes(data)
    expected = as_pyarrow(data)
    assert same_or_refused(lambda: read(path), expected, data)
    assert same_or_refused(lambda: read_parts(path, split_bytes=20, infer_bytes=1_000_000), expected, data)


MARKED = ["\ufeff", "\ufeff\ufeff", '\ufeff"x', '\ufeff"x"', "\ufeff1", '"\ufeff"', '"\ufeff,1"', "1", "x", "", "é"]


@given(
    rows=st.integers(1, 2).flatmap(
        lambda width: st.tuples(
            st.sampled_from([["a", "b"], ["\ufeffa", "b"], ["\ufeff\ufeffa", "b"], ['"\ufeffa"', "b"]]).map(
                lambda names: names[:width]
            ),
            st.lists(st.lists(st.sampled_from(MARKED), min_size=width, max_size=width), max_size=12),
        )
    ),
    end=st.sampled_from(["\n", "\r\n"]),
    block_bytes=st.integers(1, 40),
)
def test_a_byte_order_mark_within_a_file_is_part_of_its_value_with_any_block_size(
    rows: tuple[list[str], list[list[str]]],
    end: str,
    block_bytes: int,
    tmp_path_factory: pytest.TempPathFactory,
    read: Read,
    read_parts: Read,
) -> None:
    data = "".join(",".join(row) + end for row in [rows[0], *rows[1]]).encode()
    path = tmp_path_factory.mktemp("csv") / "any.csv"
    path.write_bytes(data)
    expected = as_pyarrow(data)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(blocks, "BLOCK_BYTES", block_bytes)
        assert same(read(path), expected)
        assert same(read_parts(path, split_bytes=20), expected)


@pytest.mark.parametrize(
    ("last", "message"),
    [
        ("\ufeffx", "line 5: 1 columns instead of 2"),
        ("\ufeffx,y", r"line 5: column 'b' was int64 and is 'y' \(string\) here"),
    ],
)
def test_a_row_after_a_byte_order_mark_is_refused_with_its_own_line(
    write: Write, read: Read, small_blocks: None, last: str, message: str
) -> None:
    path = write("a.csv", "\n".join(["a,b", "\ufeffx,1", "\ufeffx,2", "\ufeffx,3", last]).encode())
    with pytest.raises((SourceFormatError, SourceTypeError), match=message):
        read(path, column_types=(("b", "int64"),))


@given(data=TEXTS, nulls=st.lists(st.sampled_from(["NA", "", "0", "x"]), max_size=3))
def test_given_null_values_apply_to_every_column_also_quoted(
    data: bytes, nulls: list[str], tmp_path_factory: pytest.TempPathFactory, read: Read
) -> None:
    path = tmp_path_factory.mktemp("csv") / "any.csv"
    path.write_bytes(data)
    convert = pc.ConvertOptions(null_values=nulls, strings_can_be_null=True)
    assert same_or_refused(lambda: read(path, null_values=tuple(nulls)), as_pyarrow(data, convert), data)


@given(data=TEXTS)
def test_types_of_many_blocks_are_those_of_the_whole_file(
    data: bytes, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("csv") / "any.csv"
    path.write_bytes(data)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(blocks, "BLOCK_BYTES", 40)
        assert plan_source(str(path)).schema.equals(as_pyarrow(data).schema)


@pytest.mark.usefixtures("small_blocks")
def test_nulls_and_integers_widen_after_the_plan_as_for_the_whole_file(write: Write, read: Read) -> None:
    rows = ["a,b,c"] + ["1,,9007199254740992"] * 30 + ["2,x,1"] * 5 + ["3,y,2.5"] * 5 + ["4,,1"] * 30
    data = "\n".join(rows).encode()
    path = write("widens.csv", data)
    options = SourceOptions(infer_bytes=60, null_values=("",))
    plan = plan_source(str(path), options)
    assert plan.schema.types == [pa.int64(), pa.null(), pa.int64()]
    with open_source(plan) as reader:
        schemas = [batch.schema for batch in reader]
        assert reader.schema.types == [pa.int64(), pa.string(), pa.float64()]
    assert schemas[0].types == plan.schema.types
    assert len({str(schema.types) for schema in schemas}) == 3
    convert = pc.ConvertOptions(null_values=[""], strings_can_be_null=True)
    assert same(read(path, infer_bytes=60, null_values=("",)), as_pyarrow(data, convert))


@pytest.mark.usefixtures("small_blocks")
def test_with_default_nulls_a_null_stays_null_when_text_follows(write: Write, read: Read, read_parts: Read) -> None:
    path = write("sparse.csv", b"a,b\n" + b"1,\n" * 40 + b"2,text\n" + b"1,NA\n" * 40)
    expected = [None] * 40 + ["text"] + [None] * 40
    assert read(path, infer_bytes=40).column("b").to_pylist() == expected
    assert read_parts(path, infer_bytes=40, split_bytes=50).column("b").to_pylist() == expected
    given_type = read(path, infer_bytes=40, column_types=(("b", "string"),))
    assert given_type.column("b").to_pylist() == [""] * 40 + ["text"] + ["NA"] * 40


@pytest.mark.usefixtures("small_blocks")
def test_every_read_gives_the_same_batches_also_around_a_change_of_type(write: Write) -> None:
    rows = ["a,b"] + [f"{number},-0" for number in range(200)] + ["0.5,x"] + ["7,-0"] * 100
    path = write("again.csv", "\n".join(rows).encode())
    plan = plan_source(str(path), SourceOptions(infer_bytes=30, column_types=(("b", "string"),)))
    first = list(open_source(plan))
    assert all([str(batch) for batch in open_source(plan)] == [str(batch) for batch in first] for _ in range(20))


@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize(
    ("first", "then", "was", "now"),
    [
        ("1", "x", "int64", "'x' (string)"),
        ("1", "true", "int64", "'true' (bool)"),
        ("1.5", "x", "double", "'x' (string)"),
        ("true", "7", "bool", "'7' (int64)"),
        ("2020-01-01", "2020-01-01 10:00:00", "date32[day]", "'2020-01-01 10:00:00' (timestamp[s])"),
        ("2020-01-01 10:00:00", "2020-01-01 10:00:00.5", "timestamp[s]", "'2020-01-01 10:00:00.5' (timestamp[ns])"),
    ],
)
def test_any_other_change_of_type_is_refused_with_its_line(
    write: Write, read: Read, first: str, then: str, was: str, now: str
) -> None:
    lines = ["k,value"] + [f"1,{first}"] * 20 + ["", f'"two\nlines",{first}'] + [f"2,{then}"] + [f"1,{first}"] * 20
    path = write("changes.csv", "\n".join(lines).encode())
    options = {"infer_bytes": 30, "column_types": (("k", "string"),)}
    with pytest.raises(SourceTypeError) as refused:
        read(path, **options)
    assert str(refused.value) == (
        f"changes.csv, line 25: column 'value' was {was} and is {now} here: give its type: --column-type value=string"
    )
    assert refused.value.context["line"] == 25
    mended = read(path, infer_bytes=30, column_types=(("k", "string"), ("value", "string")))
    assert mended.column("value").to_pylist().count(then) == 1


def test_a_split_names_the_line_of_the_whole_file(write: Write) -> None:
    path = write("late.csv", b"a,b\n" + b"1,2\n" * 50 + b"1,x\n" + b"1,2\n" * 10)
    plan = plan_source(str(path), SourceOptions(infer_bytes=20, split_bytes=50))
    late = next(split for split in plan.splits if split.start <= 204 < split.stop)
    assert late.start > 0
    with pytest.raises(SourceTypeError, match="line 52"):
        list(open_split(plan, late))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"a,b\n1,2\n\n3,4,5\n", "bad.csv, line 4: 3 columns instead of 2"),
        (b"a,b\n1,2\n3\n", "bad.csv, line 3: 1 columns instead of 2"),
        (b'a,b\n"x\ny",2\n3\n', "bad.csv, line 4: 1 columns instead of 2"),
        (b'a,b\n1,2\n3,"x\n4,5\n', "bad.csv, line 3: a quote opens here and never closes"),
        (b'a,"b\n1,2\n3,4\n', "bad.csv, line 1: a quote opens here and never closes"),
        (b"a,b\n1,\xc3\xa9\n\n2,\xff\n", r"bad.csv, line 4: invalid UTF-8 \(byte 0xff\)"),
        (b"a,\xff\n1,2\n", "bad.csv, line 1: invalid UTF-8"),
        (b"a,b,a\n1,2,3\n", "two columns are named 'a'.*--no-header"),
    ],
)
def test_a_broken_csv_is_refused_with_its_line(write: Write, read: Read, text: bytes, message: str) -> None:
    with pytest.raises(SourceFormatError, match=message):
        read(write("bad.csv", text))


@pytest.mark.parametrize(
    ("text", "names", "said"),
    [
        (b",a\n0,x\n", ["f0", "a"], "column 1 has no name in the header: it is called 'f0'"),
        (b"a,b,\n1,2,\n", ["a", "b", "f2"], "column 3 has no name in the header: it is called 'f2'"),
        (b'""\n7\n', ["f0"], "column 1 has no name in the header: it is called 'f0'"),
        (
            b'f0,,"",f2, \n0,1,2,3,4\n',
            ["f0", "f1", "f2_", "f2", "f4"],
            "3 columns have no name in the header: they are called 'f1', 'f2_', 'f4'",
        ),
    ],
)
def test_a_column_without_a_name_is_named_by_its_position_with_one_warning(
    write: Write, read: Read, text: bytes, names: list[str], said: str
) -> None:
    path = write("unnamed.csv.gz", gzip.compress(text))
    (warning,) = plan_source(str(path)).warnings
    unnamed = next(name for name in names if name not in text.decode().splitlines()[0].split(","))
    assert (warning.code, warning.column, warning.line) == ("unnamed_columns", unnamed, 1)
    assert warning.message == f"unnamed.csv.gz, line 1: {said}"
    table = read(path)
    assert table.column_names == names
    assert [str(value) for value in table.to_pylist()[0].values() if value is not None] == [
        value for value in text.decode().splitlines()[1].split(",") if value
    ]


def test_columns_without_a_name_must_be_the_same_in_all_files_of_a_folder(
    write: Write, read: Read, tmp_path: Path
) -> None:
    write("d/1.csv", b",a\n0,x\n")
    write("d/2.csv", b"a,\ny,1\n")
    with pytest.raises(SourceFormatError, match=r"2.csv does not have the columns of 1.csv: it lacks 'f0'"):
        read(tmp_path / "d")
    write("d/2.csv", b",a\n1,y\n")
    assert read(tmp_path / "d").to_pylist() == [{"f0": 0, "a": "x"}, {"f0": 1, "a": "y"}]
    assert [warning.file for warning in plan_source(str(tmp_path / "d")).warnings] == ["1.csv"]
    types = (("f0", "string"),)
    assert read(tmp_path / "d", column_types=types).column("f0").to_pylist() == ["0", "1"]


@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize("text", [b"1,2,3\n", b"1\n", b"1,\xff\n"])
def test_a_broken_row_after_the_inspected_bytes_is_refused_with_its_line(write: Write, read: Read, text: bytes) -> None:
    path = write("bad.csv", b"a,b\n" + b"1,x\n" * 40 + text + b"1,x\n" * 40)
    with pytest.raises(SourceFormatError, match="line 42"):
        read(path, infer_bytes=40)


def test_a_quote_that_never_closes_in_a_large_file_is_found_without_reading_it_at_once(
    write: Write, read: Read
) -> None:
    path = write("open.csv", b'a,b\n1,2\n3,"x\n' + b"4,5\n" * 10_000)
    with pytest.raises(SourceFormatError, match=r"open.csv, line 3: a quote opens here"):
        read(path, max_unit_bytes=1000)


def test_a_record_above_the_limit_is_refused_with_its_size(write: Write, read: Read) -> None:
    path = write("wide.csv", b'a,b\n1,2\n3,"' + b"x\n" * 5000 + b'"\n4,5\n')
    with pytest.raises(SourceTooLargeError, match=r"wide.csv, line 3: a record of 10,005 bytes; at most 1,000"):
        read(path, max_unit_bytes=1000)
    assert read(path, max_unit_bytes=10_005).num_rows == 3


@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
def test_the_byte_order_mark_is_not_part_of_the_first_name(
    write: Write, read: Read, read_parts: Read, mark: bytes
) -> None:
    path = write("mark.csv", mark + b'"a",b\n1,2\n3,"4\n5"\n6,7\n')
    assert read(path).column_names == ["a", "b"]
    assert read_parts(path, split_bytes=5).to_pydict() == {"a": [1, 3, 6], "b": ["2", "4\n5", "7"]}


@pytest.mark.parametrize("encoding", ["latin-1", "cp1252", "utf-16", "utf-16-le", "utf-8-sig", "shift_jis"])
def test_other_encodings_become_utf8(write: Write, read: Read, read_parts: Read, encoding: str) -> None:
    word = "日本" if encoding == "shift_jis" else "Größe é"
    path = write("words.csv", ("a,b\n" + f"1,{word}\n" * 50).encode(encoding))
    assert set(read(path, encoding=encoding).column("b").to_pylist()) == {word}
    assert read_parts(path, encoding=encoding, split_bytes=100).num_rows == 50


def test_text_that_is_not_in_the_given_encoding_is_refused(write: Write, read: Read) -> None:
    with pytest.raises(SourceFormatError, match=r"words.csv is not ascii: ordinal not in range.*line 2"):
        read(write("words.csv", "a\né\n".encode()), encoding="ascii")


@pytest.mark.parametrize("encoding", ["nonsense", "base64", "rot13", ""])
def test_an_invalid_text_encoding_is_refused(write: Write, read: Read, encoding: str) -> None:
    with pytest.raises(UsageError, match="encoding"):
        read(write("a.csv", b"a\n1\n"), encoding=encoding)


def test_utf16_without_the_option_is_refused_with_the_option_to_give(write: Write, read: Read) -> None:
    with pytest.raises(SourceFormatError, match="--encoding utf-16"):
        read(write("a.csv", "a,b\n1,2\n".encode("utf-16")))


def test_without_a_header_columns_are_numbered(write: Write, read: Read, read_parts: Read) -> None:
    path = write("bare.csv", b"1,x\n2,y\n")
    assert read(path, header=False).to_pydict() == {"f0": [1, 2], "f1": ["x", "y"]}
    assert read_parts(path, header=False, split_bytes=4).to_pydict() == {"f0": [1, 2], "f1": ["x", "y"]}


def test_a_given_delimiter_and_the_tabs_of_a_tsv_are_used(write: Write, read: Read) -> None:
    assert read(write("a.csv", b"a;b\n1;2,5\n"), delimiter=";").to_pydict() == {"a": [1], "b": ["2,5"]}
    assert read(write("a.tsv", b"a\tb\n1\t2\n")).to_pydict() == {"a": [1], "b": [2]}


def test_a_header_alone_is_a_table_without_rows(write: Write, read: Read) -> None:
    table = read(write("a.csv", b"a,b\n"))
    assert (table.num_rows, table.column_names) == (0, ["a", "b"])


@pytest.mark.parametrize(
    ("text", "names"),
    [(b"a,b,c", ["a", "b", "c"]), (b"a", ["a"]), (b'"a","b"', ["a", "b"]), (b"\xef\xbb\xbfa,b", ["a", "b"])],
)
def test_a_header_that_no_line_end_follows_is_a_table_without_rows(
    write: Write, read: Read, text: bytes, names: list[str]
) -> None:
    table = read(write("a.csv", text))
    assert (table.schema.names, table.num_rows) == (names, 0)


def test_a_single_row_without_a_line_end_is_read(write: Write, read: Read) -> None:
    assert read(write("a.csv", b"1,2"), header=False).to_pylist() == [{"f0": 1, "f1": 2}]


def test_a_part_of_a_folder_may_be_a_header_without_a_line_end(write: Write, read: Read, tmp_path: Path) -> None:
    write("d/1.csv", b"a,b\n1,2\n")
    write("d/2.csv", b"a,b")
    assert read(tmp_path / "d").to_pylist() == [{"a": 1, "b": 2}]


@pytest.mark.parametrize("text", [b"", b"\n", b"\r\n\r\n", b"\xef\xbb\xbf"])
def test_an_empty_csv_is_refused(write: Write, read: Read, text: bytes) -> None:
    with pytest.raises(SourceEmptyError, match="is empty"):
        read(write("a.csv", text))


def test_a_wide_csv_of_five_thousand_columns_is_read(write: Write, read: Read) -> None:
    names = ",".join(f"c{number}" for number in range(5_000))
    assert read(write("wide.csv", f"{names}\n{','.join('1' * 5_000)}\n".encode())).shape == (1, 5_000)


def test_files_of_a_folder_are_one_table_in_byte_order_with_columns_by_name(
    write: Write, read: Read, read_parts: Read, tmp_path: Path
) -> None:
    write("d/b.csv", b"y,x\n4.5,3\n")
    write("d/a.csv", b"x,y\n1,2\n")
    write("d/Z.csv", b"x,y\n0,0\n")
    write("d/b/c.csv", b"x,y\n5,6\n")
    write("d/empty.csv", b"")
    write("d/.hidden.csv", b"q\n1\n")
    write("d/_SUCCESS", b"")
    expected = {"x": [0, 1, 3, 5], "y": [0.0, 2.0, 4.5, 6.0]}
    assert read(tmp_path / "d").to_pydict() == expected
    assert read_parts(tmp_path / "d", split_bytes=1).to_pydict() == expected


def test_a_file_with_other_columns_is_named(write: Write, read: Read, tmp_path: Path) -> None:
    write("d/a.csv", b"x,y\n1,2\n")
    write("d/b.csv", b"x,z\n1,2\n")
    with pytest.raises(SourceFormatError, match=r"b.csv does not have the columns of a.csv: it lacks 'y' and has 'z'"):
        read(tmp_path / "d")


def test_types_are_inferred_from_the_start_of_every_file(write: Write, tmp_path: Path) -> None:
    write("d/a.csv", b"x\n" + b"1\n" * 1000)
    write("d/b.csv", b"x\n" + b"word\n" * 1000)
    assert plan_source(str(tmp_path / "d"), SourceOptions(infer_bytes=100)).schema.types == [pa.string()]


def test_types_may_be_given_by_option_and_by_file(write: Write, read: Read, tmp_path: Path) -> None:
    path = write("a.csv", b"a,b,c\n1,1.50,2020-01-01T00:00:00Z\n")
    schema = write("types.json", b'{"a": "int16", "b": "decimal128(5,2)"}')
    table = read(path, schema_file=str(schema), column_types=(("a", "uint8"), ("c", "timestamp[us, tz=UTC]")))
    assert table.schema.types[:2] == [pa.uint8(), pa.decimal128(5, 2)]
    with pytest.raises(UsageError, match="column 'z', which the source does not have; it has a, b, c"):
        read(path, column_types=(("z", "int8"),))
    with pytest.raises(UsageError, match="cannot be read as list"):
        read(path, column_types=(("a", "list<int64>"),))


def test_a_given_type_never_widens(write: Write, read: Read) -> None:
    path = write("a.csv", b"a\n1\n2.5\n")
    with pytest.raises(SourceTypeError, match=r"line 3: column 'a' was int64 and is '2.5' \(double\)"):
        read(path, column_types=(("a", "int64"),))


def test_batches_stay_below_eight_megabytes(write: Write) -> None:
    path = write("many.csv", b",".join(b"c%d" % n for n in range(50)) + b"\n" + (b"1," * 49 + b"1\n") * 40_000)
    with open_source(plan_source(str(path))) as reader:
        assert max(batch.nbytes for batch in reader) <= 8_000_000


def test_progress_only_grows_and_ends_with_the_file(flights_csv: Path) -> None:
    plan = plan_source(str(flights_csv))
    seen = []
    with open_source(plan) as reader:
        for _ in reader:
            seen.append(reader.bytes_read)
    assert seen == sorted(seen)
    assert reader.bytes_read == flights_csv.stat().st_size == plan.total_bytes


def test_a_reader_that_is_closed_early_gives_no_more_batches(flights_csv: Path) -> None:
    reader = open_source(plan_source(str(flights_csv), max_splits=1))
    next(reader)
    reader.close()
    reader.close()
    assert list(reader) == []


def test_columns_are_converted_in_groups_with_the_same_result(
    write: Write, read: Read, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write("grouped.csv", b"a,b,c,d,e\n1,x,2.5,,2026-11-22\n2,y,,,\n")
    table = read(path)
    monkeypatch.setattr(header, "_GROUP_COLUMNS", 2)
    monkeypatch.setattr(parser, "_GROUP_COLUMNS", 2)
    assert read(path).equals(table)
    assert read(path, columns=("e", "a", "c")).equals(table.select(["e", "a", "c"]))
    with pytest.raises(SourceFormatError, match="line 4: 3 columns instead of 5"):
        read(write("ragged.csv", b"a,b,c,d,e\n1,x,2.5,,\n1,x,2.5,,\n1,2,3\n"))
    with pytest.raises(SourceTypeError, match="line 2: column 'd' was int64"):
        read(write("typed.csv", b"a,b,c,d,e\n1,x,2.5,z,\n"), column_types=(("d", "int64"),))
