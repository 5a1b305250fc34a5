"""``./run demo``: start all services, load a real dataset through Airflow, show it live and report the result."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

import click

from local_stack.airflow_client import AirflowClient, RunResult
from local_stack.flights import place_flights, place_weather
from local_stack.product import DEMO
from local_stack.services.airflow import USER, Airflow
from local_stack.services.bridge import Bridge
from local_stack.stack import Stack
from millrace.cli.live import follow
from millrace.cli.output import print_facts
from millrace.cli.watcher import Watcher
from millrace.declarations import read_sources, sources_path
from millrace.display import human_bytes, human_seconds
from millrace.errors import MillraceError, ProgressError, StackError, UsageError
from millrace.progress import TaskState
from millrace.settings import load_settings

DAG = "ingest_dataset"
DATASET = "flights"
PARSE_TIMEOUT_S = 120.0
RUN_TIMEOUT_S = 600.0
MILLRACE = ".venv/bin/millrace"


@dataclass
class Demo:
    """The facts for the report: the run, its result, and the seconds that each part took."""

    run_id: str = ""
    result: RunResult = field(default_factory=lambda: RunResult("unknown", {}))
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
    """Start everything, load 336,776 real rows through Airflow, and show it live.

    Services stay up afterwards; ./run down stops them. Running it again makes a new version.

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
    with AirflowClient(airflow.address, USER, airflow.password()) as client:
        with done.timed("run"):
            if client.wait_for_dag(DAG, PARSE_TIMEOUT_S)["is_paused"]:
                raise StackError(f"the DAG {DAG} is paused", hint=f"unpause it at {airflow.address}/dags/{DAG}")
            done.run_id = client.trigger(DAG, {"dataset": DATASET, "source": str(source), "null_values": ["NA"]})
            page = f"{bridge.address}/runs/{DAG}/{quote(done.run_id, safe='')}"
            say(f"loading {source.name} ({human_bytes(source.stat().st_size)}) as {DATASET}; watch it at {page}")
            done.result, watched = watch_run(client, bridge.address, done.run_id)
        if done.result.state != "success":
            why = _why(client, done.run_id, watched)
            raise StackError(f"the run {done.run_id} {done.result.state}: {why}", hint=f"see {airflow.log}")
    report(done, airflow, bridge)
    return done


def watch_run(client: AirflowClient, bridge_url: str, run_id: str) -> tuple[RunResult, tuple[TaskState, ...]]:
    """Show the run from the bridge's events until Airflow reports its end.

    Returns Airflow's result of the run and the latest state of each task. If the bridge fails, it waits for Airflow
    without live progress.
    """
    watcher = Watcher(bridge_url, dag_id=DAG, run_id=run_id)
    ended: Future[RunResult] = Future()

    def wait() -> None:
        try:
            ended.set_result(client.wait_for_run(DAG, run_id, timeout_s=RUN_TIMEOUT_S, results=("publish", "warm")))
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
    """Print the figures of the load, the addresses to open and commands to try."""
    load: dict[str, Any] = done.result.results["publish"]
    warm: dict[str, Any] = done.result.results.get("warm", {})
    cached = warm.get("chunks", 0) + warm.get("already_cached", 0)
    if load["degraded"]:
        say("warning: some of it is on one node only; millrace repair mends it")
    print()
    print_facts(
        [
            ("rows", f"{load['rows']:,}"),
            ("raw bytes", f"{load['raw_bytes']:,} ({human_bytes(load['raw_bytes'])})"),
            ("stored bytes", f"{load['stored_bytes']:,} ({human_bytes(load['stored_bytes'])})"),
            ("ratio", f"{load['ratio']:.2f} raw bytes for each stored byte"),
            ("chunks", f"{load['chunks']:,}, {cached:,} of them in Redis"),
            ("replicas", f"{load['replicas']} of each chunk"),
            ("seconds", f"{load['seconds']:.1f} from the run's start until readers saw it ({load['splits']} splits)"),
            ("rows/s", f"{load['rows_per_s']:,.0f}, Airflow's scheduling included"),
            ("took", ", ".join(f"{part} {human_seconds(took)}" for part, took in done.took_s.items())),
        ],
        title=f"{load['dataset']}@{load['version']}",
    )
    print()
    print_facts(
        [
            ("Airflow", f"{airflow.address}/dags/{DAG}/runs/{quote(done.run_id, safe='')}"),
            ("", f"user {USER}, password {airflow.password()}"),
            ("live progress", f"{bridge.address}/"),
            ("declared sources", f"{airflow.address}/dags?dag_id_pattern=ingest_: {', '.join(_declared_dags())}"),
        ],
        title="Open",
    )
    print()
    print_facts(
        [
            (f"{MILLRACE} show {DATASET}", "schema, sizes, replicas"),
            (f"{MILLRACE} read {DATASET} --filter \"carrier = 'AA' and dep_delay > 120\"", "read it back"),
            (f"{MILLRACE} verify {DATASET} --each-replica", "check every chunk on each node alone"),
        ],
        title="Try",
    )


def _declared_dags() -> list[str]:
    """Return the DAGs of the declared sources."""
    return [f"ingest_{name}" for name in read_sources(sources_path(load_settings())).entries]


def _why(client: AirflowClient, run_id: str, watched: Sequence[TaskState]) -> str:
    """Return the failed tasks in the order in which they failed, each with its error message."""
    tasks = [each for each in client.task_instances(DAG, run_id) if each["state"] == "failed"]
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
