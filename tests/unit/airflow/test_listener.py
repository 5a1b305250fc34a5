"""Airflow's states of Millrace tasks are sent as events of their own source, for both kinds of task instance."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from importlib.util import find_spec
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.models import TaskInstance, import_all_models
from airflow.sdk import TaskInstanceState as TaskProcessState
from airflow.sdk.execution_time.task_runner import RuntimeTaskInstance
from airflow.utils.state import TaskInstanceState
from sqlalchemy.orm import configure_mappers

from millrace.airflow.identity import positions_of
from millrace.airflow.listener import RunAndTaskListener
from millrace.airflow.sender import ReportSender
from millrace.errors import SourceTypeError
from millrace.progress import Event, validate_event

NOW = datetime(2026, 11, 22, 10, tzinfo=UTC)


class Collected(ReportSender):
    def __init__(self) -> None:
        super().__init__()
        self.events: list[Event] = []

    def put(self, event: Event) -> None:
        validate_event(event)
        self.events.append(event)


@pytest.fixture
def sent() -> Collected:
    return Collected()


@pytest.fixture
def listener(sent: Collected) -> RunAndTaskListener:
    return RunAndTaskListener(sent)


def runtime(dag_id: str = "ingest_dataset", **fields: Any) -> RuntimeTaskInstance:
    """Return the object that hooks get in the process of the task."""
    task = SimpleNamespace(dag=SimpleNamespace(tags=fields.pop("tags", set())))
    known = {"dag_id": dag_id, "run_id": "r", "task_id": "load", "try_number": 2, "map_index": 3, "task": task}
    return RuntimeTaskInstance.model_construct(**{"start_date": NOW, **known, **fields})


def orm(dag_id: str = "ingest_dataset", **fields: Any) -> TaskInstance:
    """Return the object that hooks get in the scheduler and the API server: a database row without its task."""
    import_all_models()  # type: ignore[no-untyped-call]  # Airflow's own
    configure_mappers()
    instance = TaskInstance.__new__(TaskInstance)
    TaskInstance.__mapper__.class_manager.setup_instance(instance)
    known = {"dag_id": dag_id, "run_id": "r", "task_id": "load", "try_number": 2, "map_index": 3}
    for name, value in {**known, **fields}.items():
        setattr(instance, name, value)
    return instance


@pytest.mark.parametrize("make", [runtime, orm])
def test_each_hook_sends_the_state_of_the_attempt(sent: Collected, listener: RunAndTaskListener, make: Any) -> None:
    listener.on_task_instance_running(previous_state=None, task_instance=make())
    listener.on_task_instance_success(previous_state=None, task_instance=make())
    listener.on_task_instance_skipped(previous_state=None, task_instance=make())
    assert [event["data"]["state"] for event in sent.events] == ["running", "succeeded", "skipped"]
    assert {event["source"] for event in sent.events} == {"/airflow/ingest_dataset/r/load/3/2/airflow"}
    assert set(sent.events[0]["data"]) == {"dag_id", "run_id", "task_id", "map_index", "attempt", "state", "error"}


@pytest.mark.parametrize(("make", "known"), [(runtime, TaskProcessState), (orm, TaskInstanceState)])
def test_a_failure_is_retrying_if_another_attempt_follows_and_else_failed(
    sent: Collected, listener: RunAndTaskListener, make: Any, known: Any
) -> None:
    again, last = make(state=known.UP_FOR_RETRY), make(state=known.FAILED)
    listener.on_task_instance_failed(previous_state=None, task_instance=again, error=SourceTypeError("column x"))
    listener.on_task_instance_failed(previous_state=None, task_instance=last, error="killed externally")
    listener.on_task_instance_failed(previous_state=None, task_instance=last, error=None)
    failures = [(event["data"]["state"], event["data"]["error"]) for event in sent.events]
    assert failures[0] == ("retrying", {"type": "SourceTypeError", "message": "column x"})
    assert failures[1] == ("failed", {"type": "Airflow", "message": "killed externally"})
    assert failures[2][0] == "failed"
    assert failures[2][1]["message"]


def test_a_task_marked_by_a_user_before_it_ran_is_reported_as_its_first_attempt(
    sent: Collected, listener: RunAndTaskListener
) -> None:
    listener.on_task_instance_success(previous_state=None, task_instance=orm(map_index=None, try_number=0))
    data = sent.events[0]["data"]
    assert (data["map_index"], data["attempt"], data["begun"]) == (-1, 1, False)


def test_a_user_mark_is_reported_for_the_running_attempt_or_else_for_the_next(
    sent: Collected, listener: RunAndTaskListener
) -> None:
    was_over = orm(end_date=NOW, updated_at=NOW + timedelta(seconds=30))
    was_running = orm(end_date=NOW, updated_at=NOW + timedelta(milliseconds=20))
    vanished = orm(state=TaskInstanceState.FAILED, end_date=NOW, updated_at=NOW - timedelta(seconds=30))
    listener.on_task_instance_success(previous_state=None, task_instance=was_over)
    listener.on_task_instance_skipped(previous_state=None, task_instance=was_running)
    listener.on_task_instance_failed(previous_state=None, task_instance=vanished, error="killed externally")
    marks = [(event["data"]["attempt"], event["data"].get("begun"), event["data"]["state"]) for event in sent.events]
    assert marks == [(3, False, "succeeded"), (2, None, "skipped"), (2, None, "failed")]


def test_the_position_in_the_dag_is_sent_where_the_dag_is_available(
    sent: Collected, listener: RunAndTaskListener
) -> None:
    def task(task_id: str, *upstream: str, downstream: tuple[str, ...] = ()) -> SimpleNamespace:
        return SimpleNamespace(task_id=task_id, upstream_task_ids=set(upstream), downstream_task_ids=set(downstream))

    tasks = [task("b", "z"), task("z", downstream=("b",)), task("a", "z")]
    instance = runtime(task_id="a", map_index=-1)
    instance.task.dag = SimpleNamespace(tags=set(), tasks=tasks)
    listener.on_task_instance_running(previous_state=None, task_instance=instance)
    assert (sent.events[0]["data"]["step"], sent.events[0]["data"]["leaf"]) == (1, True)
    assert {task_id: position.step for task_id, position in positions_of(instance.task.dag).items()} == {
        "z": 0,
        "a": 1,
        "b": 2,
    }


def test_a_long_error_message_is_cut(sent: Collected, listener: RunAndTaskListener) -> None:
    failed = runtime(state=TaskInstanceState.FAILED)
    listener.on_task_instance_failed(previous_state=None, task_instance=failed, error="x" * 1_000_000)
    assert len(sent.events[0]["data"]["error"]["message"]) == 500


def test_tasks_of_other_dags_send_no_events(sent: Collected, listener: RunAndTaskListener) -> None:
    listener.on_task_instance_running(previous_state=None, task_instance=runtime("nightly_report"))
    listener.on_task_instance_running(previous_state=None, task_instance=orm("nightly_report"))
    listener.on_task_instance_running(previous_state=None, task_instance=runtime("nightly_report", tags={"millrace"}))
    assert len(sent.events) == 1


class FakeRun(SimpleNamespace):
    """A run of Airflow's database whose session returns the given history of cleared attempts."""

    def get_task_instances(self, session: Any) -> list[TaskInstance]:
        assert session is self.session
        return self.instances  # type: ignore[no-any-return]


@pytest.fixture
def make_run(monkeypatch: pytest.MonkeyPatch) -> Callable[..., FakeRun]:
    monkeypatch.setattr("millrace.airflow.listener._session_of", lambda run: run.session)

    def make(*instances: TaskInstance, dag_id: str = "ingest_dataset", cleared: Any = ()) -> FakeRun:
        session = SimpleNamespace(execute=lambda _query: iter(cleared))
        return FakeRun(dag_id=dag_id, run_id="r", dag=None, instances=list(instances), session=session)

    return make


def states(sent: Collected) -> dict[str, tuple[Any, ...]]:
    facts = [event["data"] for event in sent.events]
    return {data["task_id"]: (data["state"], data["attempt"], data.get("begun"), data["error"]) for data in facts}


def test_the_start_of_a_run_queues_the_next_attempt_of_every_task_without_a_state(
    sent: Collected, listener: RunAndTaskListener, make_run: Callable[..., FakeRun]
) -> None:
    new, again = orm(task_id="new", try_number=0, state=None), orm(task_id="again", try_number=2, state=None)
    run = make_run(new, again, orm(task_id="over", state=TaskInstanceState.SUCCESS))
    listener.on_dag_run_running(dag_run=run, msg="")
    assert states(sent) == {"new": ("queued", 1, False, None), "again": ("queued", 3, False, None)}
    listener.on_dag_run_running(dag_run=make_run(new, dag_id="nightly_report"), msg="")
    assert len(sent.events) == 2


def test_the_end_of_a_run_reports_each_task_whose_end_was_not_reported(
    sent: Collected, listener: RunAndTaskListener, make_run: Callable[..., FakeRun]
) -> None:
    known = TaskInstanceState
    run = make_run(
        orm(task_id="killed", state=known.FAILED, end_date=NOW),
        orm(task_id="reported", state=known.SUCCESS, hostname="worker"),
        orm(task_id="empty", state=known.SUCCESS, hostname=""),
        orm(task_id="skipped", state=known.SKIPPED),
        orm(task_id="stopped", state=known.SKIPPED, start_date=NOW),
        orm(task_id="upstream", try_number=0, state=known.UPSTREAM_FAILED),
        orm(task_id="removed", state=known.REMOVED),
        orm(task_id="marked", try_number=0, state=known.FAILED),
        orm(task_id="cleared", try_number=2, state=known.SUCCESS, hostname="worker"),
        cleared=[("cleared", 3, 2)],
    )
    listener.on_dag_run_failed(dag_run=run, msg="timed_out")
    airflow = {"type": "Airflow"}
    killed = "its process ended without a report, or Airflow terminated it (timed_out)"
    assert states(sent) == {
        "killed": ("failed", 2, None, {**airflow, "message": killed}),
        "empty": ("succeeded", 2, None, None),
        "skipped": ("skipped", 2, None, None),
        "stopped": ("cancelled", 2, None, {**airflow, "message": "the run exceeded its time limit"}),
        "upstream": ("cancelled", 1, False, {**airflow, "message": "not run: an upstream task failed"}),
        "removed": ("skipped", 3, False, None),
        "marked": ("failed", 1, False, {**airflow, "message": "marked as failed before it began"}),
        "cleared": ("succeeded", 3, False, None),
    }


def test_no_hook_raises_for_unexpected_objects(sent: Collected, listener: RunAndTaskListener) -> None:
    for thing in (None, object(), SimpleNamespace(dag_id="ingest_x")):
        listener.on_task_instance_running(previous_state=None, task_instance=thing)
        listener.on_task_instance_success(previous_state=None, task_instance=thing)
        listener.on_task_instance_skipped(previous_state=None, task_instance=thing)
        listener.on_task_instance_failed(previous_state=None, task_instance=thing, error=thing)
        listener.on_dag_run_failed(dag_run=thing, msg="")
    listener.before_stopping(component=None)
    assert sent.events == []


def test_the_scheduler_imports_the_modules_of_tasks_before_it_forks_workers(
    listener: RunAndTaskListener, monkeypatch: pytest.MonkeyPatch
) -> None:
    imported: list[str] = []
    monkeypatch.setattr("millrace.airflow.listener.import_module", imported.append)
    for part in ("triggerer", "dag-processor", "api-server"):
        monkeypatch.setattr("sys.argv", ["airflow", part])
        listener.on_starting(component=None)
    assert imported == []
    monkeypatch.setattr("sys.argv", ["airflow", "scheduler", "--skip-serve-logs"])
    listener.on_starting(component=None)
    assert "millrace.api" in imported
    assert all(find_spec(name) for name in imported)
