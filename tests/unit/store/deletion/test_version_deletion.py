"""Deleting, pruning and checking: which requests are refused, and which faults are reported."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest

from millrace.api import Store
from millrace.api.maintenance import record_under_replicated
from millrace.errors import ChunkMissingError, DatasetNotFoundError, InvalidSettingError, StoreError, StoreTimeoutError
from millrace.store.catalogue.attempt import MetadataBucket
from millrace.store.deletion.all_replicas import AllReplicas
from tests.unit.store.fakes import FakeCassandra

Csv = Callable[..., str]


@pytest.fixture
def label(store: Store, csv: Csv) -> str:
    """Load ``d`` and return the label of its version."""
    return store.load("d", csv(3)).version


def test_an_unknown_dataset_can_be_neither_deleted_nor_pruned(store: Store) -> None:
    for remove in (lambda: store.delete("d", whole=True), lambda: store.prune("d", 1)):
        with pytest.raises(DatasetNotFoundError):
            remove()


@pytest.mark.usefixtures("label")
def test_prune_keeps_at_least_one_version(store: Store) -> None:
    with pytest.raises(InvalidSettingError, match="--keep is 0"):
        store.prune("d", 0)
    assert store.prune("d", 1).marked == []


@pytest.mark.usefixtures("label")
def test_fsck_fails_and_removes_nothing_while_no_node_has_the_list_of_pages_of_a_version(
    store: Store, cassandra: FakeCassandra, csv: Csv
) -> None:
    plan = store.plan("d", csv(3, first=10, name="b.csv"))
    store.load_split(plan, None)
    store.alive = timedelta(0)
    reference = json.dumps({"attempt_id": UUID(int=1).hex, "page": -2, "checksum": "00" * 16}).encode()
    checksum = replace(store.version("d"), pages_blob=reference).compute_checksum()
    for host in (cassandra.a, cassandra.b):
        for _, row in host.rows["versions"].values():
            row |= {"pages": reference, "checksum": checksum}
    chunks = cassandra.table("chunks")
    with pytest.raises(ChunkMissingError, match="page -2 of d/000000000000 is on no node"):
        store.fsck(delete=True, now=True)
    assert cassandra.table("chunks") == chunks
    assert not any(row["fenced"] for row in cassandra.table("attempts"))


def record_catalogue(store: Store) -> None:
    attempt_id = store.version("d").attempt_id
    record_under_replicated(store.cassandra, [("d", attempt_id, MetadataBucket.CATALOGUE)])


@pytest.mark.usefixtures("label")
def test_fsck_reports_that_garbage_stays_while_catalogue_rows_are_on_one_node_only(
    store: Store, cassandra: FakeCassandra, csv: Csv
) -> None:
    plan = store.plan("d", csv(3, first=10, name="b.csv"))
    store.load_split(plan, None)
    record_catalogue(store)
    store.alive = timedelta(0)
    report = store.fsck(delete=True, now=True)
    assert (len(report.garbage), report.removed_attempts) == (1, 0)
    assert ["catalogue rows on one node only" in problem for problem in report.problems] == [True]
    assert not any(row["fenced"] for row in cassandra.table("attempts"))


@pytest.mark.parametrize("error", [StoreError("too many tombstones"), StoreTimeoutError("the read timed out")])
def test_records_that_cannot_be_read_from_the_whole_table_are_read_by_attempt_unless_the_error_is_temporary(
    store: Store, label: str, monkeypatch: pytest.MonkeyPatch, error: StoreError
) -> None:
    record_catalogue(store)
    reading = AllReplicas.rows

    def rows(replicas: AllReplicas, query: str, values: tuple[Any, ...]) -> Any:
        if query.endswith("FROM {ks}.under_replicated"):
            raise error
        return reading(replicas, query, values)

    monkeypatch.setattr(AllReplicas, "rows", rows)
    message = str(error) if error.retriable else "catalogue rows on one node only"
    with pytest.raises(StoreError, match=message):
        store.delete("d", whole=True)
    assert [version.label for version in store.versions("d")] == [label]
