"""Train a model by hand, from the form: by the function of a declared entry, on one version of its dataset."""

from __future__ import annotations

from airflow.sdk import dag

from millrace.airflow import TAG
from millrace.airflow.retry import task_defaults
from millrace.airflow.train_tasks import DOC, train_task
from millrace.airflow.training_forms import form_training, train_form


@dag(
    dag_id="train_model",
    dag_display_name="Train a model",
    description="Train a model by hand, from the form, by the function of a declared entry.",
    doc_md=f"{__doc__}\n\n{DOC}",
    tags=[TAG, "train"],
    params=train_form(),
    schedule=None,
    is_paused_upon_creation=False,
    max_active_runs=4,
    default_args=task_defaults(),
)
def train_model() -> None:
    """Define the task, which trains one model."""
    train_task(lambda context: form_training(context["params"]))


train_model()
