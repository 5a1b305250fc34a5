from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.json as pj
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from millrace.arrow.sizes import cumulative_row_bytes
from millrace.errors import SourceEmptyError, SourceFormatError, SourceTooLargeError, SourceTypeError, UsageError
from millrace.sources import SourceOptions, open_source, open_split, plan_source
from millrace.sources.jsonl.parser import check_types
from millrace.sources.text import blocks

Read = Callable[..., pa.Table]
Write = Callable[[str, bytes], Path]

VALUES = {
    "integer": st.integers(-(2**63), 2**63 - 1),
    "number": st.one_of(st.integers(-(2**53), 2**53), st.floats(allow_nan=False, allow_infinity=False)),
    "truth": st.booleans(),
    "text": st.text(max_size=8).filter(lambda text: not any("\ud800" <= sign <= "\udfff" for sign in text)),
    "list": st.lists(st.integers(-5, 5), max_size=3),
    "object": st.fixed_dictionaries({}, optional={"x": st.integers(-5, 5), "y": st.text("ab", max_size=3)}),
    "nothing": st.none(),
}
LINES = st.lists(
    st.fixed_dictionaries({}, optional={name: st.none() | values for name, values in VALUES.items()}),
    min_size=1,
    max_size=20,
)


def lines(rows: list[dict[str, object]]) -> bytes:
    return b"".join(json.dumps(row, ensure_ascii=False).encode() + b"\n" for row in rows)


def test_any_lines_are_read_as_by_pyarrow(
    tmp_path_factory: pytest.TempPathFactory, read: Read, read_parts: Read
) -> None:
    path = tmp_path_factory.mktemp("jsonl") / "any.jsonl"

    @given(LINES)
    def check(rows: list[dict[str, object]]) -> None:
        assume(any(rows))
        path.write_bytes(lines(rows))
        expected = pj.read_json(io.BytesIO(path.read_bytes()))
        assert read(path).equals(expected)
        assert read_parts(path, split_bytes=30).equals(expected)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(blocks, "BLOCK_BYTES", 40)
            in_blocks = read(path)
        assert in_blocks.select(expected.column_names).to_pylist() == expected.to_pylist()
        assert {str(field) for field in in_blocks.schema} == {str(field) for field in expected.schema}

    check()


@pytest.mark.usefixtures("small_blocks")
def test_nulls_and_integers_widen_after_the_plan_also_inside_objects_and_lists(write: Write, read: Read) -> None:
    rows: list[dict[str, object]] = [{"a": 1, "b": None, "c": {"d": None}, "e": []}] * 10
    rows += [{"a": 1.5, "b": [1], "c": {"d": "x"}, "e": [2]}, {"a": 2, "c": {}}]
    path = write("widens.jsonl", lines(rows))
    plan = plan_source(str(path), SourceOptions(infer_bytes=80))
    assert [str(kind) for kind in plan.schema.types] == [
        "int64",
        "null",
        "struct<d: null>",
        "list<item: null>",
    ]
    expected = pj.read_json(path)
    assert read(path, infer_bytes=80).to_pylist() == expected.to_pylist()
    assert read(path, infer_bytes=80).schema.equals(expected.schema)


@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize(
    ("late", "message"),
    [
        ({"a": "x"}, "column 'a' was int64 and is 'x' (string) here: give its type: --column-type a=string"),
        ({"a": True}, "column 'a' was int64 and is True (bool) here: give its type: --column-type a=string"),
        ({"a": 1, "new": 5}, "column 'new' first appears here, as 5 (int64): give its type: --column-type new=string"),
        ({"s": {"y": 1}}, "column 's' was struct<x: int64> and is {'y': 1} (struct<y: int64>) here"),
        ({"t": "soon"}, "column 't' was timestamp[s] and is 'soon' (string) here"),
    ],
)
def test_any_other_change_of_type_is_refused_with_its_line_and_read_as_text_on_request(
    write: Write, read: Read, late: dict[str, object], message: str
) -> None:
    rows: list[dict[str, object]] = [{"a": 1, "s": {"x": 1}, "t": "2026-11-22 10:00:00"}] * 10
    path = write("changes.jsonl", lines([*rows, late, *rows]))
    with pytest.raises(SourceTypeError) as refused:
        read(path, infer_bytes=80)
    assert f"changes.jsonl, line 11: {message}" in str(refused.value)
    column = refused.value.context["column"]
    mended = read(path, infer_bytes=80, column_types=((column, "string"),))
    assert mended.num_rows == 21
    assert pa.types.is_string(mended.schema.field(column).type)


def test_a_column_given_as_text_keeps_every_spelling(write: Write, read: Read) -> None:
    text = b'{"a":"x"}\n{"a": 1e400 ,"b":1}\n{"a":{"b": [1,  2.0]}}\n{"b":2,"a":true}\n{"a":null}\n{"a":"\\u00e9"}\n'
    table = read(write("mixed.jsonl", text), column_types=(("a", "string"),))
    assert table.column("a").to_pylist() == ["x", "1e400", '{"b": [1,  2.0]}', "true", None, "é"]
    assert table.column("b").to_pylist() == [None, 1, None, 2, None, None]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b'{"a":1}\n{"a":1\n}\n', "bad.jsonl, line 2"),
        (b'{"a":1} {"a":2}\n', "bad.jsonl, line 1: this line is not one JSON object"),
        (b'{"a":1}\n[1]\n', "bad.jsonl, line 2: this line is not one JSON object"),
        (b'{"a":1}\n\n7\n', "bad.jsonl, line 3: this line is not one JSON object"),
        (b'{"a":1}\n{"a":tru}\n', "bad.jsonl, line 2: Invalid value"),
        (b'{"a":1,"a":2}\n', r"bad.jsonl, line 1: Column\(/a\) was specified twice"),
        (b'{"a":"x"}\n{"a":"\\ud800"}\n', "bad.jsonl, line 2: The surrogate pair in string is invalid"),
        (b'{"a":"x"}\n{"a":"\xff"}\n', r"bad.jsonl, line 2: invalid UTF-8 \(byte 0xff\)"),
        (b'{"a":' + b"[" * 50_000 + b"]" * 50_000 + b"}\n", "bad.jsonl, line 1: nested deeper than 60 levels"),
        (b'{"a":1}\n{"a":"' + b"[" * 2000 + b'"}\n', "bad.jsonl, line 2: column 'a' was int64"),
    ],
)
def test_broken_lines_are_refused_with_their_number(write: Write, read: Read, text: bytes, message: str) -> None:
    with pytest.raises((SourceFormatError, SourceTypeError), match=message):
        read(write("bad.jsonl", text))


def test_deep_but_parsable_values_are_refused_and_kept_as_text_on_request(write: Write, read: Read) -> None:
    path = write("deep.jsonl", b'{"a":' + b"[" * 100 + b"]" * 100 + b"}\n")
    with pytest.raises(SourceTypeError, match=r"column 'a' is nested deeper than 60 levels.*--column-type a=string"):
        read(path)
    assert read(path, column_types=(("a", "string"),)).column("a")[0].as_py() == "[" * 100 + "]" * 100


def test_a_line_above_the_limit_is_refused_with_its_size(write: Write, read: Read) -> None:
    path = write("long.jsonl", b'{"a":1}\n{"a":"' + b"x" * 5000 + b'"}\n')
    with pytest.raises(SourceTooLargeError, match=r"long.jsonl, line 2: a record of 5,009 bytes; at most 1,000"):
        read(path, max_unit_bytes=1000)


@pytest.mark.parametrize(
    "values",
    [
        ["[null,null]"],
        ["[]", "[null,null,null]"],
        ["null", "[null,null]", "[null]"],
        ['{"b":[null,null]}', "null"],
        ["[[null]]", "[[null,null],null,[]]"],
        ['[{"b":[null,null]}]', '[null,{"b":null}]'],
    ],
    ids=str,
)
def test_lists_of_only_nulls_keep_all_of_them(write: Write, read: Read, values: list[str]) -> None:
    rows = [f'{{"id":1,"a":{value}}}' for value in values]
    path = write("a.jsonl", "\n".join(rows).encode())
    table = read(path)
    table.validate(full=True)
    assert table.to_pylist() == [json.loads(row) for row in rows]
    with open_source(plan_source(str(path), SourceOptions())) as reader:
        for batch in reader:
            batch.validate(full=True)
            assert len(cumulative_row_bytes(batch)) == batch.num_rows + 1


@pytest.mark.parametrize(
    "line",
    [
        {"tags": [], "v": [None, 1.5]},
        {"x": [None, []]},
        {"x": [None, {"b": []}]},
        {"y": [None, [None], [None, None]]},
    ],
)
def test_a_list_that_begins_with_null_is_read_beside_one_that_is_empty(
    write: Write, read: Read, line: dict[str, object]
) -> None:
    assert read(write("a.jsonl", lines([line, line]))).to_pylist() == [line, line]


def test_lists_of_nulls_get_the_type_of_later_lines(write: Write, read: Read, small_blocks: None) -> None:
    rows = ['{"a":[null,null]}'] * 9 + ['{"a":[1,null]}']
    table = read(write("a.jsonl", "\n".join(rows).encode()), infer_bytes=20)
    assert table["a"].to_pylist() == [[None, None]] * 9 + [[1, None]]


def test_blank_lines_and_lines_of_white_space_are_skipped(write: Write, read: Read) -> None:
    assert read(write("a.jsonl", b'\n{"a":1}\r\n   \n\n{"a":2}\n\n')).to_pydict() == {"a": [1, 2]}


@pytest.mark.parametrize("text", [b"", b"\n\n", b"{}\n{}\n"])
def test_lines_without_any_column_are_refused(write: Write, read: Read, text: bytes) -> None:
    with pytest.raises(SourceEmptyError, match="is empty"):
        read(write("a.jsonl", text))


def test_given_types_apply_and_columns_keep_the_order_of_the_lines(write: Write, read: Read) -> None:
    path = write("a.jsonl", b'{"b":"1.50","a":1}\n{"a":2,"c":"2026-11-22"}\n')
    table = read(path, column_types=(("a", "uint8"), ("b", "decimal128(5,2)"), ("z", "string"), ("c", "string")))
    assert table.schema.names == ["b", "a", "c", "z"]
    assert [str(kind) for kind in table.schema.types] == ["decimal128(5, 2)", "uint8", "string", "string"]
    with pytest.raises(UsageError, match="column 'a' of JSON lines cannot be read as list_view"):
        check_types({"a": pa.list_view(pa.int8())})


def test_a_split_names_the_line_of_the_whole_file(write: Write) -> None:
    path = write("late.jsonl", b'{"a":1}\n' * 50 + b'{"a":"x"}\n')
    plan = plan_source(str(path), SourceOptions(infer_bytes=20, split_bytes=100))
    assert plan.splits[-1].start > 0
    with pytest.raises(SourceTypeError, match="line 51"):
        list(open_split(plan, plan.splits[-1]))


def test_files_of_a_folder_may_lack_columns_of_each_other(write: Write, read: Read, tmp_path: Path) -> None:
    write("d/a.jsonl", b'{"x":1}\n')
    write("d/b.jsonl", b'{"y":"b","x":2.5}\n')
    assert read(tmp_path / "d").to_pylist() == [{"x": 1.0, "y": None}, {"x": 2.5, "y": "b"}]


@pytest.mark.parametrize(
    ("kind", "value", "said"),
    [
        ("uint8", "300", "uint8: .*300"),
        ("int64", "1.5", "int64: .*1.5"),
        ("decimal128(5,2)", "1.239", r"decimal128\(5, 2\): .*1.239"),
        ("bool", '"x"', "bool: "),
        ("list<timestamp[s]>", '["2024-01-01 10:00:00.5"]', r"list<item: timestamp\[s\]>: .*00.5"),
    ],
)
def test_a_value_that_is_not_of_its_given_type_names_column_and_option(
    write: Write, read: Read, kind: str, value: str, said: str
) -> None:
    path = write("a.jsonl", f'{{"n":1,"a":null}}\n{{"n":2,"a":{value}}}\n'.encode())
    with pytest.raises(SourceTypeError, match=f"a.jsonl, line 2: column 'a' was given as {said}") as caught:
        read(path, column_types=(("n", "int8"), ("a", kind)))
    assert caught.value.hint == "give another type: --column-type a=string"
    assert read(path, column_types=(("n", "int8"), ("a", "string"))).column("n").to_pylist() == [1, 2]
