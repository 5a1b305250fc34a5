from __future__ import annotations

import itertools
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from millrace.progress.event import ATTEMPT_OVER, TERMINAL_STATES, TaskIdentity, airflow_event
from millrace.progress.merge import RunStates


def event(
    state: str, sequence: int = 1, *, attempt: int = 1, voice: str = "", run: str = "r", task: str = "load", **data: Any
) -> dict[str, Any]:
    source = f"/airflow/d/{run}/{task}/-1/{attempt}" + (f"/{voice}" if voice else "")
    who = {"dag_id": "d", "run_id": run, "task_id": task, "map_index": -1, "attempt": attempt}
    error = {"type": voice or "E", "message": "x"} if state in ("failed", "retrying") else None
    fields = {"series": {}} if voice == "curves" else {"state": state, "error": error, **data}
    return {"source": source, "sequence": f"{sequence:012d}", "data": {**who, **fields}}


def state_of(*events: dict[str, Any]) -> str:
    picture = RunStates()
    for each in events:
        picture.apply(each)
    (task,) = picture.tasks()
    return task.state


@pytest.mark.parametrize(
    ("events", "state"),
    [
        ([event("running")], "running"),
        ([event("queued", voice="airflow")], "queued"),
        ([event("queued", voice="airflow"), event("running")], "running"),
        ([event("running"), event("failed", voice="airflow")], "failed"),
        ([event("running"), event("failed", voice="airflow"), event("running", 2)], "failed"),
        ([event("running"), event("failed", voice="airflow"), event("succeeded", 2)], "failed"),
        ([event("running"), event("succeeded", 2), event("failed", voice="airflow")], "succeeded"),
        ([event("failed"), event("retrying", voice="airflow")], "retrying"),
        ([event("retrying", voice="airflow"), event("failed")], "retrying"),
        ([event("retrying"), event("failed", voice="airflow")], "failed"),
        ([event("succeeded"), event("retrying", voice="airflow")], "succeeded"),
        ([event("succeeded", 2), event("running", 1)], "succeeded"),
        ([event("succeeded", 2), event("running", 3)], "succeeded"),
        ([event("retrying", 2), event("running", 3)], "retrying"),
        ([event("failed", attempt=1), event("running", attempt=2)], "running"),
        ([event("running", attempt=2), event("failed", 9, attempt=1)], "running"),
        ([event("succeeded", attempt=2), event("failed", attempt=1, voice="airflow")], "succeeded"),
    ],
)
def test_the_state_of_a_task_follows_from_the_events_of_its_producers(events: list[dict[str, Any]], state: str) -> None:
    assert state_of(*events) == state


def test_stale_and_late_events_change_nothing_and_are_reported() -> None:
    picture = RunStates()
    assert picture.apply(event("running", 5)) == "new"
    assert picture.apply(event("running", 5)) == "stale"
    assert picture.apply(event("failed", 4)) == "stale"
    assert picture.apply(event("succeeded", 6)) == "new"
    assert picture.apply(event("running", 7)) == "late"
    assert picture.apply(event("failed", 8)) == "late"
    assert [task.state for task in picture.tasks()] == ["succeeded"]


def test_two_dags_with_the_same_run_id_never_mix() -> None:
    one, other = event("running"), event("failed")
    other["data"]["dag_id"] = "e"
    other["source"] = other["source"].replace("/d/", "/e/")
    picture = RunStates()
    picture.apply(one)
    picture.apply(other)
    assert {task.key[0]: task.state for task in picture.tasks()} == {"d": "running", "e": "failed"}
    assert [task.state for task in picture.tasks(("d", "r"))] == ["running"]


def test_the_error_is_that_of_the_event_that_decided_the_state() -> None:
    picture = RunStates()
    picture.apply(event("running"))
    picture.apply(event("failed", voice="airflow"))
    (task,) = picture.tasks()
    assert task.error == {"type": "airflow", "message": "x"}
    picture.apply(event("running", attempt=2))
    (task,) = picture.tasks()
    assert (task.attempt, task.error) == (2, None)


def test_curves_do_not_change_the_state() -> None:
    picture = RunStates()
    picture.apply(event("", voice="curves"))
    assert [task.state for task in picture.tasks()] == ["queued"]
    picture.apply(event("running"))
    assert [task.state for task in picture.tasks()] == ["running"]


def test_a_task_is_forgotten_with_its_last_source() -> None:
    picture = RunStates()
    for each in (event("running"), event("failed", voice="airflow"), event("", voice="curves")):
        picture.apply(each)
    for source in list(picture.sources):
        assert list(picture.tasks())
        picture.forget(source)
    assert list(picture.tasks()) == []
    assert picture.runs() == []
    picture.forget("never heard of")


def test_finished_runs_are_forgotten_first_and_the_newest_stays() -> None:
    picture = RunStates()
    for run, state in (("a", "running"), ("b", "succeeded"), ("c", "succeeded"), ("d", "succeeded")):
        picture.apply(event(state, run=run))
    assert len(picture.shrink(4)) == 0
    assert picture.shrink(2) == ["/airflow/d/b/load/-1/1", "/airflow/d/c/load/-1/1"]
    assert picture.shrink(1) == ["/airflow/d/a/load/-1/1"]
    assert picture.shrink(0) == []
    assert picture.runs() == [("d", "d")]


STEPS = st.tuples(
    st.sampled_from(["queued", "running", "retrying", "succeeded", "failed", "cancelled", "skipped"]),
    st.integers(1, 6),
    st.integers(1, 3),
    st.sampled_from(["", "airflow"]),
)


@given(st.lists(STEPS, max_size=25))
def test_events_that_are_delivered_again_change_nothing(steps: list[tuple[str, int, int, str]]) -> None:
    events = [event(state, sequence, attempt=attempt, voice=voice) for state, sequence, attempt, voice in steps]
    once, again = RunStates(), RunStates()
    for index, each in enumerate(events):
        once.apply(each)
        again.apply(each)
        for earlier in events[: index + 1]:
            again.apply(earlier)
    assert list(once.tasks()) == list(again.tasks())


@given(st.lists(STEPS, min_size=1, max_size=25))
def test_a_terminal_state_is_final_for_an_attempt_that_has_begun(steps: list[tuple[str, int, int, str]]) -> None:
    picture = RunStates()
    final: dict[int, str] = {}
    for state, sequence, attempt, voice in steps:
        picture.apply(event(state, sequence, attempt=attempt, voice=voice))
        for known in picture.attempts(("d", "r", "load", -1)):
            now = known.verdict[0]
            before = final.get(known.number)
            if before is not None:
                # Only Airflow's event that another attempt follows may still change the state.
                assert now == before or (before in ("failed", "cancelled") and now == "retrying")
            if now in TERMINAL_STATES and known.begun:
                final[known.number] = now
    (task,) = picture.tasks()
    assert task.attempt == max(attempt for _, _, attempt, _ in steps)


def test_after_compaction_the_state_is_the_same() -> None:
    """Compaction keeps the last record of each source, in log order."""
    lives: list[list[str]] = [[], ["queued"], ["running"], ["running", "succeeded"], ["running", "failed"]]
    lives.append(["running", "retrying"])
    for work, airflow in itertools.product(lives, lives):
        if not work and not airflow:
            continue
        said = [event(state, n, voice="") for n, state in enumerate(work, 1)]
        said_by_airflow = [event(state, n, voice="airflow") for n, state in enumerate(airflow, 1)]
        for order in set(itertools.permutations([0] * len(said) + [1] * len(said_by_airflow))):
            queues = [iter(said), iter(said_by_airflow)]
            log = [next(queues[which]) for which in order]
            kept = [e for n, e in enumerate(log) if not any(o["source"] == e["source"] for o in log[n + 1 :])]
            assert state_of(*log) == state_of(*kept)
    assert "retrying" in ATTEMPT_OVER


def test_the_instances_of_a_mapped_task_replace_its_queued_task() -> None:
    picture = RunStates()
    announced = airflow_event(TaskIdentity("d", "r", "load"), "queued", time_s=1_795_341_600.0)
    assert picture.apply(announced) == "new"
    assert [(task.key[3], task.state) for task in picture.tasks()] == [(-1, "queued")]
    for index in range(2):
        began = airflow_event(TaskIdentity("d", "r", "load", index), "running", time_s=1_795_341_601.0)
        assert picture.apply(began) == "new"
    assert [(task.key[3], task.state) for task in picture.tasks()] == [(0, "running"), (1, "running")]
