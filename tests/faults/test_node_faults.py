"""Faults in which nodes are killed, frozen or restarted under loads and readers."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from local_stack.stack import Stack
from millrace.api import Store
from millrace.errors import DatasetNotFoundError, StoreError, StoreUnavailableError
from millrace.load import LoadReport
from millrace.settings import Settings
from tests.faults.checker import Expected
from tests.faults.conftest import FULL, Judge, read_alone, wait_for
from tests.faults.gates import Gates
from tests.faults.loads import (
    CHUNKS,
    ROWS,
    SEED,
    appends_at_once,
    every,
    impatient,
    load,
    reading,
    repaired,
    slowly,
)

Tell = Callable[[str], None]
PERCENT = {"0": 0, "25": 25, "50": 50, "75": 75, "99": 99, "manifest": 100}
SENT = {point: CHUNKS * percent // 100 for point, percent in PERCENT.items()}
"""Chunks that each load has sent when it is held at its point."""
WRITING = ("25", "50", "75")
PATIENCE_S = 4.0


@pytest.mark.timeout(3600)
def test_a_node_killed_at_each_point_of_a_load_and_the_other_after_repair_lose_nothing(
    both_up: Stack,
    store: Store,
    settings: Settings,
    parquet: Any,
    name: str,
    gates: Gates,
    judge: Judge,
    tmp_path: Path,
    tell: Tell,
) -> None:
    """Six loads are held at 0, 25, 50, 75 and 99 % and before their page; then node 2 dies under all of them.

    While it is down, appends published at the same moment lose nothing. Once no replica is missing, node 1 dies.
    """
    source, table = parquet(ROWS)
    read_source, read_table = parquet(ROWS // 2, seed=1)
    small, small_table = parquet(2_000, seed=2)
    before = load(settings, f"{name}_read", read_source)
    points = {**{point: ("chunk", sent + 1) for point, sent in SENT.items()}, "0": ("name", 1), "manifest": ("page", 1)}
    stand = {point: gates.gate(f"{name}_{point}", *write) for point, write in points.items()}
    # However slowly the node dies, some chunks are sent after its death.
    rest = {point: gates.gate(f"{name}_{point}", "chunk", SENT[point] + 4) for point in WRITING}
    with ThreadPoolExecutor(len(SENT)) as pool, reading(settings, f"{name}_read", read_table) as reader:
        loads = {point: pool.submit(load, settings, f"{name}_{point}", source) for point in SENT}
        for gate in stand.values():
            gate.wait()
        wait_for("what was sent", lambda: all(len(gates.chunks[f"{name}_{at}"]) == sent for at, sent in SENT.items()))
        # Three loads are writing when the node dies; those with little or nothing left to write continue just after it.
        for point in WRITING:
            stand[point].open()
        both_up.kill("cassandra-2")
        for gate in (*stand.values(), *rest.values()):
            gate.open()
        reports = {point: each.result(240) for point, each in loads.items()}
        reader.goes_on()
    pauses = {point: round(gates.longest_pause_s(f"{name}_{point}"), 2) for point in SENT}
    tell(f"longest pause of each load {pauses} s, longest read {reader.longest_s:.2f} s")
    assert all(report.degraded and report.rows == ROWS for report in reports.values())
    assert {report.chunks for report in reports.values()} == {CHUNKS}
    fired = all(hit(gates, f"{name}_{point}", point) for point in SENT)

    labels = {f"{name}_{point}": report.version for point, report in reports.items()}
    labels[f"{name}_read"] = before.version
    tables = {**dict.fromkeys(labels, table), f"{name}_read": read_table}
    appended, met = appends_at_once(settings, f"{name}_appends", small, small_table, pairs=200 if FULL else 4)
    expected = {**every(tables, labels), **appended}
    alone = settings.cassandra.contact_points
    judge(expected, fired=fired and met, ways=[alone[0]])
    assert read_alone(settings, f"{name}_50", 0, tmp_path).equals(table)
    assert store.dataset(f"{name}_50").degraded
    for refused in (store.repair, store.fsck, lambda: store.delete(f"{name}_50"), lambda: store.prune(f"{name}_50", 1)):
        with pytest.raises(StoreUnavailableError, match=f"needs every node, {alone[1]} is down"):
            refused()

    both_up.up(["cassandra"])
    repaired(store)
    assert not any(store.under_replicated(store.version(each)) for each in expected)
    judge(expected, fired=fired)
    assert all(store.verify(each, each_replica=True).ok for each in expected)

    both_up.kill("cassandra-1")
    judge(expected, fired=fired, ways=[alone[1]])
    with Store.connect(settings) as fresh:
        for each, loaded_table in tables.items():
            assert fresh.dataset(each).to_table().equals(loaded_table)
            assert fresh.dataset(each).degraded
    assert read_alone(settings, f"{name}_manifest", 1, tmp_path).equals(table)


def hit(gates: Gates, name: str, point: str) -> bool:
    """Return whether the node died at this point: earlier chunks are on both nodes, and some later ones on one."""
    proven, single = gates.proven(name), gates.single(name)
    print(f"{point}: {proven} chunks proven on both nodes, {single} on one")
    assert proven + single == CHUNKS, point
    if point not in WRITING:
        return proven == SENT[point] and (single > 0 or gates.degraded[name] > 0)
    return SENT[point] <= proven < CHUNKS


@pytest.mark.timeout(600)
@pytest.mark.parametrize("seconds", [5, pytest.param(60, marks=pytest.mark.full)])
def test_a_node_frozen_under_a_load_and_a_reader_stops_neither(
    both_up: Stack,
    store: Store,
    settings: Settings,
    parquet: Any,
    name: str,
    gates: Gates,
    judge: Judge,
    tell: Tell,
    seconds: int,
) -> None:
    source, table = parquet(ROWS)
    before = load(settings, f"{name}_read", source)
    gate = gates.gate(name, "chunk", 10)
    with ThreadPoolExecutor(1) as pool, reading(settings, f"{name}_read", table) as reader:
        loading = pool.submit(load, settings, name, source)
        gate.wait()
        both_up.freeze("cassandra-2")
        frozen = time.monotonic()
        gate.open()
        report = loading.result(120)
        took_s = time.monotonic() - frozen
        reader.goes_on()
        time.sleep(max(0.0, seconds - (time.monotonic() - frozen)))  # keep the freeze at this length
        both_up.thaw("cassandra-2")
        reader.goes_on()
    tell(f"longest pause {gates.longest_pause_s(name):.2f} s, longest read {reader.longest_s:.2f} s")
    assert report.retries > 0
    expected = every({name: table, f"{name}_read": table}, {name: report.version, f"{name}_read": before.version})
    both_up.up(["cassandra"])
    repaired(store)
    judge(expected, fired=gates.single(name) > 0 and took_s < 60)


@pytest.mark.timeout(900)
@pytest.mark.parametrize("seconds", [6, pytest.param(120, marks=pytest.mark.full)])
def test_a_flapping_node_fails_no_load(
    both_up: Stack,
    store: Store,
    settings: Settings,
    parquet: Any,
    name: str,
    gates: Gates,
    judge: Judge,
    tell: Tell,
    seconds: int,
) -> None:
    source, table = parquet(ROWS)
    rng = random.Random(SEED)
    flaps = 0
    with ThreadPoolExecutor(1) as pool:
        loading = pool.submit(load, slowly(settings, seconds), name, source)
        wait_for("the load to begin", lambda: gates.acknowledged[name] or loading.done())
        while not loading.done():
            both_up.freeze("cassandra-2")
            # Every other freeze is long enough to be noticed.
            time.sleep(rng.uniform(2.8, 3.5) if flaps % 2 == 0 else rng.uniform(0.3, 1.5))
            both_up.thaw("cassandra-2")
            flaps += not loading.done()
            time.sleep(rng.uniform(0.2, 1.0))
        report = loading.result()
    tell(f"{flaps} times (seed {SEED}), longest pause {gates.longest_pause_s(name):.2f} s")
    both_up.up(["cassandra"])
    repaired(store)
    judge({name: Expected({report.version: table}, latest=report.version)}, fired=flaps > 0 and report.retries > 0)


@contextmanager
def loads_one_after_another(settings: Settings, name: str, source: str) -> Iterator[list[LoadReport]]:
    """Run small loads, each of a new dataset, until the block ends; none may fail."""
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
    both_up: Stack, store: Store, settings: Settings, parquet: Any, name: str, gates: Gates, judge: Judge, tell: Tell
) -> None:
    source, table = parquet(ROWS)
    before = load(settings, f"{name}_read", source)
    with reading(settings, f"{name}_read", table) as reader, loads_one_after_another(settings, name, source) as made:
        for node in ("cassandra-1", "cassandra-2"):
            both_up.down([node])
            both_up.up([node])
            done = len(made)
            wait_for("a load after the restart", lambda at_least=done + 2: len(made) >= at_least)
            reader.goes_on()
    pause_s = max(gates.longest_pause_s(report.dataset) for report in made)
    tell(f"{len(made)} loads, longest pause {pause_s:.2f} s, longest read {reader.longest_s:.2f} s")
    repaired(store)
    labels = {report.dataset: report.version for report in made} | {f"{name}_read": before.version}
    judge(every(dict.fromkeys(labels, table), labels), fired=any(map(gates.single, labels)))


@pytest.mark.timeout(600)
def test_a_load_with_both_nodes_dead_fails_with_a_retriable_error_and_resumes_when_they_are_back(
    both_up: Stack, settings: Settings, parquet: Any, name: str, gates: Gates, judge: Judge, tell: Tell
) -> None:
    """Loader and readers get an error that names both nodes, within three times their request timeout.

    The statement of one reader is not prepared yet, and preparing it also needs a node.
    """
    source, table = parquet(ROWS)
    hasty = impatient(settings, PATIENCE_S)
    gate = gates.gate(name, "chunk", 10)
    seconds: dict[str, float] = {}

    def fails(what: str, call: Callable[[], Any]) -> None:
        began = time.monotonic()
        with pytest.raises(StoreError) as caught:
            call()
        seconds[what] = time.monotonic() - began
        assert seconds[what] < 3 * PATIENCE_S, what
        assert type(caught.value).retriable
        assert all(address in str(caught.value) for address in settings.cassandra.contact_points), str(caught.value)

    with ThreadPoolExecutor(1) as pool, Store.connect(hasty) as watching, Store.connect(hasty) as fresh:
        loading = pool.submit(load, hasty, name, source)
        gate.wait()
        with pytest.raises(DatasetNotFoundError):
            watching.versions(name)
        both_up.kill("cassandra")
        gate.open()
        fails("load", lambda: loading.result(60))
        fails("reader", lambda: watching.versions(name))
        wait_for("both nodes down for the driver", lambda: len(fresh.cassandra.down()) == 2)
        fails("first query of a reader", lambda: fresh.versions(name))
    tell("an error after " + ", ".join(f"{took_s:.1f} s for the {what}" for what, took_s in seconds.items()))
    both_up.up(["cassandra"])
    report = load(settings, name, source)
    with Store.connect(settings) as store:
        assert not store.under_replicated(store.version(name))
    judge({name: Expected({report.version: table}, latest=report.version)}, fired=gates.proven(name) > CHUNKS)
