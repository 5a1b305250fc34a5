"""The view of the datasets, made by node from the events of runs: last run, state, version, rows, rejects and age."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import sse_bridge
from millrace.progress import TaskIdentity, airflow_event
from millrace.progress.event import progress_event

STATIC = Path(sse_bridge.__file__).parent / "static"
NOON_S = 1_795_341_600.0
BY_NAME = {"text": "", "order": "name", "isReversed": False}

Event = dict[str, Any]
Show = Callable[..., dict[str, Any]]


@pytest.fixture(scope="module")
def show(tmp_path_factory: pytest.TempPathFactory) -> Show:
    """Return ``show(events, liveness, orders)``, which returns the datasets and their names in each of the orders."""
    if shutil.which("node") is None:
        pytest.skip("no node on the PATH: `apt-get install nodejs`")
    folder = tmp_path_factory.mktemp("page")
    for script in (*STATIC.glob("*.js"), Path(__file__).with_name("dataset_rules.mjs")):
        shutil.copy(script, folder)
    (folder / "package.json").write_text('{"type": "module"}')

    def run(events: list[Event], liveness: tuple[Event, ...] = (), orders: tuple[Any, ...] = ()) -> dict[str, Any]:
        asked = json.dumps({"events": events, "liveness": liveness, "orders": orders})
        done = subprocess.run(
            ["node", "dataset_rules.mjs"], cwd=folder, input=asked, capture_output=True, text=True, timeout=60
        )
        assert done.returncode == 0, done.stderr
        page: dict[str, Any] = json.loads(done.stdout)
        return page

    return run


def event(
    run: str, task: str, at_s: float, state: str, dataset: str = "flights", *, kind: str = "", **facts: Any
) -> Event:
    identity = TaskIdentity("ingest_dataset", run, task)
    data = {"kind": kind or task, "dataset": dataset, "state": state, "done": 1, "elapsed_s": 1.0, **facts}
    return progress_event(identity, 1, NOON_S + at_s, data)


def loaded(run: str, at_s: float, version: str, rows: int, dataset: str = "flights", **result: Any) -> list[Event]:
    """Return the events of a load that published a version."""
    outcome = {"dataset": dataset, "version": version, "rows": rows, "total_rows": rows, "rejected": 0, "skipped": ""}
    return [
        event(run, "plan", at_s, "succeeded", dataset, result={"load": {"splits": 1, "total": rows, "unit": "rows"}}),
        event(run, "load", at_s + 1, "succeeded", dataset),
        event(run, "publish", at_s + 2, "succeeded", dataset, result={**outcome, **result}),
        event(run, "warm", at_s + 3, "succeeded", dataset),
    ]


def one(page: dict[str, Any], **expected: Any) -> None:
    (dataset,) = page["datasets"]
    assert {name: dataset[name] for name in expected} == expected


def test_a_dataset_has_the_version_of_its_last_load(show: Show) -> None:
    events = loaded("a", 0, "1-3fa9c1", 10) + loaded("b", 60, "2-3fa9c2", 5, total_rows=15, rejected=3)
    one(
        show(events),
        name="flights",
        run="b",
        state="succeeded",
        version="2-3fa9c2",
        rows=15,
        rejected=3,
        made=(NOON_S + 62) * 1000,
        started=(NOON_S + 59) * 1000,
        isOlder=False,
        isLate=False,
        note="",
    )


def test_a_failed_run_leaves_the_version_and_rows_of_the_run_before(show: Show) -> None:
    failed = event("b", "load", 60, "failed", error={"type": "SourceError", "message": "line 7"})
    page = show([*loaded("a", 0, "1-3fa9c1", 10), event("b", "plan", 59, "succeeded"), failed])
    one(page, run="b", state="failed", version="1-3fa9c1", rows=10, made=(NOON_S + 2) * 1000)


def test_a_dataset_without_a_version_is_shown_with_its_run(show: Show) -> None:
    one(show([event("a", "plan", 0, "running")]), run="a", state="running", version=None, rows=None, made=None)


def test_a_skipped_run_is_shown_as_unchanged_and_the_version_keeps_its_age(show: Show) -> None:
    outcome = {"version": "1-3fa9c1", "rows": 0, "total_rows": 10, "rejected": 0, "skipped": "unchanged"}
    skipped = [
        event("b", "plan", 60, "succeeded", result=outcome),
        airflow_event(TaskIdentity("ingest_dataset", "b", "load"), "skipped", time_s=NOON_S + 61),
    ]
    page = show([*loaded("a", 0, "1-3fa9c1", 10, rejected=2), *skipped])
    one(page, run="b", state="skipped", note="unchanged", version="1-3fa9c1", rows=10, made=(NOON_S + 2) * 1000)
    one(show(skipped), state="skipped", made=(NOON_S + 60) * 1000, isOlder=True)


def test_a_dataset_is_late_from_the_check_that_reports_it_until_a_new_version(show: Show) -> None:
    first = loaded("a", 0, "1-3fa9c1", 10)
    late = event("expect", "check", 3600, "succeeded", result={"late": True})
    one(show([*first, late]), run="a", state="succeeded", isLate=True)
    one(show([*first, late, *loaded("b", 3700, "2-3fa9c2", 10)]), run="b", isLate=False)
    one(show([*first, late, event("expect-2", "check", 7200, "succeeded", result={"late": False})]), isLate=False)


def test_a_stalled_load_is_shown_as_stalled(show: Show) -> None:
    running = event("a", "load", 0, "running")
    state = {"source": running["source"], "state": "stalled", "received": "2026-11-22T10:00:00Z", "progressed": None}
    one(show([running], (state,)), state="stalled")


def test_runs_that_load_nothing_show_no_dataset(show: Show) -> None:
    events = [
        event("t", "train", 0, "running", kind="train"),
        event("w", "warm", 0, "succeeded", kind="warm"),
        event("v", "verify", 0, "succeeded", kind="verify"),
        event("c", "check", 0, "succeeded", result={"late": True}),
        airflow_event(TaskIdentity("ingest_dataset", "q", "plan"), "queued", time_s=NOON_S),
    ]
    assert show(events)["datasets"] == []


def prepared(run: str, at_s: float, version: str, inputs: dict[str, str], dataset: str = "late") -> list[Event]:
    """Return the events of a preparation that published a version."""
    outcome = {"dataset": dataset, "version": version, "rows": 9, "total_rows": 9, "split_rows": {"train": 9}}
    return [
        event(run, "prepare", at_s, "succeeded", dataset),
        event(run, "publish", at_s + 1, "succeeded", dataset, result={**outcome, "inputs": inputs}),
    ]


def trained(run: str, at_s: float, data: str, state: str = "succeeded", **result: Any) -> Event:
    """Return the last event of a training."""
    model = {"kind": "model", "dataset": "late_model", "version": "1-3fa9c1", "inputs": {"data": data}, "metrics": {}}
    return event(run, "train", at_s, state, "late_model", result={**model, **result})


def lineage(page: dict[str, Any]) -> dict[str, tuple[list[str], list[str]]]:
    return {each["name"]: (each["madeFrom"], each["madeInto"]) for each in page["datasets"]}


def test_each_dataset_has_the_versions_that_it_was_made_from_and_those_made_from_it(show: Show) -> None:
    events = [
        *loaded("a", 0, "1-3fa9c1", 10),
        *prepared("b", 10, "1-3fa9c1", {"f": "flights@1-3fa9c1", "g": "flights@1-3fa9c1", "w": "weather@4-3fa9c1"}),
        *prepared("c", 20, "7-3fa9c1", {"flights": "flights@1-3fa9c1"}, "early"),
        trained("d", 30, "late@1-3fa9c1"),
    ]
    assert lineage(show(events)) == {
        "flights": ([], ["early@7-3fa9c1", "late@1-3fa9c1"]),
        "late": (["flights@1-3fa9c1", "weather@4-3fa9c1"], ["late_model@1-3fa9c1"]),
        "early": (["flights@1-3fa9c1"], []),
        "late_model": (["late@1-3fa9c1"], []),
    }


def test_the_lineage_is_that_of_the_newest_version(show: Show) -> None:
    events = [
        *prepared("a", 0, "1-3fa9c1", {"flights": "flights@1-3fa9c1"}),
        *prepared("b", 10, "2-3fa9c1", {"trips": "trips@1-3fa9c1"}),
        event("c", "prepare", 20, "failed", "late", error={"type": "E", "message": "m"}),
        *loaded("d", 0, "1-3fa9c1", 10),
    ]
    assert lineage(show(events)) == {"late": (["trips@1-3fa9c1"], []), "flights": ([], [])}


def test_a_model_is_a_dataset_with_a_version_and_without_rows(show: Show) -> None:
    one(show([trained("a", 0, "late@1-3fa9c1")]), name="late_model", version="1-3fa9c1", rows=None, state="succeeded")
    one(show([event("a", "train", 0, "running", "late_model")]), name="late_model", version=None, state="running")
    failed = event("a", "train", 0, "failed", "late_model", error={"type": "E", "message": "m"})
    one(show([failed]), name="late_model", state="failed")


def test_a_training_of_an_existing_model_is_skipped_as_unchanged(show: Show) -> None:
    again = trained("b", 60, "late@1-3fa9c1", "skipped", skipped="unchanged")
    page = show([trained("a", 0, "late@1-3fa9c1"), again])
    one(page, run="b", state="skipped", note="unchanged", version="1-3fa9c1", made=NOON_S * 1000)


def test_a_training_from_the_command_line_is_shown_as_its_model(show: Show) -> None:
    model = {"kind": "model", "dataset": "late_model", "version": "1-3fa9c1", "inputs": {"data": "late@1-3fa9c1"}}
    one(show([event("a", "train", 0, "succeeded", "late", result=model)]), name="late_model", version="1-3fa9c1")


def test_the_rows_of_bytes_are_not_shown(show: Show) -> None:
    one(show(loaded("a", 0, "1-3fa9c1", 7, kind="bytes")), version="1-3fa9c1", rows=None)


def test_datasets_are_filtered_by_name_and_sorted(show: Show) -> None:
    events = [
        *loaded("a", 0, "1-3fa9c1", 30, "planes"),
        *loaded("b", 10, "1-3fa9c1", 10, "Airports", rejected=4),
        *loaded("c", 20, "1-3fa9c1", 20, "airlines"),
        event("d", "load", 30, "failed", "weather"),
        event("e", "check", 40, "succeeded", "planes", result={"late": True}),
    ]

    def by(order: str, text: str = "", *, reverse: bool = False) -> dict[str, Any]:
        return {"text": text, "order": order, "isReversed": reverse}

    orders = (
        by("name"),
        by("name", " AIR"),
        by("name", reverse=True),
        by("state"),
        by("rows"),
        by("rejected"),
        by("age"),
        by("run"),
    )
    assert show(events, orders=orders)["orders"] == [
        ["Airports", "airlines", "planes", "weather"],
        ["Airports", "airlines"],
        ["weather", "planes", "airlines", "Airports"],
        ["weather", "planes", "Airports", "airlines"],
        ["planes", "airlines", "Airports", "weather"],
        ["Airports", "airlines", "planes", "weather"],
        ["weather", "planes", "Airports", "airlines"],
        ["weather", "airlines", "Airports", "planes"],
    ]


def test_a_thousand_datasets_are_computed_within_a_frame_after_an_event(show: Show) -> None:
    events = [each for number in range(1_000) for each in loaded("r", number, "1-3fa9c1", 1, f"d{number:04}")]
    for number, each in enumerate(events):
        each["data"]["run_id"] = f"r{number // 4}"
        each["source"] = f"/airflow/ingest_dataset/r{number // 4}/{each['data']['task_id']}/1"
    page = show(events)
    assert len(page["datasets"]) == 1_000
    assert page["again_ms"] < 100
