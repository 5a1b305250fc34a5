"""Runs repeated with changed content, and files appended under a path that the dataset already holds."""

from __future__ import annotations

import os
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest

from millrace.api import Store
from millrace.errors import SourceChangedError, SourceFormatError, StoreError
from millrace.load import LoadOptions
from millrace.load.repeats import PathSet
from millrace.sources import SourceOptions, restore_bytes
from tests.unit.store.fakes import FakeCassandra

Csv = Callable[..., str]
BYTES = LoadOptions(source=SourceOptions(format="bytes"))
MORE_BYTES = LoadOptions(mode="append", source=SourceOptions(format="bytes"))


def write(path: Path, data: bytes) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    os.utime(path, ns=(10**18, 10**18))
    return str(path)


@pytest.mark.parametrize("format_", ["csv", "bytes"])
@pytest.mark.parametrize("one_stream", [True, False])
def test_a_run_repeated_with_changed_content_of_the_same_size_and_time_is_refused(
    store: Store, tmp_path: Path, format_: str, one_stream: bool
) -> None:
    options = LoadOptions(source=SourceOptions(format=format_, split_bytes=8, piece_bytes=8))
    # Values of the same number of bytes, because the size of row groups is part of a plan.
    first = b"v\n333\n334\n335\n"
    other = b"v\n444\n445\n446\n" if format_ == "csv" else b"v\n777\n778\n779\n"
    source = write(tmp_path / "d.csv", first)
    plan = store.plan("r", source, options, run="r1", one_stream=one_stream)
    splits = [None] if one_stream else [split.index for split in plan.source.splits]
    store.publish(plan, [store.load_split(plan, split) for split in splits])
    write(tmp_path / "d.csv", other)
    with pytest.raises(
        SourceChangedError, match=f"{zlib.crc32(first):08x} and is {zlib.crc32(other):08x}.*another run"
    ):
        store.plan("r", source, options, run="r1", one_stream=one_stream)
    assert len(store.versions("r")) == 1
    assert store.load("r", source, options, run="r2").version.startswith("2-")


def test_a_run_repeated_with_the_same_content_writes_nothing(
    store: Store, cassandra: FakeCassandra, tmp_path: Path
) -> None:
    source = write(tmp_path / "d.csv", b"v\n333\n")
    first = store.load("r", source, run="r1")
    write(tmp_path / "d.csv", b"v\n333\n")
    written = len(cassandra.writes())
    assert store.load("r", source, run="r1").version == first.version
    assert (len(cassandra.writes()), len(store.versions("r"))) == (written, 1)


def test_one_replaced_file_of_many_is_refused(store: Store, tmp_path: Path) -> None:
    for name in ("a", "b", "c"):
        write(tmp_path / "d" / f"{name}.csv", b"v\n1\n")
    folder = str(tmp_path / "d")
    store.load("r", folder, run="r1")
    assert store.plan("r", folder, run="r1").published
    write(tmp_path / "d" / "b.csv", b"v\n2\n")
    with pytest.raises(SourceChangedError, match="differs from the source that the run 'r1' loaded"):
        store.plan("r", folder, run="r1")


def load_changed_content(
    store: Store, folder: Path, monkeypatch: pytest.MonkeyPatch, row_group_bytes: tuple[int, int]
) -> None:
    """Load content, then other content of the same size and time, in one run.

    The size of row groups is part of a plan. It is chosen from how far a sample compresses, so it is given here.
    """
    for content, size_bytes in zip((b"v\n10\n", b"v\n20\n"), row_group_bytes, strict=True):
        monkeypatch.setattr("millrace.load.planning.choose_row_group_bytes", lambda *_, chosen=size_bytes: chosen)
        store.load("r", write(folder / "d.csv", content), run="r1")


def test_changed_content_with_the_same_plan_is_refused_and_the_version_keeps_its_rows(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(SourceChangedError, match="load it as another run"):
        load_changed_content(store, tmp_path, monkeypatch, (2_000_000, 2_000_000))
    assert len(store.versions("r")) == 1
    assert store.dataset("r").to_table()["v"].to_pylist() == [10]


def test_changed_content_with_another_plan_is_a_new_version_of_the_same_run(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    load_changed_content(store, tmp_path, monkeypatch, (2_000_000, 1_000_000))
    assert [(version.number, version.run) for version in store.versions("r")] == [(2, "r1"), (1, "r1")]
    assert [store.dataset(f"r@{number}").to_table()["v"].to_pylist() for number in (1, 2)] == [[10], [20]]


def test_a_repeated_append_is_compared_with_the_rows_that_it_added(store: Store, tmp_path: Path) -> None:
    append = LoadOptions(mode="append")
    store.load("r", write(tmp_path / "a.csv", b"v\n1\n"))
    source = write(tmp_path / "b.csv", b"v\n2\n")
    store.load("r", source, append, run="r1")
    store.load("r", write(tmp_path / "c.csv", b"v\n3\n"), append)
    assert store.plan("r", source, append, run="r1").published
    write(tmp_path / "b.csv", b"v\n9\n")
    with pytest.raises(SourceChangedError):
        store.plan("r", source, append, run="r1")


def tree(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_files_of_several_loads_are_restored_as_one_folder(store: Store, tmp_path: Path) -> None:
    store.load("b", write(tmp_path / "one.bin", bytes(range(256)) * 2), BYTES)
    store.load("b", write(tmp_path / "two.bin", b"two" * 50), MORE_BYTES)
    write(tmp_path / "d" / "x" / "three.bin", b"3")
    store.load("b", str(tmp_path / "d"), MORE_BYTES)
    restore_bytes(store.dataset("b").to_batches(), tmp_path / "out", single=False)
    assert tree(tmp_path / "out") == {"one.bin": bytes(range(256)) * 2, "two.bin": b"two" * 50, "x/three.bin": b"3"}


@pytest.mark.parametrize(
    ("first", "second", "named"),
    [
        ({"one.bin": b"1"}, {"one.bin": b"another"}, "one.bin"),
        ({"x/one.bin": b"1", "two": b"2"}, {"x/one.bin": b"3", "z": b"4"}, "x/one.bin"),
        ({"x": b"1", "a": b""}, {"x/one.bin": b"3", "z": b"4"}, "x"),
        ({"x/one.bin": b"3", "z": b"4"}, {"x": b"1", "a": b""}, "x/one.bin"),
    ],
)
def test_a_path_that_the_dataset_already_holds_is_not_appended(
    store: Store, tmp_path: Path, first: dict[str, bytes], second: dict[str, bytes], named: str
) -> None:
    sources = []
    for number, files in enumerate((first, second)):
        for name, data in files.items():
            write(tmp_path / str(number) / name, data)
        single = f"/{next(iter(files))}" if len(files) == 1 else ""
        sources.append(f"{tmp_path}/{number}{single}")
    store.load("b", sources[0], BYTES)
    with pytest.raises(SourceFormatError, match=f"b@1-.* has the path '{named}' already"):
        store.plan("b", sources[1], MORE_BYTES)
    assert store.load("b", sources[1], BYTES).version.startswith("2-")


def test_a_repeated_append_of_a_file_is_the_same_version(store: Store, tmp_path: Path) -> None:
    store.load("b", write(tmp_path / "one.bin", b"1"), BYTES)
    source = write(tmp_path / "two.bin", b"2")
    first = store.load("b", source, MORE_BYTES, run="r1")
    assert store.load("b", source, MORE_BYTES, run="r1").version == first.version


def test_concurrent_appends_of_one_path_are_not_merged_and_both_versions_can_be_read(
    store: Store, tmp_path: Path
) -> None:
    store.load("b", write(tmp_path / "one.bin", b"1"), BYTES)
    plans = [
        store.plan("b", write(tmp_path / str(number) / "two.bin", b"%d" % number), MORE_BYTES) for number in range(2)
    ]
    results = [store.load_split(plan, None) for plan in plans]
    store.publish(plans[0], [results[0]])
    with pytest.raises(StoreError, match=r"cannot be merged: .*'two.bin' already"):
        store.publish(plans[1], [results[1]])
    for number, version in enumerate(store.versions("b")[:2]):
        restore_bytes(store.dataset(version.reference).to_batches(), tmp_path / f"out{number}", single=False)
        assert set(tree(tmp_path / f"out{number}")) == {"one.bin", "two.bin"}


def test_concurrent_appends_of_different_paths_are_merged(store: Store, tmp_path: Path) -> None:
    store.load("b", write(tmp_path / "one.bin", b"1"), BYTES)
    plans = [store.plan("b", write(tmp_path / f"{name}.bin", name.encode()), MORE_BYTES) for name in ("two", "three")]
    for plan, result in [(plan, store.load_split(plan, None)) for plan in plans]:
        store.publish(plan, [result])
    restore_bytes(store.dataset("b").to_batches(), tmp_path / "out", single=False)
    assert tree(tmp_path / "out") == {"one.bin": b"1", "two.bin": b"two", "three.bin": b"three"}


def test_paths_that_clash_with_held_paths_are_found() -> None:
    held = PathSet(["a/b", "c", "d/"])
    assert [path for path in ("a/b", "a", "a/b/c", "c/", "c/x", "d") if not held.clash(path)] == []
    assert [path for path in ("a/c", "a/", "d/", "d/x", "ab", "e/") if held.clash(path)] == []
