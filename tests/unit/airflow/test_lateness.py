"""A source is late if a load was due and no version was made since the time of the day before."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.sdk import CronTriggerTimetable

from millrace.airflow import lateness
from millrace.airflow.lateness import check_version, expected_since, late_dag
from millrace.api import Store
from millrace.declarations import SourceEntry
from millrace.progress import ProgressTask, null_task
from tests.unit.store.in_memory import cassandra, csv, settings, store

__all__ = ["cassandra", "csv", "settings", "store"]


def entry(**fields: Any) -> SourceEntry:
    values = {"uri": "a.csv", "expected_by": "06:00", "notify": "hook", **fields}
    return SourceEntry.model_validate(values, context={"name": "trips"})


@pytest.mark.parametrize(
    ("now", "since"),
    [
        ("2026-11-29T05:00", "2026-11-28T05:00"),  # 06:00 in Berlin
        ("2026-11-29T04:59", "2026-11-27T05:00"),
        ("2026-11-29T22:59", "2026-11-28T05:00"),
        ("2026-03-29T04:00", "2026-03-28T05:00"),  # the day on which summer time begins has 23 hours
    ],
)
def test_a_version_is_expected_since_the_time_of_the_day_before(now: str, since: str) -> None:
    expected = expected_since(entry(timezone="Europe/Berlin"), datetime.fromisoformat(now).replace(tzinfo=UTC))
    assert expected == datetime.fromisoformat(since).replace(tzinfo=UTC)


@pytest.mark.parametrize(("every", "since"), [("2h", 28), ("1d", 28), ("7d", 22)])
def test_a_version_is_expected_in_the_time_between_two_loads(every: str, since: int) -> None:
    assert expected_since(entry(every=every), datetime(2026, 11, 29, 6, tzinfo=UTC)) == datetime(
        2026, 11, since, 6, tzinfo=UTC
    )


def test_the_dag_runs_at_the_time_in_the_timezone_of_the_entry() -> None:
    dag = late_dag("trips", entry(timezone="Europe/Berlin", expected_by="06:30", owner="team", tags=["t"]))
    assert dag.dag_id == "expect_trips"
    assert repr(dag.schedule) == repr(
        CronTriggerTimetable("30 6 * * *", timezone="Europe/Berlin", run_immediately=timedelta(minutes=1))
    )
    assert (dag.catchup, dag.is_paused_upon_creation, dag.tags) == (False, False, {"millrace", "expect", "t"})
    assert "**check**" in (dag.doc_md or "")
    assert {task.owner for task in dag.tasks} == {"team"}


@pytest.fixture
def check(monkeypatch: pytest.MonkeyPatch, store: Store) -> Callable[..., tuple[dict[str, Any], list[Any]]]:
    """Return a function that checks at a time, and returns the result and the posts."""
    posts: list[Any] = []

    @contextmanager
    def step(*_names: str, **_facts: object) -> Iterator[tuple[Store, ProgressTask]]:
        yield store, null_task()

    def run(made: SourceEntry, now: datetime) -> tuple[dict[str, Any], list[Any]]:
        dag_run = SimpleNamespace(dag_id="expect_trips", run_id="r", logical_date=None, run_after=now)
        monkeypatch.setattr(lateness, "get_current_context", lambda: {"dag_run": dag_run})
        return check_version("trips", made), posts

    monkeypatch.setattr(lateness, "step", step)
    monkeypatch.setattr(lateness, "post", lambda *event: posts.append(event))
    return run


def test_a_version_of_the_last_day_is_in_time(check: Any, store: Store, csv: Any) -> None:
    version = store.load("trips", csv(3)).version
    result, posts = check(entry(), datetime.now(UTC) + timedelta(minutes=1))
    assert (result["late"], result["version"], posts) == (False, version, [])


def test_a_dataset_without_a_version_is_late(check: Any) -> None:
    result, [(connection, event)] = check(entry(), datetime(2026, 11, 29, 6, tzinfo=UTC))
    assert result == {"late": True, "dataset": "trips", "version": None, "since": "2026-11-28T06:00:00+00:00"}
    assert (connection, event["event"], event["source"]) == ("hook", "late", "trips")
    assert event["report"] == {
        "state": "late",
        "run": "expect_trips/r",
        "reason": "no version of trips was made since 2026-11-28T06:00:00+00:00; there is none",
        **result,
    }


def test_an_old_version_is_late_and_named(check: Any, store: Store, csv: Any) -> None:
    version = store.load("trips", csv(3)).version
    result, posts = check(entry(), datetime.now(UTC) + timedelta(days=3))
    assert (result["late"], result["version"]) == (True, version)
    assert f"the newest one is {version} of " in posts[0][1]["report"]["reason"]


@pytest.mark.parametrize(("day", "late"), [(30, True), (29, False)])
def test_a_source_is_late_only_on_days_on_which_a_load_was_due(check: Any, day: int, late: bool) -> None:
    mondays = entry(schedule="30 5 * * 1")  # 2026-11-30 is a Monday
    result, posts = check(mondays, datetime(2026, 11, day, 6, tzinfo=UTC))
    assert (result["late"], len(posts)) == (late, int(late))
