"""Versions: how a reference is resolved, how damaged rows and pages are handled, and which nodes are read."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from cassandra import InvalidRequest
from hypothesis import given
from hypothesis import strategies as st

from millrace.api import Store
from millrace.chunks import TileLayout
from millrace.errors import (
    ChecksumMismatchError,
    ChunkFormatError,
    ChunkMissingError,
    DatasetNotFoundError,
    StoreError,
    StoreTimeoutError,
    StoreUnavailableError,
    VersionNotFoundError,
)
from millrace.load import LoadOptions
from millrace.settings import Settings
from millrace.store.catalogue.row_reader import RowReader, Rows
from millrace.store.catalogue.version import Version, bounded_facts, layout_setting
from millrace.store.cluster.driver import LOCAL_ONE, TWO
from tests.unit.store.fakes import FakeCassandra, reset

Csv = Callable[..., str]


@pytest.fixture
def three(cassandra: FakeCassandra, settings: Settings, csv: Csv) -> list[str]:
    """Return the labels of three versions of 1, 2 and 3 rows, oldest first.

    A store of their own loads them, because it keeps what it has read of them.
    """
    with Store(cassandra, settings) as loading:
        return [loading.load("flights", csv(rows)).version for rows in (1, 2, 3)]


def test_a_reference_without_a_version_names_the_latest(store: Store, three: list[str]) -> None:
    assert store.version("flights").label == store.version("flights@latest").label == three[-1]


def test_a_number_or_a_full_label_names_a_version(store: Store, three: list[str]) -> None:
    assert [store.version(f"flights@{number}").rows for number in (1, 2, 3)] == [1, 2, 3]
    assert [store.version(f"flights@{label}").rows for label in three] == [1, 2, 3]


def test_a_time_names_the_version_that_was_the_latest_then(
    store: Store, cassandra: FakeCassandra, three: list[str]
) -> None:
    first = store.version("flights@1").committed_at
    by_number = {version.number: version for version in store.catalogue.versions("flights")}
    for host in (cassandra.a, cassandra.b):
        for _, row in host.rows["versions"].values():
            row["committed_at"] = first.replace(tzinfo=None) + timedelta(hours=row["number"] - 1)
            blobs = {"schema_blob": row["arrow_schema"], "pages_blob": row["pages"], "files_blob": row["files"]}
            moved = replace(by_number[row["number"]], committed_at=row["committed_at"].replace(tzinfo=UTC), **blobs)
            row["checksum"] = moved.compute_checksum()
    for minutes, label in ((0, three[0]), (59, three[0]), (60, three[1]), (119, three[1]), (120, three[2])):
        assert store.version(f"flights@{(first + timedelta(minutes=minutes)).isoformat()}").label == label
    assert store.version("flights@2999-01-01").label == three[-1]
    with pytest.raises(VersionNotFoundError):
        store.version(f"flights@{(first - timedelta(seconds=1)).isoformat()}")


@pytest.mark.parametrize("selector", ["9", "1-ffffff", "no_such_tag"])
def test_an_unknown_version_is_refused_with_the_latest(store: Store, three: list[str], selector: str) -> None:
    with pytest.raises(VersionNotFoundError, match=f"has no version {selector}.*the latest is {three[-1]}"):
        store.version(f"flights@{selector}")


def test_an_unknown_dataset_is_refused_by_name(store: Store) -> None:
    with pytest.raises(DatasetNotFoundError, match="there is no dataset 'nothing'"):
        store.version("nothing")


def test_a_list_of_datasets_leaves_out_those_without_a_version(store: Store, csv: Csv, three: list[str]) -> None:
    store.load_split(store.plan("begun", csv(5)), None)
    (info,) = store.datasets()
    assert (info.name, info.latest, info.versions, info.rows) == ("flights", three[-1], 3, 3)


FIELDS = ["number", "hex", "parent", "mode", "kind", "run", "code", "rows", "raw_bytes", "stored_bytes", "chunks",
          "page_count", "attempts", "source", "settings", "committed_at", "arrow_schema", "pages",
          "files"]  # fmt: skip


@pytest.mark.parametrize("column", [name for name in FIELDS if name not in ("number", "hex")])
@pytest.mark.parametrize("where", ["both", "later"])
def test_a_changed_version_row_is_refused_or_read_from_the_other_node(
    store: Store, cassandra: FakeCassandra, three: list[str], column: str, where: str
) -> None:
    changed: dict[str, Any] = {
        "source": '{"uri": "elsewhere"}',
        "settings": "{}",
        "committed_at": datetime(2020, 1, 1),
    }
    for host in (cassandra.a, cassandra.b) if where == "both" else (cassandra.b,):
        for key, (stamp, row) in host.rows["versions"].items():
            host.rows["versions"][key] = (stamp + 1, row := dict(row))
            value = row[column]
            other = value + 1 if isinstance(value, int) else b"x" if isinstance(value, bytes) else f"{value}x"
            row[column] = changed.get(column, other)
    if where == "later":
        assert store.version("flights").rows == 3
        return
    with pytest.raises(ChecksumMismatchError, match=r"the row of flights@3-\w+ has a wrong checksum"):
        store.version("flights")


@pytest.mark.parametrize("column", ["source", "settings", "committed_at"])
def test_a_version_row_that_cannot_be_decoded_is_refused_by_name(
    store: Store, cassandra: FakeCassandra, three: list[str], column: str
) -> None:
    for host in (cassandra.a, cassandra.b):
        for _, row in host.rows["versions"].values():
            row[column] = "{" if column != "committed_at" else None
    with pytest.raises(ChunkFormatError, match=r"the row of flights@3-\w+ is damaged"):
        store.version("flights")


@pytest.mark.parametrize("count", [350, 700], ids=["writer by writer", "the whole table"])
@pytest.mark.parametrize("down", [False, True], ids=["both up", "one down"])
def test_under_replicated_records_of_hundreds_of_writers_are_found_with_one_node_down_too(
    store: Store, cassandra: FakeCassandra, down: bool, count: int
) -> None:
    writers = [UUID(int=number) for number in range(count)]
    record_key = {writers[number] for number in (0, 99, 100, 249, 349)}
    query = "INSERT INTO {ks}.under_replicated (dataset, attempt_id, bucket, record_id, chunks) VALUES (?, ?, ?, ?, ?)"
    for writer in record_key:
        statement = cassandra.prepare(query).bind(("flights", writer, 3, UUID(int=7), 5))
        statement.consistency_level = TWO
        cassandra.execute(statement)
    if down:
        cassandra.unreachable[cassandra.a.address] = reset()
    records = store.catalogue.under_replicated("flights", set(writers))
    assert {record.attempt_id for record in records} == record_key
    assert {(record.bucket, record.chunks) for record in records} == {(3, 5)}
    assert store.catalogue.reader.was_degraded is down


def test_both_nodes_are_read_while_both_are_up_and_the_result_is_not_degraded(
    store: Store, cassandra: FakeCassandra, three: list[str]
) -> None:
    cassandra.reads.clear()
    assert store.version("flights").degraded is False
    assert {level for _, level, _ in cassandra.reads} == {TWO}


@pytest.mark.parametrize("down", ["10.0.0.1", "10.0.0.2"])
def test_with_a_node_down_the_other_one_is_read_and_the_result_is_degraded(
    store: Store, cassandra: FakeCassandra, three: list[str], down: str
) -> None:
    cassandra.unreachable[down] = reset()
    assert store.version("flights").label == three[-1]
    assert store.dataset("flights").degraded is True
    assert store.dataset("flights").to_table().num_rows == 3
    cassandra.unreachable.clear()
    assert store.version("flights").degraded is False


def test_a_result_is_degraded_if_any_of_its_reads_was(store: Store, cassandra: FakeCassandra, three: list[str]) -> None:
    """The list of versions is read from one node and the row from both, so a newer version may exist."""
    inner = cassandra._execute

    def first_degraded(statement: Any, timeout: float | None = None, host: Any = None) -> Any:
        if "WHERE dataset = ? AND number" in statement.prepared_statement.query_string:
            cassandra.unreachable.clear()
        return inner(statement, timeout, host)

    cassandra.session.execute = first_degraded
    cassandra.unreachable["10.0.0.2"] = reset()
    assert store.version("flights").degraded is True


def test_a_frozen_node_that_the_driver_calls_up_does_not_stop_the_catalogue(
    store: Store, cassandra: FakeCassandra, three: list[str]
) -> None:
    """Each node is queried by address, because the driver could choose the frozen one twice."""
    from cassandra import OperationTimedOut

    cassandra.unreachable["10.0.0.1"] = OperationTimedOut({}, None)
    cassandra.reads.clear()
    assert store.version("flights").label == three[-1]
    assert (LOCAL_ONE, "10.0.0.2") in [(level, where) for _, level, where in cassandra.reads]


def test_with_both_nodes_down_the_catalogue_raises_one_retriable_error(
    store: Store, cassandra: FakeCassandra, three: list[str]
) -> None:
    for address in ("10.0.0.1", "10.0.0.2"):
        cassandra.unreachable[address] = reset()
    with pytest.raises(StoreUnavailableError, match="the catalogue cannot be read") as caught:
        store.versions("flights")
    assert caught.value.retriable


def damage_pages(cassandra: FakeCassandra, *hosts: Any) -> None:
    for host in hosts or (cassandra.a, cassandra.b):
        for _, row in host.rows["pages"].values():
            row["data"] = b"wrong" + row["data"]


def test_a_damaged_page_is_read_from_the_other_node(store: Store, cassandra: FakeCassandra, three: list[str]) -> None:
    damage_pages(cassandra, cassandra.a)
    assert store.dataset("flights").to_table().num_rows == 3


def test_a_page_damaged_on_both_nodes_is_an_error(store: Store, cassandra: FakeCassandra, three: list[str]) -> None:
    damage_pages(cassandra)
    with pytest.raises(ChecksumMismatchError, match="page 0 of flights"):
        store.dataset("flights").to_table()


def test_a_page_missing_on_both_nodes_is_a_retriable_error(
    store: Store, cassandra: FakeCassandra, three: list[str]
) -> None:
    for host in (cassandra.a, cassandra.b):
        host.rows["pages"].clear()
    with pytest.raises(ChunkMissingError) as caught:
        store.dataset("flights").to_table()
    assert caught.value.retriable


def test_repeated_reads_fetch_the_content_and_pages_of_a_version_once(
    store: Store, three: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    rows = RowReader.rows

    def counted(reader: RowReader, query: str, values: tuple[Any, ...]) -> Rows[Any]:
        asked.append("content" if "arrow_schema" in query else "page" if ".pages" in query else "summary")
        return rows(reader, query, values)

    monkeypatch.setattr(RowReader, "rows", counted)
    first = store.dataset("flights").to_table()
    assert sorted(asked) == ["content", "page", "summary"]
    asked.clear()
    assert store.dataset("flights").to_table().equals(first)
    assert asked == ["summary"]  # the latest version is looked up each time
    asked.clear()
    assert len(list(store.dataset("flights").refs())) == 1
    assert asked == ["summary", "page"]  # checks read the pages again and do not use the cache


def test_a_deleted_version_is_not_served_from_the_cache(
    store: Store, cassandra: FakeCassandra, three: list[str]
) -> None:
    assert store.version("flights").label == three[-1]
    for host in (cassandra.a, cassandra.b):
        for _, row in host.rows["versions"].values():
            if row["number"] == 3:
                row["deleted_at"] = datetime.now(UTC)
    assert store.version("flights").label == three[-2]
    with pytest.raises(VersionNotFoundError):
        store.version(f"flights@{three[-1]}")


def test_a_schema_stored_out_of_line_that_is_damaged_or_missing_is_an_error(
    store: Store, cassandra: FakeCassandra, tmp_path: Any
) -> None:
    names = [f"column_{n * 7919}" for n in range(3000)]
    path = tmp_path / "wide.csv"
    path.write_text(",".join(names) + "\n" + ",".join("1" for _ in names) + "\n")
    store.load("wide", str(path), LoadOptions())
    assert len(store.dataset("wide").schema) == 3000
    spilled = [key for key in cassandra.a.rows["pages"] if key[-1] == -1]
    assert spilled
    for key in spilled:
        stamp, row = cassandra.b.rows["pages"][key]
        cassandra.b.rows["pages"][key] = (stamp + 1, {**row, "data": row["data"] + b"x"})
    assert len(store.dataset("wide").schema) == 3000
    for host in (cassandra.a, cassandra.b):
        for key in spilled:
            host.rows["pages"][key][1]["data"] += b"x"
    with pytest.raises(ChecksumMismatchError):
        _ = store.dataset("wide").schema
    for host in (cassandra.a, cassandra.b):
        for key in spilled:
            del host.rows["pages"][key]
    with pytest.raises(ChunkMissingError):
        _ = store.dataset("wide").schema


def a_version(**changes: Any) -> Version:
    values: dict[str, Any] = {
        "dataset": "flights", "number": 3, "hex": "abcdef", "parent": None, "mode": "replace", "kind": "table",
        "attempt_id": UUID(int=5), "attempts": 1, "run": "r", "code": "0.1.0", "rows": 1, "raw_bytes": 2,
        "stored_bytes": 3, "chunks": 4, "page_count": 5, "source": {"b": 1, "a": "é"}, "settings": {},
        "committed_at": datetime(2026, 11, 22, 10, 0, 0, 123000, tzinfo=UTC), "schema_blob": b"s", "pages_blob": b"p",
    }  # fmt: skip
    return Version(**{**values, **changes})


NOT_COVERED = {"checksum", "deleted_at", "mark", "purged_at", "degraded"}


@pytest.mark.parametrize("name", [f.name for f in fields(Version) if f.name not in NOT_COVERED])
def test_the_checksum_covers_every_field_that_readers_rely_on(name: str) -> None:
    changed: dict[str, Any] = {
        "dataset": "other", "number": 4, "hex": "000000", "parent": "2-aaaaaa", "mode": "append", "kind": "bytes",
        "attempt_id": UUID(int=6), "source": {}, "settings": {"x": 1}, "schema_blob": b"S", "pages_blob": b"P",
        "files_blob": b"F",
        "run": "s", "code": "0.2.0", "committed_at": datetime(2026, 11, 22, 10, 0, 0, 124000, tzinfo=UTC),
    }  # fmt: skip
    version = a_version()
    other = replace(version, **{name: changed.get(name, 99)})
    assert other.compute_checksum() != version.compute_checksum()


@pytest.mark.parametrize("name", sorted(NOT_COVERED - {"checksum"}))
def test_marking_a_version_does_not_change_its_checksum(name: str) -> None:
    version = a_version()
    value: Any = {"degraded": True, "mark": "deleted"}.get(name, datetime.now(UTC))
    marked = replace(version, **{name: value})
    assert marked.compute_checksum() == version.compute_checksum()


def test_the_order_of_facts_does_not_change_the_checksum() -> None:
    one, other = a_version(source={"a": 1, "b": 2}), a_version(source={"b": 2, "a": 1})
    assert one.compute_checksum() == other.compute_checksum()


@given(st.integers(0, 6000))
def test_the_layout_survives_a_versions_row_in_at_most_64_pairs(columns: int) -> None:
    import pyarrow as pa

    layout = TileLayout.for_schema(pa.schema([pa.field(str(n), pa.int8()) for n in range(columns)]))
    setting = layout_setting(layout)
    assert len(setting) <= 64
    assert a_version(settings={"layout": setting}).layout == layout


def test_short_facts_stay_as_they_are_and_long_ones_become_a_digest() -> None:
    facts = {"uri": "/a/b.csv", "digest": "x" * 64, "path": "/" + "d" * 4000, "types": [["c", "int32"]] * 1000}
    bounded = bounded_facts(facts)
    assert bounded["uri"] == "/a/b.csv"
    assert bounded["digest"] == "x" * 64
    assert bounded["path"].startswith("/ddd")
    assert len(bounded["path"]) < 600
    assert set(bounded["types"]) == {"bytes", "xxh3_128"}


def test_two_busy_nodes_are_read_again_and_the_result_is_not_degraded(
    store: Store, cassandra: FakeCassandra, three: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    asking, late = cassandra.execute_watched, [0, 1]

    def watched(statement: Any, needed: Any, **limits: Any) -> list[Any]:
        if late:
            late.pop()
            raise StoreTimeoutError("the read timed out")
        return asking(statement, needed, **limits)

    monkeypatch.setattr(cassandra, "execute_watched", watched)
    assert store.version("flights").degraded is False
    assert store.catalogue.reader.was_degraded is False
    assert late == []


def test_was_degraded_stays_set_after_later_reads_from_both_nodes(
    store: Store, cassandra: FakeCassandra, three: list[str]
) -> None:
    cassandra.unreachable["10.0.0.1"] = reset()
    assert store.catalogue.all_versions("flights").degraded is True
    cassandra.unreachable.clear()
    assert store.catalogue.all_versions("flights").degraded is False
    assert store.catalogue.reader.was_degraded is True


def test_an_error_of_a_chunk_names_the_version_that_was_read(
    store: Store, cassandra: FakeCassandra, three: list[str]
) -> None:
    for host in (cassandra.a, cassandra.b):
        for _, row in host.rows["chunks"].values():
            row["data"] = b"wrong"
    for read in (lambda: store.dataset("flights").to_table(), lambda: store.dataset("flights").head()):
        with pytest.raises(ChecksumMismatchError, match=f"^flights@{three[-1]}: tile 0 of chunk") as caught:
            read()
        facts = ("dataset", "version", "chunk", "tile", "node", "expected", "actual")
        assert all(fact in caught.value.context for fact in facts)


@pytest.mark.parametrize("reference", ["flights@9", "flights@9-abcdef", "flights@no_such_tag", "other"])
def test_a_name_that_a_degraded_read_does_not_find_may_be_known_to_the_other_node(
    store: Store, cassandra: FakeCassandra, three: list[str], reference: str
) -> None:
    cassandra.unreachable["10.0.0.1"] = reset()
    with pytest.raises(StoreUnavailableError, match="no node that responds has"):
        store.version(reference)


def test_a_strict_reader_refuses_a_degraded_read(cassandra: FakeCassandra, three: list[str]) -> None:
    reader = RowReader(cassandra, strict=True)
    cassandra.unreachable["10.0.0.2"] = reset()
    with pytest.raises(StoreUnavailableError, match=r"this needs every node, and .* does not answer"):
        reader.rows("SELECT dataset FROM {ks}.datasets WHERE shard = ?", (0,))
    assert not reader.was_degraded


def test_a_read_that_a_node_rejects_is_not_tried_at_the_other_node(cassandra: FakeCassandra, three: list[str]) -> None:
    cassandra.unreachable["10.0.0.1"] = InvalidRequest("unknown column")
    cassandra.reads.clear()
    with pytest.raises(StoreError, match="unknown column") as caught:
        RowReader(cassandra).rows("SELECT dataset FROM {ks}.datasets WHERE shard = ?", (0,))
    assert type(caught.value) is StoreError
    assert [where for _, level, where in cassandra.reads if level == LOCAL_ONE] == ["10.0.0.1"]
