"""A DAG in the style of the product, whose runs are repeated in every way that Airflow offers."""

from __future__ import annotations

import os
import signal
import time
from datetime import timedelta

from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.sdk import dag, get_current_context, task
from airflow.sdk.exceptions import AirflowFailException

from millrace.airflow import TAG
from millrace.airflow.connections import airflow_settings
from millrace.airflow.reporter import reporting


@dag(
    dag_id="ingest_repeat",
    schedule=None,
    tags=[TAG],
    is_paused_upon_creation=False,
    max_active_runs=20,
    params={"how": "fail", "tries": 1},
    default_args={"retry_delay": timedelta(seconds=0)},
)
def ingest_repeat() -> None:
    """Define four tasks, of which ``b`` fails in its first ``tries`` attempts in the way given by ``how``."""

    def work() -> None:
        context = get_current_context()
        how, tries = context["params"]["how"], context["params"]["tries"]
        with reporting("load", dataset="repeat", settings=airflow_settings(), total=2) as report:
            report.advance(1)
            if context["ti"].task_id == "b" and context["ti"].try_number <= tries:
                if how == "fail":
                    raise AirflowFailException("told to fail")
                if how == "killed":
                    os.kill(os.getpid(), signal.SIGKILL)
                # Until a user's mark reaches the supervisor, which then ends this process.
                time.sleep(600)
            report.advance(1)

    @task
    def a() -> None:
        work()

    @task(retries=1)
    def b() -> None:
        work()

    @task
    def c() -> int:
        """Return 1, as a user's task without a reporter: only Airflow reports its state."""
        return 1

    a() >> b() >> c() >> EmptyOperator(task_id="end")


ingest_repeat()
