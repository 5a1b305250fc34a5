"""Realistic files and folders through the whole command: which are loaded, left out or refused."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from pathlib import Path

import pytest

from tests.integration.cli.conftest import Millrace


def write(path: Path, data: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


def rows(millrace: Millrace, name: str, column: str) -> list[object]:
    with tempfile.TemporaryDirectory() as folder:
        done = millrace("read", name, "--output", f"{folder}/rows.jsonl")
        assert done.code == 0, done.err
        return [json.loads(line)[column] for line in Path(folder, "rows.jsonl").read_text().splitlines()]


def tree(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_files_that_were_loaded_one_by_one_as_bytes_come_back_as_a_folder(millrace: Millrace, tmp_path: Path) -> None:
    one, two = bytes(range(256)) * 2, b"two" * 50
    assert millrace("load", "apart", str(write(tmp_path / "one.bin", one)), "--format", "bytes").code == 0
    assert millrace("read", "apart", "--output", str(tmp_path / "alone")).code == 0
    assert (tmp_path / "alone").read_bytes() == one
    more = ("--format", "bytes", "--mode", "append")
    assert millrace("load", "apart", str(write(tmp_path / "two.bin", two)), *more).code == 0
    (tmp_path / "empty").mkdir()
    for name in ("out", "empty"):
        assert millrace("read", "apart", "--output", str(tmp_path / name)).code == 0
        assert tree(tmp_path / name) == {"one.bin": one, "two.bin": two}
    refused = millrace("read", "apart", "--output", "-")
    assert (refused.code, refused.out) == (2, "")
    assert "contains a folder or several files" in refused.err
    again = millrace("load", "apart", str(write(tmp_path / "more" / "one.bin", b"another file")), *more)
    assert again.code == 1
    assert "has the path 'one.bin' already" in again.err
    assert len(millrace("versions", "apart", "--json").json["versions"]) == 2


def test_a_file_that_was_appended_to_a_folder_comes_back_with_it(millrace: Millrace, tmp_path: Path) -> None:
    write(tmp_path / "d" / "x" / "a.bin", b"a")
    (tmp_path / "d" / "nothing").mkdir()
    assert millrace("load", "joined", str(tmp_path / "d"), "--format", "bytes").code == 0
    done = millrace("load", "joined", str(write(tmp_path / "b.bin", b"b")), "--format", "bytes", "--mode", "append")
    assert done.code == 0
    assert millrace("read", "joined", "--output", str(tmp_path / "out")).code == 0
    assert tree(tmp_path / "out") == {"x/a.bin": b"a", "b.bin": b"b"}
    assert (tmp_path / "out" / "nothing").is_dir()


def test_files_left_out_are_named_in_the_report_and_in_json(millrace: Millrace, tmp_path: Path) -> None:
    for name in ("mon", "_tue", "_late/wed"):
        write(tmp_path / "days" / f"{name}.csv", b"id\n1\n")
    done = millrace("load", "days", str(tmp_path / "days"), "--json")
    assert (done.code, done.json["rows"]) == (0, 1)
    assert [(each["code"], each["file"]) for each in done.json["warnings"]] == [("hidden_files", "_late/wed.csv")]
    assert "2 files are left out" in done.err
    done = millrace("load", "days", str(tmp_path / "days" / "*.csv"))
    assert "1 file is left out" in done.err
    assert "_tue.csv" in done.err


def test_an_index_without_a_name_is_loaded_and_appended_as_the_first_column(millrace: Millrace, tmp_path: Path) -> None:
    path = write(tmp_path / "frame.csv", b",town\n0,Oslo\n1,Rome\n")
    for mode in ("replace", "append"):
        done = millrace("load", "frame", str(path), "--mode", mode, "--json")
        assert done.code == 0, done.err
        assert [(each["code"], each["column"]) for each in done.json["warnings"]] == [("unnamed_columns", "f0")]
        assert "column 1 has no name in the header: it is called 'f0'" in done.err
    assert rows(millrace, "frame", "f0") == [0, 1, 0, 1]


def test_keys_of_partition_folders_are_reported_as_not_loaded(millrace: Millrace, tmp_path: Path) -> None:
    for year in (2022, 2023):
        write(tmp_path / "sales" / f"year={year}" / "shop=a" / "data.csv", b"n\n1\n")
    for source in ("sales", "sales/**/*.csv"):
        done = millrace("load", "sales", str(tmp_path / source), "--json")
        assert (done.code, done.json["rows"]) == (0, 2)
        (warning,) = done.json["warnings"]
        assert warning["code"] == "partition_folders"
        assert "'year', 'shop'" in warning["message"]
        assert "'year', 'shop'" in done.err


def test_a_folder_of_a_table_format_is_refused_and_kept_as_bytes(millrace: Millrace, tmp_path: Path) -> None:
    write(tmp_path / "t" / "_delta_log" / "0.json", b'{"a": 1}\n')
    write(tmp_path / "t" / "old.csv", b"v\nold\n")
    write(tmp_path / "t" / "new.csv", b"v\nnew\n")
    refused = millrace("load", "delta", str(tmp_path / "t"))
    assert refused.code == 1
    assert "is a Delta table" in refused.err
    assert "--format bytes" in refused.err
    assert millrace("load", "delta", str(tmp_path / "t" / "new.csv")).code == 0
    assert rows(millrace, "delta", "v") == ["new"]
    assert millrace("load", "delta_tree", str(tmp_path / "t"), "--format", "bytes").code == 0
    assert millrace("read", "delta_tree", "--output", str(tmp_path / "out")).code == 0
    assert tree(tmp_path / "out") == tree(tmp_path / "t")


def test_the_same_run_with_other_content_of_the_same_size_and_time_is_refused(
    millrace: Millrace, tmp_path: Path
) -> None:
    source = write(tmp_path / "d.csv", b"v\n333\n")
    for name, data in (("monday", b"v\n333\n"), ("tuesday", b"v\n444\n")):
        os.utime(write(tmp_path / name, data), ns=(10**18, 10**18))
    for again in range(2):
        shutil.copy2(tmp_path / "monday", source)
        done = millrace("load", "nightly", str(source), "--run-id", "r1")
        assert done.code == 0
        assert ("published already" in done.out) == bool(again)
    shutil.copy2(tmp_path / "tuesday", source)
    refused = millrace("load", "nightly", str(source), "--run-id", "r1")
    assert refused.code == 1
    assert "differs from the source that the run 'r1' loaded" in refused.err
    assert "CRC-32" in refused.err
    assert millrace("load", "nightly", str(source), "--run-id", "r2").code == 0
    assert rows(millrace, "nightly", "v") == [444]


def test_brackets_in_the_working_directory_are_no_pattern_and_a_link_out_is_refused(
    millrace: Millrace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "lot7" / "part.csv", b"which\nwrong\n")
    write(tmp_path / "lot[7]" / "part.csv", b"which\nright\n")
    monkeypatch.chdir(tmp_path / "lot[7]")
    for source in ("*.csv", f"{tmp_path}/lot[7]/*.csv", f"file://{tmp_path}/lot%5B7%5D/*.csv"):
        assert millrace("load", "lots", source).code == 0
        assert rows(millrace, "lots", "which") == ["right"]
    write(tmp_path / "in" / "a" / "t.csv", b"id\n1\n")
    (tmp_path / "in" / "link").symlink_to("../lot7")
    refused = millrace("load", "linked", str(tmp_path / "in" / "*" / "*.csv"))
    assert refused.code == 1
    assert "outside of the source" in refused.err
