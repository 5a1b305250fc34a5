"""The tasks of a preparation in Airflow: their results, skips, reports and events."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pytest
from airflow.sdk.exceptions import AirflowSkipException

from millrace.airflow import prepare, recording, reporter
from millrace.api import Store
from millrace.errors import DatasetNotFoundError, ExpectationError, StoreTimeoutError, UsageError
from millrace.load import LoadReport
from millrace.progress import ProgressTask, null_task
from tests.unit.store.in_memory import cassandra, settings, store

__all__ = ["cassandra", "settings", "store"]

ENTRY: dict[str, Any] = {
    "inputs": {"trips": "trips"},
    "query": "SELECT id, distance FROM trips",
    "key": "id",
    "target": "delay > 20",
    "splits": {"train": 0.6, "val": 0.2, "test": 0.2},
}


def trips(rows: int) -> pa.Table:
    """Return trips whose columns follow from their number."""
    numbers = range(rows)
    return pa.table(
        {
            "id": pa.array(numbers, pa.int64()),
            "distance": pa.array([float(number * 37 % 101) for number in numbers]),
            "delay": pa.array([number * 13 % 40 for number in numbers], pa.int64()),
        }
    )


class Request:
    """A request to prepare the dataset ``late`` from the trips."""

    dataset = "late"
    warm = True

    def __init__(self, waits_for_inputs: bool = True) -> None:
        self.waits_for_inputs = waits_for_inputs
        self.entry: Mapping[str, Any] = ENTRY
        self.given: dict[str, Any] = {}

    def choice(self) -> prepare.Choice:
        return prepare.Choice(self.entry, **self.given)


class Run:
    """A run of Airflow whose tasks are called in this process."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, store: Store) -> None:
        self.request = Request()
        self.run_id = "r"
        self.events: list[str] = []
        self.skipped: list[tuple[str, str]] = []
        self._pushed: dict[tuple[str, str], Any] = {}
        self._task = ""

        @contextmanager
        def step(kind: str, **_facts: object) -> Iterator[tuple[Store, ProgressTask]]:
            self._task = kind
            yield store, null_task()

        @contextmanager
        def reporting(kind: str, **_facts: object) -> Iterator[Any]:
            yield SimpleNamespace(skip=lambda reason: self.skipped.append((kind, reason)))

        self.step = step
        monkeypatch.setattr(prepare, "step", step)
        monkeypatch.setattr(reporter, "reporting", reporting)
        monkeypatch.setattr(reporter, "airflow_settings", lambda: None)
        monkeypatch.setattr(prepare, "get_current_context", self._context)
        monkeypatch.setattr(prepare, "field_titles", lambda _context: {"seed": "Seed"})
        monkeypatch.setattr(
            recording, "emit_version", lambda _events, report, _store: self.events.append(report.version)
        )

    def _context(self) -> dict[str, Any]:
        started = datetime.now(UTC) - timedelta(seconds=60)
        return {
            "ti": SimpleNamespace(xcom_push=self._push, xcom_pull=self._pull, try_number=1),
            "dag_run": SimpleNamespace(dag_id="prepare_late", run_id=self.run_id, start_date=started),
            "outlet_events": None,
        }

    def _push(self, key: str, value: Any) -> None:
        self._pushed[self._task, key] = value

    def _pull(self, task_ids: str, key: str) -> Any:
        return self._pushed.get((task_ids, key))

    def to_publish(self) -> tuple[dict[str, Any], dict[str, Any] | None]:
        """Run the tasks before ``publish`` as Airflow does; return their results after a way through JSON."""
        planned = json.loads(json.dumps(prepare.plan(self.request)))
        try:
            prepared = json.loads(json.dumps(prepare.prepare(planned)))
            prepare.verify(planned, prepared)
        except AirflowSkipException:
            prepared = None
        return planned, prepared

    def publish(self) -> dict[str, Any]:
        return prepare.publish(*self.to_publish())


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, store: Store) -> Run:
    return Run(monkeypatch, store)


@pytest.fixture
def loaded(store: Store) -> Store:
    store.load("trips", trips(200))
    return store


def test_a_run_makes_one_version_with_a_report_and_an_event(run: Run, loaded: Store) -> None:
    document = run.publish()
    version = loaded.version("late")
    assert (document["state"], document["run"], document["rows"]) == ("succeeded", "prepare_late/r", 200)
    assert list(document["stages"]) == ["plan", "fetch", "query", "join", "write", "verify", "publish"]
    assert document["training"]["inputs"] == {"trips": loaded.version("trips").reference}
    assert run.events == [version.label]
    assert loaded.run_report("prepare_late/r") == LoadReport.from_json(document)


def test_unchanged_inputs_skip_the_tasks_and_give_no_event(run: Run, loaded: Store) -> None:
    version = run.publish()["version"]
    run.run_id = "second"
    document = run.publish()
    assert (document["state"], document["skipped"], document["version"]) == ("skipped", "unchanged", version)
    assert run.skipped == [("prepare", prepare.UNCHANGED)]
    assert run.events == [version]
    assert len(loaded.versions("late")) == 1
    with pytest.raises(AirflowSkipException, match="unchanged"):
        prepare.warm(document, requested=True)


def test_the_task_verify_of_unchanged_inputs_is_skipped_with_the_reason(run: Run, loaded: Store) -> None:
    run.publish()
    run.run_id = "second"
    with pytest.raises(AirflowSkipException, match="unchanged"):
        prepare.verify(prepare.plan(run.request), None)
    assert run.skipped == [("verify", prepare.UNCHANGED)]


def test_new_rows_make_a_second_version(run: Run, loaded: Store) -> None:
    run.publish()
    loaded.load("trips", trips(250))
    run.run_id = "second"
    document = run.publish()
    assert (document["version"].partition("-")[0], document["rows"]) == ("2", 250)
    assert document["training"]["changes"]["rows"] == [200, 250]


def test_a_cleared_run_makes_no_second_version_and_no_second_event_and_keeps_its_report(
    run: Run, loaded: Store
) -> None:
    version = run.publish()["version"]
    kept = loaded.run_report("prepare_late/r")
    assert run.publish()["version"] == version
    assert run.events == [version]
    assert len(loaded.versions("late")) == 1
    assert loaded.run_report("prepare_late/r") == kept


def test_a_run_that_was_killed_before_its_report_was_kept_emits_the_event_when_it_is_retried(
    run: Run, loaded: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    tasks = run.to_publish()
    with monkeypatch.context() as patched:
        patched.setattr(loaded, "keep_report", killed)
        with pytest.raises(KeyboardInterrupt):
            prepare.publish(*tasks)
    run.events.clear()  # the events of a task that was killed do not reach Airflow
    version = prepare.publish(*tasks)["version"]
    assert run.events == [version]
    assert [each.label for each in loaded.versions("late")] == [version]


def killed(*_given: object) -> None:
    raise KeyboardInterrupt


def test_a_task_that_is_repeated_writes_the_same_rows(run: Run, loaded: Store) -> None:
    planned = prepare.plan(run.request)
    prepare.prepare(planned)
    prepare.publish(planned, prepare.prepare(planned))
    first = loaded.dataset("late").to_table()
    run.run_id = "second"
    run.request.given["force"] = True
    run.publish()
    assert len(loaded.versions("late")) == 2
    assert loaded.dataset("late").to_table().equals(first)


def test_an_input_that_does_not_exist_skips_the_run_of_an_entry_by_name(run: Run, store: Store) -> None:
    with pytest.raises(AirflowSkipException, match="the input 'trips' of late"):
        prepare.plan(run.request)
    assert store.last_run("late") is None


def test_an_input_that_does_not_exist_fails_the_run_of_a_form(run: Run, store: Store) -> None:
    run.request = Request(waits_for_inputs=False)
    with pytest.raises(DatasetNotFoundError, match="trips"):
        prepare.plan(run.request)
    assert store.run_report("prepare_late/r").state == "failed"


def test_a_version_that_is_not_as_expected_is_not_published(run: Run, loaded: Store) -> None:
    run.request.entry = {**ENTRY, "expect": {"rows_min": 1000}}
    tasks = run.to_publish()
    with pytest.raises(ExpectationError):
        prepare.publish(*tasks)
    assert run.events == []
    assert loaded.run_report("prepare_late/r").state == "failed"
    with pytest.raises(DatasetNotFoundError):
        loaded.versions("late")


def test_expect_is_checked_against_an_unchanged_version(run: Run, loaded: Store) -> None:
    run.publish()
    run.run_id = "second"
    run.request.entry = {**ENTRY, "expect": {"rows_min": 1000}}
    with pytest.raises(ExpectationError):
        run.publish()


@pytest.mark.parametrize("name", ["write_preparation", "verify_split", "publish_preparation"])
def test_the_report_of_a_failed_task_is_kept_until_a_later_attempt_succeeds(
    run: Run, loaded: Store, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    def fail(*_given: object, **_options: object) -> None:
        raise StoreTimeoutError("no response; see --seed")

    with monkeypatch.context() as patched:
        patched.setattr(loaded, name, fail)
        with pytest.raises(StoreTimeoutError):
            run.publish()
    report = loaded.run_report("prepare_late/r")
    assert report.state == "failed"
    assert report.error is not None
    assert report.error["message"] == 'no response; see "Seed"'
    assert run.publish()["state"] == loaded.run_report("prepare_late/r").state == "succeeded"


def test_a_version_and_a_seed_of_the_form_replace_those_of_the_entry(run: Run, loaded: Store) -> None:
    first = loaded.version("trips").reference
    loaded.load("trips", trips(300))
    run.request.given = {"versions": {"trips": "1"}, "seed": 7}
    planned = prepare.plan(run.request)
    assert dict(planned["inputs"]) == {"trips": first}
    assert planned["preparation"]["seed"] == 7


def test_a_key_that_no_input_has_is_refused_by_name(run: Run, loaded: Store) -> None:
    run.request.entry = {**ENTRY, "key": "nothing"}
    with pytest.raises(UsageError, match="nothing"):
        run.to_publish()


def test_warming_is_skipped_where_it_is_switched_off(run: Run, loaded: Store) -> None:
    document = run.publish()
    with pytest.raises(AirflowSkipException, match="switched off"):
        prepare.warm(document, requested=False)


def test_a_new_version_is_warmed(run: Run, loaded: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    document = run.publish()
    warmed: list[str] = []

    def warm(reference: str, *, task: ProgressTask) -> SimpleNamespace:
        warmed.append(reference)
        return SimpleNamespace(to_json=lambda: {"chunks": 1})

    monkeypatch.setattr(loaded, "warm", warm)
    monkeypatch.setattr("millrace.airflow.ingest.step", run.step)
    assert prepare.warm(document, requested=True) == {"chunks": 1}
    assert warmed == [loaded.version("late").reference]
    assert "warm" in loaded.run_report("prepare_late/r").to_json()["stages"]
