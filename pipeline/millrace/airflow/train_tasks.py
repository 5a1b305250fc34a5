"""The task of a training, for the DAG of the form and for the DAG of each entry of the training file."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from airflow.sdk import get_current_context, result, task

from millrace.airflow import train as work
from millrace.airflow.assets import DATASETS

Json = dict[str, Any]

DOC = """
The task **train** calls the training function of the entry with the splits of a version. It keeps the files, the
metrics and the report that the function returns as a new version of the dataset `NAME_model`. The tag `best` moves to
it only if its validation score is better. A model of the same data, function and seed is not trained again.

The result of the run is the report of the model. The tab *Live* and the link *Live progress* show its curves.

### Triage

A failed run changes no model. Clearing the task trains again.

* **train**: the function cannot be imported or has failed (not retried): the message names the module and the line.
  Correct it and clear the task. Or no Cassandra node responds (retried): check `millrace doctor`.
"""
"""The step and the triage, for the documentation of a DAG."""


def train_task(training_of: Callable[[Any], work.Training]) -> None:
    """Define the task in the current DAG. ``training_of`` returns the training of a run, by the context of its task."""

    @result
    @task(outlets=[DATASETS])
    def train() -> Json:
        """Train the model and keep it as a version; return its report."""
        return work.train(training_of(get_current_context()))

    train()
