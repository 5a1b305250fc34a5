"""The list of loaded files of long lines: shared pages, written bytes, lost pages and deletions."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from millrace.api import Store
from millrace.errors import ChunkMissingError, VersionNotFoundError
from millrace.load import LoadOptions, publishing
from millrace.load.file_selection import full_uri
from millrace.sources import list_each
from millrace.store import LIST_FILES, LoadedFile, Version
from tests.unit.store.fakes import FakeCassandra

INCREMENTAL = LoadOptions(mode="incremental")
FILES = 10_000
PAGE, BLOB_PAGE = -5, -4


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder of 10,000 files, each with the name of a day."""
    path = tmp_path_factory.mktemp("source")
    for number in range(FILES):
        (path / f"{number // 365:04}-{number % 365:03}.csv").write_text("n\n0\n")
    return path


def loads(store: Store, folder: str, one: str, options: LoadOptions, monkeypatch: pytest.MonkeyPatch) -> Version:
    """Load one file, and list every file of the folder as loaded. Reading 10,000 files would take a minute."""
    listing = list_each(folder, keep_all=False, connection=options.source.connection)

    def all_of_them(plan: Any, _results: Any) -> list[LoadedFile]:
        return [LoadedFile(full_uri(file), *file.facts, 7, plan.label) for file in listing.files]

    with monkeypatch.context() as patched:
        patched.setattr(publishing, "added_files", all_of_them)
        store.load("d", one, replace(options, mode="replace"))
    return store.version("d")


def loads_folder(store: Store, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Version:
    return loads(store, str(folder), str(next(folder.iterdir())), LoadOptions(), monkeypatch)


@pytest.fixture
def new_files(folder: Path) -> Iterator[Callable[[], None]]:
    """Yield a function that adds three files to the folder."""
    paths = [folder / name for name in ("0000-000a.csv", "0005-000a.csv", "9999-000.csv")]
    yield lambda: [path.write_text("n\n1\n") for path in paths] and None
    for path in paths:
        path.unlink(missing_ok=True)


def written(cassandra: FakeCassandra, tables: tuple[str, ...], start: int) -> int:
    """Return the bytes of all columns written to these tables since the request ``start``, once for both nodes."""
    rows = [row for attempt in cassandra.writes()[start:] for table, row in attempt.rows if table in tables]
    return sum(len(value) if isinstance(value, bytes | str) else 16 for row in rows for value in row.values())


def test_that_nothing_is_new_in_10000_files_is_planned_within_5_s_without_opening_one(
    store: Store, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loads_folder(store, folder, monkeypatch)
    monkeypatch.setattr("millrace.sources.io.byte_streams.open_raw", lambda file: pytest.fail(f"{file.name} is opened"))
    for options in (INCREMENTAL, LoadOptions(skip_unchanged=True)):
        store.catalogue.pages.file_list.cache_clear()
        began = time.monotonic()
        plan = store.plan("d", str(folder), options)
        assert time.monotonic() - began < 5
        assert plan.unchanged
        assert len(str(plan.to_json())) < 5_000


def test_an_append_of_3_files_to_10000_shares_full_pages_and_writes_at_most_1_mb_of_catalogue(
    store: Store,
    cassandra: FakeCassandra,
    folder: Path,
    new_files: Callable[[], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    first = loads_folder(store, folder, monkeypatch)
    new_files()
    start = len(cassandra.writes())
    assert store.load("d", str(folder), INCREMENTAL).rows == 3
    size = written(cassandra, ("pages", "versions", "attempts"), start)
    assert size < 250_000
    before, after = (store.catalogue.pages.file_lists(version) for version in (first, store.version("d")))
    assert [ref.entries for ref in after] == [LIST_FILES] * 4 + [FILES - 4 * LIST_FILES + 3]
    assert after[:4] == before[:4]
    assert len(set(store.catalogue.pages.files(store.version("d")))) == FILES + 3


def test_an_append_that_adds_no_file_shares_the_whole_list(
    store: Store, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = loads_folder(store, folder, monkeypatch)
    store.load("d", pa.table({"n": [1]}), LoadOptions(mode="append"))
    assert store.version("d").files_blob == first.files_blob


def test_a_merge_shares_the_full_pages_of_its_parents(
    store: Store, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = loads_folder(store, folder, monkeypatch)
    new = []
    for number in range(3):
        (tmp_path / f"new-{number}.csv").write_text("n\n1\n")
        new.append(store.plan("d", str(tmp_path / f"new-{number}.csv"), INCREMENTAL))
    for plan, results in [(plan, [store.load_split(plan, None)]) for plan in new]:
        store.publish(plan, results)
    merged = store.version("d")
    assert merged.mode == "merge"
    assert store.catalogue.pages.file_lists(merged)[:4] == store.catalogue.pages.file_lists(first)[:4]
    assert len(set(store.catalogue.pages.files(merged))) == FILES + 3


# --- lost pages and deletions


def lose(cassandra: FakeCassandra, page: int, hosts: list[Any]) -> int:
    """Remove this page of every attempt from these nodes; return the number of removed rows."""
    lost = 0
    for host in hosts:
        for key in [key for key in host.rows["pages"] if key[-1] == page]:
            del host.rows["pages"][key]
            lost += 1
    return lost


@pytest.fixture
def long_list(store: Store, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Version:
    """Return a version whose list has five pages, and is named out of line."""
    monkeypatch.setattr("millrace.store.catalogue.catalogue_writer._INLINE_BYTES", 100)
    return loads_folder(store, folder, monkeypatch)


@pytest.mark.parametrize("page", [PAGE, BLOB_PAGE])
def test_a_page_of_the_list_that_one_node_lost_is_found_and_repaired(
    store: Store, cassandra: FakeCassandra, long_list: Version, page: int
) -> None:
    count = lose(cassandra, page, [cassandra.b])
    assert count == (5 if page == PAGE else 1)
    assert len(store.fsck().missing) == count
    report = store.verify("d", each_replica=True)
    assert not report.ok
    assert all(f"page {page}" in problem["message"] for problem in report.problems)
    assert store.repair("d").ok
    assert store.verify("d", each_replica=True).ok
    lose(cassandra, page, [cassandra.a])
    assert len(Store(cassandra, store.settings).catalogue.pages.files(long_list)) == FILES


@pytest.mark.parametrize("page", [PAGE, BLOB_PAGE])
def test_a_page_of_the_list_that_both_nodes_lost_is_an_error_of_every_use(
    store: Store, cassandra: FakeCassandra, long_list: Version, folder: Path, page: int
) -> None:
    assert lose(cassandra, page, [cassandra.a, cassandra.b])
    store = Store(cassandra, store.settings)
    uses: list[Callable[[], Any]] = [
        lambda: store.plan("d", str(folder), INCREMENTAL),
        lambda: store.plan("d", str(folder), LoadOptions(skip_unchanged=True)),
        lambda: store.load("d", str(next(folder.iterdir())), LoadOptions(mode="append")),
        lambda: store.verify("d"),
    ]
    for use in uses:
        with pytest.raises(ChunkMissingError, match=f"page {page}"):
            use()
    assert store.dataset("d").count_rows() == 1
    assert store.fsck(delete=True, now=True).problems or store.fsck().missing


def test_a_damaged_copy_of_a_page_of_the_list_is_replaced_by_the_good_one(
    store: Store, cassandra: FakeCassandra, long_list: Version
) -> None:
    for key, (_, row) in cassandra.a.rows["pages"].items():
        if key[-1] in (PAGE, BLOB_PAGE):
            cassandra.a.rows["pages"][key] = (10**9, {**row, "data": b"damaged"})
    fresh = Store(cassandra, store.settings)
    assert len(fresh.catalogue.pages.files(long_list)) == FILES
    assert fresh.verify("d", each_replica=True).ok


def test_a_deletion_keeps_the_pages_of_the_list_that_another_version_shares(
    store: Store, cassandra: FakeCassandra, long_list: Version, folder: Path, new_files: Callable[[], None]
) -> None:
    new_files()
    store.load("d", str(folder), INCREMENTAL)
    store.alive = timedelta(0)
    store.delete(f"d@{long_list.label}", now=True)
    store.fsck(delete=True, now=True)
    row = next(row for row in cassandra.table("versions") if row["hex"] == long_list.hex)
    assert (row["files"], row["purged_at"] is None) == (None, False)
    fresh = Store(cassandra, store.settings)
    assert len(fresh.catalogue.pages.files(fresh.version("d"))) == FILES + 3
    assert fresh.verify("d", each_replica=True).ok
    assert not fresh.fsck().missing
    names = [key[-1] for key in cassandra.a.rows["pages"]]
    assert names.count(PAGE) == 5


def test_the_pages_of_the_list_go_with_the_last_version_that_names_them(
    store: Store, cassandra: FakeCassandra, long_list: Version
) -> None:
    store.alive = timedelta(0)
    store.delete("d", whole=True, now=True)
    store.fsck(delete=True, now=True)
    assert [key[-1] for key in cassandra.a.rows["pages"] if key[-1] in (PAGE, BLOB_PAGE)] == []


def test_a_deleted_version_is_undeleted_with_its_list_only(
    store: Store, cassandra: FakeCassandra, long_list: Version, folder: Path
) -> None:
    store.delete(f"d@{long_list.label}")
    assert store.undelete(f"d@{long_list.label}").version == long_list.label
    assert store.plan("d", str(folder), INCREMENTAL).unchanged
    store.delete(f"d@{long_list.label}")
    lose(cassandra, PAGE, [cassandra.a, cassandra.b])
    fresh = Store(cassandra, store.settings)
    with pytest.raises(VersionNotFoundError, match="its list of pages or files is missing or damaged"):
        fresh.undelete(f"d@{long_list.label}")


def test_a_version_row_repaired_from_the_other_node_has_its_list(
    store: Store, cassandra: FakeCassandra, long_list: Version
) -> None:
    for key, (stamp, row) in cassandra.b.rows["versions"].items():
        cassandra.b.rows["versions"][key] = (stamp, {**row, "files": None})
    assert store.fsck().missing
    store.verify("d", each_replica=True)
    store.repair("d")
    assert {row["files"] for row in cassandra.table("versions", cassandra.b)} == {long_list.files_blob}


def test_the_list_is_in_the_checksum_of_the_row(long_list: Version) -> None:
    assert replace(long_list, files_blob=b"other").compute_checksum() != long_list.checksum
    assert long_list.compute_checksum() == long_list.checksum
