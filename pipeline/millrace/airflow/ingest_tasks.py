"""The five tasks of an ingestion, for the DAG of the form and for the DAG of each declared source."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from airflow.sdk import TriggerRule, get_current_context, result, task

from millrace.airflow import ingest
from millrace.airflow.assets import DATASETS

Json = dict[str, Any]

# Airflow skips a load without splits. The tasks after it still run: they publish a version without rows, or report that
# the source is unchanged.
AFTER_LOAD = TriggerRule.NONE_FAILED

DOC = """
The steps are:

* **plan** decides source, schema, splits and version. It writes nothing.
* **load** has one task for each split, which writes the chunks of the split to two nodes.
* **verify** reads every chunk and checks it.
* **publish** makes the version visible by writing one row: either the whole version is visible or none of it.
* **warm** copies the version into Redis, or the first chunks that fit.

The result of the run is the load report: rows, raw and stored bytes, chunks, replicas, seconds, rows/s.

The tab *Live* and the link *Live progress* of each task show its progress.

### Triage

Nothing is visible to readers before *publish* has succeeded. A failed run therefore breaks nothing: older versions are
unchanged. `millrace fsck` finds and removes the data that it wrote. Clearing a failed task continues the same load.

* **plan**: the source is missing, unreadable, outside of the allowed folders, or does not match its options. The
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
"""The steps and the triage, for the documentation of a DAG."""


def ingest_tasks(request_of: Callable[[Any], ingest.Request]) -> None:
    """Define the tasks in the current DAG: plan, load of each split, verify, publish, warm.

    ``request_of`` returns what a run loads, by the context of one of its tasks.
    """

    @task
    def plan() -> list[int]:
        """Fix source, schema, splits and version; write nothing."""
        return ingest.plan(request_of(get_current_context()))

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
    def warm(report: Json) -> Json:
        """Put the version into Redis, or the first chunks that fit."""
        request = request_of(get_current_context())
        return ingest.warm(report, requested=request.warm, **request.warm_options)

    splits: Any = plan()
    the_plan = splits[ingest.PLAN_KEY]
    loaded: Any = load.partial(planned=the_plan).expand(split=splits)
    published = publish(the_plan, loaded)
    verify(the_plan, loaded) >> published
    warm(published)
