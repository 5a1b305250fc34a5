"""The ways in which Airflow repeats work, and a check that API, ``watch`` and page agree with Airflow afterwards.

``tests/browser/test_clearing.py`` runs each of them, with the page open all the time.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import httpx

from local_stack.airflow_client import AirflowClient
from millrace.settings import load_settings
from tests import waiting
from tests.dags.events import run_progress
from tests.watching import watch

DAG = "ingest_repeat"
OURS = {"success": "succeeded", "failed": "failed", "upstream_failed": "cancelled", "skipped": "skipped"}
RUN_S = 240.0


@dataclass(frozen=True)
class Way:
    """A run's conf, the actions on the run, and the state in which Airflow ends the run after each of them."""

    conf: dict[str, Any]
    steps: tuple[tuple[Callable[[AirflowClient, str], Any], str], ...]


def path(run_id: str, *rest: str) -> str:
    return "/".join([f"/api/v2/dags/{DAG}/dagRuns/{quote(run_id, safe='')}", *rest])


def clear(*task_ids: str, downstream: bool = False) -> Callable[[AirflowClient, str], Any]:
    def do(airflow: AirflowClient, run_id: str) -> Any:
        options = {"only_failed": False, "include_downstream": downstream, "reset_dag_runs": True, "dry_run": False}
        body = {**options, "dag_run_id": run_id, "task_ids": list(task_ids)}
        return airflow.post(f"/api/v2/dags/{DAG}/clearTaskInstances", body)

    return do


def clear_run(*, only_failed: bool = False) -> Callable[[AirflowClient, str], Any]:
    return lambda airflow, run_id: airflow.post(path(run_id, "clear"), {"dry_run": False, "only_failed": only_failed})


def mark(task_id: str, state: str) -> Callable[[AirflowClient, str], Any]:
    return lambda airflow, run_id: airflow.patch(path(run_id, "taskInstances", task_id), {"new_state": state})


def mark_run(state: str) -> Callable[[AirflowClient, str], Any]:
    return lambda airflow, run_id: airflow.patch(path(run_id), {"state": state})


def once_it_waits(*then: Callable[[AirflowClient, str], Any]) -> Callable[[AirflowClient, str], Any]:
    """Return an action that waits until the second task runs and then does these actions."""

    def do(airflow: AirflowClient, run_id: str) -> Any:
        until(lambda: task_states(run_id).get("b") == "running", lambda: f"b is not running: {task_states(run_id)}")
        return [each(airflow, run_id) for each in then]

    return do


def nothing(airflow: AirflowClient, run_id: str) -> None:
    """Do nothing: the run itself is checked."""


FAILS = ({"how": "fail"}, (nothing, "failed"))
WAITS = {"how": "wait"}
WAYS = {
    "clear a task": Way(FAILS[0], (FAILS[1], (clear("b"), "failed"))),
    "clear with downstream": Way(FAILS[0], (FAILS[1], (clear("b", downstream=True), "success"))),
    "clear the run": Way(FAILS[0], (FAILS[1], (clear_run(), "success"))),
    "clear only failed": Way(FAILS[0], (FAILS[1], (clear_run(only_failed=True), "success"))),
    "clear the run and fail again": Way(
        {"how": "fail", "tries": 2}, (FAILS[1], (clear_run(), "failed"), (clear("b", downstream=True), "success"))
    ),
    "clear what succeeded, which then fails": Way(
        {"how": "fail", "tries": 0}, ((nothing, "success"), (clear("a", downstream=True), "success"))
    ),
    "mark success": Way(FAILS[0], (FAILS[1], (mark("b", "success"), "success"))),
    "mark failed then clear": Way(
        {"how": "fail", "tries": 0},
        ((nothing, "success"), (mark("b", "failed"), "success"), (clear("b"), "success")),
    ),
    "mark failed before it began, then clear": Way(
        WAITS,
        (
            (once_it_waits(mark("c", "failed"), mark("b", "failed")), "failed"),
            (clear("b", downstream=True), "success"),
        ),
    ),
    "mark failed while it runs, then clear": Way(
        WAITS, ((once_it_waits(mark("b", "failed")), "failed"), (clear_run(only_failed=True), "success"))
    ),
    "mark the run failed while it runs, then clear it": Way(
        WAITS, ((once_it_waits(mark_run("failed")), "failed"), (clear_run(), "success"))
    ),
    "clear a task while it runs": Way(WAITS, ((once_it_waits(clear("b")), "success"),)),
    "clear a task that is over in a run that goes on": Way(
        WAITS, ((once_it_waits(clear("a"), mark("b", "success")), "success"),)
    ),
    "retry after a kill": Way({"how": "killed"}, ((nothing, "success"),)),
}


def until(true: Callable[[], Any], why: Callable[[], str], timeout_s: float = RUN_S) -> None:
    waiting.until(true, why, timeout_s, interval_s=0.25)


def task_states(run_id: str) -> dict[str, str]:
    return {task["task_id"]: task["state"] for task in run_progress(DAG, run_id)["tasks"]}


def agrees(airflow: AirflowClient, run_id: str) -> None:
    """Wait until the API reports each task's state as Airflow does; then check that ``watch`` and the page do, too."""

    def wanted() -> dict[str, tuple[str, int]]:
        return {
            each["task_id"]: (OURS.get(each["state"], str(each["state"])), max(each["try_number"], 1))
            for each in airflow.task_instances(DAG, run_id)
        }

    def found() -> dict[str, tuple[str, int]]:
        return {each["task_id"]: (each["state"], each["attempt"]) for each in run_progress(DAG, run_id)["tasks"]}

    until(lambda: wanted() == found(), lambda: f"Airflow says {wanted()}, the API {found()}", timeout_s=60)
    states = {task_id: state for task_id, (state, _) in wanted().items()}
    well = set(states.values()) <= {"succeeded", "skipped"}
    (run,) = run_progress(DAG, run_id)["runs"]
    assert run["steps"] == ["a", "b", "c", "end"]
    assert (run["state"] == "succeeded", run["over"]) == (well, True), run
    began = time.monotonic()
    watched = watch(load_settings().bridge.url, DAG, run_id, timeout_s=60)
    assert time.monotonic() - began < 5
    assert (watched.over, watched.succeeded) == (True, well)
    assert {task.key[2]: task.state for task in watched.tasks} == states
    page = httpx.get(f"{load_settings().bridge.url}/runs/{DAG}/{quote(run_id, safe='')}", trust_env=False).text
    shown = [row.partition('"')[0] for row in page.partition("<tbody>")[2].split('<tr class="')[1:]]
    assert shown == [states[task_id] for task_id in run["steps"]]
