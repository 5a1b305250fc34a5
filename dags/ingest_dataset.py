"""Load a dataset from files into Cassandra, by hand, from the form.

The steps are:

* **plan** decides source, schema, splits and version. It writes nothing.
* **load** has one task for each split, which writes the chunks of the split to two nodes.
* **verify** reads every chunk and checks it.
* **publish** makes the version visible by writing one row: either the whole version is visible or none of it.
* **warm** copies the version into Redis, if it fits.

The result of the run is the load report: rows, raw and stored bytes, chunks, replicas, seconds, rows/s.

The tab *Live* and the link *Live progress* of each task show its progress.

### Triage

Nothing is visible to readers before *publish* has succeeded. A failed run therefore breaks nothing: older versions are
unchanged. `millrace fsck` finds and removes the data that it wrote. Clearing a failed task continues the same load.

* **plan**: the source is missing, unreadable, outside of the allowed folders, or does not match the form's options. The
  message names the file, the line and the option that fixes it. Start a new run.
* **load**: a row, a type or a byte in the middle of the source is wrong (not retried): fix it and start a new run. Or
  no Cassandra node responds (retried): check `millrace doctor`, then clear the task.
* **verify**: a chunk differs from the written one, or its nodes are down. See the logs of the nodes, then clear *load*
  with its downstream tasks.
* **publish**: no Cassandra node responds, or a manifest page is missing. Check `millrace doctor`, then clear the task.
* **warm**: Cassandra does not respond (a Redis that is down or full is no failure). The version is already visible.
  Run `millrace warm NAME` later.

One replica instead of two (`degraded` in the report) is no failure. `millrace repair NAME` restores the second one.
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

# Airflow skips a load without splits. The tasks after it still run and publish a version without rows.
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
        # For a killed process: Airflow does not call the retry policy then.
        "retry_delay": timedelta(seconds=30),
        "execution_timeout": timedelta(hours=12),
    },
)
def ingest_dataset() -> None:
    """Define the DAG. One run is one load: the same run, retried or cleared, makes the same version."""

    @task
    def plan(params: Json | None = None) -> list[int]:
        """Fix source, schema, splits and version; write nothing."""
        return ingest.plan(params or {})

    # Each of these tasks uses every core of its worker and up to 250 MB. Airflow shows a mapped task's doc_md, but not
    # its docstring.
    @task(
        map_index_template="{{ label }}",
        max_active_tis_per_dagrun=4,
        doc_md="Write one split on two nodes. Readers see nothing of it yet.",
    )
    def load(split: int, planned: Json) -> Json:
        """Write one split on two nodes. Readers see nothing of it yet."""
        return ingest.load(planned, split)

    @task(trigger_rule=AFTER_LOAD)
    def verify(planned: Json, loaded: list[Json]) -> Json:
        """Read every chunk back and check it."""
        return ingest.verify(planned, loaded)

    @result
    @task(trigger_rule=AFTER_LOAD, outlets=[DATASETS])
    def publish(planned: Json, loaded: list[Json]) -> Json:
        """Make the whole version visible; return the load report."""
        return ingest.publish(planned, loaded)

    @task
    def warm(report: Json, params: Json | None = None) -> Json:
        """Put the version into Redis, if it fits as a whole."""
        return ingest.warm(report, requested=(params or {})["warm"])

    splits: Any = plan()
    the_plan = splits[ingest.PLAN_KEY]
    loaded: Any = load.partial(planned=the_plan).expand(split=splits)
    published = publish(the_plan, loaded)
    verify(the_plan, loaded) >> published
    warm(published)


ingest_dataset()
