"""Reports of runs: one row each, bounded in size, repaired on a node that missed them, removed with their dataset."""

from __future__ import annotations

import gzip
import json
import random
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from millrace.api import Store
from millrace.errors import StoreError
from millrace.load import LoadOptions
from millrace.store import REPORT_BYTES_MAX, CatalogueWriter, DatasetRun, ReplicatedWriter, RunReports
from millrace.store.catalogue.run_reports import encode_report
from millrace.store.repair.report_repair import repair_reports
from tests.unit.store.fakes import FakeCassandra, FakeHost, reset

Csv = Callable[..., str]
Make = Callable[..., ReplicatedWriter]
STARTED = datetime(2026, 11, 22, 10, tzinfo=UTC)


def row(**changes: Any) -> DatasetRun:
    values = {"dataset": "d", "started": STARTED, "run": "r", "state": "failed", "version": None, "rows": 0}
    return DatasetRun(**{**values, "rejects": 0, **changes})


def write(store: Store, make_writer: Make, each: DatasetRun, ttl_s: int | None = None) -> None:
    catalogue_writer = CatalogueWriter(store.cassandra, make_writer(store.cassandra))
    document = {"run": each.run, "state": each.state}
    RunReports(store.catalogue.reader).write(catalogue_writer, each, document, ttl_s=ttl_s)


def test_the_runs_of_a_dataset_are_listed_newest_first(store: Store, make_writer: Make) -> None:
    for number in range(3):
        write(store, make_writer, row(run=f"r{number}", started=STARTED + timedelta(hours=number)))
    write(store, make_writer, row(run="other", dataset="e"))
    reports = RunReports(store.catalogue.reader)
    assert [each.run for each in reports.runs("d", at_most=2)] == ["r2", "r1"]
    assert reports.runs("d", at_most=9)[-1] == row(run="r0")
    assert reports.document("r1") == {"run": "r1", "state": "failed", "cut": {}}
    assert reports.document("r9") is None


def test_a_later_attempt_of_a_run_replaces_its_report_and_keeps_its_start(
    store: Store, cassandra: FakeCassandra, make_writer: Make
) -> None:
    write(store, make_writer, row(), ttl_s=100)
    later = row(started=STARTED + timedelta(hours=1), state="succeeded", version="1-abcdef", rows=7, rejects=2)
    write(store, make_writer, later)
    assert RunReports(store.catalogue.reader).runs("d", at_most=9) == [
        row(state="succeeded", version="1-abcdef", rows=7, rejects=2)
    ]
    assert len(cassandra.table("reports")) == 1


def test_a_report_is_written_before_its_run_is_listed_and_only_that_of_a_failure_expires(
    store: Store, cassandra: FakeCassandra, make_writer: Make
) -> None:
    write(store, make_writer, row(), ttl_s=100)
    write(store, make_writer, row(run="s"))
    queries = [attempt.statement.prepared_statement.query_string for attempt in cassandra.writes()]
    tables = [query.split()[2] for query in queries]
    assert tables == ["ks.reports", "ks.dataset_runs"] * 2
    assert ["USING TTL ?" in query for query in queries] == [True, True, False, False]


@pytest.mark.parametrize(
    "blob",
    [b"", b"no gzip", gzip.compress(b"no JSON"), gzip.compress(b"{}" * 50)[:-9]],
    ids=["empty", "no gzip", "no JSON", "cut short"],
)
def test_a_damaged_report_is_an_error_with_its_run(
    store: Store, cassandra: FakeCassandra, make_writer: Make, blob: bytes
) -> None:
    write(store, make_writer, row())
    for host in (cassandra.a, cassandra.b):
        host.rows["reports"][("r",)][1]["report"] = blob
    with pytest.raises(StoreError, match="the report of the run 'r' is damaged"):
        RunReports(store.catalogue.reader).document("r")


def decoded(blob: bytes) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(gzip.decompress(blob))
    return document


def noise(characters: int, seed: int) -> str:
    rng = random.Random(seed)
    return "".join(chr(rng.randrange(0x4E00, 0x9FFF)) for _ in range(characters))


def test_a_large_report_is_cut_in_its_lists_and_has_their_original_lengths() -> None:
    columns = [{"name": noise(50, n), "type": "int64"} for n in range(2_000)]
    warnings = [{"code": "c", "message": noise(200, n)} for n in range(100)]
    blob = encode_report({"dataset": "d", "columns": columns, "warnings": warnings, "rows": 7})
    assert len(blob) <= REPORT_BYTES_MAX
    kept = decoded(blob)
    assert kept["cut"]["columns"] == 2_000
    assert kept["columns"] == columns[: len(kept["columns"])]
    assert len(kept["columns"]) > 100
    assert (kept["dataset"], kept["rows"]) == ("d", 7)


def test_a_report_of_long_texts_alone_stays_below_the_limit() -> None:
    document = {f"text_{n}": noise(100_000, n) for n in range(10)}
    blob = encode_report({**document, "warnings": [{"message": noise(100_000, 99)}], "half": "\ud800"})
    assert len(blob) <= REPORT_BYTES_MAX
    kept = decoded(blob)
    assert kept.keys() == {*document, "warnings", "half", "cut"}
    assert all(len(kept[name]) == 2_000 and kept[name].endswith("...") for name in document)


def test_a_small_report_is_kept_whole() -> None:
    document = {"dataset": "d", "columns": [{"name": "ä", "type": "int64"}], "seconds": 1.5, "error": None}
    assert decoded(encode_report(document)) == {**document, "cut": {}}


@pytest.mark.parametrize("node", ["a", "b"])
@pytest.mark.parametrize("tables", [["reports"], ["dataset_runs"], ["reports", "dataset_runs"]], ids="+".join)
def test_repair_restores_the_reports_that_a_node_missed(
    store: Store, cassandra: FakeCassandra, csv: Csv, tables: list[str], node: str
) -> None:
    for number in range(3):
        store.load("d", csv(3, first=number), run=f"r{number}")
    host: FakeHost = getattr(cassandra, node)
    before = {table: cassandra.table(table) for table in tables}
    for table in tables:
        host.rows[table].clear()
    repaired = store.repair("d")
    assert (repaired.ok, repaired.copies) == (True, 3 * len(tables))
    assert repaired.summary == f"everything is on two nodes again, {3 * len(tables)} copies written"
    assert {table: cassandra.table(table, host) for table in tables} == before
    assert repair_reports(cassandra, "d") == 0


def test_only_the_newest_runs_are_repaired(store: Store, cassandra: FakeCassandra, csv: Csv) -> None:
    for number in range(3):
        store.load("d", csv(3, first=number), run=f"r{number}")
    cassandra.b.rows["reports"].clear()
    assert repair_reports(cassandra, "d", runs_max=2) == 2
    assert {key[0] for key in cassandra.b.rows["reports"]} == {"r1", "r2"}


def test_a_report_is_kept_with_a_node_down_and_repaired_when_it_is_back(
    store: Store, cassandra: FakeCassandra, csv: Csv
) -> None:
    cassandra.behave = lambda attempt: reset() if attempt.host is cassandra.b or attempt.level != 10 else "ok"
    cassandra.b.is_up = False
    cassandra.unreachable["10.0.0.2"] = reset()
    report = store.load("d", csv(3), run="r")
    assert report.degraded
    assert store.run_report("r").version == report.version
    assert not cassandra.b.rows["reports"]
    cassandra.behave = lambda _attempt: "ok"
    cassandra.b.is_up = True
    cassandra.unreachable.clear()
    assert store.repair("d").ok
    assert cassandra.table("reports", cassandra.b) == cassandra.table("reports", cassandra.a)


def test_the_reports_of_a_deleted_dataset_are_removed_with_its_data(
    store: Store, cassandra: FakeCassandra, csv: Csv, make_writer: Make
) -> None:
    store.load("d", csv(3), run="r")
    store.load("d", csv(4), LoadOptions(mode="append"), run="s")
    store.load("e", csv(5), run="e")
    store.delete("d", whole=True)
    store.fsck(delete=True)
    assert {each["run"] for each in cassandra.table("dataset_runs")} == {"r", "s", "e"}
    write(store, make_writer, row(run="later", started=datetime.now(UTC) + timedelta(seconds=1)))
    store.alive = timedelta(0)
    store.fsck(delete=True, now=True)
    assert {each["run"] for each in cassandra.table("dataset_runs")} == {"later", "e"}
    assert {each["run"] for each in cassandra.table("reports")} == {"later", "e"}


def test_deleting_one_version_leaves_the_reports(store: Store, cassandra: FakeCassandra, csv: Csv) -> None:
    first = store.load("d", csv(3), run="r")
    store.load("d", csv(4), run="s")
    store.delete(f"d@{first.version}", now=True)
    assert {each["run"] for each in cassandra.table("reports")} == {"r", "s"}
