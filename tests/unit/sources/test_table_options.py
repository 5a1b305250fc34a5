from __future__ import annotations

import bz2
import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from millrace.errors import InvalidSettingError, SourceEmptyError, SourceFormatError, SourceTypeError, UsageError
from millrace.sources import SourceOptions, SourcePlan, open_source, plan_source

Read = Callable[..., pa.Table]
Write = Callable[[str, bytes], Path]


def rows(table: pa.Table) -> list[tuple[Any, ...]]:
    return list(zip(*table.to_pydict().values(), strict=True))


def test_numbers_with_a_decimal_comma_are_read_as_numbers(write: Write, read: Read) -> None:
    path = write("p.csv", b"id;price;whole\n1;1,5;10\n2;-0,25;20\n3;;30\n")
    table = read(path, delimiter=";", decimal=",")
    assert table.schema.types == [pa.int64(), pa.float64(), pa.int64()]
    assert rows(table) == [(1, 1.5, 10), (2, -0.25, 20), (3, None, 30)]


def test_a_decimal_comma_applies_to_decimals_and_quoted_fields(write: Write, read: Read) -> None:
    path = write("p.csv", b'id,price\n1,"1234567890123456,25"\n')
    table = read(path, decimal=",", column_types=(("price", "decimal128(20,2)"),))
    assert [str(value) for value in table["price"].to_pylist()] == ["1234567890123456.25"]


def test_a_number_with_a_point_stays_text_if_the_decimal_sign_is_a_comma(write: Write, read: Read) -> None:
    assert read(write("p.csv", b"a;b\n1.5;1,5\n"), delimiter=";", decimal=",").to_pylist() == [{"a": "1.5", "b": 1.5}]


def test_given_texts_are_read_as_true_and_false(write: Write, read: Read) -> None:
    path = write("t.csv", b"id,paid,late\n1,yes,N\n2,no,Y\n3,,N\n")
    table = read(path, true_value=["yes", "Y"], false_value=["no", "N"])
    assert table.schema.types == [pa.int64(), pa.bool_(), pa.bool_()]
    assert rows(table) == [(1, True, False), (2, False, True), (3, None, False)]


def test_lines_before_the_header_are_skipped_and_line_numbers_are_those_of_the_file(write: Write, read: Read) -> None:
    preamble = b'Report "of\nMay, 2026\r\n\n'
    assert read(write("a.csv", preamble + b"a,b\n1,2\n"), skip_rows=3).to_pylist() == [{"a": 1, "b": 2}]
    with pytest.raises(SourceFormatError, match="line 5: 3 columns instead of 2") as raised:
        read(write("b.csv", preamble + b"a,b\n1,2,3\n"), skip_rows=3)
    assert raised.value.context["line"] == 5
    with pytest.raises(SourceFormatError, match="line 4: two columns are named 'a'"):
        read(write("c.csv", preamble + b"a,a\n1,2\n"), skip_rows=3)
    with pytest.raises(SourceTypeError, match="line 5: column 'a' was int8 and is 'x'"):
        read(write("d.csv", preamble + b"a,b\nx,2\n"), skip_rows=3, column_types=(("a", "int8"),))


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"])
@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
def test_skipped_lines_belong_to_no_split_and_no_row(
    write: Write, read: Read, read_parts: Read, small_blocks: None, end: bytes, mark: bytes
) -> None:
    lines = [b'a "stray quote', b'"', b"", b"id,name"] + [b'%d,"x ""%d"""' % (n, n) for n in range(200)]
    path = write("a.csv", mark + end.join(lines) + end)
    expected = [{"id": n, "name": f'x "{n}"'} for n in range(200)]
    assert read(path, skip_rows=3).to_pylist() == expected
    assert len(plan_source(str(path), SourceOptions(skip_rows=3, split_bytes=300)).splits) > 3
    assert read_parts(path, skip_rows=3, split_bytes=300).to_pylist() == expected


def test_skipped_lines_are_counted_in_each_file_also_a_compressed_one_and_in_utf_16(
    write: Write, read: Read, tmp_path: Path
) -> None:
    write("d/a.csv", b"x\na\n1\n")
    write("d/b.csv.gz", gzip.compress(b"y\na\n2\n"))
    write("d/c.csv.bz2", bz2.compress(b"\na\n3\n"))
    assert read(tmp_path / "d", skip_rows=1)["a"].to_pylist() == [1, 2, 3]
    assert read(write("u.csv", "x\na\n1\n".encode("utf-16")), skip_rows=1, encoding="utf-16").to_pylist() == [{"a": 1}]


def test_without_a_header_lines_are_skipped_too(write: Write, read: Read) -> None:
    assert read(write("a.csv", b"x\n1,2\n"), skip_rows=1, header=False).to_pylist() == [{"f0": 1, "f1": 2}]


def test_a_file_without_lines_after_the_skipped_ones_is_refused_with_their_number(write: Write, read: Read) -> None:
    with pytest.raises(SourceEmptyError, match="is empty after the first 9 lines"):
        read(write("a.csv", b"a,b\n1,2\n"), skip_rows=9)


@pytest.mark.parametrize(
    ("text", "delimiter"),
    [
        (b"a;b\n1,5;2\n", ";"),
        (b"a,b\n1,2\n", ","),
        (b"a\tb\tc, d\n1\t2\tx\n", "\t"),
        (b"a|b\n1|2\n", "|"),
        (b'a,b\n"1;2;3","x;y\n;z"\n', ","),
        (b'a;b\n"1,2";"3,4"\n', ";"),
        (b"a\n1\n", ","),
        (b"a;b", ";"),
    ],
)
def test_the_delimiter_is_found_in_the_first_lines_and_reported(
    write: Write, read: Read, text: bytes, delimiter: str
) -> None:
    path = write("a.csv", text)
    plan = plan_source(str(path), SourceOptions(delimiter="auto"))
    assert plan.options.delimiter == delimiter
    assert [warning.code for warning in plan.warnings] == ["delimiter_found"]
    assert plan.warnings[0].file == "a.csv"
    assert read(path, delimiter="auto").equals(read(path, delimiter=delimiter))
    assert SourcePlan.from_json(json.loads(json.dumps(plan.to_json()))) == plan


def test_a_decimal_comma_is_no_delimiter_where_another_one_fits(write: Write, read: Read) -> None:
    path = write("a.csv", b"a, b;c\n1,5;2\n2,5;3\n")
    assert read(path, delimiter="auto", decimal=",").to_pylist() == [{"a, b": 1.5, "c": 2}, {"a, b": 2.5, "c": 3}]
    path = write("b.csv", b'a,b\n"1,5",2\n')
    assert read(path, delimiter="auto", decimal=",").to_pylist() == [{"a": 1.5, "b": 2}]


def test_the_delimiter_is_found_after_skipped_lines_in_other_encodings_and_compressed(write: Write, read: Read) -> None:
    text = "one; two, three\na;b\n1;ä,ö\n"
    for path in (write("a.csv", text.encode("utf-16")), write("a.csv.gz", gzip.compress(text.encode("utf-16")))):
        table = read(path, delimiter="auto", skip_rows=1, encoding="utf-16")
        assert table.to_pylist() == [{"a": 1, "b": "ä,ö"}]


@pytest.mark.parametrize(
    ("text", "said"),
    [(b"a,b;c\n1,2;3\n", "a comma and a semicolon fit"), (b"a;b\n1;2;3\n", "no delimiter fits")],
)
def test_lines_without_exactly_one_fitting_delimiter_are_refused(
    write: Write, read: Read, text: bytes, said: str
) -> None:
    with pytest.raises(SourceFormatError, match=f"{said} the first lines: give the delimiter itself"):
        read(write("a.csv", text), delimiter="auto")


def sources(write: Write) -> dict[str, Path]:
    """Write the same rows in each tabular format, and return the paths by format."""
    table = pa.table({"a": [1, 2], "b c": ["x", "y"], "d": [1.5, 2.5]})
    parquet = write("t.parquet", b"")
    pq.write_table(table, parquet)
    arrow = write("t.arrow", b"")
    with pa.ipc.new_file(str(arrow), table.schema) as writer:
        writer.write_table(table)
    lines = "".join(json.dumps(row) + "\n" for row in table.to_pylist())
    return {
        "csv": write("t.csv", b"a,b c,d\n1,x,1.5\n2,y,2.5\n"),
        "jsonl": write("t.jsonl", lines.encode()),
        "parquet": parquet,
        "arrow": arrow,
    }


@pytest.mark.parametrize("format_", ["csv", "jsonl", "parquet", "arrow"])
def test_only_the_named_columns_are_loaded_in_their_order_under_their_new_names(
    write: Write, read: Read, read_parts: Read, format_: str
) -> None:
    path = sources(write)[format_]
    for each in (read, read_parts):
        assert each(path, columns=["d", "b c"]).to_pylist() == [{"d": 1.5, "b c": "x"}, {"d": 2.5, "b c": "y"}]
        assert each(path, columns=["d", "a"], rename={"a": "d", "d": "a"}).to_pylist() == [
            {"a": 1.5, "d": 1},
            {"a": 2.5, "d": 2},
        ]
        assert each(path, rename={"b c": "b=c"}).column_names == ["a", "b=c", "d"]


@pytest.mark.parametrize("format_", ["csv", "jsonl", "parquet", "arrow"])
@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"columns": ["a", "x"]}, "has no column 'x', which --columns names: its columns are .*b c, d"),
        ({"rename": {"x": "y"}}, "has no column 'x', which --rename names"),
        ({"rename": {"a": "d"}}, "--rename gives two columns the name 'd'"),
        ({"columns": ["a"], "rename": {"d": "e"}}, "--rename names 'd', which --columns leaves out"),
    ],
)
def test_missing_columns_and_equal_names_are_refused_by_name(
    write: Write, format_: str, wrong: dict[str, Any], said: str
) -> None:
    with pytest.raises(UsageError, match=said):
        plan_source(str(sources(write)[format_]), SourceOptions(**wrong))


def test_columns_that_are_left_out_may_differ_from_file_to_file_and_change_their_type(
    write: Write, read: Read, read_parts: Read, tmp_path: Path
) -> None:
    write("c/1.csv", b"a,b\n1,x\n")
    write("c/2.csv", b"b,a,z\n5,2,7\n")
    write("j/1.jsonl", b'{"a":1,"b":1}\n' * 50 + b'{"a":2,"b":"x","new":[1]}\n')
    write("g/1.csv", b"a,b\n" + b"1,1\n" * 50 + b"2,x\n")
    assert read(tmp_path / "c", columns=["a"]).to_pylist() == [{"a": 1}, {"a": 2}]
    assert read_parts(tmp_path / "c", columns=["a"]).to_pylist() == [{"a": 1}, {"a": 2}]
    for folder in ("j", "g"):
        assert read(tmp_path / folder, columns=["a"], infer_bytes=20)["a"].to_pylist() == [1] * 50 + [2]


def test_columns_of_json_lines_that_are_left_out_may_hold_anything(write: Write, read: Read) -> None:
    lines = b'{"a":1,"b":1,"c":[1]}\n{"a":2,"b":"x","c":{"d":5}}\n{"b":[[]],"a":3}\n'
    assert read(write("a.jsonl", lines), columns=["a"])["a"].to_pylist() == [1, 2, 3]
    assert read(write("b.jsonl", lines * 50), columns=["a"], infer_bytes=10)["a"].to_pylist() == [1, 2, 3] * 50


def test_given_types_and_messages_name_columns_as_the_source_does(write: Write, read: Read) -> None:
    path = write("a.csv", b"a,b,c\n" + b"1,2,3\n" * 20 + b"1,x,3\n")
    options = {"columns": ["b"], "rename": {"b": "n"}, "infer_bytes": 40}
    assert read(path, column_types=(("b", "string"), ("c", "int8")), **options)["n"].to_pylist() == ["2"] * 20 + ["x"]
    with pytest.raises(SourceTypeError, match=r"line 22: column 'b' was int64 and is 'x'.*--column-type b=string"):
        read(path, **options)


def test_splits_with_chosen_and_renamed_columns_hold_all_rows(write: Write, read_parts: Read) -> None:
    path = write("a.csv", b"a,b\n" + b"".join(b"%d,%d\n" % (n, -n) for n in range(500)))
    options = {"columns": ["b", "a"], "rename": {"b": "minus"}, "split_bytes": 1000}
    assert len(plan_source(str(path), SourceOptions(**options)).splits) > 2
    assert read_parts(path, **options).to_pydict() == {"minus": [-n for n in range(500)], "a": list(range(500))}


@pytest.mark.parametrize("format_", ["jsonl", "parquet", "arrow", "bytes"])
@pytest.mark.parametrize(
    "option",
    [
        {"decimal": ","},
        {"date_format": "%d.%m.%Y"},
        {"true_value": ["y"]},
        {"false_value": ["n"]},
        {"skip_rows": 1},
        {"delimiter": "auto"},
    ],
    ids=str,
)
def test_csv_options_are_refused_for_other_formats(write: Write, format_: str, option: dict[str, Any]) -> None:
    path = write("a.bin", b"x") if format_ == "bytes" else sources(write)[format_]
    name = "--" + next(iter(option)).replace("_", "-")
    with pytest.raises(UsageError, match=f"{name} applies to CSV only, and this is .*: leave out {name}"):
        plan_source(str(path), SourceOptions(format=format_, **option))


def test_bytes_have_no_columns(write: Write) -> None:
    for option, name in (({"columns": ["a"]}, "--columns"), ({"rename": {"a": "b"}}, "--rename")):
        with pytest.raises(UsageError, match=f"bytes have no columns to choose or rename: leave out {name}"):
            plan_source(str(write("a.bin", b"x")), SourceOptions(format="bytes", **option))


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"decimal": ",,"}, "the decimal point is ',,'"),
        ({"decimal": "5"}, "the decimal point is '5'"),
        ({"decimal": None}, "the decimal point is None"),
        ({"skip_rows": -1}, "skip_rows is -1"),
        ({"skip_rows": "1"}, "skip_rows is '1'"),
        ({"columns": "a,b"}, "columns is 'a,b': give a list of texts"),
        ({"columns": [1]}, "columns is"),
        ({"columns": []}, "columns are given twice, or none is"),
        ({"columns": ["a", "a"]}, "columns are given twice, or none is"),
        ({"rename": ["ab"]}, "rename is"),
        ({"rename": {"a": 1}}, "rename is"),
        ({"rename": {"a": ""}}, "rename is"),
        ({"rename": [["a", "b"], ["a", "c"]]}, "rename names 'a' twice"),
        ({"rename": {"a": "c", "b": "c"}}, "rename gives two columns the name 'c'"),
        ({"true_value": ["y"], "false_value": ["y"]}, "true_value and false_value both have 'y'"),
        ({"true_value": ["0"]}, "true_value and false_value both have '0'"),
        ({"true_value": ["NA"]}, "has 'NA', which means null"),
        ({"true_value": ["y"], "false_value": ["n"], "null_values": ["n"]}, "has 'n', which means null"),
        ({"true_value": [True]}, "true_value is"),
        ({"date_format": 5}, "date_format is 5"),
    ],
    ids=str,
)
def test_a_wrong_option_is_refused_by_name(wrong: dict[str, Any], said: str) -> None:
    with pytest.raises(InvalidSettingError, match=said):
        SourceOptions(**wrong)


def test_options_survive_json_and_are_replaced_by_name() -> None:
    options = SourceOptions().with_fields(
        {"columns": ["a"], "rename": {"a": "b"}, "decimal": ",", "true_value": "y", "skip_rows": 2}
    )
    assert options.columns == ("a",)
    assert options.rename == (("a", "b"),)
    assert options.true_value == ("y",)
    assert SourceOptions.from_json(json.loads(json.dumps(options.to_json()))) == options
    with pytest.raises(UsageError, match="no option 'colums' of a source: did you mean columns"):
        options.with_fields({"colums": ["a"]})


def test_plans_with_other_columns_or_names_differ(write: Write) -> None:
    path = str(write("a.csv", b"a,b\n1,2\n"))
    plans = [plan_source(path, SourceOptions(**each)) for each in ({}, {"columns": ["a"]}, {"rename": {"a": "c"}})]
    assert len({json.dumps(plan.options.to_json()) for plan in plans}) == 3
    with open_source(plans[2]) as reader:
        assert [batch.schema.names for batch in reader] == [["c", "b"]]
