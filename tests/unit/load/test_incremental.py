"""Incremental loads, unchanged sources, and the list of loaded files, on a store in memory."""

from __future__ import annotations

import os
import threading
import zlib
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from millrace.api import Store
from millrace.errors import (
    InvalidSettingError,
    LoadSupersededError,
    SourceChangedError,
    SourceFormatError,
    SourceTooLargeError,
    SourceTypeError,
    UsageError,
)
from millrace.load import LoadOptions, LoadPlan, LoadReport, incremental_steps, publishing
from millrace.load.incremental_protocol import Stage
from millrace.load.incremental_steps import IncrementalSteps
from millrace.settings import Settings
from millrace.sources import BadRowBudget, Contract, SourceOptions
from millrace.sources.io import byte_streams, files
from tests.unit.store.fakes import FakeCassandra

INCREMENTAL = LoadOptions(mode="incremental")
APPEND = LoadOptions(mode="append")
REPLACE_CHANGED = LoadOptions(skip_unchanged=True)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "source"
    path.mkdir()
    return path


def write(folder: Path, name: str, *values: int) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("n\n" + "".join(f"{value}\n" for value in values))
    return path


def rows(store: Store, name: str = "d") -> list[int]:
    return sorted(store.dataset(name).to_table().column("n").to_pylist())


def listed(store: Store, name: str = "d") -> list[str]:
    return [Path(file.uri).name for file in store.catalogue.pages.files(store.version(name))]


def begun(store: Store, source: Path, options: LoadOptions, run: str | None = None) -> Callable[[], LoadReport]:
    """Plan a load and write its chunks; return the function that publishes it."""
    plan = store.plan("d", str(source), options, run=run)
    results = [store.load_split(plan, split.index) for split in plan.source.splits]
    return lambda: store.publish(plan, results)


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return the names of the files that are opened from now on."""
    names: list[str] = []
    opening = files.open_raw

    def noted(file: Any) -> Any:
        names.append(file.name)
        return opening(file)

    monkeypatch.setattr(byte_streams, "open_raw", noted)
    return names


# --- the list of loaded files


@pytest.mark.parametrize("splits", [False, True])
@pytest.mark.parametrize("format_", ["csv", "bytes"])
def test_a_version_records_facts_and_crc_of_each_file(store: Store, folder: Path, format_: str, splits: bool) -> None:
    paths = [write(folder, f"{name}.csv", *range(200)) for name in "abc"]
    (folder / "empty").mkdir()
    options = LoadOptions(source=SourceOptions(format=format_, split_bytes=300, piece_bytes=100))
    if splits:
        begun(store, folder, options)()
    else:
        store.load("d", str(folder), options)
    version = store.version("d")
    files = store.catalogue.pages.files(version)
    expected = [(path.stat(), zlib.crc32(path.read_bytes())) for path in paths]
    assert [file[1:5] for file in files if not file.uri.endswith("empty")] == [
        (stat.st_size, stat.st_mtime_ns, str(stat.st_ctime_ns), crc) for stat, crc in expected
    ]
    assert [file.uri for file in files][:3] == [str(path) for path in paths]
    assert {file.added_by for file in files} == {version.label}
    assert version.format_number == 2
    assert len(files) == (4 if format_ == "bytes" else 3)


def test_an_append_by_hand_continues_the_list_and_a_replace_begins_a_new_one(store: Store, folder: Path) -> None:
    for name, mode in (("a.csv", "replace"), ("b.csv", "append"), ("b.csv", "append")):
        store.load("d", str(write(folder, name, 1)), LoadOptions(mode=mode))
    assert listed(store) == ["a.csv", "b.csv", "b.csv"]
    store.load("d", str(write(folder, "c.csv", 1)))
    assert listed(store) == ["c.csv"]


def test_arrow_data_of_a_process_is_in_no_list_and_keeps_the_list_of_its_parent(store: Store, folder: Path) -> None:
    store.load("d", pa.table({"n": [1]}))
    version = store.version("d")
    assert (version.files_blob, version.format_number) == (None, 1)
    store.load("d", str(write(folder, "a.csv", 2)), INCREMENTAL)
    store.load("d", pa.table({"n": [3]}), APPEND)
    assert listed(store) == ["a.csv"]
    assert rows(store) == [1, 2, 3]


def test_a_name_that_is_not_utf8_is_in_the_list(store: Store, tmp_path: Path) -> None:
    folder = tmp_path / os.fsdecode(b"caf\xe9")
    folder.mkdir()
    write(folder, "a.csv", 1)
    store.load("d", str(folder), INCREMENTAL)
    assert store.catalogue.pages.files(store.version("d"))[0].uri.endswith("/caf\\xe9/a.csv")
    assert store.load("d", str(folder), INCREMENTAL).skipped == "unchanged"


# --- only new files


def test_only_files_that_no_version_of_the_line_has_loaded_are_loaded(
    store: Store, folder: Path, opened: list[str]
) -> None:
    write(folder, "2026-11-02.csv", 2)
    assert store.load("d", str(folder), INCREMENTAL).mode == "incremental"
    write(folder, "2026-11-03.csv", 3)
    late = write(folder, "2026-11-01.csv", 1)
    os.utime(late, ns=(1, 1))
    opened.clear()
    report = store.load("d", str(folder), INCREMENTAL)
    assert (report.rows, report.total_rows, report.parent) == (2, 3, "1-" + store.versions("d")[-1].hex)
    assert set(opened) == {"2026-11-01.csv", "2026-11-03.csv"}
    assert rows(store) == [1, 2, 3]
    assert store.version("d").mode == "incremental"


def test_without_a_new_file_nothing_is_opened_and_no_version_is_made(
    store: Store, cassandra: FakeCassandra, folder: Path, opened: list[str]
) -> None:
    write(folder, "a.csv", 1)
    first = store.load("d", str(folder), INCREMENTAL)
    opened.clear()
    written = len(cassandra.writes())
    report = store.load("d", str(folder), INCREMENTAL, run="second")
    assert (report.skipped, report.version, report.run, report.rows, report.total_rows) == (
        "unchanged", first.version, "second", 0, 1,
    )  # fmt: skip
    tables = {table for attempt in cassandra.writes()[written:] for table, _ in attempt.rows}
    assert tables <= {"reports", "dataset_runs"}  # of the run itself
    assert (opened, len(store.versions("d"))) == ([], 1)
    plan = store.plan("d", str(folder), INCREMENTAL)
    assert plan.unchanged
    assert plan.label == first.version
    assert LoadPlan.from_json(plan.to_json()) == plan


def test_files_loaded_by_hand_are_not_loaded_again(store: Store, folder: Path) -> None:
    store.load("d", str(write(folder, "a.csv", 1)))
    store.load("d", str(write(folder, "b.csv", 2)), APPEND)
    write(folder, "c.csv", 3)
    assert store.load("d", str(folder), INCREMENTAL).rows == 1
    assert rows(store) == [1, 2, 3]


def test_other_settings_do_not_load_a_loaded_file_again(store: Store, folder: Path) -> None:
    write(folder, "a.csv", 1)
    store.load("d", str(folder), INCREMENTAL)
    options = LoadOptions(mode="incremental", codec="zstd", source=SourceOptions(null_values=("1",)))
    assert store.load("d", str(folder), options).skipped == "unchanged"


def test_new_files_must_fit_the_dataset_as_those_of_an_append(store: Store, folder: Path) -> None:
    write(folder, "a.csv", 1)
    store.load("d", str(folder), INCREMENTAL)
    (folder / "b.csv").write_text("n\nword\n")
    with pytest.raises(SourceTypeError, match="cannot be appended"):
        store.load("d", str(folder), INCREMENTAL)
    assert listed(store) == ["a.csv"]


def test_a_dataset_of_bytes_gets_the_new_files_and_folders(store: Store, folder: Path) -> None:
    options = LoadOptions(mode="incremental", source=SourceOptions(format="bytes"))
    write(folder, "a.csv", 1)
    (folder / ".hidden").write_text("h")
    store.load("d", str(folder), options)
    write(folder, "b.csv", 2)
    (folder / "empty").mkdir()
    assert store.load("d", str(folder), INCREMENTAL).rows == 2
    paths = store.dataset("d").to_table().column("path").to_pylist()
    assert paths == [".hidden", "a.csv", "b.csv", "empty/"]
    assert store.load("d", str(folder), INCREMENTAL).skipped == "unchanged"


def test_an_incremental_load_needs_files(store: Store) -> None:
    for source in ("-", pa.table({"n": [1]})):
        with pytest.raises(UsageError, match="has no files to compare: use the mode append"):
            store.load("d", source, INCREMENTAL)


def test_a_changed_file_of_a_dataset_of_files_cannot_be_appended(store: Store, folder: Path) -> None:
    options = LoadOptions(mode="incremental", on_change="append", source=SourceOptions(format="bytes"))
    path = write(folder, "a.csv", 1)
    store.load("d", str(folder), options)
    change(path, "grown")
    with pytest.raises(SourceFormatError, match=r"has the path 'a\.csv' already"):
        store.load("d", str(folder), options)


def test_a_resumed_load_without_a_new_file_has_nothing_to_load(store: Store, folder: Path) -> None:
    write(folder, "a.csv", 1)
    store.load("d", str(folder), INCREMENTAL, run="r")
    assert store.unfinished("d", str(folder), INCREMENTAL, run="s") == "s"


def test_a_list_of_paths_is_compared_by_full_uri(store: Store, folder: Path) -> None:
    first, second = write(folder, "x/data.csv", 1), write(folder, "y/data.csv", 2)
    store.load("d", [str(first)], INCREMENTAL)
    assert store.load("d", [str(first), str(second)], INCREMENTAL).rows == 1
    assert rows(store) == [1, 2]


def test_a_repeated_run_reports_the_version_that_it_has_published(store: Store, folder: Path) -> None:
    write(folder, "a.csv", 1)
    first = store.load("d", str(folder), INCREMENTAL, run="r")
    write(folder, "b.csv", 2)
    store.load("d", str(folder), INCREMENTAL, run="other")
    again = store.load("d", str(folder), INCREMENTAL, run="r")
    assert (again.version, again.rows, again.skipped) == (first.version, 1, "")
    assert [warning.code for warning in again.warnings] == ["already_loaded"]


def test_a_repeated_run_whose_version_was_pruned_reports_its_rows_in_the_latest_one(store: Store, folder: Path) -> None:
    write(folder, "a.csv", 1)
    store.load("d", str(folder), INCREMENTAL, run="r")
    write(folder, "b.csv", 2)
    latest = store.load("d", str(folder), INCREMENTAL, run="s")
    store.prune("d", keep=1)
    again = store.load("d", str(folder), INCREMENTAL, run="r")
    assert (again.version, again.rows, again.skipped) == (latest.version, 1, "")
    assert store.run_report("r").skipped == ""


def test_a_version_without_a_list_counts_as_having_loaded_no_file(
    store: Store, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(folder, "a.csv", 1)
    with monkeypatch.context() as patched:
        patched.setattr(publishing, "added_files", lambda _plan, _results: [])
        store.load("d", str(folder))
    assert store.version("d").format_number == 1
    assert store.load("d", str(folder), INCREMENTAL).rows == 1
    assert rows(store) == [1, 1]
    assert store.load("d", str(folder), INCREMENTAL).skipped == "unchanged"


# --- changed files


def change(path: Path, how: str) -> None:
    """Change a file of the content ``n 1``."""
    before = path.stat()
    if how == "grown":
        path.write_text("n\n1\n2\n")
    elif how == "same size":
        path.write_text("n\n7\n")
    elif how == "kept time":
        path.write_text("n\n7\n")
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    elif how == "copied over":
        copy = path.with_suffix(".new")
        copy.write_text("n\n7\n")
        os.utime(copy, ns=(before.st_atime_ns, before.st_mtime_ns))
        copy.replace(path)
    else:
        os.utime(path)


CHANGES = ["grown", "same size", "kept time", "copied over"]


@pytest.mark.parametrize("how", CHANGES)
def test_a_loaded_file_that_changed_is_refused(store: Store, folder: Path, how: str) -> None:
    path = write(folder, "a.csv", 1)
    store.load("d", str(folder), INCREMENTAL)
    change(path, how)
    with pytest.raises(SourceChangedError, match=r"a\.csv changed after 1-\w+ loaded it: it had 4 bytes.*--on-change"):
        store.load("d", str(folder), INCREMENTAL)
    assert len(store.versions("d")) == 1


@pytest.mark.parametrize("how", CHANGES)
def test_a_loaded_file_that_changed_is_loaded_again_or_left_out(store: Store, folder: Path, how: str) -> None:
    path = write(folder, "a.csv", 1)
    store.load("d", str(folder), INCREMENTAL)
    change(path, how)
    ignored = LoadOptions(mode="incremental", on_change="ignore")
    assert store.load("d", str(folder), ignored).skipped == "unchanged"
    again = LoadOptions(mode="incremental", on_change="append")
    assert store.load("d", str(folder), again).skipped == ""
    assert rows(store) == ([1, 1, 2] if how == "grown" else [1, 7])
    assert store.load("d", str(folder), again).skipped == "unchanged"
    assert store.load("d", str(folder), INCREMENTAL).skipped == "unchanged"


@pytest.mark.parametrize("options", [INCREMENTAL, REPLACE_CHANGED], ids=["incremental", "replace"])
def test_a_file_that_was_only_touched_is_read_once_and_is_unchanged(
    store: Store, folder: Path, opened: list[str], options: LoadOptions
) -> None:
    write(folder, "a.csv", 1)
    path = write(folder, "b.csv", 1)
    store.load("d", str(folder), options)
    os.utime(path)
    opened.clear()
    assert store.load("d", str(folder), options).skipped == "unchanged"
    assert opened == ["b.csv"]


# --- an unchanged source of a replace


def test_a_replace_without_a_change_makes_no_version_only_where_asked(
    store: Store, folder: Path, opened: list[str]
) -> None:
    write(folder, "a.csv", 1)
    first = store.load("d", str(folder), REPLACE_CHANGED)
    opened.clear()
    report = store.load("d", str(folder), REPLACE_CHANGED)
    assert (report.skipped, report.version, opened) == ("unchanged", first.version, [])
    assert store.load("d", str(folder)).skipped == ""
    append = LoadOptions(mode="append", skip_unchanged=True)
    assert store.load("d", str(folder), append).skipped == ""


def _add(folder: Path) -> None:
    write(folder, "b.csv", 2)


@pytest.mark.parametrize(
    "change_source",
    [
        _add,
        lambda folder: (folder / "a.csv").unlink(),
        lambda folder: (folder / "a.csv").rename(folder / "z.csv"),
        lambda folder: change(folder / "a.csv", "grown"),
        lambda folder: change(folder / "a.csv", "copied over"),
    ],
    ids=["one more", "one less", "renamed", "grown", "copied over"],
)
def test_a_replace_of_a_changed_source_makes_a_version(
    store: Store, folder: Path, change_source: Callable[[Path], Any]
) -> None:
    write(folder, "a.csv", 1)
    write(folder, "k.csv", 5)
    store.load("d", str(folder), REPLACE_CHANGED)
    change_source(folder)
    assert store.load("d", str(folder), REPLACE_CHANGED).skipped == ""
    assert len(store.versions("d")) == 2


@pytest.mark.parametrize(
    "changed",
    [
        {"source": SourceOptions(null_values=("x",))},
        {"source": SourceOptions(infer_bytes=5)},
        {"codec": "zstd"},
        {"chunk_bytes": 65_536},
        {"contract": Contract()},
        {"bad_rows": BadRowBudget(rows=1)},
    ],
    ids=str,
)
def test_a_replace_with_other_settings_makes_a_version(store: Store, folder: Path, changed: dict[str, Any]) -> None:
    write(folder, "a.csv", 1)
    store.load("d", str(folder), REPLACE_CHANGED)
    assert store.load("d", str(folder), LoadOptions(skip_unchanged=True, **changed)).skipped == ""


def test_a_replace_with_other_splits_is_unchanged(store: Store, folder: Path) -> None:
    write(folder, "a.csv", 1)
    store.load("d", str(folder), REPLACE_CHANGED)
    splits = LoadOptions(skip_unchanged=True, source=SourceOptions(split_bytes=1, max_splits=2))
    assert store.load("d", str(folder), splits).skipped == "unchanged"


def test_a_replace_with_another_schema_file_of_the_same_name_makes_a_version(
    store: Store, folder: Path, tmp_path: Path
) -> None:
    write(folder, "a.csv", 1)
    schema = tmp_path / "schema.json"
    options = LoadOptions(skip_unchanged=True, source=SourceOptions(schema_file=str(schema)))
    for kind, skipped in (("int32", ""), ("int32", "unchanged"), ("int16", "")):
        schema.write_text(f'{{"n": "{kind}"}}')
        assert store.load("d", str(folder), options).skipped == skipped


def test_a_replace_of_a_file_that_was_appended_twice_makes_a_version(store: Store, folder: Path) -> None:
    write(folder, "a.csv", 1)
    for options in (REPLACE_CHANGED, APPEND, REPLACE_CHANGED):
        assert store.load("d", str(folder), options).skipped == ""
    assert rows(store) == [1]


def test_a_replace_equal_to_the_files_of_the_whole_line_is_unchanged(store: Store, folder: Path) -> None:
    write(folder, "a.csv", 1)
    store.load("d", str(folder))
    write(folder, "b.csv", 2)
    store.load("d", str(folder), INCREMENTAL)
    assert store.load("d", str(folder), REPLACE_CHANGED).skipped == "unchanged"


def test_a_replace_after_an_append_with_other_settings_makes_a_version(store: Store, folder: Path) -> None:
    write(folder, "a.csv", 1)
    store.load("d", str(folder))
    write(folder, "b.csv", 2)
    store.load("d", str(folder), LoadOptions(mode="incremental", codec="zstd"))
    assert store.load("d", str(folder), REPLACE_CHANGED).skipped == ""


def test_a_replace_after_an_append_of_arrow_data_makes_a_version(store: Store, folder: Path) -> None:
    write(folder, "a.csv", 1)
    store.load("d", str(folder), REPLACE_CHANGED)
    store.load("d", pa.table({"n": [7]}), APPEND)
    assert store.load("d", str(folder), REPLACE_CHANGED).skipped == ""
    assert rows(store) == [1]
    assert store.load("d", str(folder), REPLACE_CHANGED).skipped == "unchanged"


def test_a_replace_of_the_same_files_in_another_order_makes_a_version(store: Store, folder: Path) -> None:
    paths = [str(write(folder, "a.csv", 1)), str(write(folder, "b.csv", 2))]
    store.load("d", paths, REPLACE_CHANGED)
    assert store.load("d", paths[::-1], REPLACE_CHANGED).skipped == ""
    assert store.dataset("d").to_table().column("n").to_pylist() == [2, 1]
    assert store.load("d", paths[::-1], REPLACE_CHANGED).skipped == "unchanged"


# --- limits


@pytest.mark.parametrize("mode", ["replace", "append", "incremental"])
def test_too_many_files_or_bytes_are_refused_before_a_file_is_opened(
    store: Store, folder: Path, opened: list[str], mode: str
) -> None:
    for number in range(3):
        write(folder, f"{number}.csv", number)
    with pytest.raises(SourceTooLargeError, match="has 3 files to load, and max_files is 2"):
        store.load("d", str(folder), LoadOptions(mode=mode, max_files=2))
    with pytest.raises(SourceTooLargeError, match="has 12 bytes to load, and max_bytes is 11"):
        store.load("d", str(folder), LoadOptions(mode=mode, max_bytes=11))
    assert opened == []
    assert store.load("d", str(folder), LoadOptions(mode=mode, max_files=3, max_bytes=12)).rows == 3


def test_limits_of_an_incremental_load_count_the_new_files(store: Store, folder: Path) -> None:
    options = LoadOptions(mode="incremental", max_files=1)
    for number in range(3):
        write(folder, f"{number}.csv", number)
        assert store.load("d", str(folder), options).rows == 1


@pytest.mark.parametrize("options", [{"on_change": "merge"}, {"max_files": 0}, {"max_bytes": -1}], ids=str)
def test_a_wrong_option_is_refused_by_name(store: Store, folder: Path, options: dict[str, Any]) -> None:
    write(folder, "a.csv", 1)
    with pytest.raises(InvalidSettingError, match=next(iter(options))):
        store.load("d", str(folder), LoadOptions(**options))


# --- concurrent loads


def test_two_concurrent_incremental_loads_of_a_folder_load_each_file_once(store: Store, folder: Path) -> None:
    write(folder, "a.csv", 1)
    first = begun(store, folder, INCREMENTAL)
    write(folder, "b.csv", 2)
    second = begun(store, folder, INCREMENTAL)
    report = first()
    with pytest.raises(LoadSupersededError, match=f"superseded by d@{report.version}; the next run loads the rest"):
        second()
    assert not LoadSupersededError.retriable
    assert (rows(store), listed(store), len(store.versions("d"))) == ([1], ["a.csv"], 1)
    assert store.load("d", str(folder), INCREMENTAL).rows == 1
    assert rows(store) == [1, 2]


def test_two_concurrent_incremental_loads_of_other_files_are_merged(store: Store, folder: Path) -> None:
    store.load("d", str(write(folder, "0/a.csv", 0)))
    loads = [begun(store, write(folder, f"{n}/a.csv", n), INCREMENTAL) for n in (1, 2)]
    for publish in loads:
        publish()
    version = store.version("d")
    assert (version.mode, version.format_number, rows(store), len(listed(store))) == ("merge", 2, [0, 1, 2], 3)
    assert len({file.uri for file in store.catalogue.pages.files(version)}) == 3
    assert store.load("d", str(folder), INCREMENTAL).skipped == "unchanged"


def test_an_append_by_hand_of_a_file_stays_beside_an_incremental_load(store: Store, folder: Path) -> None:
    path = write(folder, "a.csv", 1)
    store.load("d", str(write(folder, "0.csv", 0)))
    later, earlier = begun(store, path, INCREMENTAL), begun(store, path, APPEND)
    earlier()
    with pytest.raises(LoadSupersededError):
        later()
    assert rows(store) == [0, 1]
    store.load("d", str(path), APPEND)
    assert rows(store) == [0, 1, 1]


def test_an_append_by_hand_of_a_file_is_added_to_an_incremental_load_that_was_published_before(
    store: Store, folder: Path
) -> None:
    path = write(folder, "a.csv", 1)
    store.load("d", str(write(folder, "0.csv", 0)))
    later, earlier = begun(store, path, APPEND), begun(store, path, INCREMENTAL)
    earlier()
    later()
    assert rows(store) == [0, 1, 1]
    assert Counter(listed(store)) == {"0.csv": 1, "a.csv": 2}


def test_an_incremental_load_whose_line_was_replaced_fails_and_the_next_one_loads_the_rest(
    store: Store, folder: Path
) -> None:
    store.load("d", str(write(folder, "a.csv", 1)))
    write(folder, "b.csv", 2)
    load = begun(store, folder, INCREMENTAL)
    report = store.load("d", str(folder))
    write(folder, "c.csv", 3)
    with pytest.raises(LoadSupersededError, match=f"superseded by d@{report.version}"):
        load()
    assert rows(store) == [1, 2]
    store.load("d", str(folder), INCREMENTAL)
    assert rows(store) == [1, 2, 3]


def unmerged(store: Store, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Publish two incremental loads of other files whose processes are killed before they merge their versions."""
    store.load("d", str(write(folder, "0/a.csv", 0)), INCREMENTAL)
    loads = [begun(store, write(folder, f"{n}/a.csv", n), INCREMENTAL) for n in (1, 2)]
    with monkeypatch.context() as patched:
        patched.setattr(publishing, "_merged", lambda _catalogue, _writer, version: (version, ()))
        for publish in loads:
            publish()


def test_files_of_versions_that_are_not_merged_yet_are_not_loaded_again(
    store: Store, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    unmerged(store, folder, monkeypatch)
    assert store.load("d", str(folder), INCREMENTAL).skipped == "unchanged"
    write(folder, "3/a.csv", 3)
    store.load("d", str(folder), INCREMENTAL)
    assert (rows(store), len(listed(store))) == ([0, 1, 2, 3], 4)


def test_an_incremental_load_after_the_merge_was_deleted_loads_each_file_once(
    store: Store, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    unmerged(store, folder, monkeypatch)
    store.repair("d")
    assert store.version("d").mode == "merge"
    store.delete("d")
    write(folder, "3/a.csv", 3)
    store.load("d", str(folder), INCREMENTAL)
    assert (rows(store), len(listed(store))) == ([0, 1, 2, 3], 4)


def test_a_superseded_load_merges_the_versions_that_supersede_it_so_the_next_one_succeeds(
    store: Store, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(3):
        path = write(folder, f"{number}/a.csv", number)
    store.load("d", str(path.parents[1] / "0"), INCREMENTAL)
    third = begun(store, folder, INCREMENTAL)
    unmerged(store, folder, monkeypatch)
    with pytest.raises(LoadSupersededError):
        third()
    assert (store.version("d").mode, rows(store)) == ("merge", [0, 1, 2])


@pytest.mark.parametrize("by_repair", [False, True])
def test_an_undeleted_version_whose_files_were_loaded_again_takes_nothing_from_the_others(
    store: Store, folder: Path, by_repair: bool
) -> None:
    for number in range(2):
        write(folder, f"{number}.csv", number)
        store.load("d", str(folder), INCREMENTAL)
    deleted = store.version("d")
    store.delete(deleted.reference)
    for number in (2, 3):
        write(folder, f"{number}.csv", number)
        store.load("d", str(folder), INCREMENTAL)
    report = store.undelete(deleted.reference)
    assert (report.latest, report.merges_with) == (False, ())
    write(folder, "4.csv", 4)
    if by_repair:
        store.repair("d")
    store.load("d", str(folder), INCREMENTAL)
    assert (rows(store), len(listed(store))) == ([0, 1, 2, 3, 4], 5)
    assert rows(store, deleted.reference) == [0, 1]
    assert len(store.versions("d")) == 5


def test_an_undeleted_version_whose_files_were_not_loaded_again_is_merged(store: Store, folder: Path) -> None:
    store.load("d", str(write(folder, "0.csv", 0)), INCREMENTAL)
    store.load("d", str(write(folder, "1.csv", 1)), INCREMENTAL)
    deleted = store.version("d")
    store.delete(deleted.reference)
    store.load("d", str(write(folder, "2.csv", 2)), INCREMENTAL)
    assert store.undelete(deleted.reference).merges_with == (store.version("d").label,)
    store.repair("d")
    assert (rows(store), len(listed(store))) == ([0, 1, 2], 3)


class Killed(BaseException):
    """The process is killed."""


def killed_before_it_confirms(
    store: Store, folder: Path, monkeypatch: pytest.MonkeyPatch, run: str
) -> Callable[[], LoadReport]:
    publish = begun(store, folder, INCREMENTAL, run)

    def kill(*_: Any) -> None:
        raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(IncrementalSteps, "confirm", kill)
        with pytest.raises(Killed):
            publish()
    return publish


@pytest.mark.parametrize("replanned", [False, True])
def test_a_load_killed_before_it_confirms_its_version_confirms_it_when_it_runs_again(
    store: Store, folder: Path, monkeypatch: pytest.MonkeyPatch, replanned: bool
) -> None:
    write(folder, "a.csv", 1)
    publish = killed_before_it_confirms(store, folder, monkeypatch, "r")
    report = store.load("d", str(folder), INCREMENTAL, run="r") if replanned else publish()
    assert report.rows == 1
    attempts = {row.attempt_id: row for row in store.catalogue.attempts("d")}
    assert attempts[store.version("d").attempt_id].finished
    assert rows(store) == [1]


def test_an_abandoned_version_yields_to_the_load_that_finds_it(
    store: Store, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(folder, "a.csv", 1)
    write(folder, "b.csv", 2)
    second = begun(store, folder, INCREMENTAL, "s")
    killed_before_it_confirms(store, folder, monkeypatch, "r")
    monkeypatch.setattr(incremental_steps, "_ABANDONED_AFTER", timedelta(0))
    monkeypatch.setattr(incremental_steps, "_stage", _alive_run("s", incremental_steps._stage))
    report = second()
    assert report.rows == 2
    assert rows(store) == [1, 2]
    assert [version.label for version in store.versions("d")] == [report.version]


def _alive_run(run: str, stage: Callable[..., Any]) -> Callable[..., Any]:
    """Take only the versions of other runs for abandoned."""

    def of(version: Any, row: Any) -> Any:
        result = stage(version, row)
        return Stage.WRITTEN if version.run == run and result is Stage.ABANDONED else result

    return of


def test_pairs_of_incremental_loads_in_two_threads_load_each_file_once(
    cassandra: FakeCassandra, settings: Settings, folder: Path
) -> None:
    expected: list[int] = []
    with Store(cassandra, settings) as left, Store(cassandra, settings) as right, ThreadPoolExecutor(2) as pool:
        for pair in range(10):
            new = [2 * pair, 2 * pair + 1]
            for number in new:
                write(folder, f"{number}.csv", number)
            expected += new
            barrier = threading.Barrier(2, timeout=60)
            loads = [pool.submit(at_once, one, folder, barrier) for one in (left, right)]
            outcomes = [load.result(120) for load in loads]
            assert "loaded" in outcomes
            assert rows(left) == expected


def at_once(store: Store, folder: Path, barrier: threading.Barrier) -> str:
    """Load the folder at the same moment as another thread; return what became of it."""
    barrier.wait()
    try:
        report = store.load("d", str(folder), INCREMENTAL)
    except LoadSupersededError:
        return "superseded"
    return report.skipped or "loaded"


# --- any order of files and loads


@hypothesis_settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=25)
@given(
    steps=st.lists(
        st.tuples(st.sampled_from(["incremental", "append", "replace", "change"]), st.sets(st.integers(0, 5))),
        max_size=6,
    )
)
def test_incremental_loads_have_the_rows_of_each_file_once(
    store: Store, tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[str, set[int]]]
) -> None:
    folder = tmp_path_factory.mktemp("source")
    name = f"d{folder.name.removeprefix('source')}"
    expected: list[int] = []
    for number, (mode, numbers) in enumerate(steps):
        if mode == "change":
            for path in folder.iterdir():
                os.utime(path)
            continue
        for file in numbers:
            if not (folder / f"{file}.csv").exists():
                write(folder, f"{file}.csv", file)
        present = sorted(int(path.stem) for path in folder.iterdir())
        if not present:
            continue
        store.load(name, str(folder), LoadOptions(mode=mode), run=f"{name} {number}")
        if mode == "replace":
            expected = present
        elif mode == "append":
            expected += present
        else:
            expected += [file for file in present if file not in expected]
        assert rows(store, name) == sorted(expected)
