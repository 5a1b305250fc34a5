from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from millrace.errors import ChunkFormatError, SourceEmptyError, UsageError
from millrace.sources import (
    BYTES_SCHEMA,
    SourceOptions,
    SourcePlan,
    open_source,
    open_split,
    plan_source,
    restore_bytes,
)

Read = Callable[..., pa.Table]
Write = Callable[[str, bytes], Path]

NAMES = st.lists(
    st.text(st.characters(exclude_characters="/\0", exclude_categories=["Cs"]), min_size=1, max_size=8).filter(
        lambda name: name not in (".", "..")
    ),
    min_size=1,
    max_size=3,
).map("/".join)


def tree_of(root: Path) -> dict[str, bytes | None]:
    """Return the content of every file below a folder, and None for every empty folder."""
    contents: dict[str, bytes | None] = {}
    for path in root.rglob("*"):
        name = str(path.relative_to(root))
        if path.is_file():
            contents[name] = path.read_bytes()
        elif not any(path.iterdir()):
            contents[name] = None
    return contents


def batches_of(plan: SourcePlan) -> list[pa.RecordBatch]:
    return [batch for split in plan.splits for batch in open_split(plan, split)]


def rows(*pieces: tuple[str, int, bytes]) -> list[pa.RecordBatch]:
    paths, offsets, data = zip(*pieces, strict=True)
    return [pa.record_batch([pa.array(paths), pa.array(offsets), pa.array(data, pa.binary())], schema=BYTES_SCHEMA)]


def test_any_tree_is_restored_unchanged(tmp_path: Path) -> None:
    count = iter(range(1_000_000))

    @given(st.dictionaries(NAMES, st.none() | st.binary(max_size=60), min_size=1, max_size=6), st.integers(1, 20))
    def check(files: dict[str, bytes | None], piece_bytes: int) -> None:
        folder = tmp_path / f"{next(count)}"
        for name, data in files.items():
            path = folder / "in" / name
            try:
                if data is None:
                    path.mkdir(parents=True, exist_ok=True)
                else:
                    path.parent.mkdir(parents=True, exist_ok=True)
                    path.write_bytes(data)
            except (FileExistsError, NotADirectoryError, IsADirectoryError):
                continue  # a file and a folder cannot have the same name
        options = SourceOptions(format="bytes", piece_bytes=piece_bytes, split_bytes=7)
        plan = plan_source(str(folder / "in"), options)
        restore_bytes(batches_of(plan), folder / "out", single=False)
        assert tree_of(folder / "out") == tree_of(folder / "in")
        assert pa.Table.from_batches(batches_of(plan)).equals(pa.Table.from_batches(open_source(plan)))

    check()


@pytest.mark.parametrize("size", [0, 1, 99, 100, 101, 199, 200, 201, 1_000])
def test_a_file_of_any_size_is_restored_from_pieces_of_at_most_piece_bytes(
    write: Write, tmp_path: Path, size: int
) -> None:
    data = os.urandom(size)
    plan = plan_source(str(write("one.bin", data)), SourceOptions(format="bytes", piece_bytes=100, split_bytes=250))
    table = pa.Table.from_batches(batches_of(plan))
    assert table.schema.equals(BYTES_SCHEMA)
    assert table.column("offset").to_pylist() == list(range(0, max(size, 1), 100))
    assert max(map(len, table.column("data").to_pylist())) <= 100
    assert set(table.column("path").to_pylist()) == {"one.bin"}
    assert plan.facts()["single_file"]
    assert restore_bytes(table.to_batches(), tmp_path / "back", single=True) == (1, size)
    assert (tmp_path / "back").read_bytes() == data


def test_a_folder_keeps_hidden_files_empty_files_and_empty_folders_in_byte_order(
    write: Write, tmp_path: Path, read: Read
) -> None:
    for name in ("b", ".hidden", "a/x", "a.x", "B", "_SUCCESS", "é"):
        write(f"d/{name}", b"")
    (tmp_path / "d" / "empty" / "below").mkdir(parents=True)
    table = read(tmp_path / "d", format="bytes")
    assert table.column("path").to_pylist() == [
        ".hidden",
        "B",
        "_SUCCESS",
        "a.x",
        "a/x",
        "b",
        "empty/below/",
        "é",
    ]
    plan = plan_source(str(tmp_path / "d"), SourceOptions(format="bytes"))
    assert not plan.facts()["single_file"]


def test_a_compressed_file_stays_compressed(write: Write, read: Read) -> None:
    data = bytes.fromhex("1f8b0800") + b"not even intact"
    assert read(write("a.gz", data), format="bytes").column("data").to_pylist() == [data]


def test_an_empty_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    with pytest.raises(SourceEmptyError):
        plan_source(str(tmp_path / "d"), SourceOptions(format="bytes"))


def test_many_small_files_become_few_splits_and_a_small_plan(write: Write, tmp_path: Path) -> None:
    for number in range(1_000):
        write(f"d/{number:04}.bin", b"x" * (number % 7))
    plan = plan_source(str(tmp_path / "d"), SourceOptions(format="bytes", split_bytes=1, max_splits=10))
    assert len(plan.splits) == 10
    assert len(str(plan.to_json())) < 40_000
    again = SourcePlan.from_json(plan.to_json())
    assert again == plan
    assert pa.Table.from_batches(batches_of(again)).num_rows == 1_000


def test_restoring_replaces_a_file_and_never_a_folder(write: Write, tmp_path: Path) -> None:
    target = write("out", b"old")
    restore_bytes(rows(("any", 0, b"new")), target, single=True)
    assert target.read_bytes() == b"new"
    with pytest.raises(UsageError, match="exists already"):
        restore_bytes(rows(("any", 0, b"new")), target, single=False)
    write("folder/keep", b"")
    with pytest.raises(UsageError, match="exists already"):
        restore_bytes(rows(("any", 0, b"new")), tmp_path / "folder", single=False)
    with pytest.raises(UsageError, match="is a folder"):
        restore_bytes(rows(("any", 0, b"new")), tmp_path / "folder", single=True)
    (tmp_path / "empty").mkdir()
    restore_bytes(rows(("a/b", 0, b"new")), tmp_path / "empty", single=False)
    assert tree_of(tmp_path / "empty") == {"a/b": b"new"}


@pytest.mark.parametrize(
    "path", ["../evil", "a/../../evil", "/evil", "", ".", "a//b", "a/./b", "a\0b", "..", "/", "a//"]
)
def test_an_unsafe_path_is_refused_and_no_file_is_left(tmp_path: Path, path: str) -> None:
    with pytest.raises(ChunkFormatError, match="is not a path below a folder"):
        restore_bytes(rows(("fine", 0, b"x"), (path, 0, b"x")), tmp_path / "d" / "out", single=False)
    assert list((tmp_path / "d").iterdir()) == []
    assert [path.name for path in tmp_path.iterdir()] == ["d"]


@pytest.mark.parametrize(
    ("pieces", "message"),
    [
        ([("a", 0, b"12"), ("a", 3, b"4")], "has a gap at byte 2"),
        ([("a", 1, b"12")], "has a gap at byte 0"),
        ([("a", 0, b"1"), ("b", 0, b"1"), ("a", 0, b"1")], "occurs twice"),
        ([("a", 0, b"1"), ("a/b", 0, b"1")], "is a file and a folder at once"),
        ([("a/b", 0, b"1"), ("a", 0, b"1")], "is a file and a folder at once"),
        ([("a/", 0, b"1")], "has a gap"),
    ],
)
def test_rows_that_do_not_form_intact_files_are_refused_and_no_file_is_left(
    tmp_path: Path, pieces: list[tuple[str, int, bytes]], message: str
) -> None:
    with pytest.raises(ChunkFormatError, match=message):
        restore_bytes(rows(*pieces), tmp_path / "d" / "out", single=False)
    assert list((tmp_path / "d").iterdir()) == []


def test_a_failure_in_the_middle_leaves_the_old_file(write: Write, tmp_path: Path) -> None:
    target = write("d/out", b"old")

    def broken() -> object:
        yield from rows(("any", 0, b"new"))
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        restore_bytes(broken(), target, single=True)  # type: ignore[arg-type]
    assert tree_of(tmp_path / "d") == {"out": b"old"}


def test_a_folder_is_replaced_on_request_when_the_new_one_is_complete(write: Write, tmp_path: Path) -> None:
    write("d/out/old/kept", b"old")
    target = tmp_path / "d" / "out"

    def broken() -> object:
        yield from rows(("any", 0, b"new"))
        assert tree_of(target) == {"old/kept": b"old"}
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        restore_bytes(broken(), target, single=False, replace=True)  # type: ignore[arg-type]
    assert tree_of(target) == {"old/kept": b"old"}
    restore_bytes(rows(("any", 0, b"new")), target, single=False, replace=True)
    assert tree_of(target) == {"any": b"new"}
    assert [each.name for each in target.parent.iterdir()] == ["out"]


def test_a_file_or_a_link_is_never_replaced_by_a_folder(write: Write, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(write("elsewhere/kept", b"old").parent)
    for target in (write("file", b"old"), tmp_path / "link"):
        with pytest.raises(UsageError, match="exists already"):
            restore_bytes(rows(("any", 0, b"new")), target, single=False, replace=True)
    assert (tmp_path / "elsewhere" / "kept").read_bytes() == b"old"


def test_several_files_cannot_be_restored_as_one(tmp_path: Path) -> None:
    with pytest.raises(ChunkFormatError, match="2 files instead of one"):
        restore_bytes(rows(("a", 0, b"1"), ("b", 0, b"1")), tmp_path / "out", single=True)
