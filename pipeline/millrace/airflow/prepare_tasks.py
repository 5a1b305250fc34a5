"""The five tasks of a preparation, for the DAG of the form and for the DAG of each entry of the training file."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from airflow.sdk import TriggerRule, get_current_context, result, task

from millrace.airflow import prepare as work
from millrace.airflow.assets import DATASETS

Json = dict[str, Any]

# Unchanged inputs skip ``prepare``, and ``publish`` still reports the version and checks ``expect``. An input that does
# not exist skips ``plan``, and then every task.
AFTER_PREPARE = TriggerRule.NONE_FAILED_MIN_ONE_SUCCESS

DOC = """
The steps are:

* **plan** fixes the exact versions of the inputs and the label of the version. It writes nothing.
* **prepare** fetches the needed columns, runs the query in DuckDB, splits and orders the rows, and writes them to two
  nodes.
* **verify** reads every chunk and checks it.
* **publish** checks the limits of `expect` and makes the version visible by writing one row.
* **warm** copies the version into Redis, or the first chunks that fit.

The result of the run is the report: rows in, dropped rows by reason, rows per split and class, spilled bytes, seconds
per stage, warnings, and the change against the version before. `docs/prepare.md` describes the rules.

The tab *Live* and the link *Live progress* of each task show its progress.

### Triage

Nothing is visible to readers before *publish* has succeeded. A failed run therefore breaks nothing: older versions are
unchanged. `millrace fsck` finds and removes the data that it wrote. Clearing a failed task continues the same run.

* **plan**: the declaration is wrong, or a version of an input does not exist. The message names the field. A run of a
  declared entry is skipped while an input does not exist, and the reason names it.
* **prepare**: the query or a rule does not fit the data (not retried): the message names the column. Or the disk has no
  room, or no Cassandra node responds (retried): check `millrace doctor`, then clear the task.
* **verify**: a chunk differs from the written one, or its nodes are down. See the logs of the nodes, then clear
  *prepare* with its downstream tasks.
* **publish**: a limit of `expect` is exceeded; correct the inputs or the limits. Or no Cassandra node responds: check
  `millrace doctor`, then clear the task.
* **warm**: Cassandra does not respond (a Redis that is down or full is no failure). The version is already visible.
  Run `millrace warm NAME` later.

One replica instead of two (`degraded` in the report) is no failure. `millrace repair NAME` restores the second one.
"""
"""The steps and the triage, for the documentation of a DAG."""


def prepare_tasks(request_of: Callable[[Any], work.Request]) -> None:
    """Define the tasks in the current DAG: plan, prepare, verify, publish, warm.

    ``request_of`` returns what a run prepares, by the context of one of its tasks.
    """

    @task(multiple_outputs=False)
    def plan() -> Json:
        """Fix the versions of the inputs and the label of the version; write nothing."""
        return work.plan(request_of(get_current_context()))

    @task(multiple_outputs=False)
    def prepare(planned: Json) -> Json:
        """Run the query and write the rows on two nodes. Readers see nothing of them yet."""
        return work.prepare(planned)

    @task(trigger_rule=AFTER_PREPARE)
    def verify(planned: Json, prepared: Json | None) -> Json:
        """Read every chunk back and check it."""
        return work.verify(planned, prepared)

    @result
    @task(trigger_rule=AFTER_PREPARE, outlets=[DATASETS])
    def publish(planned: Json, prepared: Json | None) -> Json:
        """Check the limits of the entry and make the whole version visible; return the report."""
        return work.publish(planned, prepared)

    @task
    def warm(report: Json) -> Json:
        """Put the version into Redis, or the first chunks that fit."""
        return work.warm(report, requested=request_of(get_current_context()).warm)

    planned: Any = plan()
    prepared: Any = prepare(planned)
    published = publish(planned, prepared)
    verify(planned, prepared) >> published
    warm(published)
