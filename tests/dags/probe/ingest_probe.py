"""A DAG in the style of the product, whose task processes are killed or marked by a user."""

from __future__ import annotations

import os
import signal
import time
from datetime import timedelta

from airflow.sdk import dag, get_current_context, task

from millrace.airflow import TAG
from millrace.airflow.connections import airflow_settings
from millrace.airflow.reporter import reporting


@dag(
    dag_id="ingest_probe",
    schedule=None,
    tags=[TAG],
    is_paused_upon_creation=False,
    params={"how": "killed"},
    default_args={"retry_delay": timedelta(seconds=0)},
)
def ingest_probe() -> None:
    """Define tasks that report that they run and then end in the way given by the parameter ``how``."""

    def die(attempts_left: int) -> None:
        context = get_current_context()
        with reporting("load", dataset="probe", settings=airflow_settings()) as report:
            report.phase("dying")
            if context["params"]["how"] == "marked":
                # Until a user's mark reaches the supervisor, which then ends this process.
                time.sleep(120)
            elif context["ti"].try_number <= attempts_left:
                os.kill(os.getpid(), signal.SIGKILL)

    @task
    def killed_for_good() -> None:
        die(attempts_left=99)

    @task(retries=1)
    def killed_once() -> None:
        die(attempts_left=1)

    killed_for_good()
    killed_once()


ingest_probe()
