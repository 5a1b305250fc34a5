"""Faults in which data is deleted while a reader, a load or another version needs it."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa
import pytest

from local_stack.stack import Stack
from millrace.api import Store
from millrace.errors import StoreError, StoreUnavailableError, UsageError
from millrace.settings import Settings
from millrace.store import DELETED, AttemptRole
from millrace.store.deletion.all_replicas import AllReplicas
from tests.faults.checker import Expected
from tests.faults.conftest import Judge, at, stored_on
from tests.faults.gates import Gates
from tests.faults.loads import APPEND, ROWS, SMALL, named_by


def test_after_pruning_to_one_version_the_newest_reads_back_complete(
    both_up: Stack, store: Store, parquet: Any, name: str, judge: Judge
) -> None:
    source, table = parquet(3_000)
    more, more_table = parquet(1_000, seed=6)
    pruned = [store.load(name, source, SMALL), store.load(name, more, APPEND)]
    last = store.load(name, more, APPEND)
    dry = store.prune(name, 1, now=True, dry_run=True)
    assert len(dry.marked) == 2
    assert len(store.versions(name)) == 3
    done = store.prune(name, 1, now=True)
    assert done.marked == dry.marked
    # The newest version shares the rows of the two pruned ones: only their lists and publishers' rows are removed.
    assert done.removed_attempts == 2
    left = [(row.version, row.role) for row in store.catalogue.attempts(name)]
    assert sorted(left) == sorted(
        [*((each.version, AttemptRole.SOURCE) for each in (*pruned, last)), (last.version, AttemptRole.PUBLISHER)]
    )
    assert [item for item in store.fsck().missing if item["dataset"] == name] == []
    expected = pa.concat_tables([table, more_table, more_table]).combine_chunks()
    judge({name: Expected({last.version: expected}, latest=last.version)}, fired=done.removed_partitions > 0)


def test_a_version_being_read_cannot_be_deleted_and_is_read_to_its_end(
    both_up: Stack, store: Store, settings: Settings, parquet: Any, name: str, judge: Judge
) -> None:
    source, table = parquet(ROWS)
    old = store.load(name, source, SMALL)
    needed = named_by(store, name)
    new = store.load(name, parquet(1_000, seed=7)[0], SMALL)
    few = settings.model_copy(update={"read": settings.read.model_copy(update={"decode_threads": 1})})
    with Store.connect(few) as reading:
        batches = reading.dataset(f"{name}@{old.version}").to_batches()
        received = [next(batches)]
        with pytest.raises(UsageError, match=f"{name}@{old.version} is being read"):
            store.delete(f"{name}@{old.version}", now=True)
        assert [version.label for version in store.versions(name)] == [new.version, old.version]
        # Mark it as a delete does that started before the reader took its lease: the sweep keeps its chunks.
        replicas = AllReplicas(store.cassandra)
        replicas.write_mark(store.version(f"{name}@{old.version}"), DELETED, datetime.now(UTC))
        swept = store.fsck(delete=True, now=True)
        assert not needed & {item["attempt_id"] for item in swept.garbage}
        received += list(batches)
        assert pa.Table.from_batches(received).equals(table)
    gone = store.fsck(delete=True, now=True)
    assert needed <= {item["attempt_id"] for item in gone.garbage}
    judge(
        {name: Expected({new.version: parquet(1_000, seed=7)[1]}, latest=new.version)},
        fired=0 < len(received[0]) < ROWS,
    )


def test_a_dataset_deleted_and_loaded_again_under_its_name_has_the_new_rows_only(
    both_up: Stack, store: Store, parquet: Any, name: str, judge: Judge
) -> None:
    source, _ = parquet(3_000)
    again, again_table = parquet(2_000, seed=8)
    first = store.load(name, source, SMALL)
    store.tag(name, "kept")
    with pytest.raises(UsageError, match="has the tag kept"):
        store.delete(name, whole=True, now=True)
    store.untag(name, "kept")
    rows = store.catalogue.attempts(name)
    loaders = [row for row in rows if row.role == AttemptRole.SOURCE]
    are_stored = [bool(stored_on(store, host, row)) for host in store.cassandra.hosts() for row in loaders]
    store.delete(name, whole=True, now=True)
    still = [bool(stored_on(store, host, row)) for host in store.cassandra.hosts() for row in rows]
    assert name not in {info.name for info in store.datasets()}
    second = store.load(name, again, SMALL)
    assert int(second.version.partition("-")[0]) > int(first.version.partition("-")[0]), "no number is used again"
    fired = all(are_stored) and not any(still)
    judge({name: Expected({second.version: again_table}, latest=second.version)}, fired=fired)


def test_a_sweep_keeps_the_chunks_of_an_unpublished_append_and_of_its_parent(
    both_up: Stack, store: Store, settings: Settings, parquet: Any, name: str, judge: Judge
) -> None:
    """Between its last chunk and its version row no version names a load: ``--now`` must not take it for dead."""
    source, table = parquet(3_000)
    parent = store.load(name, source, SMALL)
    plan = store.plan(name, source, APPEND, run="under way")
    result = store.load_split(plan, None)
    # A deleted dataset proves that the sweep does remove garbage.
    store.load(f"{name}_gone", source, SMALL)
    gone = named_by(store, f"{name}_gone")
    store.delete(f"{name}_gone", whole=True)
    swept = store.fsck(delete=True, now=True)
    fired = gone <= {item["attempt_id"] for item in swept.garbage} and swept.removed_attempts >= len(gone)
    assert [item for item in swept.garbage if item["dataset"] == name] == []
    report = store.publish(plan, [result])
    twice = pa.concat_tables([table, table]).combine_chunks()
    judge({name: Expected({parent.version: table, report.version: twice}, latest=report.version)}, fired=fired)


def test_a_zombie_whose_chunks_were_swept_publishes_nothing(
    both_up: Stack, store: Store, parquet: Any, name: str, gates: Gates, judge: Judge, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, table = parquet(3_000)
    kept = store.load(name, source, SMALL)
    plan = store.plan(name, source, SMALL, run="zombie")
    result = store.load_split(plan, None)
    monkeypatch.setattr(store, "alive", timedelta(0))
    swept = store.fsck(delete=True, now=True)
    assert result.attempt_id.hex in {item["attempt_id"] for item in swept.garbage}
    with pytest.raises(StoreError) as caught:
        store.publish(plan, [result])
    assert type(caught.value).retriable
    judge({name: Expected({kept.version: table}, latest=kept.version)}, fired=swept.removed_attempts > 0)


def test_undelete_is_refused_while_a_node_is_down_and_works_when_it_is_back(
    both_up: Stack, store: Store, settings: Settings, parquet: Any, name: str, judge: Judge
) -> None:
    source, table = parquet(3_000)
    more, more_table = parquet(1_000, seed=6)
    old, new = store.load(name, source, SMALL), store.load(name, more, SMALL)
    store.delete(f"{name}@{new.version}")
    both_up.kill("cassandra-2")
    for _ in range(2):
        with Store.connect(settings) as alone, pytest.raises(StoreUnavailableError, match="needs every node"):
            alone.undelete(f"{name}@{new.version}")
    with Store.connect(settings) as alone:
        assert [version.label for version in alone.versions(name)] == [old.version]
        assert [version.label for version in alone.versions(name, deleted=True)] == [new.version]
    both_up.up(["cassandra"])
    with Store.connect(settings) as again:
        assert again.undelete(f"{name}@{new.version}").latest
        again.fsck()  # records the chunks that the killed node lost because it had not synced its last 0.1 s
        again.repair(name)
    judge({name: Expected({old.version: table, new.version: more_table}, latest=new.version)}, fired=True)


def test_undelete_restores_the_row_of_a_version_that_one_node_has_lost(
    both_up: Stack, store: Store, parquet: Any, name: str, judge: Judge
) -> None:
    source, table = parquet(3_000)
    report = store.load(name, source, SMALL)
    store.delete(f"{name}@{report.version}")
    keeping, losing = store.cassandra.hosts()
    (row,) = at(store, keeping, "SELECT * FROM {ks}.versions WHERE dataset = ?", name)
    cells = {column: value for column, value in row._asdict().items() if value is not None}
    written = time.time_ns() // 1000
    delete = f"DELETE FROM {{ks}}.versions USING TIMESTAMP {written} WHERE dataset = ?"
    names, marks = ", ".join(cells), ", ".join("?" for _ in cells)
    insert = f"INSERT INTO {{ks}}.versions ({names}) VALUES ({marks}) USING TIMESTAMP {written + 1}"
    at(store, losing, delete, name)
    at(store, keeping, insert, *cells.values())
    fired = not list(at(store, losing, "SELECT * FROM {ks}.versions WHERE dataset = ?", name))
    assert store.undelete(f"{name}@{report.version}").latest
    judge({name: Expected({report.version: table}, latest=report.version)}, fired=fired)
