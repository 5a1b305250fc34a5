"""The steps that runs of loads and of preparations share: their record, their verification, and their report."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from airflow.sdk.exceptions import AirflowSkipException

from millrace.airflow.assets import emit_version
from millrace.airflow.retry import names_retriable_error
from millrace.declarations import in_field_words, warning_in_field_words
from millrace.errors import ChunkError, ChunkMissingError, InvalidNameError

if TYPE_CHECKING:
    from millrace.api import Store
    from millrace.load import LoadPlan, LoadReport, RunRecord, SplitResult
    from millrace.progress import ProgressTask

SECONDS_KEY = "seconds"

logger = logging.getLogger(__name__)


def run_record(context: Mapping[str, Any], dataset: str, mode: str, plan: LoadPlan | None = None) -> RunRecord:
    """Return the record of the current run, whose identity is the same for every attempt, also after it is cleared."""
    from millrace.load import RunRecord

    dag_run = context["dag_run"]
    started = dag_run.start_date or datetime.now(UTC)
    return RunRecord(dataset, run_identity(context), mode, started, plan=plan)


def run_identity(context: Mapping[str, Any]) -> str:
    """Return ``DAG/RUN`` of the current run."""
    dag_run = context["dag_run"]
    return f"{dag_run.dag_id}/{dag_run.run_id}"


@contextmanager
def recorded(store: Store, record: RunRecord, stage: str, titles: Mapping[str, str]) -> Iterator[None]:
    """Measure the block as a stage of the run, if it has a name, and keep the report of the run if the block fails.

    The error in the report names the fields of the form. A later attempt of the run overwrites the report.
    """
    unrecorded = (InvalidNameError, AirflowSkipException)
    measured = record.times.stage(stage) if stage else nullcontext()
    with store.recorded(record, unrecorded=unrecorded), in_field_words(titles), measured:
        yield


def seconds_of_earlier_tasks(context: Mapping[str, Any]) -> dict[str, float]:
    """Return the seconds of the tasks ``plan`` and ``verify`` of this run; those of other tasks are in results."""
    instance = context["ti"]
    seconds = {name: instance.xcom_pull(task_ids=name, key=SECONDS_KEY) for name in ("plan", "verify")}
    return {name: value for name, value in seconds.items() if value is not None}


def verified(
    store: Store, plan: LoadPlan, results: Sequence[SplitResult], task: ProgressTask, *, hint: str
) -> dict[str, int]:
    """Read every written chunk again; return the numbers of chunks, rows and bytes.

    Raises ``ChunkMissingError`` for an error that a retry may solve, such as an unresponsive node, and ``ChunkError``
    with ``hint`` for wrong data.
    """
    sums = {"chunks": 0, "rows": 0, "stored_bytes": 0}
    for result in results:
        report = store.verify_split(plan, result, task=task)
        if not report.ok:
            problem = report.problems[0]
            count = f"{report.bad_copies} of {report.chunks} chunks of {report.reference}"
            text = f"{count} cannot be verified: {problem['message']}"
            if names_retriable_error(problem):
                raise ChunkMissingError(text, hint="a node may be down: millrace doctor")
            raise ChunkError(text, hint=hint)
        sums = {name: value + getattr(report, name) for name, value in sums.items()}
    task.message(f"{sums['rows']:,} rows in {sums['chunks']:,} chunks verified")
    return sums


def finished(
    context: Mapping[str, Any],
    store: Store,
    task: ProgressTask,
    record: RunRecord,
    report: LoadReport,
    titles: Mapping[str, str],
    *,
    is_repeated: bool,
) -> LoadReport:
    """Emit the event of a new version, keep the report of the run, and log it; return the report that is kept.

    With ``is_repeated`` an earlier attempt has published the version. If it also kept its report, it has emitted the
    event, because the report is kept after that.
    """
    from millrace.load import report_table

    warnings = tuple(warning_in_field_words(warning, titles) for warning in report.warnings)
    report = record.timed(replace(report, warnings=warnings))
    task.advance_to(report.rows)
    task.message(f"{report.reference}: {report.rows:,} rows in {report.chunks} chunks")
    store.report_outcome(report, task)
    is_emitted = is_repeated and store.has_succeeded(report.dataset, report.run)
    if not (report.skipped or is_emitted):
        emit_version(context["outlet_events"], report, store)
    report = store.keep_report(report)
    for line in report_table(report, repeated=is_repeated):
        logger.info(line)
    for warning in report.warnings:
        logger.warning("%s: %s", warning.code, warning.message)
    return report
