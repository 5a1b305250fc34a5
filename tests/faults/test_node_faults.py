"""The rows of the fault table in which a node is killed, frozen or restarted under loads and readers."""

from __future__ import annotations

import os
import random
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from local_stack.nodetool import nodetool
from local_stack.stack import Stack
from pipeline.api import Store
from pipeline.errors import ChunkMissingError, MillraceError, StoreError, StoreUnavailableError
from pipeline.load import LoadOptions, LoadReport
from pipeline.settings import Settings
from tests.faults.checker import BOTH, Expected
from tests.faults.conftest import Judge, at, read_alone, wait_for
from tests.faults.gates import Gates

SMALL = LoadOptions(chunk_bytes=65_536)
APPEND = LoadOptions(chunk_bytes=65_536, mode="append")
ROWS = 33_000
"""1.3 MB: some twenty chunks, so that a quarter of a load is five."""
SEED = int(os.environ.get("MILLRACE_TEST_SEED", "1"))


def load(settings: Settings, name: str, source: str, options: LoadOptions = SMALL, run: str = "") -> LoadReport:
    """A load with a session of its own, as another process would have."""
    with Store.connect(settings) as store:
        return store.load(name, source, options, run=run or f"run-{name}")


def slowly(settings: Settings, seconds: float) -> Settings:
    """The same settings for loads of ``ROWS`` rows that take about so long."""
    return settings.model_copy(
        update={"load": settings.load.model_copy(update={"bytes_per_s": int(ROWS * 40 / seconds)})}
    )


class Reading:
    """A dataset read again and again in a thread of its own, each time compared with what it must be."""

    def __init__(self, settings: Settings, name: str, table: pa.Table) -> None:
        self.reads = 0
        self.error: BaseException | None = None
        self.longest_s = 0.0
        self._settings, self._name, self._table = settings, name, table
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        try:
            with Store.connect(self._settings) as store:
                while not self._over.is_set():
                    began = time.monotonic()
                    assert store.dataset(self._name).to_table().equals(self._table)
                    self.longest_s = max(self.longest_s, time.monotonic() - began)
                    self.reads += 1
        except BaseException as error:
            self.error = error

    def goes_on(self) -> None:
        """Returns when a read that began after this call is done."""
        before = self.reads
        wait_for("another read", lambda: self.reads > before + 1 or self.error)
        assert self.error is None, self.error

    def __enter__(self) -> Reading:
        self._thread.start()
        self.goes_on()
        return self

    def __exit__(self, *_exc: object) -> None:
        self._over.set()
        self._thread.join(120)
        assert not self._thread.is_alive()
        assert self.error is None, self.error


def healed(store: Store) -> None:
    """Both nodes are up for everybody, and everything that was owed is paid."""
    wait_for("both nodes up for the driver", lambda: not store.cassandra.missing())

    def paid() -> bool:
        try:
            return store.heal().ok
        except StoreError:
            return False  # a node still holds the other one for dead

    wait_for("healing", paid)


def every(tables: dict[str, pa.Table], labels: dict[str, str]) -> dict[str, Expected]:
    return {name: Expected({labels[name]: table}, latest=labels[name]) for name, table in tables.items()}


@pytest.mark.timeout(900)
def test_a_node_killed_at_each_point_of_a_load_and_then_the_other_one(
    both_up: Stack,
    store: Store,
    settings: Settings,
    parquet: Any,
    name: str,
    gates: Gates,
    judge: Judge,
    tmp_path: Path,
) -> None:
    """Six loads stand at 0, 25, 50, 75 and 99 % and before their page; then node 2 dies, once for all of them.

    With it dead, appends that are published at the same moment lose nothing. Once the debt is zero node 1 dies.
    """
    points = {"0": ("name", 1), "25": ("chunk", 5), "50": ("chunk", 10), "75": ("chunk", 15), "99": ("chunk", 19)}
    points["manifest"] = ("page", 1)
    source, table = parquet(ROWS)
    read_source, read_table = parquet(ROWS // 2, seed=1)
    small, small_table = parquet(2_000, seed=2)
    before = load(settings, f"{name}_read", read_source)
    stand = {point: gates.gate(f"{name}_{point}", kind, number) for point, (kind, number) in points.items()}
    with ThreadPoolExecutor(len(points)) as pool, Reading(settings, f"{name}_read", read_table) as reading:
        loads = {point: pool.submit(load, settings, f"{name}_{point}", source) for point in points}
        for gate in stand.values():
            gate.wait()
        # Three are writing when the node dies; those with nothing or little left to write go on just after it.
        for point in ("25", "50", "75"):
            stand[point].open()
        both_up.kill("cassandra-2")
        for gate in stand.values():
            gate.open()
        reports = {point: each.result(240) for point, each in loads.items()}
        reading.goes_on()
    pauses = {point: round(gates.longest_pause_s(f"{name}_{point}"), 2) for point in points}
    print(f"killed: longest pause of each load {pauses} s, longest read {reading.longest_s:.2f} s")
    assert all(report.degraded and report.rows == ROWS for report in reports.values())
    fired = all(gates.degraded[f"{name}_{point}"] for point in points)

    labels = {f"{name}_{point}": report.version for point, report in reports.items()}
    labels[f"{name}_read"] = before.version
    tables = {**dict.fromkeys(labels, table), f"{name}_read": read_table}
    appended = appends_at_once(settings, f"{name}_appends", small, small_table, pairs=4)
    expected = {**every(tables, labels), **appended}
    alone = settings.cassandra.contact_points
    judge(expected, fired=fired, ways=[alone[0]])
    assert read_alone(settings, f"{name}_50", 0, tmp_path).equals(table)
    assert store.dataset(f"{name}_50").degraded
    for refused in (store.heal, store.fsck, lambda: store.delete(f"{name}_50"), lambda: store.prune(f"{name}_50", 1)):
        with pytest.raises(StoreUnavailableError, match=f"needs every node, {alone[1]} is down"):
            refused()

    both_up.up(["cassandra"])
    healed(store)
    assert not any(store.debts(store.version(each)) for each in expected)
    judge(expected, fired=fired)
    assert all(store.verify(each, each_replica=True).ok for each in expected)

    both_up.kill("cassandra-1")
    judge(expected, fired=fired, ways=[alone[1]])
    with Store.connect(settings) as fresh:
        for each, wanted in tables.items():
            assert fresh.dataset(each).to_table().equals(wanted)
            assert fresh.dataset(each).degraded
    assert read_alone(settings, f"{name}_manifest", 1, tmp_path).equals(table)


def appends_at_once(
    settings: Settings, name: str, source: str, table: pa.Table, *, pairs: int, options: LoadOptions = APPEND
) -> dict[str, Expected]:
    """So many pairs of appends, each pair published at the same moment; what the dataset must then hold."""
    load(settings, name, source, options, run="first")
    barrier = threading.Barrier(2, timeout=120)

    def publish(run: str) -> None:
        with Store.connect(settings) as store:
            for number in range(pairs):
                plan = store.plan(name, source, options, run=f"{run}-{number}")
                results = [store.load_split(plan, None)]
                barrier.wait()
                store.publish(plan, results)
                barrier.wait()

    with ThreadPoolExecutor(2) as pool:
        for each in [pool.submit(publish, run) for run in ("left", "right")]:
            each.result(600)
    with Store.connect(settings) as store:
        latest = store.dataset(name)
        assert latest.count_rows() == table.num_rows * (1 + 2 * pairs)
        made = {}
        for version in store.versions(name):
            copies, rest = divmod(version.rows, table.num_rows)
            assert not rest
            made[version.label] = pa.concat_tables([table] * copies).combine_chunks()
        # Each append is in the latest version, and in it once.
        refs = [(ref.writer, ref.bucket, ref.chunk) for ref in latest.refs()]
        assert len(refs) == len(set(refs))
        runs = {row.run for row in store.catalogue.writers(name) if row.writer in {ref[0] for ref in refs}}
        assert runs == {"first", *(f"{run}-{number}" for run in ("left", "right") for number in range(pairs))}
        return {name: Expected(made, latest=latest.version.label)}


@pytest.mark.timeout(900)
def test_the_other_node_dying_before_the_debt_is_paid_ends_in_named_errors_and_loses_nothing(
    both_up: Stack, settings: Settings, parquet: Any, name: str, gates: Gates, judge: Judge
) -> None:
    """Hints are disabled, so that node 2 comes back without what was written meanwhile."""
    source, table = parquet(ROWS)
    more, more_table = parquet(4_000, seed=3)
    one, two = settings.cassandra.contact_points
    old, new = f"{name}_old", f"{name}_new"
    first = load(settings, old, source)
    assert nodetool(both_up.node(1), ["disablehandoff"], capture=True).returncode == 0
    both_up.kill("cassandra-2")
    # Until gossip convicts node 2, node 1 keeps what it owes it in its outbound queue, and sends it when it is back.
    wait_for("node 1 to see node 2 down", lambda: "\nDN " in nodetool(both_up.node(1), ["status"], capture=True).stdout)
    second = load(settings, old, more, APPEND, run="second")
    created = load(settings, new, source)
    both = pa.concat_tables([table, more_table]).combine_chunks()
    expected = {
        old: Expected({first.version: table, second.version: both}, latest=second.version),
        new: Expected({created.version: table}, latest=created.version),
    }
    both_up.up(["cassandra"])
    impatient = settings.model_copy(
        update={"cassandra": settings.cassandra.model_copy(update={"request_timeout_s": 5.0})}
    )
    with Store.connect(impatient) as store:
        wait_for("node 2 up for the driver", lambda: not store.cassandra.missing())
        assert store.debts(store.version(new))
        (host,) = [host for host in store.cassandra.hosts() if str(host.address) == two]
        query = "SELECT number FROM {ks}.versions WHERE dataset = ?"
        fired = [len(at(store, host, query, each)) for each in (old, new)] == [1, 0]
        opened = {each: store.dataset(each) for each in (old, new)}
        both_up.kill("cassandra-1")

        def ends_in(kinds: tuple[type[MillraceError], ...], read: Callable[[], Any]) -> MillraceError:
            began = time.monotonic()
            with pytest.raises(kinds) as caught:
                read()
            assert time.monotonic() - began < 60
            assert type(caught.value).retriable
            assert one in str(caught.value) or one in str(caught.value.context), caught.value.context
            return caught.value

        wait_for("node 1 down for the driver", store.cassandra.down)
        # Unknown here, which is not the same as not there.
        ends_in((StoreUnavailableError,), lambda: store.dataset(new))
        ends_in((StoreUnavailableError,), lambda: store.versions(new))
        ends_in((StoreUnavailableError,), lambda: store.dataset(f"{old}@{second.version}"))
        # An older version, which says that a newer one may exist.
        found = store.dataset(old)
        assert found.version.label == first.version
        assert found.degraded
        assert found.to_table().equals(table)
        # Readers that knew the version: an error that names the chunk or page, and the node.
        for each in opened.values():
            error = ends_in((ChunkMissingError, StoreUnavailableError), each.to_table)
            assert "chunk" in str(error) or "page" in str(error)
    both_up.up(["cassandra"])
    assert nodetool(both_up.node(1), ["enablehandoff"], capture=True).returncode == 0
    judge(expected, fired=fired, ways=[BOTH, one])
    with Store.connect(settings) as store:
        healed(store)
        assert not store.debts(store.version(new))
    judge(expected, fired=fired)


@pytest.mark.timeout(600)
@pytest.mark.parametrize("seconds", [5, pytest.param(60, marks=pytest.mark.full)])
def test_a_node_frozen_under_a_load_and_a_reader_stops_neither(
    both_up: Stack, store: Store, settings: Settings, parquet: Any, name: str, gates: Gates, judge: Judge, seconds: int
) -> None:
    source, table = parquet(ROWS)
    before = load(settings, f"{name}_read", source)
    gate = gates.gate(name, "chunk", 10)
    with ThreadPoolExecutor(1) as pool, Reading(settings, f"{name}_read", table) as reading:
        loading = pool.submit(load, settings, name, source)
        gate.wait()
        both_up.freeze("cassandra-2")
        frozen = time.monotonic()
        gate.open()
        report = loading.result(120)
        took_s = time.monotonic() - frozen
        reading.goes_on()
        time.sleep(max(0.0, seconds - (time.monotonic() - frozen)))  # the row is a freeze of this length
        both_up.thaw("cassandra-2")
        reading.goes_on()
    print(f"frozen: longest pause {gates.longest_pause_s(name):.2f} s, longest read {reading.longest_s:.2f} s")
    assert report.retries > 0
    expected = every({name: table, f"{name}_read": table}, {name: report.version, f"{name}_read": before.version})
    both_up.up(["cassandra"])
    healed(store)
    judge(expected, fired=gates.degraded[name] > 0 and took_s < 60)


@pytest.mark.timeout(900)
@pytest.mark.parametrize("seconds", [6, pytest.param(120, marks=pytest.mark.full)])
def test_a_flapping_node_fails_no_load(
    both_up: Stack, store: Store, settings: Settings, parquet: Any, name: str, gates: Gates, judge: Judge, seconds: int
) -> None:
    source, table = parquet(ROWS)
    rng = random.Random(SEED)
    flaps = 0
    with ThreadPoolExecutor(1) as pool:
        loading = pool.submit(load, slowly(settings, seconds), name, source)
        wait_for("the load to begin", lambda: gates.acknowledged[name] or loading.done())
        while not loading.done():
            both_up.freeze("cassandra-2")
            # Long enough to be noticed, every other time.
            time.sleep(rng.uniform(2.8, 3.5) if flaps % 2 == 0 else rng.uniform(0.3, 1.5))
            both_up.thaw("cassandra-2")
            flaps += not loading.done()
            time.sleep(rng.uniform(0.2, 1.0))
        report = loading.result()
    print(f"flapping (seed {SEED}): {flaps} times, longest pause {gates.longest_pause_s(name):.2f} s")
    both_up.up(["cassandra"])
    healed(store)
    judge({name: Expected({report.version: table}, latest=report.version)}, fired=flaps > 0 and report.retries > 0)


@contextmanager
def loads_one_after_another(settings: Settings, name: str, source: str) -> Iterator[list[LoadReport]]:
    """Small loads as long as the block lasts, each of a dataset of its own; none may fail."""
    over = threading.Event()
    reports: list[LoadReport] = []

    def run() -> None:
        while not over.is_set():
            reports.append(load(slowly(settings, 3.0), f"{name}_{len(reports)}", source))

    with ThreadPoolExecutor(1) as pool:
        running: Future[None] = pool.submit(run)
        try:
            wait_for("a first load", lambda: reports or running.done())
            yield reports
        finally:
            over.set()
            running.result(240)


@pytest.mark.timeout(900)
def test_a_rolling_restart_fails_no_load_and_no_read(
    both_up: Stack, store: Store, settings: Settings, parquet: Any, name: str, gates: Gates, judge: Judge
) -> None:
    source, table = parquet(ROWS)
    before = load(settings, f"{name}_read", source)
    with Reading(settings, f"{name}_read", table) as reading, loads_one_after_another(settings, name, source) as made:
        for node in ("cassandra-1", "cassandra-2"):
            both_up.down([node])
            both_up.up([node])
            done = len(made)
            wait_for("a load after the restart", lambda at_least=done + 2: len(made) >= at_least)
            reading.goes_on()
    pause_s = max(gates.longest_pause_s(report.dataset) for report in made)
    print(f"rolling restart: {len(made)} loads, longest pause {pause_s:.2f} s, longest read {reading.longest_s:.2f} s")
    healed(store)
    labels = {report.dataset: report.version for report in made} | {f"{name}_read": before.version}
    judge(every(dict.fromkeys(labels, table), labels), fired=any(gates.degraded.values()))


@pytest.mark.timeout(600)
def test_both_nodes_dead_end_in_one_retriable_error_and_the_same_load_goes_on_when_they_are_back(
    both_up: Stack, settings: Settings, parquet: Any, name: str, gates: Gates, judge: Judge
) -> None:
    source, table = parquet(ROWS)
    impatient = settings.model_copy(
        update={"cassandra": settings.cassandra.model_copy(update={"request_timeout_s": 4.0})}
    )
    gate = gates.gate(name, "chunk", 10)
    with ThreadPoolExecutor(1) as pool, Store.connect(impatient) as watching:
        loading = pool.submit(load, impatient, name, source)
        gate.wait()
        both_up.kill("cassandra")
        began = time.monotonic()
        gate.open()
        with pytest.raises(StoreError) as caught:
            loading.result(60)
        assert type(caught.value).retriable
        with pytest.raises(StoreError) as read:
            watching.versions(name)
        assert type(read.value).retriable
        print(f"both dead: an error after {time.monotonic() - began:.1f} s")
    both_up.up(["cassandra"])
    report = load(settings, name, source)
    with Store.connect(settings) as store:
        assert not store.debts(store.version(name))
    judge({name: Expected({report.version: table}, latest=report.version)}, fired=bool(gates.acknowledged[name]))
