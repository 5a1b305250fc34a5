"""The tasks of an ingestion in Airflow: their logs, reports and events."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import ANY

import pyarrow as pa
import pytest
from airflow.sdk.exceptions import AirflowSkipException

from millrace.airflow import ingest, recording
from millrace.api import Store
from millrace.errors import SourceNotFoundError, StoreTimeoutError, UsageError
from millrace.load import LoadOptions, LoadPlan, LoadReport, RunRecord, loader_memory
from millrace.progress import ProgressTask, null_task
from millrace.settings import millrace_home
from millrace.sources import SourceOptions
from millrace.store import DatasetRun
from tests.unit.store.in_memory import cassandra, settings, store

__all__ = ["cassandra", "settings", "store"]


def in_inbox(text: str) -> str:
    """Write a file into the inbox, which the form may load from; return its path."""
    path = millrace_home() / "inbox" / "a.csv"
    path.parent.mkdir(parents=True)
    path.write_text(text)
    return str(path)


def request(source: str, options: LoadOptions | None = None) -> ingest.Request:
    """Return a request to load a source as the dataset t."""
    return SimpleNamespace(
        dataset="t", mode="replace", warm=False, load=lambda _settings: (source, options or LoadOptions())
    )


def test_the_tasks_that_read_the_source_use_the_allocator_of_loaders(
    monkeypatch: pytest.MonkeyPatch, store: Store
) -> None:
    plan = store.plan("t", in_inbox("n\n1\n"), run="r")
    expected, backends = allocator(loader_memory()), []

    @contextmanager
    def step(*_names: str, **_facts: object) -> Iterator[tuple[Store, ProgressTask]]:
        yield store, null_task()

    def planned(*_given: object, **_options: object) -> LoadPlan:
        backends.append(allocator())
        return plan

    def loaded(*_given: object, **_options: object) -> SimpleNamespace:
        backends.append(allocator())
        return SimpleNamespace(to_json=dict)

    context = {
        "ti": SimpleNamespace(xcom_push=lambda **_value: None, try_number=1),
        "dag_run": SimpleNamespace(dag_id="ingest_dataset", run_id="r", start_date=None),
    }
    monkeypatch.setattr(ingest, "step", step)
    monkeypatch.setattr(ingest, "get_current_context", lambda: context)
    monkeypatch.setattr(ingest, "field_titles", lambda _context: {})
    monkeypatch.setattr(store, "plan", planned)
    monkeypatch.setattr(store, "load_split", loaded)
    ingest.plan(request("a.csv"))
    ingest.load(plan.to_json(), 0)
    assert backends == [expected, expected]


def allocator(memory: AbstractContextManager[None] | None = None) -> str:
    with memory or nullcontext():
        return str(pa.default_memory_pool().backend_name)


def test_publish_logs_the_report_as_a_table_and_every_warning(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, store: Store, tmp_path: Path
) -> None:
    (tmp_path / "a.csv").write_text("zip,price\n01,1.5\n2,?\n")
    plan = store.plan("t", str(tmp_path / "a.csv"), run="r")
    results = [store.load_split(plan, index).to_json() for index in range(len(plan.source.splits))]

    @contextmanager
    def step(*_names: str, **_facts: object) -> Iterator[tuple[Store, ProgressTask]]:
        yield store, null_task()

    context = {
        "ti": SimpleNamespace(xcom_pull=lambda **_asked: None),
        "dag_run": SimpleNamespace(dag_id="ingest_dataset", run_id="r", start_date=None),
        "outlet_events": None,
    }
    monkeypatch.setattr(ingest, "step", step)
    monkeypatch.setattr(ingest, "get_current_context", lambda: context)
    monkeypatch.setattr(ingest, "field_titles", lambda _context: {})
    monkeypatch.setattr(recording, "emit_version", lambda *_report, **_where: None)
    with caplog.at_level(logging.INFO, logger="millrace.airflow.recording"):
        report = ingest.publish(plan.to_json(), results)
    lines = [record.getMessage() for record in caplog.records]
    assert lines[0] == f"t@{report['version']}"
    assert "  columns       zip int64, price string" in lines
    assert "  rows          2" in lines
    warned = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert [line.partition(":")[0] for line in warned] == ["leading_zeros", "text_for_one_value"]
    assert [each["code"] for each in report["warnings"]] == ["leading_zeros", "text_for_one_value"]
    assert report["columns"] == [{"name": "zip", "type": "int64"}, {"name": "price", "type": "string"}]


class Run:
    """A run of Airflow whose tasks are called in this process; XComs are kept in ``pushed``."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, store: Store, source: str) -> None:
        self.pushed: dict[tuple[str, str], Any] = {}
        self.task = ""

        @contextmanager
        def step(kind: str, **_facts: object) -> Iterator[tuple[Store, ProgressTask]]:
            self.task = kind
            yield store, null_task()

        started = datetime.now(UTC) - timedelta(seconds=60)
        context = {
            "ti": SimpleNamespace(xcom_push=self._push, xcom_pull=self._pull, try_number=1),
            "dag_run": SimpleNamespace(dag_id="ingest_dataset", run_id="r", start_date=started),
            "outlet_events": None,
        }
        options = SourceOptions(column_types=(("b", "int64"),))
        monkeypatch.setattr(ingest, "step", step)
        monkeypatch.setattr(ingest, "get_current_context", lambda: context)
        monkeypatch.setattr(ingest, "field_titles", lambda _context: {"column_types": "Column types"})
        monkeypatch.setattr(recording, "emit_version", lambda *_report, **_where: None)
        self.request = request(source, LoadOptions(source=options, skip_unchanged=True))

    def _push(self, key: str, value: Any) -> None:
        self.pushed[self.task, key] = value

    def _pull(self, task_ids: str, key: str) -> Any:
        return self.pushed.get((task_ids, key))

    def load(self) -> tuple[dict[str, Any], list[dict[str, Any]]]:
        """Run the tasks up to ``load``; return the plan and the results."""
        splits = ingest.plan(self.request)
        planned = self.pushed["plan", ingest.PLAN_KEY]
        return planned, [ingest.load(planned, split) for split in splits]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, store: Store) -> Run:
    return Run(monkeypatch, store, in_inbox("a,b\n1,2\n3,4\n"))


def test_the_report_of_a_run_has_the_seconds_of_each_of_its_tasks_and_is_kept(run: Run, store: Store) -> None:
    planned, loaded = run.load()
    ingest.verify(planned, loaded)
    document = ingest.publish(planned, loaded)
    assert list(document["stages"]) == ["plan", "load", "verify", "publish"]
    assert (document["state"], document["run"]) == ("succeeded", "ingest_dataset/r")
    assert 60 < document["seconds"] < 120
    assert store.run_report("ingest_dataset/r") == LoadReport.from_json(document)


def test_a_warmed_version_adds_its_stage_to_the_report_in_the_store(
    run: Run, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    planned, loaded = run.load()
    document = ingest.publish(planned, loaded)
    warmed: list[dict[str, Any]] = []

    def warm(_reference: str, *, task: ProgressTask, **options: Any) -> SimpleNamespace:
        warmed.append(options)
        return SimpleNamespace(to_json=lambda: {"chunks": 1})

    monkeypatch.setattr(store, "warm", warm)
    assert ingest.warm(document, requested=True, form="raw", columns=["n"]) == {"chunks": 1}
    assert warmed == [{"form": "raw", "columns": ["n"]}]
    kept = store.run_report("ingest_dataset/r")
    assert list(kept.stages) == ["plan", "load", "publish", "warm"]
    assert kept.version == document["version"]


@pytest.mark.parametrize("task", ["load_split", "verify_split", "publish"])
def test_the_report_of_a_failed_task_is_kept_until_a_later_attempt_succeeds(
    run: Run, store: Store, monkeypatch: pytest.MonkeyPatch, task: str
) -> None:
    def fail(*_given: object, **_options: object) -> None:
        raise StoreTimeoutError("no response; see --column-type", hint="see millrace doctor")

    def run_tasks() -> dict[str, Any]:
        planned, loaded = run.load()
        ingest.verify(planned, loaded)
        return ingest.publish(planned, loaded)

    with monkeypatch.context() as patched:
        patched.setattr(store, task, fail)
        with pytest.raises(StoreTimeoutError):
            run_tasks()
    report = store.run_report("ingest_dataset/r")
    assert (report.state, report.source_facts.files) == ("failed", 1)
    assert report.error == {
        "class": "StoreTimeoutError",
        "message": 'no response; see "Column types"',
        "hint": "see millrace doctor",
        "retriable": True,
    }
    assert run_tasks()["state"] == store.run_report("ingest_dataset/r").state == "succeeded"


def test_the_report_of_a_run_that_succeeded_stays_when_the_cleared_run_fails(
    run: Run, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    document = ingest.publish(*run.load())
    with monkeypatch.context() as patched:
        patched.setattr(run.request, "load", lambda _settings: ("missing.csv", LoadOptions()))
        with pytest.raises(SourceNotFoundError):
            ingest.plan(run.request)
    assert store.run_report("ingest_dataset/r") == LoadReport.from_json(document)
    assert store.last_run("t") == DatasetRun("t", ANY, "ingest_dataset/r", "succeeded", document["version"], 2, 0)


def test_a_cleared_run_emits_no_second_event_and_one_without_a_report_does(
    run: Run, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    events: list[str] = []
    monkeypatch.setattr(recording, "emit_version", lambda _events, report, *_where: events.append(report.version))
    with monkeypatch.context() as patched:
        patched.setattr(store, "keep_report", killed)
        with pytest.raises(KeyboardInterrupt):
            ingest.publish(*run.load())
    events.clear()  # the events of a task that was killed do not reach Airflow
    version = ingest.publish(*run.load())["version"]
    assert events == [version]
    assert ingest.publish(*run.load())["version"] == version
    assert events == [version]


def killed(*_given: object) -> None:
    raise KeyboardInterrupt


def test_the_report_of_a_failed_plan_is_kept_also_for_a_wrong_form(
    run: Run, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_given: object) -> None:
        raise UsageError("the source is outside of the folders that may be loaded from")

    monkeypatch.setattr(run.request, "load", refuse)
    with pytest.raises(UsageError):
        ingest.plan(run.request)
    report = store.run_report("ingest_dataset/r")
    assert (report.state, report.source, report.mode) == ("failed", "", "replace")
    assert list(report.stages) == ["plan"]


def test_a_skipped_task_is_no_failed_run(run: Run, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    def skip(*_given: object, **_options: object) -> None:
        raise AirflowSkipException("unchanged")

    monkeypatch.setattr(store, "plan", skip)
    with pytest.raises(AirflowSkipException):
        ingest.plan(run.request)
    assert store.last_run("t") is None


def test_a_run_without_anything_to_load_skips_its_tasks_and_reports_the_version(
    run: Run, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    planned, loaded = run.load()
    version = ingest.publish(planned, loaded)["version"]
    monkeypatch.setattr(ingest, "_record", record_of_second_run)
    monkeypatch.setattr(recording, "emit_version", lambda *_report, **_where: pytest.fail("no event"))
    planned, loaded = run.load()
    assert (loaded, planned["unchanged"]) == ([], True)
    with pytest.raises(AirflowSkipException, match="the source is unchanged"):
        ingest.verify(planned, loaded)
    report = ingest.publish(planned, loaded)
    assert (report["state"], report["skipped"], report["version"]) == ("skipped", "unchanged", version)
    assert (report["rows"], report["run"]) == (0, "ingest_dataset/second")
    with pytest.raises(AirflowSkipException, match="the source is unchanged"):
        ingest.warm(report, requested=True)


def record_of_second_run(dataset: str, mode: str, plan: LoadPlan | None = None) -> RunRecord:
    return RunRecord(dataset, "ingest_dataset/second", mode, datetime.now(UTC), plan=plan)
