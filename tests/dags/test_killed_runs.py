"""Runs of declared sources with rejects, whose processes are killed with SIGKILL and retried by a real Airflow."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from local_stack.airflow_client import AirflowClient
from millrace.api import Store
from millrace.load import LoadOptions
from millrace.settings import load_settings
from millrace.sources import BadRowBudget, SourceOptions
from millrace.store import AttemptRole
from tests.faults.conftest import stored_on

ROWS = 80_000
BAD = ROWS // 100
KILLED = {"plan": "plan", "load": "load", "between": "publish", "published": "publish"}
"""The task that is killed, by the place of the kill."""
RUN_S = 600


def source(place: str) -> Path:
    return Path(load_settings().sources.roots[0]) / f"killed_{place}" / "a.csv"


@pytest.fixture(scope="module")
def csv() -> str:
    """Return 16 MB, 8 MB as gzip or more: two buckets. One row of a hundred has a double in its column of integers."""
    text = random.Random(14).randbytes(ROWS * 100).hex()
    rows = (f"{row}{'' if row % 100 else '.5'},{text[200 * row : 200 * row + 200]}\n" for row in range(ROWS))
    return "n,text\n" + "".join(rows)


@pytest.fixture(scope="module")
def runs(probe_folder: None, airflow: AirflowClient, csv: str) -> dict[str, dict[str, Any]]:
    """Return the ended run of each DAG: its id, its tasks by name, and its result."""
    run_ids = {}
    for place in KILLED:
        source(place).parent.mkdir()
        source(place).write_text(csv)
        dag_id = f"ingest_killed_{place}"
        airflow.wait_for_dag(dag_id, timeout_s=120)
        run_ids[place] = airflow.trigger(dag_id, {})
    ended = {}
    for place, run_id in run_ids.items():
        waited = airflow.wait_for_run(f"ingest_killed_{place}", run_id, timeout_s=RUN_S)
        tasks = {task["task_id"]: task for task in airflow.task_instances(f"ingest_killed_{place}", run_id)}
        ended[place] = {"id": run_id, "state": waited.state, "tasks": tasks, "result": waited.results.get("publish")}
    return ended


def table(store: Store, reference: str) -> pa.Table:
    return store.dataset(reference).to_table()


@pytest.mark.timeout(900)
@pytest.mark.parametrize("place", KILLED)
def test_a_killed_run_is_retried_and_has_each_row_and_each_reject_once(
    runs: dict[str, dict[str, Any]], store: Store, airflow: AirflowClient, place: str
) -> None:
    run, name = runs[place], f"killed_{place}"
    tries = {task_id: task["try_number"] for task_id, task in run["tasks"].items() if task["state"] == "success"}
    assert run["state"] == "success", run
    assert tries == {task_id: 1 + (task_id == KILLED[place]) for task_id in ("plan", "load", "verify", "publish")}
    assert (run["result"]["rows"], run["result"]["rejected"]) == (ROWS - BAD, BAD)

    assert len(store.versions(name)) == len(store.versions(f"{name}__rejects")) == 1
    assert table(store, name)["n"].to_pylist() == [row for row in range(ROWS) if row % 100]
    assert run["result"]["rejects"] == store.version(f"{name}__rejects").reference
    assert table(store, f"{name}__rejects")["line"].to_pylist() == list(range(2, ROWS + 2, 100))

    dag_id = f"ingest_{name}"
    (event,) = airflow.get("/api/v2/assets/events", source_run_id=run["id"], source_dag_id=dag_id)["asset_events"]
    assert event["extra"]["version"] == run["result"]["version"] == store.version(name).label
    report = store.run_report(f"{dag_id}/{run['id']}")
    assert (report.state, report.rows, report.rejected) == ("succeeded", ROWS - BAD, BAD)


@pytest.mark.timeout(900)
@pytest.mark.parametrize("place", KILLED)
def test_a_killed_run_has_the_result_of_a_load_that_was_not_killed(
    runs: dict[str, dict[str, Any]], store: Store, place: str
) -> None:
    assert runs[place]["state"] == "success"
    whole = f"whole_{place}"
    options = LoadOptions(
        mode="incremental",
        bad_rows=BadRowBudget.of("1%"),
        chunk_bytes=1_000_000,
        source=SourceOptions(column_types=(("n", "int64"),)),
    )
    report = store.load(whole, str(source(place)), options)
    assert (report.rows, report.rejected) == (ROWS - BAD, BAD)
    assert table(store, f"killed_{place}").equals(table(store, whole))
    assert table(store, f"killed_{place}__rejects").equals(table(store, f"{whole}__rejects"))


def test_no_chunk_that_a_journal_page_names_is_written_again(runs: dict[str, dict[str, Any]], store: Store) -> None:
    assert runs["load"]["state"] == "success"
    attempts = [row for row in store.catalogue.attempts("killed_load") if row.role is AttemptRole.SPLIT]
    first, second = sorted(attempts, key=lambda row: row.started)
    journal = store.catalogue.pages.journal("killed_load", first.attempt_id)
    named = [ref for page in journal for ref in store.catalogue.pages.page("killed_load", page).refs()]
    refs = list(store.dataset("killed_load").refs())
    assert 0 < len(named) < len(refs)
    assert [ref for ref in refs if ref.attempt_id == first.attempt_id] == named
    assert second.first_row == sum(ref.rows for ref in named)
    for host in store.cassandra.hosts():
        assert max(stored_on(store, host, first).values()) < second.started.timestamp() * 1e6
        written_again = {chunk for _, chunk, _ in stored_on(store, host, second)}
        assert len(written_again) == len(refs) - len(named)
