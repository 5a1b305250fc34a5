"""JSON documents: each row of the array once, with the types and errors of JSON lines, and lines of the document."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from millrace.errors import InvalidSettingError, SourceEmptyError, SourceError, SourceTypeError, UsageError
from millrace.sources import SourceOptions, open_source, plan_source
from millrace.sources.json import lines as json_lines
from millrace.sources.json.brackets import Brackets, bracket_end
from millrace.sources.json.document import Document
from millrace.sources.model import SourceFile
from millrace.sources.options import record_keys
from millrace.sources.row_rules import BadRowBudget, RowRules
from millrace.sources.text import blocks

Read = Callable[..., pa.Table]
Write = Callable[[str, bytes], Path]

SIGNS = st.characters(exclude_categories=["Cs"])
TEXTS = st.text(SIGNS | st.sampled_from('{}[],:"\\\n'), max_size=8)
ROWS = st.lists(
    st.fixed_dictionaries(
        {},
        optional={
            "integer": st.none() | st.integers(-(2**63), 2**63 - 1),
            "text": st.none() | TEXTS.filter(lambda text: not text[:1].isdigit()),
            "list": st.none() | st.lists(st.integers(-5, 5), max_size=3),
            "object": st.none() | st.fixed_dictionaries({}, optional={"a": st.lists(TEXTS, max_size=2)}),
        },
    ),
    max_size=12,
)
LAYOUTS = st.sampled_from([{}, {"indent": 1}, {"indent": "\t", "ensure_ascii": False}, {"separators": (",", ":")}])


def as_rows(table: pa.Table, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the rows of the table without the nulls that the rows of the document lack."""
    return [
        {key: _without_nulls(value, row.get(key)) for key, value in read.items() if value is not None or key in row}
        for read, row in zip(table.to_pylist(), rows, strict=True)
    ]


def _without_nulls(value: Any, original: Any) -> Any:
    if not isinstance(value, dict):
        return value
    return {key: inner for key, inner in value.items() if inner is not None or key in (original or {})}


def test_the_rows_are_those_of_json_loads_in_any_layout_and_blocks(
    tmp_path_factory: pytest.TempPathFactory, read: Read
) -> None:
    path = tmp_path_factory.mktemp("json") / "any.json"

    @given(ROWS, LAYOUTS, TEXTS.filter(bool), st.integers(1, 60))
    def check(rows: list[dict[str, Any]], layout: dict[str, Any], key: str, block_bytes: int) -> None:
        assume(any(rows) and "\\" not in key)
        path.write_text(json.dumps({"other": [rows], key: {"items": rows}, "more": key}, **layout), newline="")
        records = f"{key.replace('.', chr(92) + '.')}.items"
        document = json.loads(path.read_text())[key]["items"]
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(blocks, "BLOCK_BYTES", block_bytes)
            patch.setattr(json_lines, "BLOCK_BYTES", block_bytes)
            table = read(path, format="json", records=records)
        assert as_rows(table, rows) == document
        path.write_text(json.dumps(rows, **layout))
        assert read(path, format="json").equals(read(path, format="json"))
        assert as_rows(read(path, format="json"), rows) == rows

    check()


@given(st.text(st.sampled_from('"\\[]{}a'), max_size=30), st.integers(1, 7))
def test_brackets_in_strings_do_not_nest_in_pieces_of_any_size(text: str, size: int) -> None:
    data = json.dumps({"a": [text]}).encode() + b" "
    assert bracket_end(bytearray(data), 0) == len(data) - 1
    brackets = Brackets()
    depths = [depth for i in range(0, len(data), size) for depth in brackets.scan(data[i : i + size])[1].tolist()]
    assert depths == Brackets().scan(data)[1].tolist()


def test_a_compressed_document_of_another_encoding_is_read(write: Write, read: Read) -> None:
    text = '[{"town": "Köln"},\n {"town": "Bonn"}]'
    path = write("a.json.gz", gzip.compress(text.encode("utf-16")))
    assert read(path, format="json", encoding="utf-16").to_pylist() == [{"town": "Köln"}, {"town": "Bonn"}]
    assert read(write("mark.json", b"\xef\xbb\xbf" + text.encode()), format="json").num_rows == 2


def test_the_options_of_json_lines_apply(write: Write, read: Read) -> None:
    path = write("a.json", b'[{"id": 1, "when": "2026-11-22", "x": {"y": 1}}, {"id": 2, "when": null, "x": {"y": 2}}]')
    table = read(path, format="json", column_types=(("id", "int16"), ("x", "string")), columns=("x", "id"))
    assert table.to_pylist() == [{"x": '{"y": 1}', "id": 1}, {"x": '{"y": 2}', "id": 2}]
    assert table.schema.field("id").type == pa.int16()
    assert read(path, format="json", rename=(("when", "day"),)).schema.field("day").type == pa.date32()


def test_each_document_of_a_folder_is_read_and_one_may_have_no_rows(write: Write, read_parts: Read) -> None:
    write("d/1.json", b'{"items": [{"a": 1}]}')
    write("d/2.json", b'{"items": [ ]}')
    folder = write("d/3.json", b'{"items": [{"a": 2}, {"a": 3}]}').parent
    options = SourceOptions(format="json", records="items", split_bytes=1)
    assert len(plan_source(str(folder), options).splits) == 3
    assert read_parts(folder, format="json", records="items", split_bytes=1).to_pylist() == [
        {"a": 1},
        {"a": 2},
        {"a": 3},
    ]


def test_progress_grows_with_the_rows(write: Write) -> None:
    path = write("a.json", b"[" + b",\n".join(b'{"number": %d}' % number for number in range(400_000)) + b"]")
    plan = plan_source(str(path), SourceOptions(format="json"), max_splits=1)
    with open_source(plan) as reader:
        progress = [reader.bytes_read for _ in reader]
    assert progress == sorted(progress)
    assert len(set(progress)) > 3
    assert reader.bytes_read == path.stat().st_size
    assert reader.content is not None
    assert reader.content.size_bytes == path.stat().st_size


@pytest.mark.parametrize(
    ("text", "records", "message"),
    [
        (b"", None, "x.json, line 1: the file has no JSON document: leave it out"),
        (b" \n", None, "x.json, line 2: the file has no JSON document"),
        (b"42", None, "x.json, line 1: the document is a number and not an array"),
        (b"hello", None, "x.json, line 1: the document is not a JSON value and not an array"),
        (b'[{"a": 1}\n', None, "x.json, line 1: an array begins here and does not end: copy the file again"),
        (b'[{"a": "1}]', None, "x.json, line 1: an array begins here and does not end"),
        (b'[\n{"a": 1},\n2]', None, "x.json, line 3: element 2 of the array is a number and not an object"),
        (b'[{"a": 1}, "{}"]', None, "x.json, line 1: element 2 of the array is a text and not an object"),
        (b"[[1]]", None, "x.json, line 1: element 1 of the array is an array and not an object"),
        (b'[{"a": 1},\n\n, {"a": 2}]', None, "x.json, line 3: element 2 of the array is missing before this comma"),
        (b'[{"a": 1},\n]', None, "x.json, line 1: no element follows the last comma of the array"),
        (b'[{"a": 1}\n{"a": 2}]', None, "x.json, line 2: no comma follows element 1 of the array"),
        (b'[{"a": [1}]]', None, "x.json, line 1: the brackets of element 1 of the array do not match"),
        (b'[{"a": "x\ny"}]', None, r"x.json, line 2: a text has a line end: write it as \n"),
        (b'[{"a": 1}]\n\n[{"a": 2}]', None, "x.json, line 3: text follows the end of the document: put each"),
        (b'{"a": 1}\n{"a": 2}', None, "give --format jsonl for one object on each line"),
        (b'[{"a": 1}] x', None, "x.json, line 1: text follows the end of the document"),
        (b'[{"a": 1},\r\n\r\n{"a": 2 3}]', None, "x.json, line 3: Missing a comma or '}' after an object member"),
        (b'[{"b": 1},\n {"b": 1, "b": 2}]', None, "x.json, line 2: Column(/b) was specified twice"),
        (b'[{"a": "\\ud800"}]', None, "x.json, line 1: The surrogate pair in string is invalid"),
        (b'[{"a": ' + b"[" * 3000 + b"]" * 3000 + b"}]", None, "x.json, line 1: nested deeper than 60 levels"),
        (b'[{"a": "\xff"}]', None, "x.json, line 1: invalid UTF-8 (byte 0xff): give its encoding"),
        (b'{"data": [], "meta": 1}', None, "--records KEY.KEY; the keys here: data, meta"),
        (b'{"data": {"items": []}}', "data", "data is an object and not an array: name the array by its keys"),
        (b'{"data": {"items": []}}', "data.itms", "data has no key 'itms': did you mean items?"),
        (b'{"data": {"items": []}}', "x", "the document has no key 'x': name the array by its keys"),
        (b'{"data": null}', "data", "data is null and not an array"),
        (b'{"data": [1]}', "data.items", "data is an array and has no key 'items': give another path: --records"),
        (b'{"a": [],\n"a": []}', "a", "x.json, line 2: the document has the key 'a' twice"),
        (b'{"a": [] b: 2}', "a", "x.json, line 1: this is not JSON: 'b: 2}'"),
        (b'{"a": [], b: 2}', "a", "x.json, line 1: this is not JSON: 'b: 2}'"),
        (b'{"a": [],}', "a", "x.json, line 1: this is not JSON: '}'"),
        (b'{"a" []}', "a", "x.json, line 1: this is not JSON: '\"a\" []}'"),
    ],
)
def test_a_document_that_is_not_an_array_of_objects_is_refused_in_one_line(
    write: Write, text: bytes, records: str | None, message: str
) -> None:
    path = write("x.json", text)
    with pytest.raises(SourceError) as refused:
        plan_source(str(path), SourceOptions(format="json", records=records))
    assert message in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("data", [b"[]", b"[ \n]", b"[{}]"])
def test_an_array_without_a_key_is_empty(write: Write, data: bytes) -> None:
    with pytest.raises(SourceEmptyError, match="at least one object with a name in it"):
        plan_source(str(write("x.json", data)), SourceOptions(format="json"))


def test_not_a_number_is_read_as_in_json_lines(write: Write, read: Read) -> None:
    values = read(write("x.json", b'[{"a": NaN}, {"a": -Infinity}]'), format="json").column("a").to_pylist()
    assert values[0] != values[0]
    assert values[1] == float("-inf")


def test_a_later_value_of_another_type_is_refused_with_the_line_of_its_element(write: Write) -> None:
    rows = b",\n".join(b'{\n"a": %d}' % number for number in range(1000))
    path = write("x.json", b'{"rows": [' + rows + b',\n\n {"a":\n "x"}]}')
    plan = plan_source(str(path), SourceOptions(format="json", records="rows", infer_bytes=100))
    with pytest.raises(SourceTypeError) as refused, open_source(plan) as reader:
        list(reader)
    assert "x.json, line 2002: column 'a' was int64 and is 'x' (string) here" in str(refused.value)
    assert refused.value.context["line"] == 2002


def test_a_bad_element_is_set_aside_with_its_line_in_the_document(write: Write) -> None:
    values = ['"x"' if number % 100 == 7 else str(number) for number in range(1000)]
    rows = ",\n\n".join(f'{{\n"a": {value}}}' for value in values)
    path = write("x.json", f'{{"rows": [{rows}]}}'.encode())
    options = SourceOptions(format="json", records="rows", column_types=(("a", "int64"),))
    with open_source(plan_source(str(path), options, rules=RowRules(BadRowBudget.of("5%")))) as reader:
        assert sum(batch.num_rows for batch in reader) == 990
        rejects = [reject for batch in reader.rejects.take() for reject in batch.to_pylist()]
    assert [reject["line"] for reject in rejects] == [1 + 3 * number for number in range(7, 1000, 100)]
    assert [json.loads(reject["raw"]) for reject in rejects] == [{"a": "x"}] * 10


@given(st.lists(st.sampled_from(["\n", "\r\n", "\r", " ", "x"]), min_size=1), st.data())
def test_lines_are_numbered_for_offsets_in_any_order(pieces: list[str], data: st.DataObject) -> None:
    text = "".join(pieces) + "x"
    document = Document(SourceFile("x", "x", 0, 0), bytearray(text.encode()), 0)
    for offset in data.draw(st.lists(st.integers(0, len(text) - 1))):
        before = text[: offset + len(text[offset:]) - len(text[offset:].lstrip(" \r\n"))]
        assert document.line_at(offset) == 1 + before.replace("\r\n", "\n").replace("\r", "\n").count("\n")


def test_a_document_above_the_limit_is_refused_with_its_size(write: Write, tmp_path: Path) -> None:
    path = write("x.json", b'{"a": {"b.c": [{"a": 1}]}}' + b" " * 3_000_000)
    with pytest.raises(SourceError) as refused:
        plan_source(str(path), SourceOptions(format="json", records="a.b\\.c", max_unit_bytes=2_000_000))
    assert "x.json: a document of 3,000,026 bytes; at most 2,000,000 are read at once" in str(refused.value)
    command = """jq -c '."a"."b.c"[]' """
    assert f"make JSON lines of it ({command}{path} > x.jsonl), or give --max-unit-bytes 3000026" in str(refused.value)


@pytest.mark.parametrize("records", ["", ".", "a.", "a..b"])
def test_a_path_with_an_empty_key_is_refused(records: str) -> None:
    with pytest.raises(InvalidSettingError, match="give keys with one dot between two of them"):
        SourceOptions(records=records)


def test_a_dot_in_a_key_is_written_with_a_backslash() -> None:
    assert record_keys("a\\.b.c") == ("a.b", "c")
    assert record_keys(None) == ()


def test_records_of_another_format_are_refused(write: Write) -> None:
    path = write("x.csv", b"a,b\n1,2\n")
    with pytest.raises(UsageError, match="--records applies to --format json only, and this is CSV"):
        plan_source(str(path), SourceOptions(records="a"))
