from __future__ import annotations

import itertools
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from millrace.progress import TaskIdentity, airflow_event
from millrace.progress.event import ATTEMPT_OVER, TERMINAL_STATES
from millrace.progress.merge import RunStates


def event(
    state: str, sequence: int = 1, *, attempt: int = 1, role: str = "", run: str = "r", task: str = "load", **data: Any
) -> dict[str, Any]:
    source = f"/airflow/d/{run}/{task}/-1/{attempt}" + (f"/{role}" if role else "")
    who = {"dag_id": "d", "run_id": run, "task_id": task, "map_index": -1, "attempt": attempt}
    error = {"type": role or "E", "message": "x"} if state in ("failed", "retrying") else None
    fields = {"series": {}} if role == "curves" else {"state": state, "error": error, **data}
    return {"source": source, "sequence": f"{sequence:012d}", "data": {**who, **fields}}


def state_of(*events: dict[str, Any]) -> str:
    run_states = RunStates()
    for each in events:
        run_states.apply(each)
    (task,) = run_states.tasks()
    return task.state


@pytest.mark.parametrize(
    ("events", "state"),
    [
        ([event("running")], "running"),
        ([event("queued", role="airflow")], "queued"),
        ([event("queued", role="airflow"), event("running")], "running"),
        ([event("running"), event("failed", role="airflow")], "failed"),
        ([event("running"), event("failed", role="airflow"), event("running", 2)], "failed"),
        ([event("running"), event("failed", role="airflow"), event("succeeded", 2)], "failed"),
        ([event("running"), event("succeeded", 2), event("failed", role="airflow")], "succeeded"),
        ([event("failed"), event("retrying", role="airflow")], "retrying"),
        ([event("retrying", role="airflow"), event("failed")], "retrying"),
        ([event("retrying"), event("failed", role="airflow")], "failed"),
        ([event("succeeded"), event("retrying", role="airflow")], "succeeded"),
        ([event("succeeded", 2), event("running", 1)], "succeeded"),
        ([event("succeeded", 2), event("running", 3)], "succeeded"),
        ([event("retrying", 2), event("running", 3)], "retrying"),
        ([event("failed", attempt=1), event("running", attempt=2)], "running"),
        ([event("running", attempt=2), event("failed", 9, attempt=1)], "running"),
        ([event("succeeded", attempt=2), event("failed", attempt=1, role="airflow")], "succeeded"),
    ],
)
def test_the_state_of_a_task_follows_from_the_events_of_its_producers(events: list[dict[str, Any]], state: str) -> None:
    assert state_of(*events) == state


def test_stale_and_late_events_change_nothing_and_are_reported() -> None:
    run_states = RunStates()
    assert run_states.apply(event("running", 5)) == "new"
    assert run_states.apply(event("running", 5)) == "stale"
    assert run_states.apply(event("failed", 4)) == "stale"
    assert run_states.apply(event("succeeded", 6)) == "new"
    assert run_states.apply(event("running", 7)) == "late"
    assert run_states.apply(event("failed", 8)) == "late"
    assert [task.state for task in run_states.tasks()] == ["succeeded"]


def test_two_dags_with_the_same_run_id_never_mix() -> None:
    one, other = event("running"), event("failed")
    other["data"]["dag_id"] = "e"
    other["source"] = other["source"].replace("/d/", "/e/")
    run_states = RunStates()
    run_states.apply(one)
    run_states.apply(other)
    assert {task.key[0]: task.state for task in run_states.tasks()} == {"d": "running", "e": "failed"}
    assert [task.state for task in run_states.tasks(("d", "r"))] == ["running"]


def test_the_error_is_that_of_the_event_that_decided_the_state() -> None:
    run_states = RunStates()
    run_states.apply(event("running"))
    run_states.apply(event("failed", role="airflow"))
    (task,) = run_states.tasks()
    assert task.error == {"type": "airflow", "message": "x"}
    run_states.apply(event("running", attempt=2))
    (task,) = run_states.tasks()
    assert (task.attempt, task.error) == (2, None)


def test_curves_do_not_change_the_state() -> None:
    run_states = RunStates()
    run_states.apply(event("", role="curves"))
    assert [task.state for task in run_states.tasks()] == ["queued"]
    run_states.apply(event("running"))
    assert [task.state for task in run_states.tasks()] == ["running"]


def test_a_task_is_forgotten_with_its_last_source() -> None:
    run_states = RunStates()
    for each in (event("running"), event("failed", role="airflow"), event("", role="curves")):
        run_states.apply(each)
    for source in list(run_states.sources):
        assert list(run_states.tasks())
        run_states.forget(source)
    assert list(run_states.tasks()) == []
    assert run_states.runs() == []
    run_states.forget("never heard of")


def test_finished_runs_are_forgotten_first_and_the_newest_stays() -> None:
    run_states = RunStates()
    for run, state in (("a", "running"), ("b", "succeeded"), ("c", "succeeded"), ("d", "succeeded")):
        run_states.apply(event(state, run=run))
    assert len(run_states.shrink(4)) == 0
    assert run_states.shrink(2) == ["/airflow/d/b/load/-1/1", "/airflow/d/c/load/-1/1"]
    assert run_states.shrink(1) == ["/airflow/d/a/load/-1/1"]
    assert run_states.shrink(0) == []
    assert run_states.runs() == [("d", "d")]


STEPS = st.tuples(
    st.sampled_from(["queued", "running", "retrying", "succeeded", "failed", "cancelled", "skipped"]),
    st.integers(1, 6),
    st.integers(1, 3),
    st.sampled_from(["", "airflow"]),
)


@given(st.lists(STEPS, max_size=25))
def test_events_that_are_delivered_again_change_nothing(steps: list[tuple[str, int, int, str]]) -> None:
    events = [event(state, sequence, attempt=attempt, role=role) for state, sequence, attempt, role in steps]
    once, again = RunStates(), RunStates()
    for index, each in enumerate(events):
        once.apply(each)
        again.apply(each)
        for earlier in events[: index + 1]:
            again.apply(earlier)
    assert list(once.tasks()) == list(again.tasks())


@given(st.lists(STEPS, min_size=1, max_size=25))
def test_a_terminal_state_is_final_for_an_attempt_that_has_begun(steps: list[tuple[str, int, int, str]]) -> None:
    run_states = RunStates()
    final: dict[int, str] = {}
    for state, sequence, attempt, role in steps:
        run_states.apply(event(state, sequence, attempt=attempt, role=role))
        for known in run_states.attempts(("d", "r", "load", -1)):
            now = known.resolved_state[0]
            before = final.get(known.number)
            if before is not None:
                # Only Airflow's event that another attempt follows may still change the state.
                assert now == before or (before in ("failed", "cancelled") and now == "retrying")
            if now in TERMINAL_STATES and known.begun:
                final[known.number] = now
    (task,) = run_states.tasks()
    assert task.attempt == max(attempt for _, _, attempt, _ in steps)


def test_after_compaction_the_state_is_the_same() -> None:
    """Compaction keeps the last record of each source, in log order."""
    lives: list[list[str]] = [[], ["queued"], ["running"], ["running", "succeeded"], ["running", "failed"]]
    lives.append(["running", "retrying"])
    for work, airflow in itertools.product(lives, lives):
        if not work and not airflow:
            continue
        said = [event(state, n, role="") for n, state in enumerate(work, 1)]
        said_by_airflow = [event(state, n, role="airflow") for n, state in enumerate(airflow, 1)]
        for order in set(itertools.permutations([0] * len(said) + [1] * len(said_by_airflow))):
            queues = [iter(said), iter(said_by_airflow)]
            log = [next(queues[which]) for which in order]
            kept = [e for n, e in enumerate(log) if not any(o["source"] == e["source"] for o in log[n + 1 :])]
            assert state_of(*log) == state_of(*kept)
    assert "retrying" in ATTEMPT_OVER


def test_the_instances_of_a_mapped_task_replace_its_queued_task() -> None:
    run_states = RunStates()
    announced = airflow_event(TaskIdentity("d", "r", "load"), "queued", time_s=1_795_341_600.0)
    assert run_states.apply(announced) == "new"
    assert [(task.key[3], task.state) for task in run_states.tasks()] == [(-1, "queued")]
    for index in range(2):
        began = airflow_event(TaskIdentity("d", "r", "load", index), "running", time_s=1_795_341_601.0)
        assert run_states.apply(began) == "new"
    assert [(task.key[3], task.state) for task in run_states.tasks()] == [(0, "running"), (1, "running")]
