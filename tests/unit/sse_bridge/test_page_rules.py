"""The page's rules, run by node, give the same results as the rules in Python for the same cases."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

import sse_bridge
from millrace.progress import TaskIdentity
from millrace.progress.event import progress_event
from millrace.progress.formatting import amount, counted, duration
from sse_bridge.outcome import columns_of, facts_of
from tests.progress_cases import CASES, events_of

STATIC = Path(sse_bridge.__file__).parent / "static"
AMOUNTS: list[tuple[float | None, str]] = [
    *((value, "") for value in (None, 0, -0.0, 0.04, 0.25, 2.65, 99.95, 100.5, 101.5, 5e14, 1e15, 1.75e300)),
    *((value, "bytes") for value in (999, 1000, 12_345_678, 2_650_000, 1e300)),
    *((value, "rows") for value in (336_776, 5e-324)),
]
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
        "many": {"events": many_runs(), "sourcesMax": SOURCES_MAX},
    }
    done = subprocess.run(
        ["node", "page_rules.mjs"], cwd=folder, input=json.dumps(asked), capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


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


def test_the_page_keeps_running_runs_and_the_newest_of_a_thousand(page: dict[str, Any]) -> None:
    runs, sources = page["kept"]["runs"], page["kept"]["sources"]
    assert sources == len(runs) <= SOURCES_MAX * 1.1
    assert runs == [*(f"r{number}" for number in range(999, 1_000 - len(runs), -1)), "r2"]


def test_amounts_and_durations_are_formatted_the_same_in_both_languages(page: dict[str, Any]) -> None:
    assert page["amounts"] == [amount(value, unit) for value, unit in AMOUNTS]
    assert page["durations"] == [duration(seconds) for seconds in DURATIONS]
    assert page["counts"] == [counted(*each) for each in COUNTS]
