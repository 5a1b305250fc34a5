"""A DAG of your own that loads a file every night, with progress on the live page.

Copy it into the folder of your DAGs. The tag ``millrace`` makes the listener report its tasks.
"""

from __future__ import annotations

from datetime import timedelta

from airflow.sdk import dag, task

from millrace.airflow import TAG, connect
from millrace.airflow.retry import RetriableErrors


@dag(
    schedule="0 2 * * *",
    catchup=False,
    tags=[TAG],
    params={"source": "/data/flights.csv", "dataset": "flights_nightly"},
    default_args={"retries": 3, "retry_delay": timedelta(seconds=30), "retry_policy": RetriableErrors()},
)
def load_a_file() -> None:
    @task
    def load(params: dict[str, str] | None = None, run_id: str | None = None) -> int:
        """Load the file. The same run is the same load, so a retry resumes it and doubles no row."""
        given = params or {}
        with connect() as store:  # the connections cassandra_default, redis_default and kafka_default
            return store.load(given["dataset"], given["source"], run=run_id).rows

    load()


load_a_file()
