"""Timers from outside: the product calls every timed place, time counts once, and the product is restored."""

from __future__ import annotations

import threading
import time
import types
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv as pc
import pytest

import bench.ours
from bench.contestant import Outcome
from bench.ours import Load, Read
from bench.places import CSV_PLACES, FILTER_PLACES, LOAD_PLACES, READ_PLACES, CodeLocation
from bench.profile import Profile, add_profile, timed
from bench.report import Report
from millrace.api import Store
from millrace.settings import Settings
from tests.unit.bench.wired import WiredCassandra
from tests.unit.store.in_memory import settings

__all__ = ["settings"]

Profiled = Callable[[Load | Read], Profile]


@pytest.fixture
def profiled(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Iterator[Profiled]:
    """Yield a function that runs a contestant once without timers, as benchmarks do, and once with its timers."""
    cassandra = WiredCassandra()
    monkeypatch.setattr(bench.ours, "connect", lambda: Store(cassandra, settings))
    monkeypatch.setattr("millrace.sources.text.blocks.BLOCK_BYTES", 20_000)  # several blocks, as a large file has

    def run(work: Load | Read) -> Profile:
        work.run()
        with timed(work.places) as profile:
            work.run()
        cassandra.drain()
        return profile

    yield run
    cassandra.close()


@pytest.fixture
def sources(tmp_path: Path) -> dict[str, str]:
    """Write rows as CSV and Arrow and return the paths; one column is random, so no codec makes it smaller."""
    rows = 5000
    noise = np.random.default_rng(3).random(rows)
    table = pa.table({"n": range(rows), "text": [f"text {n % 7}" for n in range(rows)], "x": noise})
    paths = {kind: str(tmp_path / f"rows.{kind}") for kind in ("csv", "arrow")}
    pc.write_csv(table, paths["csv"])
    # Only a last line without a line end is searched for a quote that never closes.
    Path(paths["csv"]).write_bytes(Path(paths["csv"]).read_bytes().rstrip())
    with pa.OSFile(paths["arrow"], "wb") as sink, pa.ipc.new_file(sink, table.schema) as file:
        file.write_table(table)
    return paths


def uncalled(places: tuple[CodeLocation, ...], *profiles: Profile) -> list[str]:
    calls = sum((profile.calls for profile in profiles), Counter[CodeLocation]())
    return [f"{place.owner.__name__}.{place.name}" for place in places if not calls[place]]


def silent(*profiles: Profile) -> list[str]:
    """Return the lines of each profile that have no call."""
    return [label for profile in profiles for label, spent in profile.spent.items() if not spent.calls]


@pytest.mark.parametrize(
    "place", dict.fromkeys(CSV_PLACES + FILTER_PLACES), ids=lambda place: f"{place.label}: {place.name}"
)
def test_every_timed_function_is_found_where_the_product_looks_it_up(place: CodeLocation) -> None:
    assert getattr(place.owner, place.name) is place.function


def test_a_load_calls_every_place_that_is_timed_in_it(profiled: Profiled, sources: dict[str, str]) -> None:
    from_csv = profiled(Load(sources["csv"], "rows"))
    from_arrow = profiled(Load(sources["arrow"], "rows"))
    assert uncalled(CSV_PLACES, from_csv) == []
    assert uncalled(LOAD_PLACES, from_arrow) == []
    assert silent(from_csv, from_arrow) == []


def test_reads_whole_by_columns_and_by_rows_call_every_timed_place(profiled: Profiled, sources: dict[str, str]) -> None:
    profiled(Load(sources["arrow"], "rows"))
    whole = profiled(Read("rows"))
    some = profiled(Read("rows", columns=["x"]))
    few = profiled(Read("rows", below=["n", 10]))
    assert uncalled(READ_PLACES, whole, some) == []
    assert uncalled(FILTER_PLACES, few, some) == []
    assert silent(whole, some, few) == []


@pytest.fixture
def module(monkeypatch: pytest.MonkeyPatch) -> types.ModuleType:
    made = types.ModuleType("timed_by_a_test")

    class Worker:
        @staticmethod
        def inner() -> int:
            end = time.thread_time() + 0.05
            while time.thread_time() < end:
                pass
            return 1

        def outer(self) -> int:
            return self.inner() + int(made.wait())

    def wait() -> int:
        threading.Event().wait(0.05)
        return 2

    made.Worker = Worker  # type: ignore[attr-defined]
    made.wait = wait  # type: ignore[attr-defined]
    monkeypatch.setitem(__import__("sys").modules, made.__name__, made)
    return made


def places(module: types.ModuleType) -> tuple[CodeLocation, ...]:
    return (
        CodeLocation("work", module.Worker, module.Worker.inner),
        CodeLocation("rest", module.Worker, module.Worker.outer),
        CodeLocation("wait for it", module, module.wait),
    )


def test_time_counts_for_the_innermost_place_alone_and_waiting_is_not_work(module: types.ModuleType) -> None:
    before = dict(vars(module.Worker)), module.wait
    with timed(places(module)) as profile:
        assert module.Worker().outer() == 3
        assert module.Worker.inner() == 1
    work, rest, wait = (profile.spent[label] for label in ("work", "rest", "wait for it"))
    assert (work.calls, rest.calls, wait.calls) == (2, 1, 1)
    assert work.cpu_s >= 0.09
    assert rest.cpu_s < 0.05
    assert rest.wall_s < 0.05
    assert wait.wall_s >= 0.04
    assert wait.cpu_s < 0.04
    assert profile.seconds >= 0.1
    assert (dict(vars(module.Worker)), module.wait) == before


def test_the_product_is_restored_after_an_error_too(module: types.ModuleType) -> None:
    before = module.wait
    with pytest.raises(ZeroDivisionError), timed(places(module)):
        raise ZeroDivisionError
    assert module.wait is before


def test_threads_are_counted_by_their_kind(module: types.ModuleType) -> None:
    with timed(places(module)) as profile:
        for number in range(2):
            thread = threading.Thread(target=lambda: [module.Worker.inner() for _ in range(4)], name=f"crew_{number}")
            thread.start()
            thread.join()
    assert profile.threads["crew"] >= 0.1


def test_the_rows_of_a_report_separate_work_and_waiting() -> None:
    report = Report("load")
    profile = {
        "seconds": 2.0,
        "cpu_s": 3.0,
        "spent": {"parse": [1.5, 1.6, 4], "wait for the cluster": [0.0, 0.7, 9], "unused": [0.0, 0.0, 0]},
        "threads": {"MainThread": 0.5},
    }
    add_profile(report, "ours", Outcome(2.0, 1, 1, {"profile": profile}))
    figures = {row.what.strip(): (row.value, row.unit) for row in report.rows}
    assert figures["parse"] == (1.5, "s of a core")
    assert figures["wait for the cluster"] == (0.7, "s waited")
    assert figures["thread MainThread"] == (0.5, "s of a core")
    assert "unused" not in figures


def test_a_place_that_a_run_never_called_is_named_below_the_table() -> None:
    report = Report("load")
    profile = {"seconds": 2.0, "cpu_s": 3.0, "spent": {"parse": [0.0, 0.0, 0]}, "threads": {}}
    add_profile(report, "ours", Outcome(2.0, 1, 1, {"profile": profile}))
    assert report.notes == ["ours, profiled: never came to 'parse', so its time is in another line."]
