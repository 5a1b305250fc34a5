"""Missing replicas are found and recorded, recorded ones are repaired, and no record is deleted too early."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cassandra import Unavailable

from millrace.api import Store
from millrace.load import LoadOptions
from millrace.progress import null_task
from millrace.store.catalogue.attempt import MetadataBucket
from millrace.store.catalogue.catalogue_writer import CatalogueWriter
from millrace.store.chunks.chunk_reader import ChunkReader
from millrace.store.chunks.chunk_writer import ChunkWriter
from millrace.store.cluster.driver import TWO
from millrace.store.cluster.writer import ReplicatedWriter
from millrace.store.repair.repair import RepairReport, ReplicaRepair
from tests.derived import made_from
from tests.unit.store.conftest import attempt_row, make_chunk
from tests.unit.store.fakes import Attempt, FakeCassandra, FakeHost

Csv = Callable[..., str]
Make = Callable[..., ReplicatedWriter]


def lose(host: FakeHost, table: str) -> None:
    host.rows[table].clear()


def damage_page(host: FakeHost, table: str) -> None:
    for _, row in host.rows[table].values():
        row["data"] = b"wrong" + row["data"]


def damage_row(host: FakeHost, table: str) -> None:
    """Change a row so that its checksum does not match."""
    for key, (stamp, row) in list(host.rows[table].items()):
        host.rows[table][key] = (stamp, {**row, "rows": row["rows"] + 1})


LOSSES = [
    (lose, "pages", MetadataBucket.PAGES),
    (damage_page, "pages", MetadataBucket.PAGES),
    (lose, "versions", MetadataBucket.CATALOGUE),
    (damage_row, "versions", MetadataBucket.CATALOGUE),
    (lose, "tags", MetadataBucket.CATALOGUE),
    (lose, "datasets", MetadataBucket.CATALOGUE),
    (lose, "attempts", MetadataBucket.CATALOGUE),
    (lose, "chunks", 0),
]


def under_replicated_of(cassandra: FakeCassandra) -> set[int]:
    return {row["bucket"] for row in cassandra.table("under_replicated")}


@pytest.mark.parametrize("look", ["fsck", "verify"])
@pytest.mark.parametrize("node", ["a", "b"])
@pytest.mark.parametrize(("harm", "table", "bucket"), LOSSES, ids=[f"{h.__name__} {t}" for h, t, _ in LOSSES])
def test_an_unrecorded_missing_or_damaged_replica_is_found_and_repaired(
    store: Store, cassandra: FakeCassandra, csv: Csv, harm: Any, table: str, bucket: int, node: str, look: str
) -> None:
    store.load("flights", csv(100))
    store.tag("flights", "good")
    host: FakeHost = getattr(cassandra, node)
    harm(host, table)
    if look == "fsck":
        assert {item["node"] for item in store.fsck().missing} == {host.address}
    else:
        assert not store.verify("flights", each_replica=True).ok
    assert under_replicated_of(cassandra) == {bucket}
    repaired = store.repair("flights")
    assert repaired.ok
    assert repaired.copies >= 1 or harm is damage_page  # the check already replaced a damaged page when reading it
    assert under_replicated_of(cassandra) == set()
    assert store.verify("flights", each_replica=True).ok
    assert store.fsck().missing == []
    assert store.version("flights@good").rows == 100
    assert (cassandra.a.rows[table].keys(), len(cassandra.a.rows[table])) == (
        cassandra.b.rows[table].keys(),
        len(cassandra.b.rows[table]),
    )


@pytest.mark.parametrize("node", ["a", "b"])
def test_the_registration_of_a_derived_dataset_is_found_and_repaired(
    store: Store, cassandra: FakeCassandra, csv: Csv, tmp_path: Path, node: str
) -> None:
    store.load("flights", csv(10))
    made_from(store, "late", tmp_path, "flights")
    host: FakeHost = getattr(cassandra, node)
    del host.rows["datasets"][1, "late"]
    report = store.fsck()
    assert [(item["node"], item["data"]) for item in report.missing] == [(host.address, "the row 1, late of datasets")]
    assert under_replicated_of(cassandra) == {MetadataBucket.CATALOGUE}
    assert store.repair("late").ok
    assert set(host.rows["datasets"]) == {(0, "flights"), (0, "late"), (1, "late")}
    assert store.fsck().missing == []


def test_a_registration_on_one_node_only_is_on_record(
    store: Store, cassandra: FakeCassandra, csv: Csv, tmp_path: Path
) -> None:
    store.load("flights", csv(10))

    def behave(attempt: Attempt) -> Any:
        derived = any(table == "datasets" and row["shard"] == 1 for table, row in attempt.rows)
        return Unavailable("one node is down", TWO, 2, 1) if derived and attempt.level == TWO else "ok"

    cassandra.behave = behave
    late = made_from(store, "late", tmp_path, "flights")
    cassandra.behave = lambda _attempt: "ok"
    assert sum((1, "late") in host.rows["datasets"] for host in (cassandra.a, cassandra.b)) == 1
    buckets = {record.bucket for record in store.under_replicated(store.version(late))}
    assert MetadataBucket.CATALOGUE in buckets
    assert store.repair("late").ok
    assert all((1, "late") in host.rows["datasets"] for host in (cassandra.a, cassandra.b))


def test_an_intact_store_has_no_missing_and_no_under_replicated_data(
    store: Store, cassandra: FakeCassandra, csv: Csv
) -> None:
    for k in range(3):
        store.load("flights", csv(10, first=10 * k, name=f"{k}.csv"), LoadOptions(mode="append"))
    report = store.fsck()
    assert (report.missing, report.problems) == ([], [])
    assert under_replicated_of(cassandra) == set()


def test_data_missing_on_both_nodes_is_reported_by_fsck_and_does_not_stop_repair(
    store: Store, cassandra: FakeCassandra, csv: Csv
) -> None:
    store.load("flights", csv(100))
    store.load("other", csv(100))
    for host in (cassandra.a, cassandra.b):
        for key in [key for key in host.rows["pages"] if key[0] == "flights"]:
            del host.rows["pages"][key]
    missing = store.fsck().missing
    assert {(item["dataset"], item["node"]) for item in missing} == {("flights", "10.0.0.1"), ("flights", "10.0.0.2")}
    assert store.repair().ok  # lost data is not under-replicated


def test_a_damaged_page_is_replaced_by_the_good_copy_as_soon_as_it_is_read(
    store: Store, cassandra: FakeCassandra, csv: Csv
) -> None:
    store.load("flights", csv(100))
    damage_page(cassandra.a, "pages")
    assert store.dataset("flights").to_table().num_rows == 100
    assert cassandra.a.rows["pages"].keys() == cassandra.b.rows["pages"].keys()
    first, second = (
        {row["page"]: row["data"] for row in cassandra.table("pages", host)} for host in (cassandra.a, cassandra.b)
    )
    assert first[0] == second[0]
    # The list of loaded files was not read yet.
    assert store.catalogue.pages.files(store.version("flights"))[0].size_bytes
    first = {row["page"]: row["data"] for row in cassandra.table("pages", cassandra.a)}
    assert first == second


class Repairing:
    """A load of three buckets that is still running and can be repaired meanwhile."""

    def __init__(self, cassandra: FakeCassandra, make_writer: Make) -> None:
        self.cassandra = cassandra
        self.row = attempt_row()
        writes = make_writer(cassandra)
        self.catalogue_writer = CatalogueWriter(cassandra, writes)
        self.attempt_id = ChunkWriter(cassandra, writes, self.row, bucket_bytes=1_000_000)

    def write(self, seed: int) -> None:
        self.attempt_id.write(make_chunk(40_000, seed))
        self.cassandra.wait_for(lambda: len({row["chunk"] for row in self.cassandra.table("chunks")}) > seed)
        self.attempt_id.count_acknowledged()

    def repair(self, *, writing: bool = True) -> RepairReport:
        report = RepairReport()
        repairer = ReplicaRepair(self.cassandra, ChunkReader(self.cassandra))
        alive = {self.row.attempt_id} if writing else set()
        repairer.repair_attempts(self.row.dataset, {self.row.attempt_id}, report, task=null_task(), writing=alive)
        return report


@pytest.fixture
def repairing(make_writer: Make) -> Repairing:
    return Repairing(FakeCassandra(), make_writer)


def test_the_record_of_a_bucket_still_being_written_stays_until_a_later_bucket_has_a_page(repairing: Repairing) -> None:
    repairing.write(0)
    repairing.catalogue_writer.record_under_replicated(repairing.row.dataset, repairing.row.attempt_id, 0, 1)
    report = repairing.repair()
    assert (report.records, report.cleared, report.pending) == (1, 0, 1)
    for seed in (1, 2):
        repairing.write(seed)
    # Bucket 0 has its page now. Only the page of bucket 1 shows that bucket 0 gets no more chunks.
    repairing.repair()
    for seed in (3, 4):
        repairing.write(seed)
    assert repairing.repair().cleared in (0, 1)
    assert under_replicated_of(repairing.cassandra) == set()


def test_the_chunks_of_a_bucket_still_being_written_are_repaired_and_its_record_stays(repairing: Repairing) -> None:
    for seed in range(3):
        repairing.write(seed)
    repairing.attempt_id.finish()
    last = max(row["bucket"] for row in repairing.cassandra.table("chunks"))
    repairing.catalogue_writer.record_under_replicated(repairing.row.dataset, repairing.row.attempt_id, last, 1)
    lose(repairing.cassandra.b, "chunks")
    report = repairing.repair()
    assert (report.copies, report.cleared, report.pending) == (1, 0, 1)
    assert under_replicated_of(repairing.cassandra) == {last}
    assert repairing.repair(writing=False).cleared == 1
    assert under_replicated_of(repairing.cassandra) == set()


def test_the_pages_record_of_an_unpublished_writer_stays(repairing: Repairing) -> None:
    """Its page lists are stored under keys that only its version row contains."""
    repairing.catalogue_writer.record_under_replicated(
        repairing.row.dataset, repairing.row.attempt_id, MetadataBucket.PAGES, 0
    )
    assert repairing.repair().pending == 1
    assert under_replicated_of(repairing.cassandra) == {MetadataBucket.PAGES}


def test_the_catalogue_is_repaired_before_pages_and_pages_before_chunks(
    repairing: Repairing, monkeypatch: pytest.MonkeyPatch
) -> None:
    repairing.write(0)
    repairing.attempt_id.finish()
    buckets: list[int] = []
    repair_record = ReplicaRepair._repair_record

    def recorded(repairer: ReplicaRepair, record: Any, *rest: Any) -> None:
        buckets.append(record.bucket)
        repair_record(repairer, record, *rest)

    monkeypatch.setattr(ReplicaRepair, "_repair_record", recorded)
    for bucket in (0, MetadataBucket.PAGES, MetadataBucket.CATALOGUE):
        repairing.catalogue_writer.record_under_replicated(repairing.row.dataset, repairing.row.attempt_id, bucket, 0)
    assert repairing.repair(writing=False).cleared == 3
    assert buckets == [MetadataBucket.CATALOGUE, MetadataBucket.PAGES, 0]


def test_chunks_already_delivered_by_hints_are_checked_and_not_written(repairing: Repairing) -> None:
    repairing.write(0)
    repairing.attempt_id.finish()
    repairing.catalogue_writer.record_under_replicated(repairing.row.dataset, repairing.row.attempt_id, 0, 1)
    before = len(repairing.cassandra.writes())
    report = repairing.repair(writing=False)
    assert (report.chunks, report.copies, report.cleared, report.ok) == (1, 0, 1, True)
    assert len(repairing.cassandra.writes()) == before


def test_an_under_replicated_bucket_that_cannot_be_repaired_is_a_problem_and_stays_recorded(
    repairing: Repairing,
) -> None:
    repairing.write(0)
    repairing.attempt_id.finish()
    repairing.catalogue_writer.record_under_replicated(repairing.row.dataset, repairing.row.attempt_id, 0, 1)
    for host in (repairing.cassandra.a, repairing.cassandra.b):
        lose(host, "chunks")
    report = repairing.repair(writing=False)
    assert (report.ok, report.cleared, [problem["bucket"] for problem in report.problems]) == (False, 0, [0])
    assert under_replicated_of(repairing.cassandra) == {0}


def test_a_page_of_a_live_writer_damaged_on_both_nodes_is_a_problem_and_does_not_stop_repair(
    repairing: Repairing,
) -> None:
    for seed in range(3):
        repairing.write(seed)
    repairing.catalogue_writer.record_under_replicated(repairing.row.dataset, repairing.row.attempt_id, 0, 1)
    for host in (repairing.cassandra.a, repairing.cassandra.b):
        damage_page(host, "pages")
    report = repairing.repair()
    assert (report.cleared, [problem["bucket"] for problem in report.problems]) == (0, [0])


def test_the_catalogue_record_of_a_writer_is_cleared_while_it_still_writes(repairing: Repairing) -> None:
    repairing.catalogue_writer.record_under_replicated(
        repairing.row.dataset, repairing.row.attempt_id, MetadataBucket.CATALOGUE, 0
    )
    assert repairing.repair().cleared == 1
