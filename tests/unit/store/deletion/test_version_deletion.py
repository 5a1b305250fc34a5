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
from millrace.errors import DatasetNotFoundError, InvalidSettingError, StoreError, StoreTimeoutError
from millrace.store.catalogue.attempt import MetadataBucket
from millrace.store.catalogue.version import Version
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


def begin_load(store: Store, name: str, path: str) -> None:
    """Write chunks that no version references, and let their load count as over."""
    store.load_split(store.plan(name, path), None)
    store.alive = timedelta(0)


def replace_pages(cassandra: FakeCassandra, version: Version, pages: bytes, checksum: bytes) -> None:
    for host in (cassandra.a, cassandra.b):
        for key, (_, row) in host.rows["versions"].items():
            if version.hex in key:
                row |= {"pages": pages, "checksum": checksum}


@pytest.mark.parametrize(
    ("is_damaged", "problem"),
    [(False, "page -2 of d/000000000000 is on no node"), (True, "the row of d@1-{hex} is damaged on every node")],
    ids=["its list of pages is lost", "its row is damaged"],
)
def test_fsck_removes_nothing_of_a_dataset_with_an_unreadable_version_and_continues_with_the_others(
    store: Store, cassandra: FakeCassandra, label: str, csv: Csv, is_damaged: bool, problem: str
) -> None:
    path = csv(3, first=10, name="b.csv")
    begin_load(store, "d", path)
    begin_load(store, "other", path)
    reference = json.dumps({"attempt_id": UUID(int=1).hex, "page": -2, "checksum": "00" * 16}).encode()
    version = store.version("d")
    checksum = replace(version, pages_blob=reference).compute_checksum()
    replace_pages(cassandra, version, reference, bytes(16) if is_damaged else checksum)
    report = store.fsck(delete=True, now=True)
    assert [text.startswith(problem.format(hex=version.hex)) for text in report.problems] == [True]
    assert {row["dataset"] for row in cassandra.table("chunks")} == {"d"}
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
