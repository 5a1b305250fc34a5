"""Prepare training data by hand, from the form: a declared entry, or own SQL over datasets."""

from __future__ import annotations

from airflow.sdk import dag

from millrace.airflow import TAG
from millrace.airflow.prepare_tasks import DOC, prepare_tasks
from millrace.airflow.retry import task_defaults
from millrace.airflow.training_forms import FormPreparation, prepare_form


@dag(
    dag_id="prepare_training_data",
    dag_display_name="Prepare training data",
    description="Prepare training data by hand, from the form: a declared entry, or own SQL.",
    doc_md=f"{__doc__}\n{DOC}",
    tags=[TAG, "prepare"],
    params=prepare_form(),
    schedule=None,
    is_paused_upon_creation=False,
    max_active_runs=4,
    default_args=task_defaults(),
)
def prepare_training_data() -> None:
    """Define plan, prepare, verify, publish and warm, in this order.

    One run is one preparation: the same run, retried or cleared, makes the same version.
    """
    prepare_tasks(lambda context: FormPreparation(context["params"]))


prepare_training_data()
