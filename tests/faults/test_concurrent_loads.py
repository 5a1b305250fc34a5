"""Faults of concurrent loads: two loaders of the same run, a zombie attempt, concurrent appends."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from importlib import import_module
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from local_stack.stack import Stack
from millrace.api import Store
from millrace.errors import SourceChangedError
from millrace.load import LoadOptions
from millrace.settings import Settings
from millrace.store import AttemptRole
from tests.faults.checker import Expected
from tests.faults.conftest import FULL, Judge
from tests.faults.gates import Gate, Gates
from tests.faults.loads import APPEND, ROWS, SEED, SMALL, appends_at_once, garbage_of, load, named_by

publishing = import_module("millrace.load.publishing")
"""The module; the package has a function of the same name."""


def attempts(store: Store, name: str) -> dict[str, AttemptRole | None]:
    """Return the role of each attempt of the dataset."""
    return {row.attempt_id.hex: row.role for row in store.catalogue.attempts(name)}


@pytest.mark.parametrize("point", [("chunk", 10), ("page", 1), ("version", 1)], ids=lambda point: point[0])
def test_a_zombie_that_continues_after_its_retry_has_committed_changes_nothing(
    both_up: Stack,
    store: Store,
    settings: Settings,
    parquet: Any,
    name: str,
    gates: Gates,
    judge: Judge,
    monkeypatch: pytest.MonkeyPatch,
    point: tuple[str, int],
) -> None:
    source, table = parquet(ROWS)
    gate = gates.gate(name, *point)
    with ThreadPoolExecutor(1) as pool:
        zombie = pool.submit(load, settings, name, source)
        gate.wait()
        first = set(attempts(store, name))
        report = load(settings, name, source)
        reading = store.dataset(name).to_batches()
        begun = [next(reading)]
        gate.open()
        late = zombie.result(120)
    assert late.version == report.version
    assert pa.Table.from_batches([*begun, *reading]).equals(table)
    assert len(store.versions(name)) == 1
    # Without its page a zombie leaves nothing that its retry can reuse. With its page it leaves everything: the retry
    # reuses that, and no version names the retry's own writer, because the zombie writes the later version row.
    useless = set(attempts(store, name)) - first if point[0] == "version" else first
    assert useless
    assert garbage_of(store, name, monkeypatch) == useless
    assert not useless & named_by(store, name)
    judge({name: Expected({report.version: table}, latest=report.version)}, fired=gate.reached.is_set())


def test_two_loaders_of_the_same_run_at_once_make_one_version(
    both_up: Stack,
    store: Store,
    settings: Settings,
    parquet: Any,
    name: str,
    gates: Gates,
    judge: Judge,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Both are held before the version row, each with all of its chunks written, and continue together."""
    source, table = parquet(ROWS)
    stands: list[Gate] = []
    begun: list[set[str]] = []
    with ThreadPoolExecutor(2) as pool:
        loading = []
        for _ in range(2):
            stands.append(gates.gate(name, "version"))
            loading.append(pool.submit(load, settings, name, source))
            stands[-1].wait()
            begun.append(set(attempts(store, name)))
        for gate in stands:
            gate.open()
        labels = {each.result(120).version for each in loading}
    assert len(labels) == 1
    (label,) = labels
    assert [version.label for version in store.versions(name)] == [label]
    assert store.dataset(name).to_table().equals(table)
    # The second loader has reused the chunks of the first. Of the two publishers, the later version row names one.
    roles = attempts(store, name)
    (kept,) = (attempt_id for attempt_id in begun[0] if roles[attempt_id] == AttemptRole.SOURCE)
    (publisher,) = named_by(store, name) - {kept}
    assert roles[publisher] == AttemptRole.PUBLISHER
    assert garbage_of(store, name, monkeypatch) == set(roles) - {kept, publisher}
    assert Counter(roles.values()) == {AttemptRole.SOURCE: 2, AttemptRole.PUBLISHER: 2}
    judge({name: Expected({label: table}, latest=label)}, fired=all(gate.reached.is_set() for gate in stands))


@pytest.mark.timeout(3600)
def test_pairs_of_appends_published_at_the_same_moment_neither_lose_nor_duplicate_rows(
    both_up: Stack, settings: Settings, parquet: Any, name: str, judge: Judge
) -> None:
    source, table = parquet(200, seed=4)
    expected, met = appends_at_once(settings, name, source, table, pairs=200 if FULL else 6)
    judge(expected, fired=met)


def test_appends_that_missed_each_other_are_merged_by_the_next_append_or_by_repair(
    both_up: Stack,
    store: Store,
    settings: Settings,
    parquet: Any,
    name: str,
    monkeypatch: pytest.MonkeyPatch,
    judge: Judge,
) -> None:
    """Both are published and neither looks for the other, as if each had reached a different node."""
    source, table = parquet(500)
    first = store.load(name, source, APPEND)
    plans = [store.plan(name, source, APPEND, run=f"blind-{number}") for number in range(2)]
    with monkeypatch.context() as blind:
        blind.setattr(publishing, "merge_siblings", lambda _catalogue, _catalogue_writer, version: version)
        alone = [store.publish(plan, [store.load_split(plan, None)]) for plan in plans]
    apart = [merges(store, name) == 0 and {report.parent for report in alone} == {first.version}]
    assert store.dataset(name).count_rows() == 2 * table.num_rows
    repaired = store.repair(name)
    assert [reference.partition("@")[0] for reference in repaired.merged] == [name]
    assert store.dataset(name).count_rows() == 3 * table.num_rows
    assert store.repair(name).merged == []
    assert merges(store, name) == 1

    plans = [store.plan(name, source, APPEND, run=f"blind again-{number}") for number in range(2)]
    with monkeypatch.context() as blind:
        blind.setattr(publishing, "merge_siblings", lambda _catalogue, _catalogue_writer, version: version)
        alone += [store.publish(plan, [store.load_split(plan, None)]) for plan in plans]
    apart.append(merges(store, name) == 1 and len({report.parent for report in alone[2:]}) == 1)
    last = store.load(name, source, APPEND)
    assert last.total_rows == 6 * table.num_rows
    assert store.dataset(name).count_rows() == 6 * table.num_rows
    labels = {version.label: version.rows // table.num_rows for version in store.versions(name)}
    assert {first.version, *(report.version for report in alone)} <= set(labels)
    expected = {label: pa.concat_tables([table] * copies).combine_chunks() for label, copies in labels.items()}
    judge({name: Expected(expected, latest=last.version)}, fired=all(apart))


def merges(store: Store, name: str) -> int:
    return sum(version.mode == "merge" for version in store.versions(name))


def test_the_same_run_with_another_plan_is_another_version_and_a_source_that_changes_is_refused(
    both_up: Stack, store: Store, parquet: Any, name: str, judge: Judge
) -> None:
    source, table = parquet(3_000)
    first = store.load(name, source, SMALL, run="the run")
    assert store.load(name, source, SMALL, run="the run").version == first.version
    second = store.load(name, source, LoadOptions(chunk_bytes=100_000), run="the run")
    assert second.version != first.version
    plan = store.plan(name, source, SMALL, run="another")
    was = Path(source).stat()
    parquet(3_000, seed=0)  # the same bytes with another modification time
    fired = Path(source).stat().st_mtime_ns != was.st_mtime_ns and Path(source).stat().st_size == was.st_size
    with pytest.raises(SourceChangedError, match="changed after the load was planned"):
        store.load_split(plan, None)
    both = {first.version: table, second.version: table}
    judge({name: Expected(both, latest=second.version)}, fired=fired)


@pytest.mark.full
@pytest.mark.timeout(3000)
def test_concurrent_loaders_of_one_run_at_random_points_make_one_version(
    both_up: Stack, store: Store, settings: Settings, parquet: Any, name: str, gates: Gates, judge: Judge
) -> None:
    source, table = parquet(ROWS)
    rng = random.Random(SEED)
    points: list[Callable[[], tuple[str, int]]] = [
        lambda: ("chunk", rng.randint(1, 19)), lambda: ("page", 1), lambda: ("version", 1), lambda: ("attempt_id", 1)
    ]  # fmt: skip
    expected = {}
    fired = []
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
        # Two loaders wrote chunks, and the retry published while the zombie was held.
        fired.append(gate.reached.is_set() and list(attempts(store, each).values()).count(AttemptRole.SOURCE) == 2)
    judge(expected, fired=all(fired))
