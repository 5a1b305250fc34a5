"""Detection of the format of a source: given options win, then the name, then the content."""

from __future__ import annotations

import gzip
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from millrace.errors import SourceError, SourceFormatError, UsageError
from millrace.sources import SourceOptions, plan_source

Read = Callable[..., pa.Table]
Write = Callable[[str, bytes], Path]

OBJECTS = b'[{"x":1,"y":"a"},{"x":2,"y":"b"}]'


@pytest.mark.parametrize("name", ["answer.txt", "answer", "answer.json", "answer.csv", "answer.jsonl"])
@pytest.mark.parametrize("data", [OBJECTS, b'[\n  {"x": 1},\n  {"x": 2}\n]\n', b"[ {}\n]"])
def test_a_json_array_is_refused_with_the_command_that_makes_lines_of_it(write: Write, name: str, data: bytes) -> None:
    path = write(name, data)
    with pytest.raises(SourceFormatError) as refused:
        plan_source(str(path))
    lines = "answer_lines.jsonl" if name == "answer.jsonl" else "answer.jsonl"
    assert f"{name} is a JSON array and not one object on each line" in str(refused.value)
    assert f"give --format json, make JSON lines of it (jq -c '.[]' {path} > {lines})" in str(refused.value)
    assert plan_source(str(path), SourceOptions(format="json", column_types=(("x", "int64"),))).format == "json"
    assert plan_source(str(path), SourceOptions(format="bytes")).kind == "bytes"


@pytest.mark.parametrize(
    ("name", "data", "rows"),
    [
        ("a b.txt", OBJECTS, [{"x": 1, "y": "a"}, {"x": 2, "y": "b"}]),
        ("deep.json.gz", gzip.compress(OBJECTS, mtime=0), [{"x": 1, "y": "a"}, {"x": 2, "y": "b"}]),
        ("numbers", b"[1, 2,3]\n", [{"value": 1}, {"value": 2}, {"value": 3}]),
        ("lines", b"[1,2]\n[3]\n", [{"value": [1, 2]}, {"value": [3]}]),
        ("lines.jsonl", b"[1,2]\n[3]\n", [{"value": [1, 2]}, {"value": [3]}]),
        ("one.json", b'{\n  "x": 1\n}\n{"x": 2}\n', [{"x": 1}, {"x": 2}]),
    ],
)
def test_the_command_in_the_refusal_makes_json_lines(
    write: Write, read: Read, tmp_path: Path, name: str, data: bytes, rows: list[dict[str, Any]]
) -> None:
    with pytest.raises(SourceFormatError) as refused:
        read(write(name, data))
    command = str(refused.value.hint).partition("(")[2].partition(")")[0]
    done = subprocess.run(["sh", "-c", command], cwd=tmp_path, check=False, capture_output=True, timeout=60)
    if done.returncode == 127:
        pytest.skip("jq is not installed")
    assert done.stderr == b""
    assert read(tmp_path / command.rpartition("> ")[2].strip("'")).to_pylist() == rows


def test_a_json_array_longer_than_the_inspected_bytes_is_detected(write: Write) -> None:
    for first in (b'{"x":"' + b"y" * 100_000 + b'"}', b"1"):
        with pytest.raises(SourceFormatError, match="JSON array"):
            plan_source(str(write("long", b"[" + first + b",2" * 3_000_000 + b"]")))


def test_a_single_line_with_commas_is_a_table_only_beside_other_tables(write: Write, tmp_path: Path) -> None:
    write("d/one", b"id,word\n")
    with pytest.raises(SourceFormatError, match=r"one line with commas.*--format csv"):
        plan_source(str(tmp_path / "d"))
    assert plan_source(str(tmp_path / "d" / "one"), SourceOptions(format="csv")).schema.names == ["id", "word"]
    write("d/two", b"id,word\n1,a\n")
    assert plan_source(str(tmp_path / "d")).format == "csv"
    write("e/one", b"Hello, world\n")
    write("e/two", b"just words\nin lines\n")
    assert plan_source(str(tmp_path / "e")).format == "bytes"


@pytest.mark.parametrize(
    ("name", "data", "options", "rows"),
    [
        ("prices.txt", b"id;price\n1;1,5\n2;2,5\n", {"delimiter": ";"}, [(1, "1,5"), (2, "2,5")]),
        ("prices", b"id,price\n1,x\n", {"delimiter": ","}, [(1, "x")]),
        ("words.txt", b"word\na\n", {"delimiter": ","}, [("a",)]),
        ("prices.json", b"id;price\n1;1,5\n", {"delimiter": ";"}, [(1, "1,5")]),
        ("towns.dat", "id,town\n1,Köln\n".encode("latin-1"), {"encoding": "latin-1"}, [(1, "Köln")]),
        ("town.dat", "town\nKöln\n".encode("latin-1"), {"encoding": "latin-1"}, [("Köln",)]),
        ("plain.dat", b"some\nwords\n", {"encoding": "utf-8"}, [("words",)]),
        ("wide.txt", "id,town\n1,Köln\n".encode("utf-16"), {"encoding": "utf-16"}, [(1, "Köln")]),
        (
            "wide.txt.gz",
            gzip.compress("id,town\n1,Köln\n".encode("utf-16"), mtime=0),
            {"encoding": "utf-16"},
            [(1, "Köln")],
        ),
        ("lines.dat", '{"town":"Köln"}\n'.encode("latin-1"), {"encoding": "latin-1"}, [("Köln",)]),
        ("words.dat", b"a\nb\n", {"header": False}, [("a",), ("b",)]),
        ("magic.csv", b"PAR1,b\n1,2\n", {}, [(1, 2)]),
        ("magic", b"ARROW1,b\n1,2\n", {}, [(1, 2)]),
        ("braces", b"{id},b\n1,2\n", {}, [(1, 2)]),
        ("a.tsv", b"a,b\tc\n1,2\t3\n", {"delimiter": ","}, [(1, "2\t3")]),
    ],
)
def test_given_options_win_over_detection_and_a_magic_number_alone_is_no_format(
    write: Write, read: Read, name: str, data: bytes, options: dict[str, Any], rows: list[tuple[Any, ...]]
) -> None:
    table = read(write(name, data), **options)
    assert [tuple(row.values()) for row in table.to_pylist()] == rows


def test_a_header_of_many_kilobytes_is_a_header(write: Write, read: Read) -> None:
    names = [f"column_number_{number:05}" for number in range(4500)]
    table = read(write("columns.txt", (",".join(names) + "\n" + ",".join("1" * 4500) + "\n").encode()))
    assert (table.column_names, table.num_rows) == (names, 1)


def test_an_option_without_effect_on_the_format_is_named(write: Write, tmp_path: Path) -> None:
    pq.write_table(pa.table({"a": [1]}), tmp_path / "a.parquet")
    plan = plan_source(str(tmp_path / "a.parquet"), SourceOptions(delimiter=";", encoding="utf-8", header=False))
    assert [(warning.code, warning.message.split()[0]) for warning in plan.warnings] == [
        ("option_not_used", "--delimiter"),
        ("option_not_used", "--encoding"),
        ("option_not_used", "--no-header"),
    ]
    plan = plan_source(str(write("a.jsonl", b'{"a":1}\n')), SourceOptions(encoding="latin-1", delimiter=";"))
    assert [warning.message.split()[0] for warning in plan.warnings] == ["--delimiter"]
    with pytest.raises(UsageError, match="--delimiter changes nothing"):
        plan_source(str(write("a.bin", b"\0")), SourceOptions(format="bytes", delimiter=";"))


def test_binary_data_is_not_detected_as_bytes_if_a_delimiter_is_given(write: Write, read: Read) -> None:
    path = write("picture", b"\x89PNG\r\n\x1a\n\0\0\0")
    assert plan_source(str(path)).format == "bytes"
    with pytest.raises(SourceError):
        read(path, delimiter=";")
