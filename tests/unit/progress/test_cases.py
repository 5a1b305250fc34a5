"""The cases that the rules in Python and in the page share; their format stands in the file itself."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from pipeline.progress.event import TaskIdentity, utc_text, validate_event
from pipeline.progress.merge import Picture
from pipeline.progress.runs import state_of_run

CASES = json.loads((Path(__file__).parents[2] / "data" / "progress_cases.json").read_text())["cases"]
BEGIN_S = 1_795_341_600.0  # 2026-11-22T10:00:00Z
OWN: dict[str, Any] = {
    "kind": "",
    "dataset": "flights",
    "state": "running",
    "phase": "",
    "done": 0,
    "total": None,
    "unit": "rows",
    "rate": None,
    "elapsed_s": 0,
    "counters": {},
    "metrics": {},
    "message": "",
}


def full(case: dict[str, Any], number: int, short: dict[str, Any]) -> dict[str, Any]:
    """The CloudEvent that a short one stands for."""
    given = dict(short)
    by, seconds, sequence = given.pop("by"), given.pop("at"), f"{given.pop('seq', number):012d}"
    identity = TaskIdentity(
        case.get("dag", "ingest_dataset"), "r", given.pop("task"), given.pop("map", -1), given.pop("try", 1)
    )
    source = identity.source + {"task": "", "airflow": "/airflow", "curves": "/curves"}[by]
    who = {name: getattr(identity, name) for name in ("dag_id", "run_id", "task_id", "map_index", "attempt")}
    event = {
        "specversion": "1.0",
        "type": "millrace.progress.v1",
        "source": source,
        "id": f"{source}#{sequence}",
        "subject": identity.subject,
        "sequence": sequence,
        "time": utc_text(BEGIN_S + seconds),
        "datacontenttype": "application/json",
        "data": {**who, **(OWN if by == "task" else {}), "error": None, **given},
    }
    validate_event(event)
    return event


@pytest.mark.parametrize("case", CASES, ids=[case["name"] for case in CASES])
def test_the_case_comes_out_as_its_file_says(case: dict[str, Any]) -> None:
    events = [full(case, number, short) for number, short in enumerate(case["events"], 1)]
    picture = Picture()
    verdicts = [picture.apply(event) for event in events]
    assert verdicts == case.get("verdicts", ["new"] * len(events))
    key = (case.get("dag", "ingest_dataset"), "r")
    silences = case.get("silences", {})
    tasks = []
    for task in picture.tasks(key):
        place = "/".join(map(str, (*task.key[2:], task.attempt)))
        tasks.append(replace(task, state=silences.get(place, task.state)))
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


def test_the_same_picture_comes_from_the_newest_event_of_each_source() -> None:
    """The topic is compacted, and a client that comes late gets only the newest event of each source."""
    for case in CASES:
        events = [full(case, number, short) for number, short in enumerate(case["events"], 1)]
        picture = Picture()
        taken = [event for event in events if picture.apply(event) == "new"]
        last = {event["source"]: number for number, event in enumerate(taken)}
        late = Picture()
        for number, event in enumerate(taken):
            if last[event["source"]] == number:
                late.apply(event)
        key = (case.get("dag", "ingest_dataset"), "r")

        def seen(what: Picture, run: tuple[str, str] = key) -> Any:
            return [(task.key, task.attempt, task.state) for task in state_of_run(run, what.tasks(run)).tasks]

        assert seen(late) == seen(picture), case["name"]
