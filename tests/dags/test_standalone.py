"""A load through a real standalone Airflow, and its results in Airflow's API, the bridge and the store."""

from __future__ import annotations

import io
import json
import os
import re
import shlex
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import pyarrow as pa
import pyarrow.csv
import pytest
import redis

from local_stack.airflow_client import AirflowClient, RunResult
from local_stack.demo import DAG, DATASET, MILLRACE, PREPARE_DAG, TRAIN_DAG, Demo, demo
from local_stack.flights import FLIGHTS_ROWS
from local_stack.product import DEMO
from local_stack.services.airflow import Airflow
from local_stack.settings import CHECKOUT
from local_stack.stack import Stack
from millrace.api import Store
from millrace.errors import DatasetNotFoundError, StackError
from millrace.settings import load_settings
from tests.dags.conftest import SOURCES_FILE, TRAINING_FILE
from tests.dags.declared import READ_S, until
from tests.dags.events import EventLog, airflows, are, own, run_progress, states
from tests.watching import watch


@dataclass(frozen=True)
class Loaded:
    """The successful load of the demo, and the demo's output."""

    dataset: str
    run_id: str
    result: RunResult
    csv: Path
    printed: str
    shown: str
    demo: Demo


@pytest.fixture(scope="module")
def declared(airflow: AirflowClient) -> Iterator[None]:
    """Let the Airflow of this run read the shipped declarations, which the demo follows.

    Afterwards their DAGs are gone, because loads of later tests would start them.
    """
    shipped = {SOURCES_FILE: "sources", TRAINING_FILE: "training"}
    for variable, name in shipped.items():
        # Not at the time of day of flights: a run of the schedule would start the rest once more.
        text = (CHECKOUT / "conf" / f"{name}.yaml").read_text().replace('"5 2 * * *"', '"0 0 29 2 *"')
        Path(os.environ[variable]).write_text(text)
    yield
    for variable, name in shipped.items():
        Path(os.environ[variable]).write_text(f"{name}: {{}}")
    dag_ids = ("ingest_flights", "ingest_weather", PREPARE_DAG, TRAIN_DAG)

    def left() -> list[str]:
        return [dag_id for dag_id in dag_ids if not airflow.get(f"/api/v2/dags/{dag_id}")["is_stale"]]

    until(lambda: not left(), READ_S, left)
    for variable in shipped:
        Path(os.environ[variable]).unlink()


@pytest.fixture(scope="module")
def flights(full_stack: Stack, declared: None) -> Loaded:
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        done = demo(full_stack)
    csv = full_stack.place.home / DEMO / "flights.csv"
    return Loaded(DATASET, done.run_id, done.result, csv, out.getvalue(), err.getvalue(), done)


@pytest.fixture
def cache_left_as_it_was(flights: Loaded, store: Store) -> Iterator[None]:
    yield
    store.warm(flights.dataset)


def expected(path: Path) -> pa.Table:
    options = pyarrow.csv.ConvertOptions(null_values=["NA"], strings_can_be_null=True)
    return pyarrow.csv.read_csv(path, convert_options=options)


def test_the_run_succeeds_and_its_result_is_the_load_report(
    flights: Loaded, airflow: AirflowClient, store: Store
) -> None:
    assert flights.result.state == "success"
    version = store.version(flights.dataset)
    report = flights.result.results["publish"]
    # Without a task id, Airflow returns the result that the DAG declares.
    assert airflow.wait_for_run(DAG, flights.run_id, timeout_s=60).results == {"publish": report}
    assert (report["dataset"], report["version"], report["rows"]) == (flights.dataset, version.label, FLIGHTS_ROWS)
    assert (report["replicas"], report["degraded"], report["under_replicated"]) == (2, False, 0)
    assert report["raw_bytes"] > report["stored_bytes"] > 0
    assert report["ratio"] == pytest.approx(report["raw_bytes"] / report["stored_bytes"], rel=0.001)
    assert report["rows_per_s"] == pytest.approx(FLIGHTS_ROWS / report["seconds"], rel=0.01)
    assert report["missing"] == []


def test_the_demo_shows_the_run_live_and_reports_the_result_with_links_and_commands(
    flights: Loaded, airflow: AirflowClient
) -> None:
    for task in ("plan", "load[0]", "load[1]", "verify", "publish", "warm"):
        assert f"\n{task} succeeded" in flights.shown, task
    report = flights.result.results["publish"]
    for text in (
        f"{FLIGHTS_ROWS:,}",
        f"{report['raw_bytes']:,}",
        f"{report['stored_bytes']:,}",
        f"{report['chunks']:,}, {report['chunks']:,} of them in Redis",
        "2 of each chunk",
        f"{report['rows_per_s']:,.0f}, Airflow's",
        f"{airflow.url}/dags/{DAG}/runs/",
        f"{load_settings().bridge.url}/",
        "user admin, password ",
        f"millrace show {DATASET}",
    ):
        assert text in flights.printed, text


def test_a_preparation_and_a_training_follow_the_load_and_the_model_beats_the_baseline(
    flights: Loaded, store: Store
) -> None:
    done = flights.demo
    version = store.version("late_arrivals")
    assert (done.prepared["version"], version.inputs["flights"]) == (
        version.label, store.version(flights.dataset).reference
    )  # fmt: skip
    metrics = done.model["metrics"]
    assert metrics["test_auc"] > metrics["baseline_test_auc"] + 0.04
    assert store.version("late_arrivals_model").inputs == {"data": version.reference}
    for text in ("split train", "split test", "test AUC", "baseline", "hit ratio"):
        assert text in flights.printed, text


def test_the_commands_that_the_demo_suggests_work(flights: Loaded) -> None:
    commands = [line.split("  ")[0] for line in flights.printed.splitlines() if line.startswith(MILLRACE)]
    assert len(commands) == 5
    for command in commands:
        program, *arguments = shlex.split(command)
        assert program == MILLRACE
        done = subprocess.run(
            [sys.executable, "-m", "millrace", *arguments], capture_output=True, text=True, timeout=120, check=False
        )
        assert done.returncode == 0, f"{command}: {done.stderr}"


def test_load_is_mapped_and_each_mapped_task_has_its_own_progress(
    flights: Loaded, airflow: AirflowClient, events: EventLog
) -> None:
    loads = [each for each in airflow.task_instances(DAG, flights.run_id) if each["task_id"] == "load"]
    assert len(loads) >= 2
    assert {each["state"] for each in loads} == {"success"}
    assert all(each["rendered_map_index"].startswith("flights.csv ") for each in loads)
    succeeds = ((1, "running"), (1, "succeeded"))
    run_events = events.of_run(
        flights.run_id,
        lambda seen: (
            are(airflows(seen, "warm"), (1, "queued"), *succeeds)
            and all(
                are(voice(seen, "load", index), *succeeds) for voice in (own, airflows) for index in range(len(loads))
            )
        ),
    )
    for index in range(len(loads)):
        mine = own(run_events, "load", index)
        assert len(mine) >= 3
        assert mine[-1]["data"]["done"] == mine[-1]["data"]["total"] > 0
        assert mine[-1]["data"]["counters"]["chunks"] >= 1
        assert [each["sequence"] for each in mine] == sorted(each["sequence"] for each in mine)
    assert (
        sum(own(run_events, "load", index)[-1]["data"]["counters"]["chunks"] for index in range(len(loads)))
        == (flights.result.results["publish"]["chunks"])
    )


def test_the_version_is_an_event_on_the_dataset_s_asset(flights: Loaded, airflow: AirflowClient, store: Store) -> None:
    (event,) = airflow.get("/api/v2/assets/events", source_run_id=flights.run_id, source_dag_id=DAG)["asset_events"]
    keyspace = store.settings.cassandra.keyspace
    assert event["uri"] == f"x-cassandra://{store.cassandra.cluster_name}/{keyspace}/{flights.dataset}"
    assert event["name"] == f"dataset/{flights.dataset}"
    assert event["extra"]["rows"] == FLIGHTS_ROWS
    assert event["extra"]["chunks"] == flights.result.results["publish"]["chunks"]


@pytest.mark.usefixtures("cache_left_as_it_was")
def test_after_the_run_all_chunks_come_from_redis_and_after_a_flush_from_cassandra(
    flights: Loaded, store: Store
) -> None:
    chunks = store.version(flights.dataset).chunks
    table = expected(flights.csv)
    warm = store.dataset(flights.dataset)
    assert warm.to_table().equals(table)
    assert (warm.stats.redis, warm.stats.cassandra) == (chunks, 0)
    redis.from_url(load_settings().redis.url.get_secret_value()).flushdb()
    cold = store.dataset(flights.dataset)
    assert cold.to_table().equals(table)
    assert (cold.stats.redis, cold.stats.cassandra) == (0, chunks)
    assert table.column("tailnum").null_count == 2512


def test_clearing_the_run_repeats_the_load_and_makes_no_second_version(
    flights: Loaded, airflow: AirflowClient, store: Store
) -> None:
    before = store.versions(flights.dataset)
    path = f"/api/v2/dags/{DAG}/dagRuns/{quote(flights.run_id, safe='')}/clear"
    airflow.post(path, {"dry_run": False})
    again = airflow.wait_for_run(DAG, flights.run_id, timeout_s=240)
    assert again.state == "success"
    assert again.results["publish"]["version"] == before[0].label
    assert again.results["publish"]["rows"] == FLIGHTS_ROWS
    assert store.versions(flights.dataset) == before
    until_it_is_over(DAG, flights.run_id, f"load: {FLIGHTS_ROWS:,} rows loaded")
    events = airflow.get("/api/v2/assets/events", source_run_id=flights.run_id, source_dag_id=DAG)["asset_events"]
    assert [event["extra"]["version"] for event in events] == [before[0].label]


def until_it_is_over(dag_id: str, run_id: str, headline: str) -> None:
    """Wait until the bridge reports that the run is over and has succeeded; then ``watch`` must report it at once."""
    deadline = time.monotonic() + 60
    while not (run := run_progress(dag_id, run_id)["runs"][0])["over"]:
        assert time.monotonic() < deadline, run
        time.sleep(0.25)
    assert (run["state"], run["headline"]) == ("succeeded", headline)
    assert run["steps"] == ["plan", "load", "verify", "publish", "warm"]
    assert run["result"]["columns_total"] == len(run["result"]["columns"])
    began = time.monotonic()
    assert watch(load_settings().bridge.url, dag_id, run_id, timeout_s=60).succeeded
    assert time.monotonic() - began < 5


def test_a_load_of_a_missing_source_succeeds_when_it_is_cleared_after_the_source_exists(
    flights: Loaded, airflow: AirflowClient
) -> None:
    source = Path(load_settings().sources.roots[0]) / "late.csv"
    run_id = airflow.trigger(DAG, {"dataset": "late", "source": str(source), "warm": False})
    assert airflow.wait_for_run(DAG, run_id, timeout_s=240).state == "failed"
    source.write_text("a\n" + "1\n" * 1000)
    airflow.post(f"/api/v2/dags/{DAG}/dagRuns/{quote(run_id, safe='')}/clear", {"dry_run": False})
    assert airflow.wait_for_run(DAG, run_id, timeout_s=240).state == "success"
    until_it_is_over(DAG, run_id, "load: 1,000 rows loaded")
    states = {task["task_id"]: task["state"] for task in run_progress(DAG, run_id)["tasks"]}
    assert states == {**dict.fromkeys(("plan", "load", "verify", "publish"), "succeeded"), "warm": "skipped"}


def test_every_task_has_a_live_link_to_an_existing_page_of_the_bridge(flights: Loaded, airflow: AirflowClient) -> None:
    run = quote(flights.run_id, safe="")
    base = load_settings().bridge.url
    for task, index in (("plan", -1), ("load", 0), ("load", 1), ("warm", -1)):
        path = f"/api/v2/dags/{DAG}/dagRuns/{run}/taskInstances/{task}/links"
        link = airflow.get(path, map_index=index)["extra_links"]["Live progress"]
        assert link == f"{base}/runs/{DAG}/{run}/{task}" + (f"/{index}" if index >= 0 else "")
        assert httpx.get(link, trust_env=False).status_code == 200


def test_the_plugin_is_loaded_without_an_error_and_each_tab_leads_to_the_bridge(
    flights: Loaded, airflow: AirflowClient
) -> None:
    assert airflow.get("/api/v2/plugins/importErrors")["import_errors"] == []
    plugins = {each["name"]: each for each in airflow.get("/api/v2/plugins")["plugins"]}
    views = {view["destination"]: view for view in plugins["millrace"]["external_views"]}
    assert set(views) == {"dag_run", "task_instance", "nav"}
    assert views["dag_run"]["name"] == views["task_instance"]["name"] == "Live"
    run = quote(flights.run_id, safe="")
    for view in views.values():
        # As Airflow 3.3.2 fills it in: the placeholder for the map index of an unmapped task is left unchanged.
        page = view["href"].replace("{DAG_ID}", DAG).replace("{RUN_ID}", run).replace("{TASK_ID}", "plan")
        answer = httpx.get(page, trust_env=False)
        assert answer.status_code == 200, page
        assert "x-frame-options" not in answer.headers
        assert airflow.url in answer.headers["content-security-policy"].partition("frame-ancestors")[2]


def test_the_form_refuses_values_out_of_range_before_a_run_exists(airflow: AirflowClient) -> None:
    for conf, what in (
        ({"dataset": "", "source": "a.csv"}, "dataset"),
        ({"dataset": "a", "source": "a.csv", "mode": "merge"}, "mode"),
        ({"dataset": "a", "source": "a.csv", "chunk_bytes": 6_000_000}, "chunk_bytes"),
        ({"dataset": "a"}, "source"),
    ):
        with pytest.raises(StackError, match=what):
            airflow.trigger(DAG, conf)


def test_the_documented_rest_calls_load_the_file_unchanged(
    airflow: AirflowClient, store: Store, tmp_path: Path
) -> None:
    page = (CHECKOUT / "docs" / "airflow.md").read_text().partition("## Load by REST")[2]
    script = re.findall(r"```sh\n(.*?)```", page, re.DOTALL)[0]
    inbox = Path(load_settings().sources.roots[0])
    (inbox / "sales.csv").write_text("tag;preis;seen\n01.05.2026;1234,5;2026-05-01T10:00:00Z\n31.12.2025;-0,25;\n")
    airflow_settings = load_settings().airflow
    assert airflow_settings.password is not None
    env = {**os.environ, "AIRFLOW_URL": airflow.url, "AIRFLOW_PASSWORD": airflow_settings.password.get_secret_value()}
    done = subprocess.run(
        ["sh", "-eu", "-c", script], capture_output=True, text=True, timeout=240, check=False, env=env, cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    last = json.loads(done.stdout.splitlines()[-1])
    assert last["state"] == "success"
    version = store.version("sales")
    assert (last["results"]["publish"]["version"], last["results"]["publish"]["rows"]) == (version.label, 2)
    expected_table = pa.table(
        {
            "tag": pa.array([date(2026, 5, 1), date(2025, 12, 31)], pa.date32()),
            "price": [1234.5, -0.25],
            "seen": pa.array([datetime(2026, 5, 1, 10, tzinfo=UTC), None], pa.timestamp("us", tz="UTC")),
        }
    )
    assert store.dataset("sales").to_table().equals(expected_table)


def test_a_misspelled_key_of_a_conf_fails_the_plan_which_names_the_nearest_one(airflow: AirflowClient) -> None:
    run_id = airflow.trigger(DAG, {"dataset": "keys", "source": "a.csv", "delimeter": ";"})
    assert airflow.wait_for_run(DAG, run_id, timeout_s=120).state == "failed"
    lines = [entry["event"] + str(entry.get("error_detail", "")) for entry in task_log(airflow, run_id, "plan")]
    assert any("unknown key 'delimeter': did you mean 'delimiter'?" in line for line in lines), lines


def task_log(airflow: AirflowClient, run_id: str, task_id: str) -> list[dict[str, Any]]:
    """Return the log of a task's first attempt, as Airflow's pages get it."""
    path = f"/api/v2/dags/{DAG}/dagRuns/{quote(run_id, safe='')}/taskInstances/{task_id}/logs/1"
    return [entry for entry in airflow.get(path)["content"] if entry.get("timestamp")]


def test_a_failed_task_ends_within_three_seconds_of_its_last_log_line(airflow: AirflowClient) -> None:
    def waited_s(run_id: str) -> float:
        """Return the seconds from the last log line of the task's process to its end date in Airflow."""
        (plan,) = (each for each in airflow.task_instances(DAG, run_id) if each["task_id"] == "plan")
        last = task_log(airflow, run_id, "plan")[-1]["timestamp"]
        return (datetime.fromisoformat(plan["end_date"]) - datetime.fromisoformat(last)).total_seconds()

    for _ in range(5):
        run_id = airflow.trigger(DAG, {"dataset": "no_such", "source": "no_such.csv"})
        assert airflow.wait_for_run(DAG, run_id, timeout_s=120).state == "failed"
        assert waited_s(run_id) < 3


def test_no_task_s_log_warns_of_a_short_secret(flights: Loaded, airflow: AirflowClient) -> None:
    for task_id in ("plan", "verify", "publish", "warm"):
        log = task_log(airflow, flights.run_id, task_id)
        assert log, task_id
        assert [entry["event"] for entry in log if "masking" in entry["event"]] == []


def test_an_api_request_waits_while_another_process_of_airflow_writes_its_database(
    airflow: AirflowClient, full_stack: Stack, flights: Loaded
) -> None:
    """It waits longer than the five seconds after which SQLite gives up by default."""
    service = full_stack.one("airflow")
    assert isinstance(service, Airflow)
    writer = sqlite3.connect(service.database, isolation_level=None, timeout=30, check_same_thread=False)
    writer.execute("BEGIN IMMEDIATE")
    released = threading.Timer(8, writer.execute, ["ROLLBACK"])
    released.start()
    try:
        assert airflow.patch(f"/api/v2/dags/{DAG}", {"is_paused": False})["dag_id"] == DAG
        assert released.finished.is_set(), "the write cannot have ended before the other one"
    finally:
        released.join()
        writer.close()


def test_a_source_outside_of_the_folders_fails_without_a_retry_and_leaves_no_version(
    airflow: AirflowClient, store: Store, events: EventLog
) -> None:
    run_id = airflow.trigger(DAG, {"dataset": "outside", "source": "/etc/hostname"})
    assert airflow.wait_for_run(DAG, run_id, timeout_s=120).state == "failed"
    run_events = events.of_run(
        run_id,
        lambda seen: (
            are(own(seen, "plan"), (1, "running"), (1, "failed"))
            and are(airflows(seen, "plan"), (1, "queued"), (1, "running"), (1, "failed"))
        ),
    )
    assert load_settings().sources.roots[0] in own(run_events, "plan")[-1]["data"]["error"]["message"]
    with pytest.raises(DatasetNotFoundError):
        store.version("outside")


def test_airflow_reports_a_killed_task_as_retrying_and_as_failed_when_no_attempt_is_left(
    airflow: AirflowClient, probe: str, events: EventLog
) -> None:
    run_id = airflow.trigger(probe, {"how": "killed"})
    assert airflow.wait_for_run(probe, run_id, timeout_s=240).state == "failed"
    run_events = events.of_run(
        run_id, lambda seen: states(airflows(seen, "killed_for_good"))[-1:] == [(1, "failed")], timeout_s=120
    )
    # A killed process cannot report its end; Airflow can.
    assert states(own(run_events, "killed_for_good")) in ([(1, "running")], [])
    assert states(airflows(run_events, "killed_for_good"))[-1] == (1, "failed")
    error: dict[str, Any] = airflows(run_events, "killed_for_good")[-1]["data"]["error"]
    assert "without a report" in error["message"]
    assert states(own(run_events, "killed_once"))[-1] == (2, "succeeded")
    assert (1, "retrying") in states(airflows(run_events, "killed_once"))
    assert states(airflows(run_events, "killed_once"))[-1] == (2, "succeeded")


def test_a_running_task_that_a_user_marks_as_failed_is_failed(
    airflow: AirflowClient, probe: str, events: EventLog
) -> None:
    run_id = airflow.trigger(probe, {"how": "marked"})
    events.of_run(run_id, lambda seen: own(seen, "killed_for_good") and own(seen, "killed_once"), timeout_s=240)
    path = f"/api/v2/dags/{probe}/dagRuns/{quote(run_id, safe='')}"
    airflow.patch(f"{path}/taskInstances/killed_for_good", {"new_state": "failed"})
    airflow.patch(f"{path}/taskInstances/killed_once", {"new_state": "success"})
    run_events = events.of_run(
        run_id,
        # Two processes report the failure, in any order: the API server, which knows why, and the scheduler, which
        # does not.
        lambda seen: (
            states(airflows(seen, "killed_for_good"))[-1:] == [(1, "failed")]
            and any(
                "manually set" in (event["data"]["error"] or {}).get("message", "")
                for event in airflows(seen, "killed_for_good")
            )
            and states(airflows(seen, "killed_once"))[-1:] == [(1, "succeeded")]
        ),
        timeout_s=120,
    )
    assert states(airflows(run_events, "killed_for_good"))[-1] == (1, "failed")
    assert airflow.wait_for_run(probe, run_id, timeout_s=240).state == "failed"
