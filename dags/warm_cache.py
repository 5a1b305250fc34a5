"""Keep the versions that training jobs use in Redis.

Each run warms the versions that at least two jobs opened in the last 7 days, those of most jobs first, within a budget
in bytes. A version that is in Redis already costs nothing. The uses are recorded in Redis itself, so they are lost when
Redis loses its data.

### Triage

Cassandra has all data, so nothing depends on this DAG but the speed of reads. The task can be cleared at any time.

* **warm_opened**: no Cassandra node responds (retried): check `millrace doctor`. A Redis that is down or full is no
  failure: the result of the run says so.
* A version is left out: the log names it. Raise the budget (`MILLRACE_REDIS__WARM_BUDGET_BYTES`, or the form).
"""

from __future__ import annotations

from typing import Any

from airflow.sdk import Param, dag, result, task

from millrace.airflow import TAG
from millrace.airflow import warm_cache as work
from millrace.airflow.retry import task_defaults

Json = dict[str, Any]


@dag(
    dag_id="warm_cache",
    dag_display_name="Warm the cache",
    description="Put the versions that several jobs use into Redis.",
    doc_md=__doc__,
    tags=[TAG, "warm"],
    params={
        "budget_bytes": Param(
            None,
            type=["null", "integer"],
            minimum=0,
            title="Budget",
            description="Bytes of the versions that are kept in Redis, at most. Empty: the setting counts.",
        ),
    },
    schedule="30 * * * *",
    catchup=False,
    is_paused_upon_creation=False,
    max_active_runs=1,
    default_args=task_defaults(),
)
def warm_cache() -> None:
    """Define the DAG. One run warms all versions that are in use."""

    @result
    @task
    def warm_opened(params: Json | None = None) -> Json:
        """Put the versions that at least two jobs opened in the last 7 days into Redis."""
        return work.warm_opened(params or {})

    warm_opened()


warm_cache()
