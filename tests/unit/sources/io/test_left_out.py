"""Files that a folder or a pattern leaves out are named, and folders of table formats are refused."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest

from millrace.errors import SourceEmptyError, SourceFormatError, SourceNotFoundError, SourceUnreadableError
from millrace.sources import SourceOptions, SourcePlan, plan_source

Read = Callable[..., pa.Table]
Write = Callable[[str, bytes], Path]


def left_out(plan: SourcePlan) -> list[tuple[str, str | None, str]]:
    return [(warning.code, warning.file, warning.message.partition(" left out")[0]) for warning in plan.warnings]


@pytest.fixture
def days(write: Write, tmp_path: Path) -> Path:
    write("days/mon.csv", b"id\n1\n")
    write("days/_tue.csv", b"id\n2\n")
    write("days/_late/wed.csv", b"id\n3\n")
    return tmp_path / "days"


@pytest.mark.parametrize("below", ["", "/", "/**/*.csv", "/**"])
def test_hidden_files_of_a_folder_and_of_its_hidden_folders_are_counted_and_one_is_named(
    days: Path, below: str
) -> None:
    plan = plan_source(f"{days}{below}")
    assert [file.name for file in plan.files] == ["mon.csv"]
    assert left_out(plan) == [("hidden_files", "_late/wed.csv", "2 files are")]


def test_a_pattern_names_the_hidden_files_that_it_matches_and_no_others(days: Path) -> None:
    assert left_out(plan_source(f"{days}/*.csv")) == [("hidden_files", "_tue.csv", "1 file is")]
    assert left_out(plan_source(f"{days}/m*.csv")) == []
    (days / ".thu.csv").write_bytes(b"id\n4\n")
    assert left_out(plan_source(f"{days}/*.csv")) == [("hidden_files", ".thu.csv", "2 files are")]


def test_a_hidden_name_that_is_given_explicitly_is_loaded(days: Path, read: Read) -> None:
    for source, ids in (
        ("_*.csv", [2]),
        ("_late", [3]),
        ("_l*/*.csv", [3]),
        ("_tue.csv", [2]),
        ("**/_late/*.csv", [3]),
    ):
        assert read(days / source).column("id").to_pylist() == ids
        assert plan_source(str(days / source)).warnings == ()


def test_bytes_keep_hidden_files_without_a_warning(days: Path) -> None:
    plan = plan_source(str(days), SourceOptions(format="bytes"))
    assert [file.name for file in plan.files] == ["_late/wed.csv", "_tue.csv", "mon.csv"]
    assert plan.warnings == ()


def test_marker_files_of_known_writers_are_skipped_without_a_warning(write: Write, tmp_path: Path, read: Read) -> None:
    write("d/part-0.csv", b"id\n1\n")
    for name in ("_SUCCESS", "_metadata", "_common_metadata", ".part-0.csv.crc", "._SUCCESS.crc", "._part-0.csv"):
        write(f"d/{name}", b"no table")
    for name in ("_committed_123", "_started_123", ".DS_Store", ".gitkeep", "__MACOSX/._part-0.csv"):
        write(f"d/{name}", b"no table")
    assert plan_source(str(tmp_path / "d")).warnings == ()
    assert read(tmp_path / "d").column("id").to_pylist() == [1]


def test_a_name_that_is_not_utf8_is_escaped_in_the_warning(write: Write, tmp_path: Path) -> None:
    write("d/a.csv", b"id\n1\n")
    Path(os.fsdecode(os.fsencode(tmp_path / "d") + b"/_\xff.csv")).write_bytes(b"id\n1\n")
    (warning,) = plan_source(str(tmp_path / "d")).warnings
    assert warning.file == "_\\xff.csv"
    assert warning.message.encode()


def test_hidden_links_are_skipped(days: Path) -> None:
    (days / ".loop").symlink_to(".")
    (days / "_away").symlink_to("/etc")
    (days / "_gone").symlink_to("nothing")
    assert left_out(plan_source(str(days))) == [("hidden_files", "_late/wed.csv", "2 files are")]


@pytest.fixture
def refusing_late(monkeypatch: pytest.MonkeyPatch) -> None:
    """Refuse to list the hidden folder of ``days``. Tests may run as root, which may list a folder of any mode."""
    scandir = os.scandir

    def refuse(path: str) -> object:
        if str(path).endswith("_late"):
            raise PermissionError(errno.EACCES, "Permission denied")
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)


@pytest.mark.usefixtures("refusing_late")
def test_an_unreadable_hidden_folder_is_refused_as_a_source(days: Path) -> None:
    with pytest.raises(SourceUnreadableError, match=r"no permission to read .*/_late"):
        plan_source(str(days / "_late"))
    with pytest.raises(SourceUnreadableError, match=r"no permission to read .*/_late"):
        plan_source(f"{days}/_late/*.csv")


@pytest.mark.usefixtures("refusing_late")
def test_an_unreadable_hidden_folder_is_skipped_within_a_source_and_refused_where_bytes_would_keep_it(
    days: Path,
) -> None:
    plan = plan_source(str(days))
    assert [file.name for file in plan.files] == ["mon.csv"]
    assert left_out(plan) == [("hidden_files", "_tue.csv", "1 file is")]
    with pytest.raises(SourceUnreadableError, match=r"no permission to read .*/_late"):
        plan_source(str(days), SourceOptions(format="bytes"))


def test_a_folder_of_only_hidden_files_is_refused_and_names_them(write: Write, tmp_path: Path) -> None:
    write("d/_a.csv", b"id\n1\n")
    with pytest.raises(SourceEmptyError, match=r"1 hidden file is left out: _a\.csv"):
        plan_source(str(tmp_path / "d"))


def test_folders_that_a_pattern_matches_and_does_not_enter_are_named(write: Write, tmp_path: Path) -> None:
    write("d/a.csv", b"id\n1\n")
    write("d/more/b.csv", b"id\n2\n")
    (warning,) = plan_source(f"{tmp_path}/d/*").warnings
    assert (warning.code, warning.file) == ("folders_left_out", "more")
    with pytest.raises(SourceNotFoundError, match=r"no file matches .*append /\*\* to it"):
        plan_source(f"{tmp_path}/d/mo*")


TABLES = {
    "a Delta table": "_delta_log/00000000000000000000.json",
    "a Hudi table": ".hoodie/hoodie.properties",
    "an Iceberg table": "metadata/v1.metadata.json",
    "the output of a Spark stream": "_spark_metadata/0",
}


@pytest.mark.parametrize("kind", TABLES)
def test_a_folder_of_a_table_format_is_refused_at_any_depth_and_from_within(
    write: Write, tmp_path: Path, kind: str
) -> None:
    write(f"lake/t/{TABLES[kind]}", b"{}")
    write("lake/t/day=1/a.csv", b"id\n1\n")
    write("lake/t/day=2/a.parquet", b"")
    write("lake/t/day=3/a", b"Obj\x01")
    write("lake/t/b.csv", b"id\n2\n")
    write("lake/plain/c.csv", b"id\n3\n")
    (tmp_path / "link").symlink_to("lake/t/day=2")
    below = ("lake/t", "lake", "lake/t/*.csv", "lake/**/*.csv", "lake/*/*.csv")
    for source in (*below, "lake/t/day=2", "lake/t/day=3", "lake/t/day=3/*", "link", "link/*"):
        for format_ in (None, "csv"):
            with pytest.raises(SourceFormatError, match=f"lake/t is {kind}: .*--format bytes"):
                plan_source(str(tmp_path / source), SourceOptions(format=format_))
    assert plan_source(str(tmp_path / "lake/plain")).format == "csv"
    assert plan_source(str(tmp_path / "lake/p*/*.csv")).format == "csv"


@pytest.mark.parametrize("kind", TABLES)
@pytest.mark.parametrize("source", ["t/exports/2024", "t/exports", "t/exports/2024/*.csv", "t/exports/**/*.csv"])
def test_text_in_a_folder_below_a_table_is_not_part_of_the_table(
    write: Write, tmp_path: Path, read: Read, kind: str, source: str
) -> None:
    write(f"t/{TABLES[kind]}", b"{}")
    write("t/exports/2024/a.csv", b"id\n1\n")
    if kind == "the output of a Spark stream":  # its data may be text files
        with pytest.raises(SourceFormatError, match=f"/t is {kind}: "):
            plan_source(str(tmp_path / source))
        return
    assert read(tmp_path / source).column("id").to_pylist() == [1]


@pytest.mark.parametrize("kind", TABLES)
def test_one_file_of_a_table_format_is_loaded_and_bytes_keep_the_whole_tree(
    write: Write, tmp_path: Path, read: Read, kind: str
) -> None:
    write(f"t/{TABLES[kind]}", b"{}")
    write("t/a.csv", b"id\n1\n")
    assert read(tmp_path / "t/a.csv").column("id").to_pylist() == [1]
    plan = plan_source(str(tmp_path / "t"), SourceOptions(format="bytes"))
    assert [file.name for file in plan.files] == sorted([TABLES[kind], "a.csv"])


def test_the_log_itself_is_read_as_the_rows_it_holds(write: Write, tmp_path: Path, read: Read) -> None:
    write("t/_delta_log/0.json", b'{"a": 1}\n')
    write("t/a.csv", b"id\n1\n")
    assert read(tmp_path / "t/_delta_log").column("a").to_pylist() == [1]
    assert read(tmp_path / "t/_delta_log/*.json").column("a").to_pylist() == [1]


def test_a_folder_that_is_called_metadata_makes_no_table_format(write: Write, tmp_path: Path, read: Read) -> None:
    write("d/metadata/about.csv", b"id\n1\n")
    write("d/a.csv", b"id\n2\n")
    assert read(tmp_path / "d").num_rows == 2


@pytest.fixture
def sales(write: Write, tmp_path: Path) -> Path:
    for year in (2022, 2023):
        for shop in ("a", "b"):
            write(f"sales/year={year}/shop={shop}/data.csv", b"n\n%d\n" % (year % 100))
    return tmp_path / "sales"


@pytest.mark.parametrize(
    "source", ["", "/", "/**/*.csv", "/*/*/data.csv", "/year=2022", "/year=2022/*/*.csv", "/year=2022/shop=a/data.csv"]
)
def test_partition_keys_in_folder_names_are_named_as_not_loaded(sales: Path, source: str) -> None:
    plan = plan_source(f"{sales}{source}")
    (warning,) = plan.warnings
    assert (warning.code, warning.column, warning.file) == ("partition_folders", "year", "year=2022")
    assert "'year', 'shop' in the names of folders" in warning.message
    assert plan.schema.names == ["n"]


def test_partition_keys_are_named_for_json_lines_too_except_those_in_the_files(write: Write, tmp_path: Path) -> None:
    for key, at in (("a%20key", 1), ("day", 2)):
        write(f"p/{key}={at}/x=1/f.jsonl", b'{"n": 1, "x": 1}\n')
    (warning,) = plan_source(str(tmp_path / "p")).warnings
    assert "'a key', 'day' in the names" in warning.message
    write("q/x=1/f.jsonl", b'{"n": 1, "x": 1}\n')
    assert plan_source(str(tmp_path / "q")).warnings == ()


def test_as_bytes_a_partitioned_tree_is_kept_without_a_warning(sales: Path) -> None:
    plan = plan_source(str(sales), SourceOptions(format="bytes"))
    assert plan.files[0].name == "year=2022/shop=a/data.csv"
    assert plan.warnings == ()


def test_an_equals_sign_without_a_key_or_in_a_file_name_is_no_partition(write: Write, tmp_path: Path) -> None:
    write("d/a=1.csv", b"n\n1\n")
    write("d/=x/b.csv", b"n\n1\n")
    assert plan_source(str(tmp_path / "d")).warnings == ()
