"""The work of the task that trains a model."""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass
from typing import Any

from airflow.sdk import get_current_context
from airflow.sdk.exceptions import AirflowSkipException

from millrace.airflow.assets import emit_trained
from millrace.airflow.recording import run_identity
from millrace.airflow.reporter import step

RETURN_KEY = "return_value"

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Training:
    """The training that a run was started for: a declared entry, a version of its dataset, and a seed.

    The function is that of the entry.
    """

    entry: str
    version: str = ""
    """A version or tag of the training dataset; empty for the latest."""
    seed: int = 0

    @property
    def reference(self) -> str | None:
        """The version to train on, such as ``late_arrivals@12``; None for the latest."""
        if not self.version:
            return None
        return self.version if "@" in self.version else f"{self.entry}@{self.version}"


def train(training: Training) -> dict[str, Any]:
    """Train the model of an entry, emit an event on the Asset of the model, and return the report.

    Skip the task if a model of the same data, function and seed exists. A cleared run that had succeeded emits no
    second event.
    """
    context = get_current_context()
    run = run_identity(context)
    with step("train", dataset=f"{training.entry}_model") as (store, task):
        is_emitted = store.has_succeeded(f"{training.entry}_model", run)
        report = store.train(training.entry, training.reference, seed=training.seed, run_id=run, task=task)
        document = dict(json.loads(json.dumps(report.to_json())))
        for line in report.text.splitlines():
            logger.info("%s", line)
        if report.skipped:
            # Airflow would lose the result of a task that is skipped.
            context["ti"].xcom_push(key=RETURN_KEY, value=document)
            raise AirflowSkipException(f"{report.reference} is a model of {report.data} with this function and seed")
        task.message(f"{report.reference}: {_metrics_in_words(document['metrics'])}")
        if not is_emitted:
            emit_trained(context["outlet_events"], report, store)
    return document


def _metrics_in_words(metrics: dict[str, float]) -> str:
    return ", ".join(f"{name} {value:.4g}" for name, value in list(metrics.items())[:3])
