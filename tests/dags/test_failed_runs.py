"""Events of the listener about the tasks of a run, from the model objects that Airflow's scheduler passes to it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import pytest

from millrace.airflow.listener import RunAndTaskListener
from millrace.airflow.sender import ReportSender
from millrace.progress import Event, validate_event
from millrace.progress.event import utc_text

ENDED = datetime(2026, 11, 22, 10, tzinfo=UTC)


class Collected(ReportSender):
    def __init__(self) -> None:
        super().__init__()
        self.events: list[Event] = []

    def put(self, event: Event) -> None:
        validate_event(event)
        self.events.append(event)


@pytest.fixture
def failed_run(run_dag: Callable[..., Any]) -> Iterator[tuple[Any, Any]]:
    """Yield a failed run in a session that is never committed, as the scheduler's session is not committed yet."""
    from airflow.models import DagRun
    from airflow.utils.session import create_session

    identity = run_dag(dataset="dags_failed", source="/etc/passwd").id
    with create_session() as session:
        yield session.get(DagRun, identity), session
        session.rollback()


def reported_ends(run: Any, msg: str) -> dict[str, tuple[str, str, str]]:
    """Return state, error and time by task, as the listener reports them for a failed run."""
    sender = Collected()
    RunAndTaskListener(sender).on_dag_run_failed(dag_run=run, msg=msg)
    return {
        event["data"]["task_id"]: (
            event["data"]["state"],
            (event["data"]["error"] or {}).get("message", ""),
            event["time"],
        )
        for event in sender.events
    }


def test_a_failed_task_is_reported_with_its_end_date_so_that_its_own_later_event_wins(
    failed_run: tuple[Any, Any],
) -> None:
    run, session = failed_run
    (plan,) = (each for each in run.get_task_instances(session=session) if each.task_id == "plan")
    ends = reported_ends(run, "task_failure")
    assert {task: ends[task][:2] for task in ends if task != "plan"} == dict.fromkeys(
        ("load", "verify", "publish", "warm"), ("cancelled", "not run: an upstream task failed")
    )
    state, message, time = ends["plan"]
    assert state == "failed"
    assert "without a report" in message
    assert time == utc_text(plan.end_date.timestamp())


def test_a_task_that_runs_when_the_run_times_out_is_cancelled(failed_run: tuple[Any, Any]) -> None:
    run, session = failed_run
    for instance in run.get_task_instances(session=session):
        instance.state = "skipped"
        began = instance.task_id == "load"
        instance.start_date, instance.try_number = (ENDED, 1) if began else (None, 0)
        instance.end_date = ENDED
    ends = reported_ends(run, "timed_out")
    assert ends["load"] == ("cancelled", "the run exceeded its time limit", utc_text(ENDED.timestamp()))
    assert {task: ends[task][:2] for task in ends if task != "load"} == dict.fromkeys(
        ("plan", "verify", "publish", "warm"), ("skipped", "")
    )


def test_the_session_of_the_run_is_neither_committed_nor_closed(failed_run: tuple[Any, Any]) -> None:
    run, session = failed_run
    run.run_type = "backfill"
    reported_ends(run, "task_failure")
    assert session.dirty or session.in_transaction()
    session.rollback()
    assert run.run_type == "manual"


def test_a_run_detached_from_its_session_yields_no_events(failed_run: tuple[Any, Any]) -> None:
    run, session = failed_run
    session.expunge(run)
    assert reported_ends(run, "task_failure") == {}


def test_every_task_is_queued_when_a_run_begins_and_a_skipped_one_ends_with_the_run(
    failed_run: tuple[Any, Any],
) -> None:
    run, session = failed_run
    for instance in run.get_task_instances(session=session):
        instance.try_number, instance.state = 0, None
    sender = Collected()
    listener = RunAndTaskListener(sender)
    listener.on_dag_run_running(dag_run=run, msg="started")
    assert {event["data"]["task_id"] for event in sender.events} == {"plan", "load", "verify", "publish", "warm"}
    assert {(event["data"]["state"], event["data"]["attempt"]) for event in sender.events} == {("queued", 1)}
    assert {event["data"]["begun"] for event in sender.events} == {False}
    announced = {event["source"]: event["sequence"] for event in sender.events}
    for instance in run.get_task_instances(session=session):
        skipped = instance.task_id == "warm"
        instance.try_number, instance.state = (0, "skipped") if skipped else (1, "success")
        instance.hostname = "here"
    sender.events.clear()
    listener.on_dag_run_success(dag_run=run, msg="success")
    (over,) = sender.events
    assert (over["data"]["task_id"], over["data"]["state"]) == ("warm", "skipped")
    assert over["sequence"] > announced[over["source"]]


def test_after_a_clear_only_cleared_tasks_are_queued_again_with_their_next_attempt(
    failed_run: tuple[Any, Any],
) -> None:
    run, session = failed_run
    from airflow.models.taskinstance import clear_task_instances

    instances = {each.task_id: each for each in run.get_task_instances(session=session)}
    instances["load"].state, instances["load"].try_number = "success", 1
    clear_task_instances([instances["plan"], instances["warm"]], session)
    session.flush()
    sender = Collected()
    listener = RunAndTaskListener(sender)
    listener.on_dag_run_running(dag_run=run, msg="started")
    states = {each["data"]["task_id"]: (each["data"]["state"], each["data"]["attempt"]) for each in sender.events}
    assert states == {"plan": ("queued", 2), "warm": ("queued", 1)}
    # A user marks the first task as failed before it begins; the other cleared task then ends as not run.
    instances["plan"].state, instances["warm"].state = "failed", "upstream_failed"
    sender.events.clear()
    listener.on_dag_run_failed(dag_run=run, msg="task_failure")
    states = {each["data"]["task_id"]: (each["data"]["state"], each["data"]["attempt"]) for each in sender.events}
    assert states["plan"] == ("failed", 2)
    assert states["warm"] == ("cancelled", 1)


def test_a_task_that_succeeds_without_a_process_is_reported_as_succeeded(failed_run: tuple[Any, Any]) -> None:
    run, session = failed_run
    for instance in run.get_task_instances(session=session):
        instance.state, instance.try_number = "success", 1
        instance.hostname, instance.end_date = "" if instance.task_id == "plan" else "here", ENDED
    sender = Collected()
    RunAndTaskListener(sender).on_dag_run_success(dag_run=run, msg="success")
    ((data, time),) = ((each["data"], each["time"]) for each in sender.events)
    assert (data["task_id"], data["state"], data["attempt"], time) == (
        "plan",
        "succeeded",
        1,
        utc_text(ENDED.timestamp()),
    )
