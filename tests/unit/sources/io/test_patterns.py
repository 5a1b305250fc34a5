"""Pattern characters and plain names in paths, and links that a pattern matches."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest

from millrace.errors import SourceNotFoundError, SourceUnreadableError, UsageError
from millrace.sources import SourceOptions, plan_source, walk

Read = Callable[..., pa.Table]
Write = Callable[[str, bytes], Path]


@pytest.fixture
def lots(write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    write("lot7/part.csv", b"which\nwrong\n")
    write("lot[7]/part.csv", b"which\nright\n")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("pattern", ["*.csv", "p?rt.csv", "**/*.csv", "../lot[[]7]/*.csv", "./*", "[p]art.csv"])
def test_brackets_in_the_working_directory_are_no_pattern(
    lots: Path, read: Read, monkeypatch: pytest.MonkeyPatch, pattern: str
) -> None:
    monkeypatch.chdir(lots / "lot[7]")
    assert read(pattern).column("which").to_pylist() == ["right"]


def test_brackets_in_the_name_of_an_existing_folder_are_no_pattern(lots: Path, read: Read) -> None:
    for pattern in ("lot[7]/*.csv", f"{lots}/lot[7]/*.csv", "lot[[]7]/*.csv", "lot[7]/part.csv", "lot[[]7]/part.csv"):
        assert read(pattern).column("which").to_pylist() == ["right"]
    deeper = lots / "all" / "x" / "lot[7]"
    deeper.mkdir(parents=True)
    (deeper / "a.csv").write_bytes(b"which\ndeep\n")
    (lots / "all" / "x" / "lot7").mkdir()
    (lots / "all" / "x" / "lot7" / "a.csv").write_bytes(b"which\nwrong\n")
    assert read("all/*/lot[7]/*.csv").column("which").to_pylist() == ["deep"]


def test_brackets_are_a_pattern_where_no_name_has_them(write: Write, read: Read, tmp_path: Path) -> None:
    write("lot7/part.csv", b"which\n7\n")
    write("lot8/part.csv", b"which\n8\n")
    assert read(tmp_path / "lot[78]/*.csv").column("which").to_pylist() == [7, 8]
    assert read(tmp_path / "lot[!8]/*.csv").column("which").to_pylist() == [7]


@pytest.mark.parametrize("scheme", ["file://", "file://localhost", "FILE://", "file://LOCALHOST"])
def test_percent_encoded_brackets_are_no_pattern(lots: Path, read: Read, scheme: str) -> None:
    assert read(f"{scheme}{lots}/lot%5B7%5D/*.csv").column("which").to_pylist() == ["right"]
    assert read(f"{scheme}{lots}/lot%5b7%5d/part.csv").column("which").to_pylist() == ["right"]
    assert read(f"{scheme}{lots}/lot%5B7%5D").column("which").to_pylist() == ["right"]


def test_query_and_fragment_characters_of_a_file_url_are_part_of_the_path(
    write: Write, read: Read, tmp_path: Path
) -> None:
    write("d/a1#x.csv", b"id\n1\n")
    write("d/a2#x.csv", b"id\n2\n")
    write("d/a?#x.csv", b"id\n3\n")
    write("d/a1", b"id,v\n9,9\n")
    assert read(f"file://{tmp_path}/d/a1#x.csv").column("id").to_pylist() == [1]
    assert read(f"file://{tmp_path}/d/a%3F#x.csv").column("id").to_pylist() == [3]
    assert read(f"file://{tmp_path}/d/a[12]#x.csv").column("id").to_pylist() == [1, 2]


def test_a_file_url_of_another_host_is_refused() -> None:
    with pytest.raises(UsageError, match="names another host"):
        plan_source("file://elsewhere/a.csv")
    with pytest.raises(UsageError, match="names another host"):
        plan_source("file://a.csv")


def test_brackets_in_the_home_directory_are_no_pattern(lots: Path, read: Read, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(lots / "lot[7]"))
    assert read("~/*.csv").column("which").to_pylist() == ["right"]
    assert read("~").column("which").to_pylist() == ["right"]


def test_dot_dot_in_a_path_is_resolved_by_its_text(lots: Path, read: Read, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(lots / "lot[7]")
    assert read("../lot7/*.csv").column("which").to_pylist() == ["wrong"]
    assert read("../lot[7]/../lot7/p*").column("which").to_pylist() == ["wrong"]


def test_a_removed_working_directory_is_an_error_only_for_relative_paths(
    write: Write, read: Read, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write("a.csv", b"id\n1\n")
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    for source in ("*.csv", "a.csv"):
        with pytest.raises(SourceNotFoundError, match="the working directory was removed"):
            plan_source(source)
    assert read(path).num_rows == 1


def test_a_pattern_below_a_missing_folder_matches_nothing(tmp_path: Path) -> None:
    with pytest.raises(SourceNotFoundError, match=r"no file matches .*there is no folder"):
        plan_source(f"{tmp_path}/nothing/*.csv")


def test_brackets_in_the_path_of_a_schema_file_are_no_pattern(lots: Path, read: Read) -> None:
    (lots / "lot[7]" / "s.json").write_text('{"which": "binary"}')
    for name in ("lot[7]/s.json", f"file://{lots}/lot%5B7%5D/s.json"):
        assert read("lot7/part.csv", schema_file=name).schema.field("which").type == pa.binary()


@pytest.fixture
def links(write: Write, tmp_path: Path) -> Path:
    write("in/a/t.csv", b"id\n1\n")
    write("out/s.csv", b"id\n2\n")
    (tmp_path / "in" / "link").symlink_to("../out")
    return tmp_path


@pytest.mark.parametrize("format_", [None, "csv", "bytes"])
@pytest.mark.parametrize(
    "pattern", ["in/*/*.csv", "in/**/*.csv", "in/**", "in/*/s.csv", "in/l*/*.csv", "in/[l]ink/*", "in"]
)
def test_a_pattern_that_matches_a_link_out_of_the_source_is_refused(
    links: Path, pattern: str, format_: str | None
) -> None:
    with pytest.raises(SourceUnreadableError, match=r"in/link is a link to .*/out, outside of the source"):
        plan_source(str(links / pattern), SourceOptions(format=format_))


def test_a_link_out_of_the_source_is_allowed_if_it_is_named_or_not_matched(links: Path, read: Read) -> None:
    assert read(links / "in/link/*.csv").column("id").to_pylist() == [2]
    assert read(links / "in/a*/*.csv").column("id").to_pylist() == [1]
    assert read(links / "in/a/**/*.csv").column("id").to_pylist() == [1]


@pytest.mark.parametrize("links_back", [1, 2, 3])
@pytest.mark.parametrize("format_", [None, "bytes"])
def test_a_circle_of_links_is_refused_at_once(
    write: Write, tmp_path: Path, links_back: int, format_: str | None
) -> None:
    write("ring/t.csv", b"id\n3\n")
    for number in range(links_back):
        (tmp_path / "ring" / f"again{number}").symlink_to(".")
    begun = time.monotonic()
    for pattern in ("ring/**/*.csv", "ring/*/*.csv", "ring"):
        with pytest.raises(SourceUnreadableError, match="leads back to a folder above it"):
            plan_source(str(tmp_path / pattern), SourceOptions(format=format_))
    assert [file.name for file in plan_source(f"{tmp_path}/ring/*.csv").files] == ["t.csv"]
    assert time.monotonic() - begun < 30


def test_links_that_multiply_the_folders_end_in_a_refusal_with_the_number(write: Write, tmp_path: Path) -> None:
    for number in range(20):
        write(f"d/{number:02}/a.csv", b"id\n1\n")
        for way in "ab":
            (tmp_path / "d" / f"{number:02}" / way).symlink_to(f"../{number + 1:02}")
    write("d/20/a.csv", b"id\n1\n")
    for parts in (["**"], ["**", "*.csv"]):
        with pytest.raises(SourceUnreadableError, match="links lead to more than 1,000 folders"):
            list(walk(str(tmp_path / "d"), parts, keep_all=False, linked_folders_max=1_000))


def test_a_link_within_the_source_is_followed_by_a_pattern_too(write: Write, read: Read, tmp_path: Path) -> None:
    write("d/a/t.csv", b"id\n1\n")
    (tmp_path / "d" / "b").symlink_to("a")
    assert read(tmp_path / "d/*/*.csv").column("id").to_pylist() == [1, 1]
    assert read(tmp_path / "d/**/*.csv").column("id").to_pylist() == [1, 1]
    assert read(tmp_path / "d").column("id").to_pylist() == [1, 1]


@pytest.mark.parametrize("source", ["d", "d/**/*.csv", "d/*/*.csv"])
def test_an_unreadable_folder_is_refused_and_not_skipped(
    write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str
) -> None:
    write("d/a/t.csv", b"id\n1\n")
    write("d/closed/t.csv", b"id\n2\n")
    scandir = os.scandir

    def refuse(path: str) -> object:
        if str(path).endswith("closed"):
            raise PermissionError(13, "Permission denied")
        return scandir(path)

    # Tests may run as root, which may read a folder of any mode.
    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(SourceUnreadableError, match=r"no permission to read .*/closed"):
        plan_source(str(tmp_path / source))


def test_a_fifo_that_a_pattern_does_not_match_is_skipped(write: Write, read: Read, tmp_path: Path) -> None:
    write("d/a.csv", b"id\n1\n")
    os.mkfifo(tmp_path / "d" / "pipe")
    assert read(tmp_path / "d/*.csv").column("id").to_pylist() == [1]
    with pytest.raises(SourceUnreadableError, match="pipe is a FIFO"):
        plan_source(str(tmp_path / "d/*"))
