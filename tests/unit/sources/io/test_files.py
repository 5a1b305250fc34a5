"""The files of a source: order, links, special files, formats, and changes after the plan."""

from __future__ import annotations

import errno
import os
import socket
import time
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from millrace.errors import (
    SourceChangedError,
    SourceEmptyError,
    SourceError,
    SourceFormatError,
    SourceNotFoundError,
    SourceUnreadableError,
    UsageError,
)
from millrace.sources import SourceOptions, open_source, plan_source

Read = Callable[..., pa.Table]
Write = Callable[[str, bytes], Path]


@pytest.mark.parametrize("uri", ["nothing.csv", "nothing/", "no*.csv", "a.csv/below.csv", "a.csv/"])
def test_a_missing_file_is_refused(write: Write, tmp_path: Path, uri: str) -> None:
    write("a.csv", b"a\n1\n")
    with pytest.raises(SourceNotFoundError):
        plan_source(f"{tmp_path}/{uri}")


@pytest.mark.parametrize("uri", ["", "a\0b"])
def test_an_invalid_path_is_refused(uri: str) -> None:
    with pytest.raises(UsageError, match="is not a path"):
        plan_source(uri)


@pytest.mark.parametrize(
    "uri",
    [
        "http://169.254.169.254/x.csv",
        "gopher://x/y",
        "memory://a.csv",
        "s3://",
        "s3:///key",
        "gs://*/key",
        "file://host/x.csv",
    ],
)
def test_unsupported_urls_are_refused_before_any_request(uri: str) -> None:
    with pytest.raises(UsageError):
        plan_source(uri)


def test_a_file_url_and_a_path_from_home_name_the_same_file(
    write: Write, read: Read, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write("a b.csv", b"a\n1\n")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert read(f"file://{tmp_path}/a%20b.csv").equals(read(path))
    assert read("~/a b.csv").equals(read(path))


def test_a_folder_without_data_is_refused(write: Write, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(SourceEmptyError, match="there is no data in"):
        plan_source(str(tmp_path / "empty"))
    write("empty/.hidden.csv", b"a\n1\n")
    write("empty/_temporary/a.csv", b"a\n1\n")
    with pytest.raises(SourceEmptyError, match="2 hidden files are left out"):
        plan_source(str(tmp_path / "empty"))


def test_an_empty_file_is_refused_with_the_option_that_stores_it(write: Write) -> None:
    with pytest.raises(SourceEmptyError, match="--format bytes"):
        plan_source(str(write("nothing", b"")))


def test_a_file_that_may_not_be_read_is_refused(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write("secret.csv", b"a\n1\n")

    def refuse(*_: object) -> int:
        raise PermissionError(errno.EACCES, "Permission denied")

    # Tests may run as root, which may read a file of any mode.
    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(SourceUnreadableError, match=r"no permission to read .*secret.csv"):
        plan_source(str(path))


def test_a_read_error_of_the_disk_is_reported_with_the_file(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write("a.csv", b"a\n1\n")
    plan = plan_source(str(path))

    class Failing:
        def read(self, size: int) -> bytes:
            raise OSError(errno.EIO, "Input/output error")

        def close(self) -> None:
            pass

    monkeypatch.setattr("millrace.sources.io.byte_streams.open_raw", lambda file: Failing())
    with pytest.raises(SourceUnreadableError, match=r"a.csv cannot be read: Input/output error"):
        list(open_source(plan))


@pytest.mark.parametrize("format_", [None, "bytes", "csv"])
def test_a_special_file_is_refused_without_waiting(tmp_path: Path, format_: str | None) -> None:
    fifo = tmp_path / "d" / "fifo"
    fifo.parent.mkdir()
    os.mkfifo(fifo)
    begun = time.monotonic()
    for path in (fifo, fifo.parent, Path("/dev/zero"), tmp_path / "d/fi*"):
        with pytest.raises(SourceUnreadableError, match="not a regular file"):
            plan_source(str(path), SourceOptions(format=format_))
    assert time.monotonic() - begun < 60


def test_a_socket_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # the path of a socket must be short
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("socket")
        with pytest.raises(SourceUnreadableError, match="is a socket, not a regular file"):
            plan_source("socket")


def test_a_file_that_becomes_a_fifo_after_the_plan_is_refused_without_waiting(write: Write) -> None:
    path = write("a.csv", b"a\n1\n")
    plan = plan_source(str(path))
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(SourceUnreadableError, match="is a FIFO"):
        list(open_source(plan))


def test_links_that_loop_or_lead_nowhere_are_refused(tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(SourceUnreadableError, match="leads back to itself"):
        plan_source(str(tmp_path / "loop"))
    (tmp_path / "gone").symlink_to("nothing")
    with pytest.raises(SourceNotFoundError, match="is a link to nothing, which does not exist"):
        plan_source(str(tmp_path / "gone"))
    folder = tmp_path / "d" / "below"
    folder.mkdir(parents=True)
    (folder / "up").symlink_to("..")
    with pytest.raises(SourceUnreadableError, match="leads back to a folder above it"):
        plan_source(str(tmp_path / "d"), SourceOptions(format="bytes"))


def test_a_link_within_the_source_is_followed_and_one_out_of_it_is_refused(
    write: Write, read: Read, tmp_path: Path
) -> None:
    outside = write("outside.csv", b"a\n9\n")
    inside = write("d/a.csv", b"a\n1\n")
    (tmp_path / "d" / "b.csv").symlink_to(inside)
    assert read(tmp_path / "d").column("a").to_pylist() == [1, 1]
    (tmp_path / "d" / "c.csv").symlink_to(outside)
    for uri in (tmp_path / "d", tmp_path / "d" / "*.csv"):
        with pytest.raises(SourceUnreadableError, match=r"c.csv is a link to .*outside.csv, outside of the source"):
            plan_source(str(uri))
    (tmp_path / "one.csv").symlink_to(outside)
    assert read(tmp_path / "one.csv").column("a").to_pylist() == [9]


def test_a_pattern_matches_files_in_byte_order(write: Write, read: Read, tmp_path: Path) -> None:
    for name in ("b", "a", "Z", "x/c", ".h", "x/_s"):
        write(f"d/{name}.csv", f"a\n{name}\n".encode())
    write("d/readme.md", b"no table")
    assert read(tmp_path / "d" / "*.csv").column("a").to_pylist() == ["Z", "a", "b"]
    assert read(tmp_path / "d" / "**" / "*.csv").column("a").to_pylist() == ["Z", "a", "b", "x/c"]
    assert read(tmp_path / "d" / "[ab].csv").column("a").to_pylist() == ["a", "b"]


@pytest.mark.parametrize("pattern", ["**/*.csv", "**/**/*.csv", "**/b/**/*.csv"])
@pytest.mark.parametrize("format_", [None, "bytes"])
def test_a_file_that_a_pattern_matches_in_several_ways_is_taken_once(
    write: Write, tmp_path: Path, pattern: str, format_: str | None
) -> None:
    write("g/a/b/b/x.csv", b"k,v\n1,2\n")
    plan = plan_source(str(tmp_path / "g" / pattern), SourceOptions(format=format_))
    assert [file.name for file in plan.files] == ["a/b/b/x.csv"]


def test_an_existing_name_with_pattern_characters_is_no_pattern(write: Write, read: Read) -> None:
    path = write("a[1]*.csv", b"a\n7\n")
    write("a1x.csv", b"a\n1\n")
    assert read(path).column("a").to_pylist() == [7]


def test_names_with_line_ends_and_percent_signs_are_read(write: Write, read: Read, tmp_path: Path) -> None:
    write("d/a\nb%n.csv", b"a\n1\n")
    assert plan_source(str(tmp_path / "d")).files[0].name == "a\nb%n.csv"
    assert read(tmp_path / "d").num_rows == 1


def test_a_name_that_is_not_utf8_is_refused(tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    Path(os.fsdecode(os.fsencode(tmp_path / "d") + b"/a\xff.csv")).write_bytes(b"a\n1\n")
    with pytest.raises(SourceUnreadableError, match="is not UTF-8"):
        plan_source(str(tmp_path / "d"))


def test_formats_mixed_in_one_folder_are_refused_naming_two_files(write: Write, tmp_path: Path) -> None:
    write("d/a.csv", b"a\n1\n")
    pq.write_table(pa.table({"a": [1]}), tmp_path / "d" / "b.parquet")
    with pytest.raises(SourceFormatError, match=r"different formats: a.csv is csv, b.parquet is parquet"):
        plan_source(str(tmp_path / "d"))


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"a,b\n1,2\n3,4\n", "csv"),
        (b"\xef\xbb\xbfa,b\n1,2\n", "csv"),
        (b'\n {"a": 1}\n', "jsonl"),
        (b"just some words\nin lines\n", "bytes"),
        (b"a,b\n1\n2,3,4\n", "bytes"),
        (b"\x89PNG\r\n\x1a\n\0\0\0", "bytes"),
        (b"\x80\x02pickle.", "bytes"),
        (b"SQLite format 3,b\n1,2\n", "csv"),
        (b"ORC,b\n1,2\n", "csv"),
        (b"\xff\xfe\xfd", "bytes"),
    ],
)
def test_without_a_known_file_name_ending_the_content_decides_the_format(
    write: Write, data: bytes, expected: str
) -> None:
    assert plan_source(str(write("data", data))).format == expected
    assert plan_source(str(write("data.txt", data))).format == expected


def test_a_column_of_numbers_without_a_known_ending_is_a_table_unless_it_is_beside_other_files(
    write: Write, tmp_path: Path
) -> None:
    write("d/numbers", b"id\n1\n2\n")
    assert plan_source(str(tmp_path / "d")).format == "csv"
    write("d/picture", b"\x89PNG\r\n\x1a\n\0\0\0")
    assert plan_source(str(tmp_path / "d")).format == "bytes"


def test_content_that_contradicts_the_name_is_refused(write: Write, tmp_path: Path) -> None:
    pq.write_table(pa.table({"a": [1]}), tmp_path / "a.csv")
    with pytest.raises(SourceFormatError, match=r"a.csv is named like csv but has parquet data.*--format parquet"):
        plan_source(str(tmp_path / "a.csv"))
    assert plan_source(str(tmp_path / "a.csv"), SourceOptions(format="parquet")).total_rows == 1


def _grow(path: Path) -> None:
    with path.open("ab") as file:
        file.write(b"9,9\n")


def _shrink(path: Path) -> None:
    os.truncate(path, path.stat().st_size - 4)


def _touch(path: Path) -> None:
    os.utime(path, ns=(1, 1))


def _replace(path: Path) -> None:
    other = path.with_name("other")
    other.write_bytes(path.read_bytes())
    os.utime(other, ns=(1, 1))
    other.rename(path)


@pytest.mark.parametrize("change", [_grow, _shrink, _touch, _replace])
@pytest.mark.parametrize("format_", ["csv", "jsonl", "bytes", "parquet", "arrow"])
def test_a_file_that_changed_after_the_plan_is_refused(
    tmp_path: Path, change: Callable[[Path], None], format_: str
) -> None:
    path = tmp_path / "data"
    if format_ == "parquet":
        pq.write_table(pa.table({"a": range(10)}), path)
    elif format_ == "arrow":
        with pa.ipc.new_file(path, pa.schema([("a", pa.int64())])) as writer:
            writer.write_table(pa.table({"a": range(10)}))
    else:
        path.write_bytes(b'{"a":1}\n' * 10 if format_ == "jsonl" else b"a,b\n1,2\n")
    plan = plan_source(str(path), SourceOptions(format=format_))
    change(path)
    with pytest.raises(SourceChangedError, match="data changed after the load was planned"):
        list(open_source(plan))


@pytest.mark.parametrize("change", [_grow, _shrink, _touch])
def test_a_file_that_changes_while_it_is_read_is_refused(write: Write, change: Callable[[Path], None]) -> None:
    path = write("a.csv", b"a,b\n" + b"1,2\n" * 8_000_000)
    reader = open_source(plan_source(str(path), SourceOptions(infer_bytes=1000), max_splits=1))
    next(reader)
    change(path)
    with pytest.raises(SourceChangedError):
        list(reader)


def test_a_file_that_is_deleted_after_the_plan_is_refused(write: Write) -> None:
    path = write("a.csv", b"a\n1\n")
    plan = plan_source(str(path))
    path.unlink()
    with pytest.raises(SourceError, match=r"the file .* does not exist"):
        list(open_source(plan))
