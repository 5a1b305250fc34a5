from __future__ import annotations

import json
import math
from typing import Any

import pytest

from millrace import progress
from millrace.errors import ProgressError

IDENTITY = progress.TaskIdentity("ingest_dataset", "manual__2026-11-22T10:00:00+00:00", "load", 3, 2)


def events() -> list[dict[str, Any]]:
    sink = progress.MemorySink()
    with progress.task(IDENTITY, kind="load", dataset="flights", total=480_000, sinks=[sink]) as task:
        task.advance(120_000)
        task.curve("loss", 1, 0.5)
    return sink.events


def test_every_kind_of_event_is_valid() -> None:
    made = [*events(), progress.airflow_event(IDENTITY, "retrying", time_s=1_795_000_000.0)]
    assert {e["source"].removeprefix(IDENTITY.source) for e in made} == {"", "/curves", "/airflow"}
    for event in made:
        progress.validate_event(json.loads(progress.encode_event(event)))


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("specversion", "0.3"),
        ("type", "other"),
        ("source", ""),
        ("source", None),
        ("sequence", "42"),
        ("sequence", "00000000004²"),
        ("data", []),
        ("data.dag_id", ""),
        ("data.run_id", 5),
        ("data.map_index", -2),
        ("data.map_index", True),
        ("data.attempt", "1"),
        ("data.state", "stalled"),
        ("data.state", []),
        ("data.done", -1),
        ("data.done", math.nan),
        ("data.done", 10**400),
        ("data.total", "many"),
        ("data.counters", {"chunks": -1}),
        ("data.metrics", {"loss": "high"}),
        ("data.error", "oops"),
        ("data.error", {"type": "X"}),
        ("data.message", None),
    ],
)
def test_a_wrong_field_is_refused_by_name(path: str, value: Any) -> None:
    event = json.loads(progress.encode_event(events()[0]))
    where = event if "." not in path else event["data"]
    where[path.removeprefix("data.")] = value
    with pytest.raises(ProgressError, match=f"^{path} "):
        progress.validate_event(event)
    del where[path.removeprefix("data.")]
    with pytest.raises(ProgressError, match=f"^{path} is missing"):
        progress.validate_event(event)


def test_unknown_fields_are_allowed() -> None:
    event = events()[0]
    event["traceparent"] = "x"
    event["data"]["host"] = "w1"
    progress.validate_event(event)


def test_a_curve_beyond_256_points_is_refused() -> None:
    event = next(e for e in events() if e["source"].endswith("/curves"))
    event["data"]["series"]["loss"] = [[n, 0.1] for n in range(257)]
    with pytest.raises(ProgressError, match="series"):
        progress.validate_event(event)


@pytest.mark.parametrize(
    "result",
    [
        {"inputs": ["flights@1-3fa9c1"]},
        {"inputs": {"flights": None}},
        {"split_rows": {"train": -1}},
        {"class_rows": {"train": 3}},
        {"dropped": {"no target": "9"}},
        {"rows_in": True},
        {"metrics": {"val_auc": None}},
        {"best": "yes"},
    ],
)
def test_a_wrong_result_of_training_data_is_refused(result: dict[str, Any]) -> None:
    event = json.loads(progress.encode_event(events()[0]))
    event["data"]["result"] = result
    with pytest.raises(ProgressError, match=r"^data\.result has an invalid value"):
        progress.validate_event(event)
