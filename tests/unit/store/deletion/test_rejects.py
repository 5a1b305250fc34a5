"""Rejects are deleted with the last version that names them, and those of failed loads after 90 days."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from millrace.api import Store
from millrace.errors import BadRowsError
from millrace.load import LoadOptions
from millrace.sources import BadRowBudget, SourceOptions
from millrace.store.deletion import rejects as rejects_module
from tests.unit.store.fakes import FakeCassandra

OPTIONS = LoadOptions(bad_rows=BadRowBudget(rows=5), source=SourceOptions(column_types=(("n", "int64"),)))


@pytest.fixture
def loads(store: Store, tmp_path: Path) -> Store:
    """Load ``d`` three times, each with one reject."""
    for k in range(3):
        (tmp_path / f"{k}.csv").write_text(f"n\n{k}\nx{k}\n")
        store.load("d", tmp_path / f"{k}.csv", OPTIONS)
    store.alive = timedelta(0)
    return store


def numbers(store: Store, name: str) -> list[int]:
    return [version.number for version in store.versions(name)]


def test_the_rejects_of_a_deleted_version_are_deleted_with_it(loads: Store) -> None:
    report = loads.delete("d@1")
    assert [reference.partition("-")[0] for reference in report.marked] == ["d@1", "d__rejects@1"]
    assert numbers(loads, "d__rejects") == [3, 2]


def test_a_dry_run_names_the_rejects_and_deletes_nothing(loads: Store) -> None:
    report = loads.delete("d@1", dry_run=True)
    assert len(report.marked) == 2
    assert numbers(loads, "d__rejects") == [3, 2, 1]


def test_prune_deletes_the_rejects_of_the_versions_that_it_deletes(loads: Store) -> None:
    loads.prune("d", 1, now=True)
    assert (numbers(loads, "d"), numbers(loads, "d__rejects")) == ([3], [3])
    assert loads.dataset("d__rejects").to_table()["raw"].to_pylist() == ["x2"]


def test_prune_of_rejects_keeps_those_that_a_visible_version_names_and_new_ones_of_failed_loads(
    loads: Store, tmp_path: Path
) -> None:
    (tmp_path / "bad.csv").write_text("n\n" + "x\n" * 6)
    with pytest.raises(BadRowsError):
        loads.load("d", tmp_path / "bad.csv", OPTIONS)
    assert loads.prune("d__rejects", 1).marked == []
    loads.tag("d__rejects@1", "look")
    loads.delete("d@1")
    loads.untag("d__rejects", "look")
    report = loads.prune("d__rejects", 1)
    assert [reference.partition("-")[0] for reference in report.marked] == ["d__rejects@1"]
    assert numbers(loads, "d__rejects") == [4, 3, 2]


def test_deleting_a_dataset_deletes_its_rejects(loads: Store) -> None:
    loads.delete("d", whole=True)
    assert loads.datasets() == []


def test_tagged_rejects_are_kept(loads: Store) -> None:
    loads.tag("d__rejects@1", "look")
    loads.delete("d@1")
    assert numbers(loads, "d__rejects") == [3, 2, 1]


def test_undelete_restores_the_rejects_too(loads: Store) -> None:
    loads.delete("d@2")
    loads.undelete("d@2")
    assert (numbers(loads, "d"), numbers(loads, "d__rejects")) == ([3, 2, 1], [3, 2, 1])


def test_a_sweep_keeps_the_rejects_of_a_load_whose_other_splits_are_still_written(
    store: Store, cassandra: FakeCassandra, tmp_path: Path
) -> None:
    (tmp_path / "a.csv").write_text("n\n1\nx\n")
    (tmp_path / "b.csv").write_text("n\n2\n3\n")
    plan = store.plan("d", str(tmp_path), replace(OPTIONS, source=replace(OPTIONS.source, split_bytes=4)))
    *first, last = range(len(plan.source.splits))
    results = [store.load_split(plan, split) for split in first]
    for host in (cassandra.a, cassandra.b):
        for _, row in host.rows["attempts"].values():
            row["last_seen"] = datetime.now(UTC).replace(tzinfo=None) - timedelta(days=2)
    results.append(store.load_split(plan, last))
    assert store.fsck(delete=True, now=True).removed_attempts == 0
    report = store.publish(plan, results)
    assert (report.rows, store.dataset(str(report.rejects)).to_table()["raw"].to_pylist()) == (3, ["x"])


def test_the_rejects_of_a_failed_load_are_deleted_after_90_days(
    loads: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "bad.csv").write_text("n\n" + "x\n" * 6)
    with pytest.raises(BadRowsError):
        loads.load("d", tmp_path / "bad.csv", OPTIONS)
    assert loads.prune_rejects().marked == []
    monkeypatch.setattr(rejects_module, "UNNAMED_REJECTS_KEPT", timedelta(0))
    report = loads.prune_rejects()
    assert [reference.partition("-")[0] for reference in report.marked] == ["d__rejects@4"]
    assert numbers(loads, "d__rejects") == [3, 2, 1]
