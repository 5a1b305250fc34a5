"""Load a dataset from files into Cassandra, by hand, from the form."""

from __future__ import annotations

from airflow.sdk import dag

from millrace.airflow import TAG
from millrace.airflow.form import FormRequest, load_form
from millrace.airflow.ingest_tasks import DOC, ingest_tasks
from millrace.airflow.retry import task_defaults


@dag(
    dag_id="ingest_dataset",
    dag_display_name="Ingest a dataset",
    description="Load a dataset from files into Cassandra, by hand, from the form.",
    doc_md=f"{__doc__}\n{DOC}",
    tags=[TAG, "ingest"],
    params=load_form(),
    schedule=None,
    is_paused_upon_creation=False,
    max_active_runs=4,
    default_args=task_defaults(),
)
def ingest_dataset() -> None:
    """Define plan, load of each split, verify, publish and warm, in this order.

    One run is one load: the same run, retried or cleared, makes the same version.
    """
    ingest_tasks(lambda context: FormRequest(context["params"]))


ingest_dataset()
