"""The page's rules, run by node, give the same results as the rules in Python for the same cases."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

import sse_bridge
from millrace.progress import TaskIdentity, TaskState, training_facts, training_notes
from millrace.progress.event import progress_event
from millrace.progress.formatting import amount, counted, duration, significant
from millrace.progress.training import training_position
from sse_bridge.outcome import columns_of, facts_of
from tests.progress_cases import CASES, events_of

STATIC = Path(sse_bridge.__file__).parent / "static"
AMOUNTS: list[tuple[float | None, str]] = [
    *((value, "") for value in (None, 0, -0.0, 0.04, 0.25, 2.65, 99.95, 100.5, 101.5, 5e14, 1e15, 1.75e300)),
    *((value, "bytes") for value in (999, 1000, 12_345_678, 2_650_000, 1e300)),
    *((value, "rows") for value in (336_776, 5e-324)),
]
PREPARED: dict[str, Any] = {
    "dataset": "late", "version": "3-3fa9c1", "kind": "table", "mode": "replace", "rows": 327_346,
    "total_rows": 327_346, "raw_bytes": 30_000_000, "stored_bytes": 4_000_000, "skipped": "",
    "inputs": {"flights": "flights@12-3fa9c1", "before": "flights@12-3fa9c1", "weather": "weather@3-3fa9c1"},
    "rows_in": 336_776, "dropped": {"no target": 9_430},
    "split_rows": {"train": 229_142, "val": 49_102, "test": 49_102},
    "class_rows": {"train": {"false": 175_000, "true": 54_142}},
}  # fmt: skip
MODEL: dict[str, Any] = {
    "kind": "model", "dataset": "late_model", "version": "3-3fa9c1", "inputs": {"data": "late@3-3fa9c1"}, "best": True,
    "metrics": {"val_auc": 0.71234, "baseline_val_auc": 0.66, "epochs": 5, "baseline_alone": 1e-9, "toString": 2.0},
}  # fmt: skip
RESULTS: list[dict[str, Any]] = [
    {"version": "1-3fa9c1", "rows": 3},
    {
        "dataset": "f",
        "version": "1-3fa9c1",
        "rows": 3,
        "total_rows": 3,
        "mode": "replace",
        "raw_bytes": 1,
        "stored_bytes": 0,
    },
    {"dataset": "f", "version": "2-3fa9c1", "rows": 3, "total_rows": 9, "mode": "append", "columns": [["a", "int64"]]},
    {"dataset": "f", "version": "2-3fa9c1", "rows": 0, "kind": "bytes", "raw_bytes": 12_345_678, "columns": []},
    {"version": "1-3fa9c1", "rows": 3, "columns": [["a", "int64"]], "columns_total": 5_000},
    {"version": "1-3fa9c1", "rows": 3, "columns_total": "many"},
    PREPARED,
    {**PREPARED, "rows": 0, "skipped": "unchanged", "raw_bytes": 0, "class_rows": {}, "dropped": {}},
    {"version": "1-3fa9c1", "rows": 3, "inputs": {}, "split_rows": {}, "dataset": "\ud800"},
    MODEL,
    {**MODEL, "best": False, "inputs": {}},
    {"kind": "model", "version": "1-3fa9c1"},
]
SOURCES_MAX = 100
DURATIONS: list[float | None] = [None, -3, 0, 59.9, 60, 3599, 3600, 7_500, 1e300]
COUNTS: list[tuple[float, float | None, str]] = [
    (3, None, "rows"),
    (3, 0, "rows"),
    (12, 40, "chunks"),
    (5e7, 1e8, "bytes"),
    (1, 2, ""),
]
NUMBERS: list[float | None] = [
    *(None, 0, -0.0, 0.31274, 0.5, 1, 12_345.678, -2.00049, 0.0625, 1234.5, 1235.5, 99_995, 1e-6),
    *(0.00012345, 9.9e-7, 1e-7, -1.25e-300, 1e14, 1e15, 1.75e300),
]
RANK: dict[str, Any] = {
    "kind": "train", "phase": "epoch 1 of 3", "unit": "rows", "done": 640, "rate": 6_000.5,
    "metrics": {
        "epoch": 1, "step": 40, "steps": 125, "world_size": 2, "prefetch_bytes": 5_000_000, "wait_p50_ms": 0.4031,
        "wait_p99_ms": 3.2, "chunks_process": 2, "chunks_redis": 1, "chunks_cassandra": 0, "loss": 0.5,
        "accuracy": 0.25,
    },
}  # fmt: skip


def rank(map_index: int = 0, state: str = "running", sent_s: float | None = 5.0, **changed: Any) -> TaskState:
    """Return the task of a rank with other metrics, or with other data where ``changed`` has the name of a field."""
    fields = {name: changed.pop(name) for name in ("kind", "phase", "rate", "unit") if name in changed}
    data = {**RANK, **fields, "metrics": {**RANK["metrics"], **changed}}
    return TaskState(("python", "r", "train", map_index), 1, state, None, data, "s", sent_s)


TRAININGS: list[list[TaskState]] = [
    [],
    [rank()],
    [rank(step=None, steps=None), rank(1)],
    [rank(0), rank(1, step=38, wait_p99_ms=700, chunks_cassandra=7, loss=0.75, rate=5_000)],
    [rank(0, epoch=2, step=1), rank(1, step=125, phase="epoch 1")],
    [rank(0, loss=None), rank(1, wait_p50_ms=None, accuracy=1e-9)],
    [rank(0, "succeeded"), rank(1, "succeeded", rate=None)],
    [rank(0, "succeeded"), rank(1, rate=10)],
    [rank(0, sent_s=9, world_size=1), rank(1, "lost", step=3), rank(2, "failed")],
    [rank(0, world_size=8, sent_s=None), rank(1, world_size=8, sent_s=None)],
    [rank(-1, chunks_process=0, chunks_redis=0, world_size=1)],
    [rank(0, kind="load"), TaskState(("python", "r", "x", -1), 1, "queued", None, {}, "")],
    [TaskState(("d", "r", "t", -1), 1, "running", None, {**RANK, "unit": "", "metrics": {"loss": 1e308}}, "s")],
    [rank(0, loss=1.7e308, chunks_redis=1.7e308), rank(1, loss=1.7e308, chunks_redis=1.7e308)],
]
SERIES: list[list[dict[str, Any]]] = [
    [{"loss": [[0, 1.0], [1, 2.0], [2, 4.0]]}, {"loss": [[0, 3.0], [1, 4.0]], "only here": [[5, 1]]}],
    [{"loss": [[0, 1.0], [2, None]]}, {"loss": [[0, 3.0], [2, 4.0]]}, {"loss": [[2, 5.0], [3, 1.0]]}, {}],
]
MEANS = [
    {"loss": [[0, 2.0], [1, 3.0]], "only here": [[5, 1]]},
    {"loss": [[0, 2.0], [2, None]]},
]


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The results of the page's modules for the cases and numbers."""
    if shutil.which("node") is None:
        pytest.skip("no node on the PATH: `apt-get install nodejs`")
    folder = tmp_path_factory.mktemp("page")
    for script in (*STATIC.glob("*.js"), Path(__file__).with_name("page_rules.mjs")):
        shutil.copy(script, folder)
    (folder / "package.json").write_text('{"type": "module"}')
    asked = {
        "cases": [{"events": events_of(case), "liveness": liveness_of(case)} for case in CASES],
        "amounts": AMOUNTS,
        "durations": DURATIONS,
        "counts": COUNTS,
        "outcomes": RESULTS,
        "numbers": NUMBERS,
        "trainings": [[page_task(task) for task in tasks] for tasks in TRAININGS],
        "series": SERIES,
        "many": {"events": many_runs(), "sourcesMax": SOURCES_MAX},
    }
    done = subprocess.run(
        ["node", "page_rules.mjs"], cwd=folder, input=json.dumps(asked), capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def page_task(task: TaskState) -> dict[str, Any]:
    """Return the fields of a task that the rules of the page use."""
    sent = None if task.sent_s is None else task.sent_s * 1000
    return {"map_index": task.key[3], "state": task.state, "data": task.data, "sent": sent}


def many_runs() -> list[dict[str, Any]]:
    """Return events of a thousand consecutive runs: all succeeded except the third, which is running."""
    events = []
    for number in range(1_000):
        identity = TaskIdentity("d", f"r{number}", "load")
        state = "running" if number == 2 else "succeeded"
        events.append(progress_event(identity, 1, 1_795_341_600 + number, {"state": state, "elapsed_s": 0, "done": 1}))
    return events


def liveness_of(case: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the task states judged by the bridge, as ``liveness`` sends them."""
    dag = case.get("dag", "ingest_dataset")
    origin = dag if dag in ("cli", "python") else "airflow"
    return [
        {"source": f"/{origin}/{dag}/r/{place}", "state": state, "received": "2026-11-22T10:00:00Z", "progressed": None}
        for place, state in case.get("timeouts", {}).items()
    ]


@pytest.mark.parametrize("number", range(len(CASES)), ids=[case["name"] for case in CASES])
def test_the_page_gives_the_expected_results_of_each_case(number: int, page: dict[str, Any]) -> None:
    case, found = CASES[number], page["cases"][number]
    assert found["results"] == case.get("results", ["new"] * len(case["events"]))
    if "tasks" in case:
        wanted_tasks = [each if len(each) == 5 else [*each, None] for each in case["tasks"]]
        said_tasks = [
            each if wanted[4] else [*each[:4], None] for each, wanted in zip(found["tasks"], wanted_tasks, strict=True)
        ]
        assert said_tasks == wanted_tasks
    for name, wanted in case.get("run", {}).items():
        said = found["run"][name]
        if name == "total" and wanted is not None:
            assert said == {
                each: value if value is None or isinstance(value, str) else pytest.approx(value, rel=1e-6)
                for each, value in wanted.items()
            }
        else:
            assert said == wanted, name


def test_the_result_of_a_run_is_described_the_same_in_both_languages(page: dict[str, Any]) -> None:
    for result, (facts, further) in zip(RESULTS, page["outcomes"], strict=True):
        assert [tuple(line) for line in facts] == facts_of(result)
        assert further == columns_of(result)[1]


def test_the_result_of_a_preparation_has_its_splits_dropped_rows_and_inputs() -> None:
    assert facts_of(PREPARED) == [
        ("Version", "late@3-3fa9c1"),
        ("Rows", "327,346"),
        ("Rows in train", "229,142 (false 175,000, true 54,142)"),
        ("Rows in val", "49,102"),
        ("Rows in test", "49,102"),
        ("Rows of the main input", "336,776"),
        ("Dropped: no target", "9,430"),
        ("Raw size", "30.0 MB"),
        ("Stored size", "4.0 MB"),
        ("Made from", "flights@12-3fa9c1, weather@3-3fa9c1"),
    ]


def test_the_result_of_a_training_has_its_metrics_beside_the_baseline_and_its_data() -> None:
    assert facts_of(MODEL) == [
        ("Version", "late_model@3-3fa9c1"),
        ("val_auc", "0.7123 (baseline 0.66)"),
        ("epochs", "5"),
        ("baseline_alone", "1.0e-9"),
        ("toString", "2"),
        ("Tag", "best"),
        ("Made from", "late@3-3fa9c1"),
    ]


def test_the_page_keeps_running_runs_and_the_newest_of_a_thousand(page: dict[str, Any]) -> None:
    runs, sources = page["kept"]["runs"], page["kept"]["sources"]
    assert sources == len(runs) <= SOURCES_MAX * 1.1
    assert runs == [*(f"r{number}" for number in range(999, 1_000 - len(runs), -1)), "r2"]


def test_amounts_and_durations_are_formatted_the_same_in_both_languages(page: dict[str, Any]) -> None:
    assert page["amounts"] == [amount(value, unit) for value, unit in AMOUNTS]
    assert page["durations"] == [duration(seconds) for seconds in DURATIONS]
    assert page["counts"] == [counted(*each) for each in COUNTS]
    assert page["numbers"] == [significant(value) for value in NUMBERS]


def test_a_training_is_described_the_same_in_both_languages(page: dict[str, Any]) -> None:
    for tasks, shown in zip(TRAININGS, page["trainings"], strict=True):
        assert [tuple(line) for line in shown["facts"]] == training_facts(tasks)
        assert shown["notes"] == [training_notes(task.data.get("metrics", {})) for task in tasks]
        assert shown["position"] == training_position(tasks)


def test_the_curves_of_ranks_are_averaged_at_the_steps_that_most_ranks_have(page: dict[str, Any]) -> None:
    assert page["means"] == MEANS
