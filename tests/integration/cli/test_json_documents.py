"""JSON documents on the real nodes: from a file, standard input and Python, and without a version if one is wrong."""

from __future__ import annotations

import gzip
import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from millrace.api import Store
from tests.integration.cli.conftest import Millrace

Spawn = Callable[..., subprocess.Popen[Any]]

ROWS = [{"id": number, "name": f"row {number}", "tags": [number, number + 1]} for number in range(50_000)]
ANSWER = {"meta": {"page": 1}, "data": {"items": ROWS}}
OPTIONS = ("--format", "json", "--records", "data.items")


def rows_of(millrace: Millrace, name: str, tmp_path: Path) -> list[dict[str, Any]]:
    out = tmp_path / f"{name}.parquet"
    assert millrace("read", name, "--output", str(out), "--force").code == 0
    rows: list[dict[str, Any]] = pq.read_table(out).to_pylist()
    return rows


def test_a_document_is_loaded_from_a_file_and_appended_from_standard_input(
    millrace: Millrace, spawn: Spawn, tmp_path: Path
) -> None:
    path = tmp_path / "answer.json.gz"
    path.write_bytes(gzip.compress(json.dumps(ANSWER, indent=1).encode()))
    done = millrace("load", "answer", str(path), *OPTIONS, "--json")
    assert done.code == 0, done.err
    assert done.json["rows"] == len(ROWS)
    assert rows_of(millrace, "answer", tmp_path) == ROWS
    process = spawn("load", "answer", "-", *OPTIONS, "--mode", "append", stdin=subprocess.PIPE)
    _, err = process.communicate(json.dumps({"data": {"items": ROWS[:3]}}), timeout=120)
    assert process.returncode == 0, err
    assert rows_of(millrace, "answer", tmp_path) == ROWS + ROWS[:3]


def test_python_takes_the_same_option(store: Store, tmp_path: Path) -> None:
    path = tmp_path / "answer.json"
    path.write_text(json.dumps(ANSWER))
    report = store.load("answer_python", str(path), format="json", records="data.items")
    assert report.rows == len(ROWS)
    assert store.dataset("answer_python").to_table().to_pylist() == ROWS


@pytest.mark.parametrize(
    ("text", "options", "message"),
    [
        (json.dumps(ROWS[:2]), (), "give --format json"),
        (json.dumps(ANSWER), ("--format", "json"), "the document is an object and not an array"),
        (json.dumps(ANSWER), ("--format", "json", "--records", "data.item"), "did you mean items?"),
        (
            '[{"id": 1},\n{"id": 2},\n3]',
            ("--format", "json"),
            "answer.json, line 3: element 3 of the array is a number",
        ),
        (json.dumps(ROWS), ("--format", "json", "--max-unit-bytes", "1000"), "at most 1,000 are read at once"),
    ],
)
def test_a_document_that_is_not_loaded_is_one_line_and_makes_no_version(
    millrace: Millrace, tmp_path: Path, text: str, options: tuple[str, ...], message: str
) -> None:
    path = tmp_path / "answer.json"
    path.write_text(text)
    done = millrace("load", "answer_refused", str(path), *options)
    assert done.code in (1, 2)
    assert message in done.err
    assert len(done.err.splitlines()) == 1
    assert millrace("versions", "answer_refused").code != 0
