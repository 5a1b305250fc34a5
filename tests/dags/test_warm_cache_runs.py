"""``warm_cache`` in a real Airflow: versions that training jobs opened are in Redis after a run, within its budget."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import numpy as np
import pyarrow as pa
import pytest
import redis

from local_stack.airflow_client import AirflowClient
from millrace.api import Store
from millrace.load import LoadOptions
from millrace.settings import load_settings
from millrace.store import Version
from tests.dags.declared import until
from tests.dags.events import run_progress

DAG, TASK = "warm_cache", "warm_opened"
RUN_S = 120
ROWS = 20_000
TABLE = pa.table({"row": np.arange(ROWS), "value": np.random.default_rng(7).random(ROWS)})
"""Compressible and incompressible numbers: several chunks of 64 KB, of which the raw form is larger."""


@dataclass(frozen=True)
class Versions:
    """A version that three jobs have opened, one that two have opened, and one of a single job."""

    often: Version
    twice: Version
    once: Version


@pytest.fixture
def opened(store: Store) -> Iterator[Versions]:
    """Load three datasets, and begin to train on them; each loader is a job of its own.

    Redis is emptied before, because jobs of other tests have opened versions, which would take the budget.
    """
    redis.from_url(load_settings().redis.url.get_secret_value()).flushdb()
    names = [f"dags_{uuid4().hex[:8]}" for _ in range(3)]
    for name in names:
        store.load(name, TABLE, LoadOptions(chunk_bytes=65_536))
    often, twice, once = map(store.version, names)
    train(store, often, jobs=3)
    train(store, twice, jobs=2)
    train(store, once, jobs=1)
    yield Versions(often, twice, once)
    assert store.cache is not None
    for name in names:
        store.cache.evict(name)


def train(store: Store, version: Version, jobs: int) -> None:
    """Take a batch in each of several jobs that run at once."""
    with ExitStack() as running:
        for _ in range(jobs):
            loader = running.enter_context(store.dataset(version.reference).training(global_batch_rows=800))
            next(iter(loader))


def no_scheduled_run_is_near(airflow: AirflowClient) -> bool:
    """Return whether the next run of the schedule, which has another budget, begins in more than a minute."""
    begins = airflow.get(f"/api/v2/dags/{DAG}")["next_dagrun_run_after"]
    return datetime.fromisoformat(begins) - datetime.now(UTC) > timedelta(minutes=1)


def tiers_of_a_read(store: Store, version: Version) -> tuple[int, int]:
    """Return how many chunks a read of all rows gets from Redis, and how many from Cassandra."""
    dataset = store.dataset(version.reference)
    assert dataset.to_table().equals(TABLE)
    return dataset.stats.redis, dataset.stats.cassandra


def test_a_run_warms_the_versions_that_two_jobs_opened_within_its_budget(
    opened: Versions, store: Store, airflow: AirflowClient
) -> None:
    airflow.wait_for_dag(DAG, timeout_s=RUN_S)
    until(lambda: no_scheduled_run_is_near(airflow), RUN_S, lambda: airflow.get(f"/api/v2/dags/{DAG}"))
    budget_bytes = opened.often.stored_bytes
    run_id = airflow.trigger(DAG, {"budget_bytes": budget_bytes})
    done = airflow.wait_for_run(DAG, run_id, timeout_s=RUN_S)

    assert done.state == "success"
    result = done.results[TASK]
    assert [report["reference"] for report in result["warmed"]] == [opened.often.reference]
    assert opened.twice.reference in result["over_budget"]
    assert opened.once.reference not in result["over_budget"]
    assert opened.often.chunks > 1
    assert opened.often.raw_bytes > budget_bytes
    assert tiers_of_a_read(store, opened.often) == (opened.often.chunks, 0)
    for version in (opened.twice, opened.once):
        assert tiers_of_a_read(store, version) == (0, version.chunks)
    assert store.cache is not None
    [part] = [part for part in store.cache.parts() if part.dataset == opened.often.dataset]
    assert (part.form, part.chunks) == ("stored", opened.often.chunks)
    is_shown_as_warming(run_id, opened.often)


def is_shown_as_warming(run_id: str, version: Version) -> None:
    """Wait until the bridge has the end of the run, a task of the kind ``warm`` that names its result."""

    def over() -> Any:
        progress = run_progress(DAG, run_id)
        return progress if progress["runs"] and progress["runs"][0]["over"] else None

    progress = until(over, RUN_S, lambda: run_progress(DAG, run_id))
    assert progress["runs"][0]["state"] == "succeeded"
    [event] = [event for event in progress["events"] if not event["source"].endswith("/airflow")]
    assert (event["data"]["task_id"], event["data"]["kind"]) == (TASK, "warm")
    assert "1 versions are in Redis" in event["data"]["message"]
