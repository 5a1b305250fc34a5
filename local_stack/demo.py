"""``./run demo``: start all services, load real datasets through Airflow, and show live what follows from them.

The declared sources and the declared training data do the rest: after flights Airflow loads the weather, prepares
training data from both, and trains a model on it.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

import click

from local_stack.airflow_client import AirflowClient, RunResult
from local_stack.demo_report import print_load, print_model, print_prepared
from local_stack.flights import place_flights, place_weather
from local_stack.product import DEMO
from local_stack.services.airflow import USER, Airflow
from local_stack.services.bridge import Bridge
from local_stack.stack import Stack
from millrace.cli.live import follow
from millrace.cli.output import print_facts
from millrace.cli.watcher import Watcher
from millrace.declarations import read_sources, sources_path
from millrace.display import human_bytes
from millrace.errors import MillraceError, ProgressError, StackError, UsageError
from millrace.progress import TaskState
from millrace.settings import load_settings

DAG = "ingest_dataset"
DATASET = "flights"
PREPARE_DAG, TRAIN_DAG = "prepare_late_arrivals", "train_late_arrivals"
DAGS = (DAG, "ingest_weather", PREPARE_DAG, TRAIN_DAG)
"""The DAGs whose runs the demo shows or waits for."""
PARSE_TIMEOUT_S = 120.0
RUN_TIMEOUT_S = 600.0
FOLLOW_TIMEOUT_S = 300.0
FOLLOW_INTERVAL_S = 1.0
MILLRACE = ".venv/bin/millrace"


@dataclass
class Demo:
    """The facts for the report: the results of the runs, and the seconds that each part took."""

    run_id: str = ""
    result: RunResult = field(default_factory=lambda: RunResult("unknown", {}))
    prepared: dict[str, Any] = field(default_factory=dict)
    """The report of the preparation that followed."""
    model: dict[str, Any] = field(default_factory=dict)
    """The report of the training that followed."""
    chunks: dict[str, float] = field(default_factory=dict)
    """The chunks that the training read, by the tier that they came from."""
    took_s: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def timed(self, part: str) -> Iterator[None]:
        """Record how long the block took."""
        began = time.monotonic()
        try:
            yield
        finally:
            self.took_s[part] = time.monotonic() - began


@click.command(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.option("--exit", "and_exit", is_flag=True, help="Stop all services again; exit 1 if anything failed.")
def main(and_exit: bool) -> None:
    """Start everything, load 336,776 real rows through Airflow, and show live how a model is trained on them.

    Services stay up afterwards; ./run down stops them. Running it again makes new versions.

    Example: ./run demo --exit
    """
    stack = Stack()
    try:
        demo(stack)
    finally:
        if and_exit:
            stack.down()


def demo(stack: Stack) -> Demo:
    """Run the demo from the start of the services to the report; raise ``StackError`` when any part of it fails."""
    done = Demo()
    with done.timed("start"):
        stack.up()
    source = place_flights(stack.place.home / DEMO)
    place_weather(stack.place.home / DEMO)
    airflow, bridge = Airflow(stack.place), Bridge(stack.place)
    since = datetime.now(UTC)
    with AirflowClient(airflow.address, USER, airflow.password()) as client:
        with done.timed("run"):
            wait_for_dags(client, airflow)
            done.run_id = client.trigger(DAG, {"dataset": DATASET, "source": str(source), "null_values": ["NA"]})
            page = f"{bridge.address}/runs/{DAG}/{quote(done.run_id, safe='')}"
            say(f"loading {source.name} ({human_bytes(source.stat().st_size)}) as {DATASET}; watch it at {page}")
            done.result, _ = finished_run(client, bridge, airflow, DAG, done.run_id, ("publish", "warm"))
        flights = f"{DATASET}@{done.result.results['publish']['version']}"
        following = Following(client, bridge, airflow, since)
        with done.timed("prepare"):
            say(f"{PREPARE_DAG} follows; watch it at {bridge.address}/")
            done.prepared, _ = following.result(PREPARE_DAG, "publish", lambda made: flights in _inputs(made))
        data = f"{done.prepared['dataset']}@{done.prepared['version']}"
        with done.timed("train"):
            say(f"{TRAIN_DAG} follows; watch its curves at {bridge.address}/")
            done.model, tasks = following.result(TRAIN_DAG, "train", lambda made: made.get("data") == data)
        done.chunks = _chunks_read(tasks)
    report(done, airflow, bridge)
    return done


def wait_for_dags(client: AirflowClient, airflow: Airflow) -> None:
    """Wait until Airflow has read all DAGs, because a load starts only runs of DAGs that were read before its event.

    Raises ``StackError`` if one is paused, or is not read within ``PARSE_TIMEOUT_S``.
    """
    for dag_id in DAGS:
        if client.wait_for_dag(dag_id, PARSE_TIMEOUT_S)["is_paused"]:
            raise StackError(f"the DAG {dag_id} is paused", hint=f"unpause it at {airflow.address}/dags/{dag_id}")


def _chunks_read(tasks: Sequence[TaskState]) -> dict[str, float]:
    """Return the chunks that the training read from each tier, as its newest events say."""
    metrics: dict[str, Any] = {name: value for task in tasks for name, value in task.data.get("metrics", {}).items()}
    return {tier: metrics.get(f"chunks_{tier}") or 0.0 for tier in ("process", "redis", "cassandra")}


def _inputs(report: dict[str, Any]) -> list[str]:
    """Return the versions from which training data was prepared."""
    return list(((report.get("training") or {}).get("inputs") or {}).values())


@dataclass(frozen=True)
class Following:
    """Waiting for runs that Airflow starts by itself after ``since``."""

    client: AirflowClient
    bridge: Bridge
    airflow: Airflow
    since: datetime

    def result(
        self, dag_id: str, task_id: str, is_wanted: Callable[[dict[str, Any]], bool]
    ) -> tuple[dict[str, Any], tuple[TaskState, ...]]:
        """Show the runs of a DAG until the result of ``task_id`` is the wanted one; return it, and the run's tasks.

        Airflow may start a run before all inputs have their new versions. Raises ``StackError`` if a run fails, or if
        no run has the result within ``FOLLOW_TIMEOUT_S``.
        """
        deadline, seen = time.monotonic() + FOLLOW_TIMEOUT_S, set[str]()
        while time.monotonic() < deadline:
            for run_id in self._runs(dag_id):
                if run_id not in seen:
                    seen.add(run_id)
                    run, tasks = finished_run(self.client, self.bridge, self.airflow, dag_id, run_id, (task_id,))
                    if is_wanted(made := run.results.get(task_id) or {}):
                        return made, tasks
            time.sleep(FOLLOW_INTERVAL_S)
        ended = ", ".join(sorted(seen)) or "no run"
        raise StackError(
            f"no run of {dag_id} had the wanted result within {FOLLOW_TIMEOUT_S:g} s; ended: {ended}",
            hint=f"see {self.airflow.log}",
        )

    def _runs(self, dag_id: str) -> list[str]:
        """Return the runs that began after ``since``, oldest first."""
        path = f"/api/v2/dags/{dag_id}/dagRuns"
        runs = self.client.get(path, order_by="run_after", run_after_gte=self.since.isoformat())["dag_runs"]
        return [run["dag_run_id"] for run in runs]


def finished_run(
    client: AirflowClient, bridge: Bridge, airflow: Airflow, dag_id: str, run_id: str, results: tuple[str, ...]
) -> tuple[RunResult, tuple[TaskState, ...]]:
    """Show a run live until its end; return its result and the newest state of each task.

    Raises ``StackError`` with the reason if it fails.
    """
    result, watched = watch_run(client, bridge.address, dag_id, run_id, results)
    if result.state != "success":
        why = _why(client, dag_id, run_id, watched)
        raise StackError(f"the run {run_id} of {dag_id} {result.state}: {why}", hint=f"see {airflow.log}")
    return result, watched


def watch_run(
    client: AirflowClient, bridge_url: str, dag_id: str, run_id: str, results: tuple[str, ...]
) -> tuple[RunResult, tuple[TaskState, ...]]:
    """Show the run from the bridge's events until Airflow reports its end.

    Returns Airflow's result of the run and the latest state of each task. If the bridge fails, it waits for Airflow
    without live progress.
    """
    watcher = Watcher(bridge_url, dag_id=dag_id, run_id=run_id)
    ended: Future[RunResult] = Future()

    def wait() -> None:
        try:
            ended.set_result(client.wait_for_run(dag_id, run_id, timeout_s=RUN_TIMEOUT_S, results=results))
        except Exception as error:  # noqa: BLE001 - raised again by the caller of ``ended.result()``
            ended.set_exception(error)
        finally:
            watcher.finish()

    # A daemon thread: Ctrl-C must not wait for Airflow.
    threading.Thread(target=wait, name="airflow-run", daemon=True).start()
    try:
        follow(watcher, until_done=False, timeout_s=RUN_TIMEOUT_S)
    except ProgressError as error:
        say(f"no live progress: {error}")
    return ended.result(), watcher.result().tasks


def report(done: Demo, airflow: Airflow, bridge: Bridge) -> None:
    """Print the figures of the runs, the addresses to open and commands to try."""
    print_load(done.result.results["publish"], done.result.results.get("warm", {}), done.took_s)
    print_prepared(done.prepared)
    print_model(done.model, done.chunks)
    print()
    print_facts(
        [
            ("Airflow", f"{airflow.address}/dags/{DAG}/runs/{quote(done.run_id, safe='')}"),
            ("", f"user {USER}, password {airflow.password()}"),
            ("live progress", f"{bridge.address}/"),
            ("declared sources", f"{airflow.address}/dags?dag_id_pattern=ingest_: {', '.join(_declared_dags())}"),
            ("training", f"{airflow.address}/dags/{PREPARE_DAG} and {airflow.address}/dags/{TRAIN_DAG}"),
        ],
        title="Open",
    )
    print()
    print_facts(
        [
            (f"{MILLRACE} show {DATASET}", "schema, sizes, replicas"),
            (f"{MILLRACE} read {DATASET} --filter \"carrier = 'AA' and dep_delay > 120\"", "read it back"),
            (f"{MILLRACE} verify {DATASET} --each-replica", "check every chunk on each node alone"),
            (f"{MILLRACE} read {done.prepared['dataset']} --split val --head 5", "the training data"),
            (f"{MILLRACE} lineage {DATASET}", "everything that was made from it"),
        ],
        title="Try",
    )


def _declared_dags() -> list[str]:
    """Return the DAGs of the declared sources."""
    return [f"ingest_{name}" for name in read_sources(sources_path(load_settings())).entries]


def _why(client: AirflowClient, dag_id: str, run_id: str, watched: Sequence[TaskState]) -> str:
    """Return the failed tasks in the order in which they failed, each with its error message."""
    tasks = [each for each in client.task_instances(dag_id, run_id) if each["state"] == "failed"]
    messages = {task.key[2:]: task.error["message"] for task in watched if task.error}
    reasons = []
    for each in sorted(tasks, key=lambda each: str(each["end_date"])):
        task_id, index = each["task_id"], each["map_index"]
        name = f"{task_id}[{index}]" if index >= 0 else task_id
        reasons.append(f"{name} ({messages.get((task_id, index), 'without a word')})")
    return f"{', '.join(reasons)} failed" if reasons else "no task failed; see the scheduler"


def say(line: str) -> None:
    """Print one line and flush it."""
    print(line, flush=True)


def run() -> None:
    """Run the command line; an error of the project is one message and exit code 1 or 2."""
    try:
        main(prog_name="./run demo", standalone_mode=False)
    except MillraceError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2 if isinstance(error, UsageError) else 1)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except (KeyboardInterrupt, click.Abort):
        print("stopped; ./run status lists the processes that still run", file=sys.stderr)
        sys.exit(130)


if __name__ == "__main__":
    run()
