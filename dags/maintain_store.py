"""Maintain the store: keep everything on two nodes and every copy correct, and report data that was left behind.

The steps are:

* **repair** restores the second replica of all data recorded as under-replicated, the catalogue first.
* **verify** reads every chunk of the newest version of each dataset and checks it, on request on each node separately.
* **prune** deletes old versions if the form gives a number to keep, else by `keep` of the declared sources. Without
  either it deletes no version. A dataset comes before the datasets that it was made from, because the inputs of a
  version that is kept stay. It also deletes rejects of failed loads after 90 days.
* **fsck** reports data of failed loads and deleted versions. It removes nothing.

The result of the run is the report of **fsck**.

### Triage

No step changes data that readers see, except **prune**. Each step can be cleared and run again at any time.

* **repair**: a node is down (retried): check `millrace doctor`, start the node, clear the task. Data that cannot be
  repaired is named with dataset and bucket. No node has a good copy of it; load that dataset again.
* **verify**: the message names chunk and node. A wrong copy is replaced as soon as it is read, if the other one is
  good. Errors found by a check of each node alone are recorded for `millrace repair`. If both copies are bad, load the
  dataset again.
* **prune**: a node is down (retried), or the dataset's name is wrong.
* **fsck**: a node is down (retried). Remove the data that it names by hand, with `millrace fsck --delete`.
"""

from __future__ import annotations

from typing import Any

from airflow.sdk import Param, TriggerRule, dag, result, task

from millrace.airflow import TAG, maintain
from millrace.airflow.retry import task_defaults

Json = dict[str, Any]


@dag(
    dag_id="maintain_store",
    dag_display_name="Maintain the store",
    description="Repair under-replicated data, verify it, and report data of failed attempts.",
    doc_md=__doc__,
    tags=[TAG, "maintain"],
    params={
        "dataset": Param(
            None,
            type=["null", "string"],
            title="Dataset",
            description="Only this one. Empty: all of them.",
        ),
        "each_replica": Param(
            False,
            type="boolean",
            title="Each replica",
            description="Read every chunk from each of its nodes alone: twice the work, and no bad copy stays unseen.",
        ),
        "prune_keep": Param(
            None,
            type=["null", "integer"],
            minimum=1,
            title="Prune to",
            description="How many of the newest versions of each dataset to keep; older ones are deleted. Empty: "
            "`keep` of the declared sources counts, and all versions of other datasets are kept.",
        ),
    },
    schedule="0 3 * * *",
    catchup=False,
    is_paused_upon_creation=False,
    max_active_runs=1,
    default_args=task_defaults(),
)
def maintain_store() -> None:
    """Define the DAG. One run maintains the whole store, or one dataset."""

    @task
    def repair(params: Json | None = None) -> Json:
        """Restore the second replica of all under-replicated data."""
        return maintain.repair(params or {})

    @task
    def verify(params: Json | None = None) -> Json:
        """Read the newest version of each dataset again and check every chunk."""
        return maintain.verify(params or {})

    @task
    def prune(params: Json | None = None) -> Json:
        """Delete old versions, if the form or a declared source gives the number of versions to keep."""
        return maintain.prune(params or {})

    @result
    @task(trigger_rule=TriggerRule.NONE_FAILED)
    def fsck() -> Json:
        """Report data that was left behind; remove nothing."""
        return maintain.fsck()

    repair() >> verify() >> prune() >> fsck()


maintain_store()
