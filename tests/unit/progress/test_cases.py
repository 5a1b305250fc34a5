"""The cases shared by the merge rules in Python and in the page. The file of the cases describes their format."""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import Any

import pytest

from millrace.progress.merge import RunStates
from millrace.progress.runs import state_of_run
from tests.progress_cases import CASES, events_of


@pytest.mark.parametrize("case", CASES, ids=[case["name"] for case in CASES])
def test_each_case_has_its_expected_run_state(case: dict[str, Any]) -> None:
    events = events_of(case)
    run_states = RunStates()
    results = [run_states.apply(event) for event in events]
    assert results == case.get("results", ["new"] * len(events))
    key = (case.get("dag", "ingest_dataset"), "r")
    timeouts = case.get("timeouts", {})
    tasks = []
    for task in run_states.tasks(key):
        place = "/".join(map(str, (*task.key[2:], task.attempt)))
        tasks.append(replace(task, state=timeouts.get(place, task.state)))
    run = state_of_run(key, tasks)
    if "tasks" in case:
        assert [[*task.key[2:], task.attempt, task.state] for task in run.tasks] == [each[:4] for each in case["tasks"]]
    for task, (*_, error) in zip(run.tasks, [each for each in case.get("tasks", []) if len(each) == 5], strict=False):
        assert task.error is not None
        assert task.error["message"] == error
    found = asdict(run)
    for name, wanted in case.get("run", {}).items():
        if name == "total" and wanted is not None:
            assert found["total"] == {
                each: value if value is None or isinstance(value, str) else pytest.approx(value, rel=1e-6)
                for each, value in wanted.items()
            }
        else:
            assert found[name] == wanted, name


def test_the_newest_event_of_each_source_gives_the_same_run_state() -> None:
    """The topic is compacted, so a late client gets only the newest event of each source."""
    for case in CASES:
        events = events_of(case)
        run_states = RunStates()
        taken = [event for event in events if run_states.apply(event) == "new"]
        last = {event["source"]: number for number, event in enumerate(taken)}
        late = RunStates()
        for number, event in enumerate(taken):
            if last[event["source"]] == number:
                late.apply(event)
        key = (case.get("dag", "ingest_dataset"), "r")

        def seen(states: RunStates, run: tuple[str, str] = key) -> Any:
            return [(task.key, task.attempt, task.state) for task in state_of_run(run, states.tasks(run)).tasks]

        assert seen(late) == seen(run_states), case["name"]
