"""Concurrent loads, deletions and merges of one dataset.

No row is lost or doubled, and no deleted row reappears.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from importlib import import_module
from pathlib import Path
from typing import Any
from uuid import UUID

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from cassandra.cluster import NoHostAvailable

from millrace.api import Store
from millrace.api.maintenance import catalogue_writes
from millrace.errors import (
    ChunkMissingError,
    SourceTypeError,
    StoreError,
    StoreUnavailableError,
    UsageError,
    VersionNotFoundError,
)
from millrace.load import LoadOptions, LoadPlan, LoadReport, merge_siblings, publish_protocol
from millrace.load.merge import Merger
from millrace.load.resume import ResumePoint
from millrace.load.version_row import VersionRowWriter
from millrace.store.catalogue.attempt import MetadataBucket
from millrace.store.catalogue.catalogue_writer import CatalogueWriter
from millrace.store.catalogue.version import DELETED, WITHDRAWN, Version
from millrace.store.catalogue.version_graph import VersionGraph
from millrace.store.chunks.chunk_writer import ChunkWriter
from millrace.store.cluster.writer import ReplicatedWriter
from millrace.store.deletion import garbage, sweep
from millrace.store.deletion.all_replicas import AllReplicas
from millrace.store.deletion.sweep import Sweep
from tests.unit.store.fakes import FakeCassandra, FakeHost

Csv = Callable[..., str]
APPEND = LoadOptions(mode="append")
PUBLISH = import_module("millrace.load.publishing")
"""The module ``publish``; ``millrace.load`` exports a function of the same name."""


@pytest.fixture(autouse=True)
def no_attempt_counts_as_active(store: Store) -> None:
    """Let a sweep remove the rows of finished loads at once: ``alive`` protects recent loads from it."""
    store.alive = timedelta(0)


def numbers(store: Store, reference: str = "d") -> list[int]:
    return sorted(int(n) for n in store.dataset(reference).to_table()["n"].to_pylist())


def begun(store: Store, source: str, options: LoadOptions = APPEND, run: str = "") -> tuple[LoadPlan, list[Any]]:
    """Plan a load and write all its chunks; ``published`` publishes it later."""
    plan = store.plan("d", source, options, run=run or f"run of {Path(source).name}")
    return plan, [store.load_split(plan, None)]


def published(store: Store, load: tuple[LoadPlan, list[Any]]) -> LoadReport:
    return store.publish(*load)


def three_appends(store: Store, csv: Csv) -> list[str]:
    """Append runs r1 to r3, each of three rows, and return their sources."""
    sources = [csv(3, first=10 * k, name=f"{k}.csv") for k in range(3)]
    for k, source in enumerate(sources):
        store.load("d", source, APPEND, run=f"r{k + 1}")
    return sources


ALL_THREE = [0, 1, 2, 10, 11, 12, 20, 21, 22]


# --- a run that was already loaded


def test_a_run_whose_version_was_pruned_is_not_loaded_twice(store: Store, csv: Csv) -> None:
    sources = three_appends(store, csv)
    assert len(store.prune("d", 1).marked) == 2
    report = store.load("d", sources[1], APPEND, run="r2")
    assert (report.rows, report.version) == (3, store.version("d").label)
    assert numbers(store) == ALL_THREE
    assert len(store.versions("d")) == 1


def test_publishing_again_after_the_version_was_pruned_publishes_nothing(store: Store, csv: Csv) -> None:
    first = begun(store, csv(3), run="r1")
    published(store, first)
    store.load("d", csv(3, first=10, name="b.csv"), APPEND)
    store.prune("d", 1)
    assert published(store, first).version == store.version("d").label
    assert numbers(store) == [0, 1, 2, 10, 11, 12]


def test_a_run_that_was_finished_and_pruned_is_not_unfinished(store: Store, csv: Csv) -> None:
    sources = three_appends(store, csv)
    store.prune("d", 1)
    assert store.unfinished("d", sources[1], APPEND, run="r2") == "r2"
    with pytest.raises(UsageError, match="d has no unfinished load of this source"):
        store.unfinished("d", sources[1], APPEND)


def test_a_run_whose_version_was_deleted_can_be_loaded_again(store: Store, csv: Csv) -> None:
    source = csv(3)
    store.load("d", source, run="r1")
    store.delete("d", whole=True)
    report = store.load("d", source, run="r1")
    assert report.version.startswith("2-")
    assert numbers(store) == [0, 1, 2]


def test_publishing_again_after_a_deletion_is_refused_and_restores_nothing(store: Store, csv: Csv) -> None:
    load = begun(store, csv(3), LoadOptions())
    label = published(store, load).version
    store.delete(f"d@{label}")
    with pytest.raises(VersionNotFoundError, match=f"d@{label} was published by an earlier attempt.*then deleted"):
        published(store, load)
    assert store.catalogue.versions("d") == []


AGAIN = r"load it again as another run \(--run-id\)$"


@pytest.mark.parametrize(
    ("now", "said"),
    [
        (False, rf"and then deleted: millrace undelete d@1-\w+ restores it; or {AGAIN}"),
        (True, f"and is not visible any more, its data was removed: {AGAIN}"),
    ],
)
def test_publishing_a_deleted_version_again_suggests_undelete_only_while_its_data_exists(
    store: Store, csv: Csv, now: bool, said: str
) -> None:
    load = begun(store, csv(3), LoadOptions())
    published(store, load)
    store.delete("d@1", now=now)
    with pytest.raises(VersionNotFoundError, match=said):
        published(store, load)
    assert store.catalogue.versions("d") == []


@pytest.mark.parametrize("swept", [False, True])
def test_publishing_a_withdrawn_version_again_is_refused(
    store: Store, csv: Csv, monkeypatch: pytest.MonkeyPatch, swept: bool
) -> None:
    plan, results = begun(store, csv(3), LoadOptions())
    publishing = CatalogueWriter.publish

    def fencing(catalogue_writer: CatalogueWriter, version: Any) -> int:
        fenced = {"dataset": "d", "attempt_id": results[0].attempt_id, "fenced": True}
        catalogue_writer.insert("attempts", "a fence", fenced)
        return publishing(catalogue_writer, version)

    with monkeypatch.context() as patched:
        patched.setattr(CatalogueWriter, "publish", fencing)
        with pytest.raises(ChunkMissingError, match="a sweep regards as abandoned"):
            store.publish(plan, results)
    if swept:
        assert store.fsck(delete=True, now=True).removed_attempts == 2
    said = f"and is not visible any more, the load that published it withdrew it: {AGAIN}"
    with pytest.raises(VersionNotFoundError, match=said):
        store.publish(plan, results)
    assert store.catalogue.versions("d") == []


def test_a_run_published_under_two_numbers_is_merged_once(
    store: Store, csv: Csv, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each attempt read another replica, so neither saw the other's version."""
    store.load("d", csv(3))
    source = csv(3, first=10, name="b.csv")
    early = begun(store, source, run="twice")
    store.load("d", csv(3, first=20, name="c.csv"), APPEND)
    late = begun(store, source, run="twice")
    with monkeypatch.context() as patched:
        patched.setattr(PUBLISH, "published_before", lambda _catalogue, _plan, _every: None)
        patched.setattr(PUBLISH, "merge_siblings", lambda _c, _l, version: version)
        labels = [published(store, load).version for load in (early, late)]
    assert len(set(labels)) == 2
    store.load("d", csv(3, first=30, name="e.csv"), APPEND)
    assert numbers(store) == [*ALL_THREE, 30, 31, 32]


# --- replace and append


def test_a_replace_published_after_appends_is_the_latest_and_records_its_parent(store: Store, csv: Csv) -> None:
    store.load("d", csv(3))
    slow = begun(store, csv(2, first=900, name="slow.csv"), LoadOptions())
    for k in (1, 2):
        store.load("d", csv(3, first=10 * k, name=f"{k}.csv"), APPEND)
    followed = store.version("d").label
    report = published(store, slow)
    assert report.parent == followed
    assert store.version("d").label == report.version
    assert numbers(store) == [900, 901]


def test_appends_planned_before_a_replace_was_published_follow_its_rows(store: Store, csv: Csv) -> None:
    store.load("d", csv(3))
    replacing = begun(store, csv(2, first=900, name="r.csv"), LoadOptions())
    appends = [begun(store, csv(2, first=100 * k, name=f"{k}.csv")) for k in (1, 2)]
    published(store, replacing)
    for load in appends:
        published(store, load)
    assert numbers(store) == [100, 101, 200, 201, 900, 901]


def test_an_append_is_refused_at_publish_when_a_replace_changed_the_columns(
    store: Store, csv: Csv, tmp_path: Path
) -> None:
    store.load("d", csv(3))
    load = begun(store, csv(2, first=100, name="b.csv"))
    other = tmp_path / "other.csv"
    other.write_text("x,y\n1,2\n")
    store.load("d", str(other))
    with pytest.raises(SourceTypeError, match="cannot be appended to d@2"):
        published(store, load)
    assert store.dataset("d").schema.names == ["x", "y"]


def test_an_append_whose_parent_was_pruned_follows_the_version_that_holds_its_rows(store: Store, csv: Csv) -> None:
    store.load("d", csv(3))
    slow = begun(store, csv(3, first=20, name="slow.csv"))
    store.load("d", csv(3, first=10, name="b.csv"), APPEND)
    store.prune("d", 1)
    published(store, slow)
    assert numbers(store) == ALL_THREE


def test_a_replace_whose_parent_was_deleted_is_published(store: Store, csv: Csv) -> None:
    store.load("d", csv(3))
    load = begun(store, csv(3, first=10, name="b.csv"), LoadOptions())
    store.delete("d@1")
    assert published(store, load).parent is None
    assert numbers(store) == [10, 11, 12]


SEVERAL = [f"{digit}" for digit in range(6)]
"""Prefixes of run names. Two versions of one number are ordered by the hash of their run, so several are tried."""


def before_row(monkeypatch: pytest.MonkeyPatch, run: str, happens: Callable[[], object]) -> list[object]:
    """Call ``happens`` once, after the publisher of ``run`` has read the versions and before it writes its own row."""
    results: list[object] = []
    making = VersionRowWriter._version

    def late(steps: VersionRowWriter, plan: LoadPlan, *arguments: Any) -> Any:
        if plan.run == run and not results:
            results.append(None)
            results[0] = happens()
        return making(steps, plan, *arguments)

    monkeypatch.setattr(VersionRowWriter, "_version", late)
    return results


@pytest.mark.parametrize("which", SEVERAL)
def test_a_replace_published_while_appends_are_merged_is_the_latest(
    store: Store, csv: Csv, monkeypatch: pytest.MonkeyPatch, which: str
) -> None:
    store.load("d", csv(3))
    loads = [begun(store, csv(2, first=100 * k, name=f"{k}.csv"), run=f"{which}{k}") for k in (1, 2)]
    replacing = [begun(store, csv(2, first=900, name="r.csv"), LoadOptions(), run=f"replace {which}")]
    merging = Merger.merge

    def late(*arguments: Any) -> Any:
        if replacing:
            published(store, replacing.pop())
        return merging(*arguments)

    monkeypatch.setattr(Merger, "merge", late)
    for load in loads:
        published(store, load)
    assert numbers(store) == [900, 901]


@pytest.mark.parametrize("which", SEVERAL)
def test_an_append_concurrent_with_a_replace_follows_its_rows(
    store: Store, csv: Csv, monkeypatch: pytest.MonkeyPatch, which: str
) -> None:
    store.load("d", csv(3))
    appending = begun(store, csv(2, first=100, name="a.csv"), run=f"append {which}")
    replacing = begun(store, csv(2, first=900, name="r.csv"), LoadOptions(), run=f"replace {which}")
    before_row(monkeypatch, f"append {which}", lambda: published(store, replacing))
    report = published(store, appending)
    assert numbers(store) == [100, 101, 900, 901]
    assert report.version == store.version("d").label
    assert published(store, appending).version == report.version


@pytest.mark.parametrize("which", SEVERAL)
def test_a_replace_concurrent_with_an_append_is_the_latest(
    store: Store, csv: Csv, monkeypatch: pytest.MonkeyPatch, which: str
) -> None:
    store.load("d", csv(3))
    appending = begun(store, csv(2, first=100, name="a.csv"), run=f"append {which}")
    replacing = begun(store, csv(2, first=900, name="r.csv"), LoadOptions(), run=f"replace {which}")
    before_row(monkeypatch, f"replace {which}", lambda: published(store, appending))
    report = published(store, replacing)
    assert numbers(store) == [900, 901]
    assert report.version == store.version("d").label
    assert published(store, replacing).version == report.version


@pytest.mark.parametrize("which", SEVERAL)
def test_two_concurrent_replaces_leave_the_rows_of_one_of_them(
    store: Store, csv: Csv, monkeypatch: pytest.MonkeyPatch, which: str
) -> None:
    store.load("d", csv(3))
    loads = [begun(store, csv(2, first=100 * k, name=f"{k}.csv"), LoadOptions(), run=f"{which}{k}") for k in (1, 2)]
    before_row(monkeypatch, f"{which}1", lambda: published(store, loads[1]))
    published(store, loads[0])
    assert numbers(store) in ([100, 101], [200, 201])
    assert len(store.versions("d")) == 3


def test_appends_to_two_attempts_of_one_run_double_no_rows(
    store: Store, csv: Csv, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between two appends the second attempt overwrites the version row of the first, which referenced other pages."""
    store.load("d", csv(3))
    plan, [one] = begun(store, csv(3, first=10, name="b.csv"), run="twice")
    with monkeypatch.context() as patched:
        patched.setattr("millrace.load.split.find_resume_point", lambda *_arguments, **_more: ResumePoint())
        two = store.load_split(plan, None)
    assert one.attempt_id != two.attempt_id
    early: list[Any] = []

    def first_attempt() -> None:
        store.publish(plan, [one])
        early.append((begun(store, csv(3, first=20, name="x.csv"), run="x"), store.version("d")))

    before_row(monkeypatch, "twice", first_attempt)
    store.publish(plan, [two])
    store.load("d", csv(3, first=30, name="y.csv"), APPEND)
    [(load, stale)] = early
    resolving = store.catalogue.resolve

    def resolve(dataset: str, selector: Any) -> Any:
        return stale if selector.full == (stale.number, stale.hex) else resolving(dataset, selector)

    monkeypatch.setattr(store.catalogue, "resolve", resolve)
    published(store, load)
    assert numbers(store) == [*ALL_THREE, 30, 31, 32]


def test_a_run_whose_row_is_missing_on_the_only_reachable_node_is_not_appended_again(
    store: Store, cassandra: FakeCassandra, csv: Csv
) -> None:
    store.load("d", csv(3))
    source = csv(3, first=10, name="b.csv")
    load = begun(store, source, run="r")
    label = published(store, load).version
    store.load("d", csv(3, first=20, name="c.csv"), APPEND)
    [gone] = [key for key in cassandra.b.rows["versions"] if f"{key[1]}-{key[2]}" == label]
    del cassandra.b.rows["versions"][gone]
    down(cassandra, cassandra.a)
    again = (lambda: published(store, load), lambda: store.load("d", source, APPEND, run="r"))
    for attempt in again:
        with pytest.raises(StoreUnavailableError, match=f"references d@{label}, which this load may have published"):
            attempt()
    cassandra.unreachable.clear()
    assert numbers(store) == ALL_THREE


# --- deleting


def unmerged(store: Store, csv: Csv, count: int = 2) -> None:
    """Publish concurrent appends that did not see each other and were not merged."""
    store.load("d", csv(3))
    loads = [begun(store, csv(3, first=10 * k, name=f"{k}.csv")) for k in range(1, count + 1)]
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(PUBLISH, "merge_siblings", lambda _catalogue, _catalogue_writer, version: version)
        for load in loads:
            published(store, load)


def test_prune_keeps_appends_that_no_other_version_holds_yet(store: Store, csv: Csv) -> None:
    unmerged(store, csv)
    assert len(store.prune("d", 1).marked) == 1
    assert len(store.repair("d").merged) == 1
    assert numbers(store) == ALL_THREE


@pytest.mark.parametrize("how", ["deleted", "tagged"])
def test_prune_removes_appends_before_a_deleted_or_untagged_one(store: Store, csv: Csv, how: str) -> None:
    """The chain of parents continues through the deleted version."""
    for k in range(5):
        store.load("d", csv(3, first=10 * k, name=f"{k}.csv"), APPEND)
    if how == "deleted":
        store.delete("d@4")
    else:
        store.tag("d@3", "kept")
        store.prune("d", 1)
        store.untag("d", "kept")
    store.prune("d", 1)
    assert [version.number for version in store.versions("d")] == [5]


def killed(store: Store, source: str, run: str) -> LoadPlan:
    """Write every chunk of a load, then kill it before its attempt is marked finished."""
    plan = store.plan("d", source, run=run)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(ChunkWriter, "finish", lambda _writer: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            store.load_split(plan, None)
    return plan


def test_a_load_killed_in_an_outage_blocks_no_deletion_after_repair(store: Store, csv: Csv) -> None:
    store.load("d", csv(3))
    store.load("d", csv(3, first=10, name="b.csv"))
    killed(store, csv(3, first=20, name="c.csv"), "dead")
    [row] = [row for row in store.catalogue.attempts("d") if row.run == "dead"]
    with catalogue_writes(store.cassandra) as writes:
        CatalogueWriter(store.cassandra, writes).record_under_replicated(
            "d", row.attempt_id, MetadataBucket.CATALOGUE, 0
        )
    assert store.repair("d").ok
    store.delete("d@1")
    assert numbers(store) == [10, 11, 12]


def test_an_under_replication_record_of_an_attempt_without_a_row_blocks_no_deletion(
    store: Store, cassandra: FakeCassandra, csv: Csv, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a node down the record is written before the attempt's row; the loader dies between the two."""
    store.load("d", csv(3))
    store.load("d", csv(3, first=10, name="b.csv"))
    writing = ReplicatedWriter.write

    def dying(writer: ReplicatedWriter, write: Any) -> Any:
        if write.description.startswith("the attempt's row"):
            raise KeyboardInterrupt
        return writing(writer, write)

    with monkeypatch.context() as patched:
        patched.setattr(ReplicatedWriter, "is_degraded", lambda _writer, _replicas: True)
        patched.setattr(ReplicatedWriter, "write", dying)
        with pytest.raises(KeyboardInterrupt):
            begun(store, csv(3, first=20, name="c.csv"), run="dead")
    assert cassandra.table("under_replicated")
    store.delete("d@1")
    assert numbers(store) == [10, 11, 12]


def test_all_records_of_a_resumed_load_are_repaired_after_its_publish(store: Store, csv: Csv) -> None:
    source = csv(3)
    killed(store, source, "dead")
    [row] = store.catalogue.attempts("d")
    with catalogue_writes(store.cassandra) as writes:
        for bucket in (MetadataBucket.CATALOGUE, MetadataBucket.PAGES, 0):
            CatalogueWriter(store.cassandra, writes).record_under_replicated("d", row.attempt_id, bucket, 0)
    store.load("d", source, run="dead")
    report = store.repair("d")
    assert (report.ok, report.pending) == (True, 0)
    assert not store.report(store.version("d")).degraded


def test_delete_and_prune_are_refused_while_catalogue_rows_are_on_one_node_only(store: Store, csv: Csv) -> None:
    store.load("d", csv(3, first=10, name="b.csv"))
    store.load("d", csv(3))
    attempt_id = store.version("d").attempt_id
    with catalogue_writes(store.cassandra) as writes:
        CatalogueWriter(store.cassandra, writes).record_under_replicated("d", attempt_id, MetadataBucket.CATALOGUE, 0)
    for delete in (lambda: store.delete("d", whole=True), lambda: store.prune("d", 1)):
        with pytest.raises(StoreError, match=r"catalogue rows on one node only.*millrace repair d first"):
            delete()
    assert numbers(store) == [0, 1, 2]


def test_a_merge_of_an_append_that_is_deleted_meanwhile_is_not_published(
    store: Store, csv: Csv, monkeypatch: pytest.MonkeyPatch
) -> None:
    unmerged(store, csv)
    one = next(version for version in store.versions("d") if version.number == 2)
    beginning = CatalogueWriter.begin_attempt

    def deleting(catalogue_writer: CatalogueWriter, row: Any) -> int:
        monkeypatch.undo()
        store.delete(f"d@{one.label}")
        return beginning(catalogue_writer, row)

    monkeypatch.setattr(CatalogueWriter, "begin_attempt", deleting)
    assert store.repair("d").merged == []
    assert len(numbers(store)) == 6


def fence_when_a_merge_is_published(monkeypatch: pytest.MonkeyPatch, attempt_id: UUID | None, *first: Any) -> None:
    """Call each of ``first`` and fence ``attempt_id`` (None: the publisher) before the first merge is published."""
    publishing = CatalogueWriter.publish

    def fencing(catalogue_writer: CatalogueWriter, version: Any) -> int:
        if version.mode == "merge":
            monkeypatch.setattr(CatalogueWriter, "publish", publishing)
            for act in first:
                act()
            fenced = {"dataset": "d", "attempt_id": attempt_id or version.attempt_id, "fenced": True}
            catalogue_writer.insert("attempts", "a fence", fenced)
        return publishing(catalogue_writer, version)

    monkeypatch.setattr(CatalogueWriter, "publish", fencing)


def one_of_two(store: Store) -> tuple[Version, UUID]:
    """Return one of two unmerged appends, and the attempt that wrote its own rows."""
    one = next(version for version in store.versions("d") if version.number == 2)
    pages = store.catalogue.pages.refs(store.catalogue.with_content(one))
    return one, next(page.attempt_id for page in pages if page.added_by == one.label)


def test_a_merge_that_references_a_fenced_attempt_of_a_deleted_version_is_withdrawn(
    store: Store, csv: Csv, monkeypatch: pytest.MonkeyPatch
) -> None:
    unmerged(store, csv)
    one, attempt_id = one_of_two(store)
    fence_when_a_merge_is_published(monkeypatch, attempt_id, lambda: store.delete(one.reference))
    assert store.repair("d").merged == []
    assert {version.mode for version in store.versions("d")} == {"replace", "append"}
    assert [version.mark for version in store.catalogue.all_versions("d") if version.mode == "merge"] == [WITHDRAWN]


def test_a_merge_may_reference_fenced_attempts_of_visible_versions(
    store: Store, csv: Csv, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After fencing, the sweep reads the versions again and removes nothing that they reference."""
    unmerged(store, csv)
    _, attempt_id = one_of_two(store)
    fence_when_a_merge_is_published(monkeypatch, attempt_id)
    assert len(store.repair("d").merged) == 1
    assert len(numbers(store)) == 9


def test_appends_whose_merge_was_withdrawn_are_merged_under_another_label(
    store: Store, csv: Csv, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A withdrawal is final, and the rows of the withdrawn merge's attempt may already be swept."""
    unmerged(store, csv)
    fence_when_a_merge_is_published(monkeypatch, None)
    assert len(store.repair("d").merged) == 1
    merges = [version for version in store.catalogue.all_versions("d") if version.mode == "merge"]
    assert sorted(version.mark for version in merges) == ["", WITHDRAWN]
    assert len({(version.label, version.attempt_id) for version in merges}) == 2
    assert len(numbers(store)) == 9
    assert store.repair("d").merged == []


@pytest.mark.parametrize(("mark", "rows"), [(DELETED, 6), (None, 9)])
def test_only_a_merge_marked_as_deleted_is_not_repeated(
    store: Store, cassandra: FakeCassandra, csv: Csv, mark: str | None, rows: int
) -> None:
    """Older releases did not record whether a version was withdrawn; their mark is null."""
    unmerged(store, csv)
    [merged] = store.repair("d").merged
    store.delete(merged)
    for host in (cassandra.a, cassandra.b):
        for key, (stamp, row) in list(host.rows["versions"].items()):
            if f"d@{row['number']}-{row['hex']}" == merged:
                host.rows["versions"][key] = (stamp, {**row, "mark": mark})
    assert len(store.repair("d").merged) == (rows == 9)
    assert len(numbers(store)) == rows


def test_appends_to_a_version_undeleted_while_a_sweep_fenced_it_lose_nothing(
    store: Store, csv: Csv, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.load("d", csv(3), APPEND)
    store.delete("d@1")
    fence = Sweep._fence

    def undeleting(running: Sweep, item: Any) -> None:
        monkeypatch.setattr(Sweep, "_fence", fence)
        store.undelete("d@1")
        fence(running, item)

    monkeypatch.setattr(Sweep, "_fence", undeleting)
    assert store.fsck(delete=True, now=True).removed_attempts == 0
    assert [version.number for version in store.versions("d")] == [1]
    assert all(row.fenced for row in store.catalogue.attempts("d"))
    loads = [begun(store, csv(3, first=10 * k, name=f"{k}.csv")) for k in (1, 2)]
    assert [published(store, load).total_rows for load in loads] == [6, 9]
    assert numbers(store) == ALL_THREE
    assert store.repair("d").merged == []
    store.load("d", csv(3, first=30, name="e.csv"), APPEND)
    assert numbers(store) == [*ALL_THREE, 30, 31, 32]
    store.fsck(delete=True, now=True)
    assert numbers(store) == [*ALL_THREE, 30, 31, 32]


def test_an_append_published_while_its_parent_is_swept_keeps_the_parents_lists(
    store: Store, cassandra: FakeCassandra, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def wide(first: int) -> str:
        """Write a CSV of 600 columns, because a list of pages is full with 8 pages then."""
        rows = [["n", *(f"c{k}" for k in range(599))], *([str(n), *["1"] * 599] for n in range(first, first + 3))]
        path = tmp_path / f"{first}.csv"
        path.write_text("".join(f"{','.join(row)}\n" for row in rows))
        return str(path)

    for k in range(9):
        store.load("d", wide(3 * k), APPEND)
    parent = store.version("d")
    assert [ref.entries for ref in store.catalogue.pages.lists(parent)[0]] == [8, 1]
    load = begun(store, wide(27))
    store.delete(f"d@{parent.label}")
    reading = AllReplicas.versions_with_data

    def then_published(replicas: AllReplicas, dataset: str) -> Any:
        every = reading(replicas, dataset)
        if not named:
            named.append(dataset)
            with pytest.MonkeyPatch.context() as patched:
                # This append resolved its parent before the parent was deleted.
                patched.setattr(publish_protocol, "_rebase", lambda _steps, plan, _graph: plan)
                patched.setattr(store.catalogue, "resolve", lambda *_: store.catalogue.with_content(parent))
                published(store, load)
        return every

    named: list[str] = []
    monkeypatch.setattr(AllReplicas, "versions_with_data", then_published)
    Sweep(store.catalogue, AllReplicas(cassandra)).empty_deleted("d", grace=timedelta(0))
    store.catalogue.pages.page_list.cache_clear()
    assert named
    assert numbers(store) == list(range(30))


@pytest.mark.parametrize("hours", [23.99, 24.01])
def test_deleted_data_is_removed_after_24_hours_and_not_before(
    store: Store, cassandra: FakeCassandra, csv: Csv, monkeypatch: pytest.MonkeyPatch, hours: float
) -> None:
    store.load("d", csv(3))
    store.load("d", csv(3, first=10, name="b.csv"))
    store.delete("d@1")

    class Later(datetime):
        @classmethod
        def now(cls, zone: Any = None) -> Any:
            return super().now(zone) + timedelta(hours=hours)

    for module in (garbage, sweep):
        monkeypatch.setattr(module, "datetime", Later)
    before = len(cassandra.table("chunks"))
    report = store.fsck(delete=True)
    over = hours > 24
    assert (report.waiting > 0, report.removed_attempts > 0) == (not over, over)
    assert (len(cassandra.table("chunks")) < before) is over
    assert numbers(store) == [10, 11, 12]


# --- tags


def test_a_tag_of_a_version_deleted_meanwhile_is_refused_and_not_kept(
    store: Store, csv: Csv, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.load("d", csv(3))
    store.load("d", csv(3, first=10, name="b.csv"))
    found = store.version("d@1")
    monkeypatch.setattr(store, "version", lambda _reference: found)
    store.delete("d@1")
    with pytest.raises(VersionNotFoundError, match=r"d@1-\w+ was deleted a moment ago, so it has no tag"):
        store.tag("d@1", "good")
    assert store.tags("d") == {}


def test_a_version_tagged_and_deleted_at_the_same_time_is_not_swept(
    store: Store, cassandra: FakeCassandra, csv: Csv, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.load("d", csv(3))
    store.load("d", csv(3, first=10, name="b.csv"))
    with monkeypatch.context() as patched:
        patched.setattr(AllReplicas, "require_unprotected", lambda _replicas, _version: None)
        store.tag("d@1", "good")
        store.delete("d@1", now=True)
    assert len(cassandra.table("chunks")) == 4
    assert store.fsck(delete=True, now=True).removed_attempts == 0


def test_a_tag_that_cannot_be_moved_keeps_its_version(store: Store, csv: Csv, monkeypatch: pytest.MonkeyPatch) -> None:
    for k in range(3):
        store.load("d", csv(3, first=10 * k, name=f"{k}.csv"))
    store.tag("d@1", "prod")
    found = store.version("d@2")
    store.delete("d@2")
    monkeypatch.setattr(store, "version", lambda _reference: found)
    with pytest.raises(VersionNotFoundError, match="was deleted a moment ago"):
        store.tag("d@2", "prod")
    assert store.tags("d")["prod"].startswith("1-")


# --- many appends at once, and nodes with incomplete rows


def test_more_appends_than_one_merge_can_reference_take_several_merges(store: Store, csv: Csv) -> None:
    unmerged(store, csv, count=8)
    with catalogue_writes(store.cassandra) as writes:
        merge_siblings(store.catalogue, CatalogueWriter(store.cassandra, writes), store.version("d"), siblings_max=3)
    assert numbers(store) == [n + 10 * k for k in range(9) for n in range(3)]
    assert all(len(version.source.get("merged", ())) <= 3 for version in store.versions("d"))
    assert len(VersionGraph(store.versions("d")).heads(store.version("d").root)) == 1


def down(cassandra: FakeCassandra, host: FakeHost) -> None:
    cassandra.unreachable[host.address] = NoHostAvailable("gone", {host: ConnectionError("gone")})


def test_a_version_row_with_only_a_deletion_mark_breaks_no_read(
    store: Store, cassandra: FakeCassandra, csv: Csv
) -> None:
    store.load("d", csv(3))
    store.load("d", csv(3, first=10, name="b.csv"))
    [gone] = [key for key in cassandra.b.rows["versions"] if key[1] == 2]
    del cassandra.b.rows["versions"][gone]
    store.delete("d@2")
    down(cassandra, cassandra.a)
    assert [version.number for version in store.versions("d")] == [1]
    assert [info.name for info in store.datasets()] == ["d"]
    assert numbers(store) == [0, 1, 2]


def test_an_attempt_row_with_only_a_fence_breaks_no_load(store: Store, cassandra: FakeCassandra, csv: Csv) -> None:
    store.load("d", csv(3))
    attempt_id = store.version("d").attempt_id
    for host in (cassandra.a, cassandra.b):
        for key, (stamp, row) in list(host.rows["attempts"].items()):
            if key[1] == attempt_id:
                half = {**dict.fromkeys(row), "dataset": "d", "attempt_id": attempt_id, "fenced": True}
                host.rows["attempts"][key] = (stamp, half)
    store.load("d", csv(3, first=10, name="b.csv"), APPEND)
    assert numbers(store) == [0, 1, 2, 10, 11, 12]


def test_a_heartbeat_writes_run_fingerprint_and_version_of_its_attempt(
    store: Store, cassandra: FakeCassandra, csv: Csv
) -> None:
    """A node that was down when the attempt began would otherwise hold a partial row that looks swept."""
    plan, _ = begun(store, csv(3), run="r1")
    last = [row for attempt in cassandra.writes() for table, row in attempt.rows if table == "attempts"][-1]
    assert last["finished"]
    assert (last["run"], last["fingerprint"], last["version"]) == ("r1", plan.fingerprint, plan.label)


def test_a_missing_page_ends_the_resumed_part_of_a_load(store: Store, cassandra: FakeCassandra, csv: Csv) -> None:
    """A node that was briefly down can miss a middle page, and then the first row of the next page is unknown."""
    source = csv(3)
    begun(store, source, run="r1")
    for host in (cassandra.a, cassandra.b):
        [(key, (stamp, row))] = host.rows["pages"].items()
        host.rows["pages"] = {(*key[:2], 2): (stamp, {**row, "page": 2})}
    store.load("d", source, APPEND, run="r1")
    assert numbers(store) == [0, 1, 2]


def typed(path: Path, kind: pa.DataType, value: int | float) -> str:
    pq.write_table(pa.table({"n": pa.array([value], kind)}), path)
    return str(path)


def test_an_append_of_doubles_to_large_integers_is_refused_for_a_typed_source(store: Store, tmp_path: Path) -> None:
    """A double cannot represent the first number exactly."""
    store.load("d", typed(tmp_path / "a.parquet", pa.int64(), 2**53 + 1))
    for kind, value in ((pa.float64(), 1.5), (pa.uint64(), 2**64 - 1)):
        with pytest.raises(SourceTypeError, match="'n'"):
            store.load("d", typed(tmp_path / "b.parquet", kind, value), APPEND)
    assert store.dataset("d").to_table()["n"].to_pylist() == [2**53 + 1]


def test_an_append_whose_merge_fails_is_reported_with_a_warning(
    store: Store, csv: Csv, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The version is visible before the merge begins, so the load has not failed."""
    store.load("d", csv(3))
    loads = [begun(store, csv(3, first=10 * k, name=f"{k}.csv")) for k in (1, 2)]
    published(store, loads[0])

    def unavailable(*_arguments: object) -> None:
        raise StoreUnavailableError("no node responds", hint="")

    with monkeypatch.context() as patched:
        patched.setattr(Merger, "merge", unavailable)
        report = published(store, loads[1])
    [warning] = report.warnings
    assert warning.code == "not_merged"
    assert f"d@{report.version} is published, but is not merged" in warning.message
    assert "millrace repair d merges them" in warning.message
    assert len(store.repair("d").merged) == 1
    assert numbers(store) == ALL_THREE


@pytest.mark.parametrize("which", SEVERAL)
def test_an_append_of_a_load_killed_while_a_replace_was_published_is_not_the_latest(
    store: Store, csv: Csv, monkeypatch: pytest.MonkeyPatch, which: str
) -> None:
    """The append is killed after its row is written, before it reads that a ``replace`` has the same number."""
    store.load("d", csv(3))
    appending = begun(store, csv(2, first=100, name="a.csv"), run=f"append {which}")
    replacing = begun(store, csv(2, first=900, name="r.csv"), LoadOptions(), run=f"replace {which}")
    reading = VersionRowWriter.graph

    def dying(steps: VersionRowWriter) -> VersionGraph:
        if steps.plan.source.uri.endswith("a.csv"):
            raise KeyboardInterrupt
        return reading(steps)

    with monkeypatch.context() as patched:
        before_row(patched, f"append {which}", lambda: published(store, replacing))
        patched.setattr(VersionRowWriter, "graph", dying)
        with pytest.raises(KeyboardInterrupt):
            published(store, appending)
    assert [version.number for version in store.versions("d")] == [2, 2, 1]
    assert store.version("d").run == f"replace {which}"
    assert [info.latest for info in store.datasets()] == [store.version("d").label]
    store.load("d", csv(3, first=30, name="e.csv"), APPEND)
    assert numbers(store) == [30, 31, 32, 900, 901]


def test_concurrent_appends_of_incompatible_types_are_reported_and_stay_versions(store: Store, tmp_path: Path) -> None:
    loads = [
        begun(store, typed(tmp_path / f"{kind}.parquet", kind, value))
        for kind, value in ((pa.int64(), -1), (pa.uint64(), 2**64 - 1))
    ]
    published(store, loads[0])
    with pytest.raises(StoreError, match=r"were appended concurrently and cannot be merged.*'n'"):
        published(store, loads[1])
    assert [version.rows for version in store.versions("d")] == [1, 1]
    report = store.repair("d")
    assert not report.ok
    assert "each of them remains a version" in report.problems[0]["message"]
