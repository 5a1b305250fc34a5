"""The rows of the fault table in which loads meet: twice the same, a zombie, appends, clocks that are wrong."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from importlib import import_module
from typing import Any

import pyarrow as pa
import pytest

from local_stack.stack import Stack
from pipeline.api import Store
from pipeline.errors import SourceChangedError
from pipeline.load import LoadOptions
from pipeline.settings import Settings
from pipeline.store.session import CassandraSession
from tests.faults.checker import Expected
from tests.faults.conftest import Judge
from tests.faults.gates import Gates
from tests.faults.test_node_faults import APPEND, ROWS, SEED, SMALL, appends_at_once, load

FULL = "MILLRACE_TEST_FULL" in os.environ
publishing = import_module("pipeline.load.publish")
"""The module; the package holds a function of the same name."""


def orphans(store: Store, name: str) -> set[str]:
    """The writers that ``fsck`` would name once nobody takes them for alive."""
    version = store.version(name)
    named = {page.writer for page in store.catalogue.page_refs(version)} | {version.writer}
    return {row.writer.hex for row in store.catalogue.writers(name) if row.writer not in named}


@pytest.mark.parametrize("point", [("chunk", 10), ("page", 1), ("version", 1)], ids=lambda point: point[0])
def test_a_zombie_that_goes_on_after_its_retry_has_committed_changes_nothing(
    both_up: Stack,
    store: Store,
    settings: Settings,
    parquet: Any,
    name: str,
    gates: Gates,
    judge: Judge,
    point: tuple[str, int],
) -> None:
    source, table = parquet(ROWS)
    gate = gates.gate(name, *point)
    with ThreadPoolExecutor(1) as pool:
        zombie = pool.submit(load, settings, name, source)
        gate.wait()
        report = load(settings, name, source)
        reading = store.dataset(name).to_batches()
        begun = [next(reading)]
        gate.open()
        late = zombie.result(120)
    assert late.version == report.version
    assert pa.Table.from_batches([*begun, *reading]).equals(table)
    assert len(store.versions(name)) == 1
    assert orphans(store, name)
    judge({name: Expected({report.version: table}, latest=report.version)}, fired=gate.reached.is_set())


def test_two_loaders_of_the_same_run_at_once_make_one_version(
    both_up: Stack, store: Store, settings: Settings, parquet: Any, name: str, gates: Gates, judge: Judge
) -> None:
    """Both stand before the version's row, each with all of its chunks written, and go on together."""
    source, table = parquet(ROWS)
    stands = []
    with ThreadPoolExecutor(2) as pool:
        loading = []
        for _ in range(2):
            stands.append(gates.gate(name, "version"))
            loading.append(pool.submit(load, settings, name, source))
            stands[-1].wait()
        for gate in stands:
            gate.open()
        labels = {each.result(120).version for each in loading}
    assert len(labels) == 1
    (label,) = labels
    assert [version.label for version in store.versions(name)] == [label]
    assert store.dataset(name).to_table().equals(table)
    judge({name: Expected({label: table}, latest=label)}, fired=all(gate.reached.is_set() for gate in stands))


@pytest.mark.timeout(1800)
def test_pairs_of_appends_published_at_the_same_moment_lose_nothing_and_double_nothing(
    both_up: Stack, settings: Settings, parquet: Any, name: str, judge: Judge
) -> None:
    source, table = parquet(200, seed=4)
    expected = appends_at_once(settings, name, source, table, pairs=200 if FULL else 6)
    judge(expected, fired=any(len(one.versions) > 3 for one in expected.values()))


def test_appends_that_could_not_see_each_other_are_brought_together_by_the_next_append_or_by_heal(
    both_up: Stack,
    store: Store,
    settings: Settings,
    parquet: Any,
    name: str,
    monkeypatch: pytest.MonkeyPatch,
    judge: Judge,
) -> None:
    """As when each knew another node only: both are published, and neither looks for the other."""
    source, table = parquet(500)
    first = store.load(name, source, APPEND)
    plans = [store.plan(name, source, APPEND, run=f"blind-{number}") for number in range(2)]
    with monkeypatch.context() as blind:
        blind.setattr(publishing, "merge_siblings", lambda _catalogue, _ledger, version: version)
        alone = [store.publish(plan, [store.load_split(plan, None)]) for plan in plans]
    assert store.dataset(name).count_rows() == 2 * table.num_rows
    healed = store.heal(name)
    assert [reference.partition("@")[0] for reference in healed.merged] == [name]
    assert store.dataset(name).count_rows() == 3 * table.num_rows
    assert store.heal(name).merged == []

    plans = [store.plan(name, source, APPEND, run=f"blind again-{number}") for number in range(2)]
    with monkeypatch.context() as blind:
        blind.setattr(publishing, "merge_siblings", lambda _catalogue, _ledger, version: version)
        alone += [store.publish(plan, [store.load_split(plan, None)]) for plan in plans]
    last = store.load(name, source, APPEND)
    assert last.total_rows == 6 * table.num_rows
    assert store.dataset(name).count_rows() == 6 * table.num_rows
    labels = {version.label: version.rows // table.num_rows for version in store.versions(name)}
    assert {first.version, *(report.version for report in alone)} <= set(labels)
    expected = {label: pa.concat_tables([table] * copies).combine_chunks() for label, copies in labels.items()}
    judge({name: Expected(expected, latest=last.version)}, fired=True)


@contextmanager
def with_clock(settings: Settings, shift: timedelta, monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    """A store of a machine whose clock is wrong: the driver's, and the product's own."""
    shift_s = shift.total_seconds()

    class Wrong(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> datetime:  # type: ignore[override]
            return datetime.now(tz) + shift

    with monkeypatch.context() as patch:
        for module in ("load.publish", "load.split", "store.ledger", "store.sweep", "store.heal", "store.lease"):
            patch.setattr(import_module(f"pipeline.{module}"), "datetime", Wrong)
        cassandra = CassandraSession.connect(
            settings.cassandra, timestamp_generator=lambda: int((time.time() + shift_s) * 1_000_000)
        )
        with Store(cassandra, settings) as store:
            yield store


@pytest.mark.parametrize("hours", [-1, 1], ids=["behind", "ahead"])
def test_a_writer_whose_clock_is_an_hour_off_is_read_appended_to_and_deleted_like_any_other(
    both_up: Stack,
    store: Store,
    settings: Settings,
    parquet: Any,
    name: str,
    monkeypatch: pytest.MonkeyPatch,
    judge: Judge,
    hours: int,
) -> None:
    source, table = parquet(3_000)
    more, more_table = parquet(1_000, seed=5)
    both = pa.concat_tables([table, more_table]).combine_chunks()
    first = store.load(name, source, SMALL)
    with with_clock(settings, timedelta(hours=hours), monkeypatch) as skewed:
        second = skewed.load(name, more, APPEND)
        skewed.tag(f"{name}@{second.version}", "moved")
        other = skewed.load(f"{name}_other", source, SMALL)
        began = skewed.catalogue.writers(name)
    off = [abs(datetime.now(UTC) - row.started) > timedelta(minutes=50) for row in began]
    third = store.load(name, more, APPEND)
    # Order is by number, whatever the clocks say; a tag moved later is moved.
    assert [version.label for version in store.versions(name)] == [each.version for each in (third, second, first)]
    assert store.version(f"{name}@moved").label == second.version
    store.tag(f"{name}@{first.version}", "moved")
    assert store.version(f"{name}@moved").label == first.version
    with with_clock(settings, timedelta(hours=hours), monkeypatch) as skewed:
        skewed.untag(name, "moved")
    assert store.tags(name) == {}
    store.tag(f"{name}@{second.version}", "again")
    assert store.tags(name) == {"again": second.version}
    tables = {first.version: table, second.version: both, third.version: pa.concat_tables([both, more_table])}
    # What a clock that is ahead has written goes when it is deleted, and its name can be used again.
    store.delete(f"{name}_other", whole=True, now=True)
    assert chunks_of(store, other.version, f"{name}_other") == 0
    reloaded = store.load(f"{name}_other", more, SMALL)
    judge(
        {
            name: Expected(
                {label: one.combine_chunks() for label, one in tables.items()},
                latest=third.version,
                tags={"again": second.version},
            ),
            f"{name}_other": Expected({reloaded.version: more_table}, latest=reloaded.version),
        },
        fired=any(off),
    )


def chunks_of(store: Store, label: str, name: str) -> int:
    """Pages of writers that belong to this version and are still there."""
    return sum(
        len(store.catalogue.finished_pages(name, row.writer))
        for row in store.catalogue.writers(name)
        if row.version == label
    )


def test_the_same_run_with_another_plan_is_another_version_and_a_source_that_changes_is_refused(
    both_up: Stack, store: Store, parquet: Any, name: str, judge: Judge
) -> None:
    source, table = parquet(3_000)
    first = store.load(name, source, SMALL, run="the run")
    assert store.load(name, source, SMALL, run="the run").version == first.version
    second = store.load(name, source, LoadOptions(chunk_bytes=100_000), run="the run")
    assert second.version != first.version
    plan = store.plan(name, source, SMALL, run="another")
    parquet(3_000, seed=0)  # the same bytes, written anew: another time of modification
    with pytest.raises(SourceChangedError, match="changed after the load was planned"):
        store.load_split(plan, None)
    both = {first.version: table, second.version: table}
    judge({name: Expected(both, latest=second.version)}, fired=True)


@pytest.mark.full
@pytest.mark.timeout(3000)
def test_loaders_of_one_run_meet_at_random_points(
    both_up: Stack, store: Store, settings: Settings, parquet: Any, name: str, gates: Gates, judge: Judge
) -> None:
    source, table = parquet(ROWS)
    rng = random.Random(SEED)
    points: list[Callable[[], tuple[str, int]]] = [
        lambda: ("chunk", rng.randint(1, 19)), lambda: ("page", 1), lambda: ("version", 1), lambda: ("writer", 1)
    ]  # fmt: skip
    expected = {}
    for number in range(50):
        each = f"{name}_{number}"
        kind, count = rng.choice(points)()
        gate = gates.gate(each, kind, count)
        with ThreadPoolExecutor(1) as pool:
            zombie = pool.submit(load, settings, each, source)
            gate.wait()
            report = load(settings, each, source)
            gate.open()
            assert zombie.result(120).version == report.version, f"seed {SEED}, {number}: {kind} {count}"
        expected[each] = Expected({report.version: table}, latest=report.version)
    judge(expected, fired=True)
