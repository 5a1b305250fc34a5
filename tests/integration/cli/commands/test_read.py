from __future__ import annotations

import hashlib
import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq
import pytest

from millrace.settings import Settings
from millrace.store.cluster.session import CassandraSession
from tests.integration.cli.conftest import ROWS, Millrace

Spawn = Callable[..., subprocess.Popen[Any]]


@pytest.fixture(scope="module")
def expected(table_csv: Path, loaded: dict[str, Any]) -> pa.Table:
    """Read the same file with pyarrow."""
    convert = pa_csv.ConvertOptions(null_values=["NA"], strings_can_be_null=True)
    parse = pa_csv.ParseOptions(newlines_in_values=True)
    return pa_csv.read_csv(table_csv, convert_options=convert, parse_options=parse)


def arrow(path: Path) -> pa.Table:
    with pa.memory_map(str(path)) as source:
        return pa.ipc.open_file(source).read_all()


def test_an_arrow_file_equals_the_loaded_table(millrace: Millrace, tmp_path: Path, expected: pa.Table) -> None:
    done = millrace("read", "words", "--output", str(tmp_path / "f.arrow"))
    assert (done.code, done.out) == (0, "")
    assert f"{ROWS:,} rows of words@1-" in done.err
    assert arrow(tmp_path / "f.arrow").equals(expected)


def test_a_parquet_file_equals_the_loaded_table_except_for_seconds(
    millrace: Millrace, tmp_path: Path, expected: pa.Table
) -> None:
    done = millrace("read", "words", "--output", str(tmp_path / "f.parquet"), "--json")
    assert done.code == 0
    assert done.json["output_bytes"] == (tmp_path / "f.parquet").stat().st_size
    milliseconds = expected.set_column(2, "when", expected.column("when").cast(pa.timestamp("ms")))
    assert pq.read_table(tmp_path / "f.parquet").equals(milliseconds)


def test_csv_and_json_lines_come_back_the_same(millrace: Millrace, tmp_path: Path, expected: pa.Table) -> None:
    for name in ("f.csv", "f.csv.gz"):
        assert millrace("read", "words", "--output", str(tmp_path / name)).code == 0
        convert = pa_csv.ConvertOptions(strings_can_be_null=True, quoted_strings_can_be_null=False)
        parse = pa_csv.ParseOptions(newlines_in_values=True)
        assert pa_csv.read_csv(tmp_path / name, convert_options=convert, parse_options=parse).equals(expected)
    assert millrace("read", "words", "--output", str(tmp_path / "f.jsonl")).code == 0
    rows = [json.loads(line) for line in (tmp_path / "f.jsonl").read_text().splitlines()]
    assert [(row["n"], row["word"]) for row in rows] == list(
        zip(expected.column("n").to_pylist(), expected.column("word").to_pylist(), strict=True)
    )


def test_columns_filter_and_head_can_be_combined(millrace: Millrace, tmp_path: Path, expected: pa.Table) -> None:
    args = (
        "--columns",
        "word,n",
        "--filter",
        "share >= 100 and word is null and \"when\" < '2013-01-15'",
        "--head",
        "7",
    )
    done = millrace("read", "words", *args, "--output", str(tmp_path / "f.arrow"), "--json")
    assert (done.code, done.err) == (0, "")
    rows = [
        {"word": row["word"], "n": row["n"]}
        for row in expected.to_pylist()
        if row["share"] >= 100 and row["word"] is None and row["when"].day < 15
    ]
    back = arrow(tmp_path / "f.arrow")
    assert back.to_pylist() == rows[:7]
    assert back.schema.names == ["word", "n"]
    assert done.json["rows"] == 7


def test_a_read_without_rows_writes_a_file_with_columns(millrace: Millrace, tmp_path: Path, expected: pa.Table) -> None:
    for args in (("--filter", "n < 0"), ("--head", "0")):
        assert millrace("read", "words", *args, "--output", str(tmp_path / "f.arrow")).code == 0
        assert arrow(tmp_path / "f.arrow").equals(expected.slice(0, 0))


def test_a_read_without_output_prints_the_first_rows_and_the_row_count(
    millrace: Millrace, loaded: dict[str, Any]
) -> None:
    done = millrace("read", "words")
    assert done.code == 0
    assert len(done.out.splitlines()) == 22
    assert "2013-01-01 05:00:00" in done.out
    assert "w1,\\n1" in done.out
    assert "null" in done.out
    assert done.err == f"the first 20 of {ROWS:,} rows (--head N, --output FILE)\n"
    done = millrace("read", "words", "--filter", "n in (3, 4)", "--columns", "n")
    assert [line.strip() for line in done.out.splitlines()[2:]] == ["3", "4"]
    assert done.err == f"2 rows that pass, of {ROWS:,}\n"
    done = millrace("read", "words", "--filter", "n > 2", "--head", "1", "--columns", "n")
    assert "the first 1 rows that pass" in done.err


def test_a_version_can_be_named(millrace: Millrace, loaded: dict[str, Any]) -> None:
    for reference in ("words@1", f"words@{loaded['version']}", "words@latest", "words@2099-01-01T00:00"):
        assert millrace("read", reference, "--json").json["version"] == loaded["version"]
    done = millrace("read", "words@7")
    assert (done.code, done.err.count("\n")) == (1, 1)
    assert "words has no version 7" in done.err


@pytest.mark.parametrize(
    ("args", "code", "said"),
    [
        (["nothing"], 1, "there is no dataset 'nothing'"),
        (["Words"], 2, "is not a dataset name"),
        (["words", "--columns", "n,zzz"], 2, "has no column 'zzz'"),
        (["words", "--columns", "n,n"], 2, "not a list of different columns"),
        (["words", "--filter", "upper(word) = 'X'"], 2, "calls upper(...) at character 1"),
        (["words", "--filter", "wrod = 'X'"], 2, "did you mean word?"),
        (["words", "--filter", "n = 1.5", "--json"], 2, "whole numbers"),
        (["words", "--head", "-1"], 2, "-1"),
        (["words", "--output", "f.xlsx"], 2, "does not determine a format"),
        (["words", "--output", "nowhere/f.csv"], 2, "there is no folder"),
        (["words", "--format", "csv"], 2, "--format needs --output"),
        (["words", "--output", "-", "--json"], 2, "both write to standard output"),
        (["words", "--output", "/dev/full", "--format", "csv"], 1, "/dev/full cannot be written"),
    ],
)
def test_an_invalid_read_fails_with_one_line(
    millrace: Millrace, loaded: dict[str, Any], args: list[str], code: int, said: str
) -> None:
    done = millrace("read", *args)
    assert (done.code, done.err.count("\n")) == (code, 1)
    assert said in done.err


# --- pipes


def test_standard_output_is_a_file_like_any_other(spawn: Spawn, expected: pa.Table) -> None:
    process = spawn("read", "words", "--output", "-", "--format", "arrow", text=False)
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    assert pa.ipc.open_file(out).read_all().equals(expected)


def test_a_pipe_that_closes_early_ends_quietly(spawn: Spawn, loaded: dict[str, Any]) -> None:
    process = spawn("read", "words", "--output", "-", "--format", "csv", bufsize=0, text=False)
    assert process.stdout is not None
    assert process.stderr is not None
    assert process.stdout.read(8) == b'"n","wor'
    process.stdout.close()
    assert process.wait(60) == 0
    assert process.stderr.read() == b""
    process.stderr.close()


# --- the cache


def test_warmed_chunks_come_from_redis_and_evicted_ones_from_cassandra(
    millrace: Millrace, table_csv: Path, tmp_path: Path, expected: pa.Table
) -> None:
    chunks = millrace("load", "cached", str(table_csv), "--null-value", "NA", "--chunk-bytes", "65536", "--json").json[
        "chunks"
    ]
    cassandra = {"process": 0, "redis": 0, "cassandra": chunks}
    redis = {"process": 0, "redis": chunks, "cassandra": 0}

    def read(*args: str) -> tuple[dict[str, int], pa.Table]:
        done = millrace("read", "cached", "--output", str(tmp_path / "f.arrow"), "--json", *args)
        return done.json["chunks"], arrow(tmp_path / "f.arrow")

    assert read() == (cassandra, expected)
    warmed = millrace("warm", "cached", "--json")
    assert (warmed.code, warmed.json["complete"], warmed.json["chunks"]) == (0, True, chunks)
    assert millrace("warm", "cached", "--json").json["already_cached"] == chunks
    assert read() == (redis, expected)
    assert millrace("read", "cached", "--json").json["chunks"] == redis
    assert read("--no-cache") == (cassandra, expected)
    entries = {entry["dataset"]: entry for entry in millrace("cache", "--json").json["entries"]}
    assert entries["cached"]["chunks"] == chunks
    assert "cached@1-" in millrace("cache").out
    assert millrace("evict", "cached", "--json").json["chunks"] == chunks
    assert read() == (cassandra, expected)
    assert "cached" not in {entry["dataset"] for entry in millrace("cache", "--json").json["entries"]}


def test_evicting_a_version_keeps_the_chunks_shared_with_another_one(millrace: Millrace, table_csv: Path) -> None:
    first = millrace("load", "shared", str(table_csv), "--chunk-bytes", "65536", "--json").json
    second = millrace(
        "load", "shared", str(table_csv), "--chunk-bytes", "65536", "--mode", "append", "--json"
    ).json  # fmt: skip
    for number in ("1", "2"):
        assert millrace("warm", f"shared@{number}", "--json").json["complete"] is True
    assert millrace("evict", "shared@2", "--json").json["chunks"] == second["chunks"]
    assert millrace("read", "shared@1", "--json").json["chunks"]["redis"] == first["chunks"]
    assert millrace("evict", "shared", "--json").json["chunks"] == first["chunks"]


def test_without_redis_reads_succeed_and_warn_once(millrace: Millrace, loaded: dict[str, Any]) -> None:
    done = millrace("read", "words", "--json", MILLRACE_REDIS__URL="redis://127.0.0.1:1/0")
    assert (done.code, done.json["rows"]) == (0, ROWS)
    assert done.err.count("\n") == 1
    assert done.err.startswith("millrace: warning: the cache at ")
    for args in (("warm", "words"), ("evict", "words"), ("cache",)):
        done = millrace(*args, MILLRACE_REDIS__URL="redis://127.0.0.1:1/0")
        assert (done.code, "does not respond" in done.err) == (1, True), args
        done = millrace(*args, MILLRACE_REDIS__URL="")
        assert (done.code, "no cache is configured" in done.err) == (1, True), args


# --- bytes


def digests(root: Path) -> dict[str, str]:
    return {
        str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "folder"
        for path in sorted(root.rglob("*"))
    }


def test_bytes_come_back_as_the_same_file(millrace: Millrace, spawn: Spawn, tmp_path: Path) -> None:
    source = tmp_path / "model.bin"
    source.write_bytes(hashlib.shake_256(b"seed").digest(2_345_678))
    assert millrace("load", "model", str(source), "--format", "bytes").code == 0
    done = millrace("read", "model", "--output", str(tmp_path / "back.bin"), "--json")
    assert (done.code, done.json["output_bytes"]) == (0, 2_345_678)
    assert (tmp_path / "back.bin").read_bytes() == source.read_bytes()
    process = spawn("read", "model", "--output", "-", text=False)
    out, err = process.communicate(timeout=120)
    assert (process.returncode, out == source.read_bytes()) == (0, True), err
    refused = millrace("read", "model", "--output", str(tmp_path / "x.bin"), "--head", "1")
    assert (refused.code, refused.err.count("\n")) == (2, 1)
    assert "which are written unchanged" in refused.err


def test_a_folder_comes_back_as_the_same_tree(millrace: Millrace, tmp_path: Path) -> None:
    root = tmp_path / "tree"
    (root / "a" / "b").mkdir(parents=True)
    (root / "hollow").mkdir()
    (root / "a" / "one.txt").write_text("one")
    (root / "a" / "b" / "two.bin").write_bytes(bytes(range(256)) * 5000)
    (root / "nothing").write_bytes(b"")
    assert millrace("load", "tree", str(root), "--format", "bytes").code == 0
    done = millrace("read", "tree", "--output", str(tmp_path / "back"))
    assert (done.code, done.out) == (0, "")
    assert digests(tmp_path / "back") == digests(root)
    again = millrace("read", "tree", "--output", str(tmp_path / "back"))
    assert (again.code, "exists already" in again.err) == (2, True)
    assert "contains a folder" in millrace("read", "tree", "--output", "-").err
    rows = millrace("read", "tree", "--output", str(tmp_path / "rows.arrow"), "--format", "arrow", "--json")
    assert rows.json["rows"] == arrow(tmp_path / "rows.arrow").num_rows


# --- damage


def test_a_read_that_fails_leaves_no_file(
    millrace: Millrace, table_csv: Path, tmp_path: Path, settings: Settings
) -> None:
    assert millrace("load", "damaged", str(table_csv), "--chunk-bytes", "65536").code == 0
    cassandra = CassandraSession.connect(settings.cassandra)
    try:
        keyspace = settings.cassandra.keyspace
        rows = cassandra.session.execute(f"SELECT attempt_id FROM {keyspace}.attempts WHERE dataset = 'damaged'")
        for row in rows:
            where = "dataset = 'damaged' AND attempt_id = %s AND bucket = 0 AND chunk = 1"
            statement = f"DELETE FROM {keyspace}.chunks WHERE {where}"
            cassandra.session.execute(statement, (row.attempt_id,))
    finally:
        cassandra.close()
    done = millrace("read", "damaged", "--output", str(tmp_path / "f.csv"))
    assert (done.code, done.out, done.err.count("\n")) == (1, "", 1)
    assert list(tmp_path.iterdir()) == []
    checked = millrace("verify", "damaged", "--json")
    assert (checked.code, checked.json["ok"], checked.json["bad_copies"]) == (1, False, 1)
    assert checked.err.count("\n") == 1
    assert "ChunkMissingError" in millrace("verify", "damaged").out
    # Tests of fsck on the whole keyspace must not find it.
    assert millrace("delete", "damaged", "--yes", "--now").code == 0


@pytest.fixture(scope="module")
def odd_names(millrace: Millrace, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    path = tmp_path_factory.mktemp("names") / "names.csv"
    path.write_text('id,"last, first", unit ,"say ""hi"""\n1,"Doe, Ann",kg,yes\n')
    assert millrace("load", "oddnames", str(path)).code == 0
    return ["id", "last, first", " unit ", 'say "hi"']


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ('"last, first"', ["last, first"]),
        ('" unit ",id', [" unit ", "id"]),
        ('"last, first"," unit ","say ""hi""",id', ["last, first", " unit ", 'say "hi"', "id"]),
        ('say "hi"', ['say "hi"']),
    ],
)
def test_every_column_can_be_selected_by_its_name(
    millrace: Millrace, odd_names: list[str], tmp_path: Path, text: str, names: list[str]
) -> None:
    done = millrace("read", "oddnames", "--columns", text, "--output", str(tmp_path / "o.parquet"))
    assert (done.code, pq.read_table(tmp_path / "o.parquet").column_names) == (0, names)


def test_the_column_names_in_the_error_can_be_copied_into_an_option(
    millrace: Millrace, odd_names: list[str], tmp_path: Path
) -> None:
    said = millrace("read", "oddnames", "--columns", " unit ", "--output", str(tmp_path / "o.parquet"))
    copied = 'id, "last, first", " unit ", say "hi"'
    assert said.code == 2
    assert f"has no column 'unit': its columns are {copied}" in said.err
    again = millrace("read", "oddnames", "--columns", copied, "--output", str(tmp_path / "o.parquet"))
    assert (again.code, pq.read_table(tmp_path / "o.parquet").column_names) == (0, odd_names)
