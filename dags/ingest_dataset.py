"""Load a dataset from files into Cassandra, by hand, from the form.

The steps are **plan** (source, schema, splits and version are fixed; nothing is written), **load** (one task for each
split writes its chunks, each on two nodes), **verify** (every chunk is read back and checked), **publish** (one row
makes the version visible, whole or not at all) and **warm** (into Redis, if it fits). The result of the run is the
load report: rows, raw and stored bytes, chunks, replicas, seconds, rows/s.

The tab *Live* and the link *Live progress* of each task show how far it is.

### Triage

Nothing is visible to readers before *publish* has succeeded, so a failed run has broken nothing: older versions are
as they were. What it wrote is found and removed by `millrace fsck`. Clearing a failed task goes on with the same load.

* **plan**: the source is missing, unreadable, outside of the allowed folders or not what the form says. The message
  names the file, the line and the option that mends it; start a new run.
* **load**: a row, a type or a byte is wrong in the middle of the source (not retried): mend it, start a new run. Or no
  Cassandra node answers (retried): `./run status`, then clear the task.
* **verify**: a chunk is not what was written, or its nodes are down: see the nodes' logs, then clear *load* with what
  follows it.
* **publish**: no Cassandra node answers, or a manifest page is missing: `./run status`, then clear the task.
* **warm**: Cassandra does not answer (a Redis that is down or full fails nothing). The version is visible already:
  `millrace warm NAME` later.

One replica instead of two (`degraded` in the report) is no failure: `millrace repair NAME` mends it.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from airflow.sdk import TriggerRule, dag, result, task

from millrace.airflow import TAG, ingest
from millrace.airflow.assets import DATASETS
from millrace.airflow.form import load_form
from millrace.airflow.retry import RetriableErrors

Json = dict[str, Any]

# A load of no splits is skipped by Airflow, and what follows goes on: it publishes a version without rows.
AFTER_LOAD = TriggerRule.NONE_FAILED


@dag(
    dag_id="ingest_dataset",
    dag_display_name="Ingest a dataset",
    description="Load a dataset from files into Cassandra, by hand, from the form.",
    doc_md=__doc__,
    tags=[TAG, "ingest"],
    params=load_form(),
    schedule=None,
    is_paused_upon_creation=False,
    max_active_runs=4,
    default_args={
        "owner": "millrace",
        "retries": 3,
        "retry_policy": RetriableErrors(),
        # After a process that was killed, where no policy is asked.
        "retry_delay": timedelta(seconds=30),
        "execution_timeout": timedelta(hours=12),
    },
)
def ingest_dataset() -> None:
    """One run is one load: the same run, retried or cleared, is the same version."""

    @task
    def plan(params: Json | None = None) -> list[int]:
        """Fix source, schema, splits and version; write nothing."""
        return ingest.plan(params or {})

    # Each of these tasks uses every core of its worker and up to 250 MB. A mapped task's docstring reaches no page.
    @task(
        map_index_template="{{ label }}",
        max_active_tis_per_dagrun=4,
        doc_md="Write one split, on two nodes; nothing is visible yet.",
    )
    def load(split: int, planned: Json) -> Json:
        """Write one split, on two nodes; nothing is visible yet."""
        return ingest.load(planned, split)

    @task(trigger_rule=AFTER_LOAD)
    def verify(planned: Json, loaded: list[Json]) -> Json:
        """Read every chunk back and check it."""
        return ingest.verify(planned, loaded)

    @result
    @task(trigger_rule=AFTER_LOAD, outlets=[DATASETS])
    def publish(planned: Json, loaded: list[Json]) -> Json:
        """Make the version visible, whole; return the load report."""
        return ingest.publish(planned, loaded)

    @task
    def warm(report: Json, params: Json | None = None) -> Json:
        """Put the version into Redis, if it fits as a whole."""
        return ingest.warm(report, wanted=(params or {})["warm"])

    splits: Any = plan()
    the_plan = splits[ingest.PLAN_KEY]
    loaded: Any = load.partial(planned=the_plan).expand(split=splits)
    published = publish(the_plan, loaded)
    verify(the_plan, loaded) >> published
    warm(published)


ingest_dataset()
