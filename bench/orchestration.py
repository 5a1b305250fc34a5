"""``bench orchestration``: from the trigger of a DAG to a readable version of 1 MB, beside a DAG that does nothing."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

from bench.cluster import cluster, services
from bench.data import flights_csv, scratch
from bench.options import Options
from bench.report import Report
from local_stack.airflow_client import AirflowClient
from local_stack.product import INBOX
from local_stack.services.airflow import USER, Airflow
from local_stack.settings import CHECKOUT
from local_stack.stack import Stack
from millrace import Store, connect
from millrace.errors import DatasetNotFoundError, StackError, VersionNotFoundError

__all__ = ["run"]

_LOAD, _EMPTY = "ingest_dataset", "bench_empty"
_DATASET = "bench_orchestration"
_MANY = 10
_SOURCE_BYTES = 1_000_000
_LONGER_S = 2.0
_TIMEOUT_S = 600.0
_POLL_S = 0.02
_NOT_YET = (DatasetNotFoundError, VersionNotFoundError)
"""The errors before the first version; the second one if the version is published during the look-up."""


def run(options: Options) -> Report:
    """Run both DAGs ``options.runs`` times in turn, then ten loads at once; report medians.

    Raises when a run fails, and when an Airflow runs already, which would not have the DAG that does nothing.
    """
    report = Report("orchestration")
    with cluster() as on, scratch() as folder:
        report.extra_versions = {"cassandra": on.release}
        dags = _dags_folder(folder)
        with (
            services("cassandra", "kafka", "redis", "airflow", dags_folder=dags) as stack,
            _source(stack) as source,
            _client(stack) as client,
            connect() as store,
        ):
            try:
                _race(report, options, _Loads(client, store, source))
            finally:
                _forget(store)
    return report


def _race(report: Report, options: Options, loads: _Loads) -> None:
    for dag_id in (_LOAD, _EMPTY):
        loads.client.wait_for_dag(dag_id, _TIMEOUT_S)
    options.say("warming up")
    loads.seconds(1)
    loads.empty_seconds()
    ours, empty, many = [], [], []
    for turn in range(options.runs):
        ours.append(loads.seconds(1))
        empty.append(loads.empty_seconds())
        many.append(loads.seconds(_MANY))
        options.say(
            f"  {turn + 1}/{options.runs} load {ours[-1]:.2f} s, empty {empty[-1]:.2f} s, {_MANY} {many[-1]:.2f} s"
        )
    load_s, empty_s, many_s = (statistics.median(seconds) for seconds in (ours, empty, many))
    report.add("trigger to readable version of 1 MB", load_s, "s")
    report.add("trigger to the end of publish, tasks that do nothing", empty_s, "s")
    report.add(f"trigger of {_MANY} loads to the last readable version", many_s, "s")
    report.number("orchestration_over_empty_s", load_s - empty_s, at_most=_LONGER_S)
    report.number("orchestration_ten_vs_one", many_s / load_s)
    report.notes.append(f"Medians of {options.runs} runs in turn, after one uncounted run of each DAG.")


class _Loads:
    """Runs of the two DAGs in a real Airflow, timed from the request that triggers them."""

    def __init__(self, client: AirflowClient, store: Store, source: Path) -> None:
        self.client = client
        self._store = store
        self._source = source

    def seconds(self, count: int) -> float:
        """Trigger loads of ``count`` datasets; return the seconds until each new version can be read."""
        names = [f"{_DATASET}_{number}" for number in range(count)]
        before = {name: self._newest(name) for name in names}
        began = time.monotonic()
        runs = [self.client.trigger(_LOAD, {"dataset": name, "source": str(self._source)}) for name in names]
        waiting = set(names)
        while waiting:
            waiting -= {name for name in waiting if self._newest(name) > before[name]}
            if time.monotonic() - began > _TIMEOUT_S:
                raise StackError(f"{len(waiting)} of {count} versions are missing after {_TIMEOUT_S:g} s")
            time.sleep(_POLL_S)
        seconds = time.monotonic() - began
        for run_id in runs:
            self._wait(_LOAD, run_id)
        return seconds

    def empty_seconds(self) -> float:
        """Trigger the DAG that does nothing; return the seconds until its task ``publish`` has ended."""
        began_s = time.time()
        run_id = self.client.trigger(_EMPTY, {})
        self._wait(_EMPTY, run_id)
        tasks = self.client.task_instances(_EMPTY, run_id)
        end = next(task["end_date"] for task in tasks if task["task_id"] == "publish")
        return datetime.fromisoformat(end).timestamp() - began_s

    def _newest(self, name: str) -> int:
        try:
            return self._store.version(name).number
        except _NOT_YET:
            return 0

    def _wait(self, dag_id: str, run_id: str) -> None:
        state = self.client.wait_for_run(dag_id, run_id, timeout_s=_TIMEOUT_S).state
        if state != "success":
            raise StackError(f"{dag_id}/{run_id} {state}")


def _dags_folder(folder: Path) -> Path:
    """Return a folder with the DAGs of the checkout and the DAG that does nothing."""
    dags = folder / "dags"
    dags.mkdir()
    for source in (*(CHECKOUT / "dags").glob("*.py"), Path(__file__).with_name("empty_dag.py")):
        (dags / source.name).symlink_to(source)
    return dags


@contextmanager
def _source(stack: Stack) -> Iterator[Path]:
    """Write 1 MB of whole lines of flights into the inbox; remove the file at the end."""
    path = stack.place.folder(INBOX) / f"{_DATASET}.csv"
    with flights_csv(1).open("rb") as lines:
        data = lines.read(_SOURCE_BYTES)
    path.write_bytes(data[: data.rindex(b"\n") + 1])
    try:
        yield path
    finally:
        path.unlink()


def _client(stack: Stack) -> AirflowClient:
    airflow = Airflow(stack.place)
    return AirflowClient(airflow.address, USER, airflow.password())


def _forget(store: Store) -> None:
    for number in range(_MANY):
        try:
            store.delete(f"{_DATASET}_{number}", whole=True, now=True)
        except _NOT_YET:
            continue
