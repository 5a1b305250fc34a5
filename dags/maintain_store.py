"""Keep the store as it should be: everything on two nodes, every copy as it was written, nothing left behind unknown.

The steps are **repair** (what is on record as being on one node is brought to two, catalogue first), **verify** (every
chunk of the newest version of each dataset is read again and checked, from each node alone on request), **prune**
(only where the form gives a number: by default nothing is ever deleted) and **fsck** (says what dead loads and deleted
versions left; removes nothing). The result of the run is that report.

### Triage

Nothing here changes what readers see, and each step can be cleared and run again at any time.

* **repair**: a node is down (retried): `./run status`, start it, clear the task. Data that cannot be repaired is named
  with dataset and bucket: no node has a good copy of it; load that dataset again.
* **verify**: the message names chunk and node. A wrong copy is replaced as soon as it is read while the other one is
  good; what a check of each node alone finds is on record for `millrace repair`; when both are bad, load the dataset
  again.
* **prune**: a node is down (retried), or the name is wrong.
* **fsck**: a node is down (retried). What it names is removed by `millrace fsck --delete`, by a person.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from airflow.sdk import Param, TriggerRule, dag, result, task

from millrace.airflow import TAG, maintain
from millrace.airflow.retry import RetriableErrors

Json = dict[str, Any]


@dag(
    dag_id="maintain_store",
    dag_display_name="Maintain the store",
    description="Bring everything to two nodes, check it, and say what was left behind.",
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
            description="Delete all but so many of the newest versions of each dataset. Empty: delete nothing.",
        ),
    },
    schedule="0 3 * * *",
    catchup=False,
    is_paused_upon_creation=False,
    max_active_runs=1,
    default_args={
        "owner": "millrace",
        "retries": 3,
        "retry_policy": RetriableErrors(),
        # After a process that was killed, where no policy is asked.
        "retry_delay": timedelta(seconds=30),
        "execution_timeout": timedelta(hours=12),
    },
)
def maintain_store() -> None:
    """One run looks after everything, or after one dataset."""

    @task
    def repair(params: Json | None = None) -> Json:
        """Bring what is on one node only to two."""
        return maintain.repair(params or {})

    @task
    def verify(params: Json | None = None) -> Json:
        """Read the newest version of each dataset again and check every chunk."""
        return maintain.verify(params or {})

    @task
    def prune(params: Json | None = None) -> Json:
        """Delete old versions, if the form says how many stay."""
        return maintain.prune(params or {})

    @result
    @task(trigger_rule=TriggerRule.NONE_FAILED)
    def fsck() -> Json:
        """Say what was left behind; remove nothing."""
        return maintain.fsck()

    repair() >> verify() >> prune() >> fsck()


maintain_store()
