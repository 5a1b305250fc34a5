from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from millrace import progress
from millrace.errors import ProgressError
from millrace.progress.event import STATES

IDENTITY = progress.TaskIdentity("ingest_dataset", "manual__2026-11-22T10:00:00+00:00", "load", 3, 2)


def events() -> list[dict[str, Any]]:
    sink = progress.MemorySink()
    with progress.task(IDENTITY, kind="load", dataset="flights", total=480_000, sinks=[sink]) as task:
        task.advance(120_000)
        task.curve("loss", 1, 0.5)
    return sink.events


def test_an_event_has_the_cloudevents_attributes_and_the_data_fields() -> None:
    event = events()[0]
    source = "/airflow/ingest_dataset/manual__2026-11-22T10:00:00+00:00/load/3/2"
    assert event["specversion"] == "1.0"
    assert event["type"] == "millrace.progress.v1"
    assert event["source"] == source
    assert event["id"] == source + "#000000000001"
    assert event["subject"] == "ingest_dataset/manual__2026-11-22T10:00:00+00:00/load/3"
    assert event["sequence"] == "000000000001"
    assert event["datacontenttype"] == "application/json"
    assert set(event["data"]) == {
        *("dag_id", "run_id", "task_id", "map_index", "attempt", "kind", "dataset", "state", "phase", "done"),
        *("total", "unit", "rate", "elapsed_s", "counters", "metrics", "message", "error"),
    }
    assert set(event["data"]["counters"]) == {"chunks", "bytes_raw", "bytes_stored", "retries", "under_replicated"}


def test_the_time_is_utc_with_milliseconds() -> None:
    assert progress.utc_text(1_795_341_600.1234) == "2026-11-22T10:00:00.123Z"


def test_an_airflow_event_has_only_identity_state_and_error() -> None:
    error = {"type": "x", "message": "killed"}
    event = progress.airflow_event(IDENTITY, "failed", time_s=1_795_341_600.55, error=error)
    assert event["sequence"] == "217504800553"
    assert event["data"] == {
        "dag_id": IDENTITY.dag_id,
        "run_id": IDENTITY.run_id,
        "task_id": "load",
        "map_index": 3,
        "attempt": 2,
        "state": "failed",
        "error": error,
    }
    with pytest.raises(ProgressError, match="stalled"):
        progress.airflow_event(IDENTITY, "stalled", time_s=1.0)


def test_airflow_events_of_the_same_moment_are_ordered_by_state() -> None:
    said = [progress.airflow_event(IDENTITY, state, time_s=1_795_341_600.551) for state in STATES]
    sequences = [event["sequence"] for event in said]
    assert sequences == sorted(sequences)
    assert len(set(sequences[:4])) == 4
    assert progress.airflow_event(IDENTITY, "queued", time_s=1_795_341_600.561)["sequence"] > sequences[-1]


@given(st.text())
def test_the_bytes_are_ascii_without_control_characters(text: str) -> None:
    sink = progress.MemorySink()
    with progress.task(IDENTITY, kind="load", dataset=text, unit=text, sinks=[sink]) as task:
        task.message(text)
        task.phase(text)
    raw = progress.encode_event(sink.events[-1])
    assert all(32 <= byte < 127 for byte in raw)
    assert json.loads(raw) == sink.events[-1]


def test_importing_progress_imports_no_client() -> None:
    code = "import sys, millrace.progress; print(*(m for m in ('confluent_kafka', 'airflow') if m in sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""
