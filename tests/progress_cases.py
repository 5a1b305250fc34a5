"""The cases of ``data/progress_cases.json`` as full events: the rules in Python and in the page are tested on both."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from millrace.progress import TaskIdentity, utc_text, validate_event

__all__ = ["CASES", "events_of"]

CASES = json.loads((Path(__file__).parent / "data" / "progress_cases.json").read_text())["cases"]
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


def full_event(case: dict[str, Any], number: int, short: dict[str, Any]) -> dict[str, Any]:
    """Return the CloudEvent of a short event of a case."""
    given = dict(short)
    by, time, sequence = given.pop("by"), given.pop("at"), f"{given.pop('seq', number):012d}"
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
        "time": time if isinstance(time, str) else utc_text(BEGIN_S + time),
        "datacontenttype": "application/json",
        "data": {**who, **(OWN if by == "task" else {}), "error": None, **given},
    }
    validate_event(event)
    return event


def events_of(case: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the events of a case in the order of arrival."""
    return [full_event(case, number, short) for number, short in enumerate(case["events"], 1)]
