from __future__ import annotations

import json
import math
import subprocess
import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from millrace import progress
from millrace.errors import ProgressError

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


def test_the_origin_follows_from_the_dag_unless_it_is_given() -> None:
    assert progress.TaskIdentity("cli", "flights-1", "load").source == "/cli/cli/flights-1/load/-1/1"
    assert progress.TaskIdentity("python", "x-1", "load").source.startswith("/python/")
    assert progress.TaskIdentity("cli", "x", "y", origin="airflow").source.startswith("/airflow/cli/")
    with pytest.raises(ValueError, match="airflow, cli, python"):
        progress.TaskIdentity("a", "b", "c", origin="elsewhere")
    with pytest.raises(ValueError, match="run_id is empty"):
        progress.TaskIdentity("a", "", "c")


@given(st.tuples(*[st.text(min_size=1)] * 6))
def test_two_identities_never_share_a_source(parts: tuple[str, str, str, str, str, str]) -> None:
    one = progress.TaskIdentity(*parts[:3], origin="airflow")
    other = progress.TaskIdentity(*parts[3:], origin="airflow")
    assert (one.source == other.source) == (one == other)
    assert one.source.isascii()


def test_an_attempt_numbered_by_the_clock_is_above_every_counted_one() -> None:
    assert progress.attempt_now() > 200_000_000
    assert not progress.is_counted(progress.attempt_now())
    assert progress.is_counted(17)


def test_the_partition_of_a_run_never_changes() -> None:
    # Fixed values: if they changed, the events of one run would go to two partitions and lose their order.
    assert [progress.partition_of("ingest_dataset", f"run-{n}", 12) for n in range(6)] == [3, 5, 3, 9, 2, 8]
    code = "from millrace.progress import partition_of; print(partition_of('a', 'b', 1000))"
    said = {
        subprocess.run(
            [sys.executable, "-c", code], env={"PYTHONHASHSEED": seed}, capture_output=True, text=True, check=True
        ).stdout
        for seed in ("1", "2")
    }
    assert len(said) == 1


def test_every_kind_of_event_is_valid() -> None:
    made = [*events(), progress.airflow_event(IDENTITY, "retrying", time_s=1_795_000_000.0)]
    assert {e["source"].removeprefix(IDENTITY.source) for e in made} == {"", "/curves", "/airflow"}
    for event in made:
        progress.validate_event(json.loads(progress.encode_event(event)))


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
    said = [progress.airflow_event(IDENTITY, state, time_s=1_795_341_600.551) for state in progress.STATES]
    sequences = [event["sequence"] for event in said]
    assert sequences == sorted(sequences)
    assert len(set(sequences[:4])) == 4
    assert progress.airflow_event(IDENTITY, "queued", time_s=1_795_341_600.561)["sequence"] > sequences[-1]


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
