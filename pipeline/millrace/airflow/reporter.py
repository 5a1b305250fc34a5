"""Report the work of a running Airflow task as a progress task with the identity of the Airflow task."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING, NoReturn

from airflow.sdk import get_current_context
from airflow.sdk.exceptions import AirflowSkipException

from millrace import progress
from millrace.airflow import connect
from millrace.airflow.connections import airflow_settings
from millrace.airflow.fields import field_titles, refuse_unknown_keys
from millrace.airflow.identity import identity_of
from millrace.airflow.retry import will_retry
from millrace.airflow.sender import process_sink
from millrace.declarations import in_field_words
from millrace.progress import ProgressTask
from millrace.settings import Settings

if TYPE_CHECKING:
    from millrace.api import Store


def reporting(
    kind: str, *, dataset: str, settings: Settings, total: float | None = None, unit: str = "rows"
) -> AbstractContextManager[ProgressTask]:
    """Report the block as an attempt of the current Airflow task. Only valid inside an Airflow task.

    The last state is ``retrying`` exactly if Airflow will retry after the exception that ends the block.
    """
    instance = get_current_context()["ti"]
    return progress.task(
        identity_of(instance),
        kind=kind,
        dataset=dataset,
        total=total,
        unit=unit,
        sinks=[process_sink(settings.kafka)],
        will_retry=lambda error: will_retry(instance, error),
    )


@contextmanager
def step(
    kind: str, *, dataset: str, total: float | None = None, unit: str = "rows"
) -> Iterator[tuple[Store, ProgressTask]]:
    """Provide a store, connected by Airflow's connections, and a progress task for the block with one task's work.

    Reporting begins first, so that users see that a store is unreachable. Errors name the fields of the form, or those
    of the declared source. An unknown key in the run's conf is an error, raised before any connection is opened.
    """
    context, settings = get_current_context(), airflow_settings()
    titles = field_titles(context)
    with reporting(kind, dataset=dataset, settings=settings, total=total, unit=unit) as task, in_field_words(titles):
        refuse_unknown_keys(context["dag_run"].conf, context["dag"].params)
        with connect(settings) as store:
            yield store, task


def skip(task: ProgressTask, reason: str) -> NoReturn:
    """End the current Airflow task as skipped; the live page shows the reason."""
    task.skip(reason)
    raise AirflowSkipException(reason)


def skip_unstarted(kind: str, *, dataset: str, reason: str) -> NoReturn:
    """End the current Airflow task as skipped, without a connection to the store; the live page shows the reason."""
    with reporting(kind, dataset=dataset, settings=airflow_settings()) as task:
        skip(task, reason)
