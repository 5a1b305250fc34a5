"""Timers from outside: every place is still there, time counts once, and the product is as before afterwards."""

from __future__ import annotations

import threading
import time
import types

import pytest

from bench.contestant import Outcome
from bench.profile import LOAD_PLACES, READ_PLACES, Place, add_profile, resolve, timed
from bench.report import Report


@pytest.mark.parametrize("place", sorted({*LOAD_PLACES, *READ_PLACES}, key=str), ids=lambda place: place.name)
def test_every_place_that_is_timed_is_still_in_the_product(place: Place) -> None:
    owner, name = resolve(place)
    assert callable(getattr(owner, name))


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

    made.Worker = Worker  # type: ignore[attr-defined]
    made.wait = lambda: threading.Event().wait(0.05) or 2  # type: ignore[attr-defined]
    monkeypatch.setitem(__import__("sys").modules, made.__name__, made)
    return made


def places(module: types.ModuleType) -> tuple[Place, ...]:
    return (
        Place("work", module.__name__, "Worker.inner"),
        Place("rest", module.__name__, "Worker.outer"),
        Place("wait for it", module.__name__, "wait"),
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


def test_the_product_is_as_before_after_an_error_too(module: types.ModuleType) -> None:
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


def test_the_rows_of_a_report_say_work_and_waiting_apart() -> None:
    report = Report("load")
    profile = {
        "seconds": 2.0,
        "cpu_s": 3.0,
        "spent": {"parse": [1.5, 1.6, 4], "wait for the cluster": [0.0, 0.7, 9], "unused": [0.0, 0.0, 0]},
        "threads": {"MainThread": 0.5},
    }
    add_profile(report, "ours", Outcome(2.0, 1, 1, {"profile": profile}))
    found = {row.what.strip(): (row.value, row.unit) for row in report.rows}
    assert found["parse"] == (1.5, "s of a core")
    assert found["wait for the cluster"] == (0.7, "s waited")
    assert found["thread MainThread"] == (0.5, "s of a core")
    assert "unused" not in found
