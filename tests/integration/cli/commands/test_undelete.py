"""``undelete`` on real nodes: the output of the commands, and the write times in Cassandra."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from millrace.api import Store
from millrace.errors import StoreError, StoreSchemaError, UsageError
from millrace.store.catalogue.version import DELETED, RESTORED
from millrace.store.cluster import write_times
from millrace.store.cluster.session import CassandraSession
from tests.integration.cli.conftest import Millrace, write_table


@pytest.fixture
def name(millrace: Millrace, tmp_path: Path) -> str:
    """Load a dataset of three versions of 100, 200 and 300 rows; return its name."""
    made = f"u_{uuid4().hex[:10]}"
    for rows in (100, 200, 300):
        assert millrace("load", made, str(write_table(tmp_path / f"{rows}.csv", rows))).code == 0
    return made


def rows_of(millrace: Millrace, name: str, *options: str) -> list[int]:
    done = millrace("versions", name, *options, "--json")
    return [version["rows"] for version in done.json["versions"]] if done.code == 0 else []


def cells(store: Store, name: str, number: int) -> list[tuple[Any, ...]]:
    """Return mark, time of deletion and write time of the mark, from each node."""
    query = "SELECT mark, deleted_at, WRITETIME(mark) AS at FROM {ks}.versions WHERE dataset = ? AND number = ?"
    return [tuple(row) for row in store.catalogue.reader.each_copy(query, (name, number))]


def test_undelete_makes_the_version_visible_to_every_command_again(millrace: Millrace, name: str, store: Store) -> None:
    deleted = millrace("delete", f"{name}@3", "--json").json["marked"]
    assert rows_of(millrace, name) == [200, 100]
    listed = millrace("versions", name, "--deleted", "--json").json["versions"]
    assert [f"{name}@{version['version']}" for version in listed] == deleted
    assert listed[0]["removed_from"] > listed[0]["deleted_at"]
    would = millrace("undelete", f"{name}@3", "--dry-run", "--json").json
    assert (would["dry_run"], would["latest"], rows_of(millrace, name)) == (True, True, [200, 100])
    done = millrace("undelete", f"{name}@3", "--json")
    assert (done.code, done.err) == (0, "")
    assert (done.json["version"], done.json["latest"], done.json["merges_with"]) == (listed[0]["version"], True, [])
    assert rows_of(millrace, name) == [300, 200, 100]
    assert rows_of(millrace, name, "--deleted") == []
    assert millrace("read", name, "--json").json["rows"] == 300
    assert millrace("verify", f"{name}@3", "--each-replica").code == 0
    found = millrace("fsck", "--delete", "--yes", "--now", "--json").json
    assert [item for item in found["garbage"] if item["dataset"] == name] == []
    copies = cells(store, name, 3)
    assert len(copies) >= 2
    assert {mark for mark, _, _ in copies} == {RESTORED}
    assert None not in {deleted_at for _, deleted_at, _ in copies}


def test_a_version_whose_data_was_removed_is_refused_with_one_line(millrace: Millrace, name: str) -> None:
    assert millrace("delete", f"{name}@2", "--now").code == 0
    assert rows_of(millrace, name, "--deleted") == []
    refused = millrace("undelete", f"{name}@2")
    assert (refused.code, refused.out, len(refused.err.splitlines())) == (1, "", 1)
    assert "cannot be undeleted, because its data was removed: load its source again" in refused.err
    assert rows_of(millrace, name) == [300, 100]


@pytest.mark.parametrize(
    ("reference", "code", "said"),
    [
        ("NAME@1", 2, "is not deleted"),
        ("NAME", 2, "write its number or full version after @"),
        ("NAME@9", 1, "never had a version 9"),
        ("no_such_dataset@1", 1, "there is no dataset 'no_such_dataset'"),
    ],
)
def test_a_reference_to_no_deleted_version_is_refused_with_one_line(
    millrace: Millrace, name: str, reference: str, code: int, said: str
) -> None:
    refused = millrace("undelete", reference.replace("NAME", name))
    assert (refused.code, refused.out, len(refused.err.splitlines())) == (code, "", 1)
    assert said in refused.err


def test_undelete_is_refused_while_a_node_is_down(
    millrace: Millrace, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    millrace("delete", f"{name}@3")
    monkeypatch.setattr("millrace.store.cluster.session.CassandraSession.missing", lambda _self: ["127.0.0.2"])
    refused = millrace("undelete", f"{name}@3")
    assert (refused.code, len(refused.err.splitlines())) == (1, 1)
    assert "taking back a deletion needs every node, 127.0.0.2 is down" in refused.err


@pytest.mark.parametrize("hours", [-30, 0, 30])
def test_the_last_delete_or_undelete_wins_on_every_node_with_wrong_clocks(
    name: str, store: Store, monkeypatch: pytest.MonkeyPatch, hours: int
) -> None:
    """A machine with a right, fast or slow clock deletes, this one undeletes, and the other deletes again."""

    class Shifted:
        @staticmethod
        def time() -> float:
            return time.time() + hours * 3600

    with monkeypatch.context() as patched:
        patched.setattr(write_times, "time", Shifted)
        store.delete(f"{name}@2")
    first = {at for _, _, at in cells(store, name, 2)}
    store.undelete(f"{name}@2")
    assert {mark for mark, _, _ in cells(store, name, 2)} == {RESTORED}
    assert store.version(f"{name}@2").rows == 200
    second = {at for _, _, at in cells(store, name, 2)}
    with monkeypatch.context() as patched:
        patched.setattr(write_times, "time", Shifted)
        store.delete(f"{name}@2")
    assert {mark for mark, _, _ in cells(store, name, 2)} == {DELETED}
    assert [version.rows for version in store.versions(name)] == [300, 100]
    third = {at for _, _, at in cells(store, name, 2)}
    assert max(first) < min(second) <= max(second) < min(third)


def test_concurrent_deletes_undeletes_and_prunes_leave_each_version_complete_or_deleted(
    name: str, store: Store, settings: Any, tmp_path: Path
) -> None:
    expected = {version.label: version.rows for version in store.versions(name)}
    labels = list(expected)

    def work(what: int) -> None:
        with Store.connect(settings) as mine:
            for turn in range(4):
                reference = f"{name}@{labels[(what + turn) % 3]}"
                try:
                    if what % 3 == 0:
                        mine.delete(reference)
                    elif what % 3 == 1:
                        mine.undelete(reference)
                    else:
                        mine.prune(name, 1)
                except (StoreError, UsageError):
                    continue

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(work, range(6)))
    for version in store.versions(name, deleted=True):
        store.undelete(version.reference)
    found = {version.label: version.rows for version in store.versions(name)}
    assert found == expected
    for label, rows in found.items():
        assert store.dataset(f"{name}@{label}").to_table().num_rows == rows
        assert len({cells(store, name, int(label.partition("-")[0]))[k][0] for k in range(2)}) == 1


def test_concurrent_sweeps_and_undeletes_leave_each_version_complete_or_removed(
    name: str, store: Store, settings: Any
) -> None:
    """An older version is complete, or refused as removed; the newest, which is never deleted, is complete."""
    rows = {version.label: version.rows for version in store.versions(name)}
    latest, *older = rows
    turns = 5

    def work(what: int) -> None:
        with Store.connect(settings) as mine:
            for turn in range(turns):
                reference = f"{name}@{older[turn % 2]}"
                try:
                    if what % 2:
                        mine.undelete(reference)
                    else:
                        mine.delete(reference, now=what == 0 and turn == turns - 2)
                except (StoreError, UsageError):
                    continue

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(work, range(4)))
    store.catalogue.pages.page_list.cache_clear()
    visible = [version.label for version in store.versions(name)]
    assert latest in visible
    for label in visible:
        assert store.dataset(f"{name}@{label}").to_table().num_rows == rows[label]
        assert store.verify(f"{name}@{label}", each_replica=True).ok
    for version in store.versions(name, deleted=True):
        store.undelete(version.reference)
        assert store.dataset(version.reference).to_table().num_rows == rows[version.label]


def test_fsck_and_repair_leave_the_marks_of_a_restored_version_unchanged(name: str, store: Store) -> None:
    store.delete(f"{name}@3")
    store.undelete(f"{name}@3")
    before = cells(store, name, 3)
    # Other tests damage their data in the same keyspace.
    assert [found for found in store.fsck().missing if found["dataset"] == name] == []
    assert store.repair(name).ok
    assert cells(store, name, 3) == before


def test_a_keyspace_of_schema_2_is_refused_by_number_and_not_changed(settings: Any) -> None:
    made = settings.model_copy(update={"cassandra": settings.cassandra.model_copy(update={"keyspace": _keyspace()})})
    keyspace = made.cassandra.keyspace
    Store.init(made)
    cassandra = CassandraSession.connect(made.cassandra)
    try:
        run = lambda query: cassandra.session.execute(query, timeout=60)  # noqa: E731
        run(f"DROP TABLE {keyspace}.attempts")
        run(f"ALTER TABLE {keyspace}.versions WITH comment = 'millrace schema 2'")
        for use in (Store.connect, Store.init):
            with pytest.raises(StoreSchemaError, match="has schema 2, this Millrace has 4: drop the keyspace"):
                use(made)
        tables = "SELECT table_name FROM system_schema.tables WHERE keyspace_name = %s"
        assert "attempts" not in {row.table_name for row in cassandra.session.execute(tables, (keyspace,))}
    finally:
        run(f"DROP KEYSPACE IF EXISTS {keyspace}")
        cassandra.close()


def _keyspace() -> str:
    return f"test_{uuid4().hex[:12]}"
