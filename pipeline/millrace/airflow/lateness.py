"""The DAG that reports a declared source of which no version exists by the time in ``expected_by``.

Airflow's deadlines belong to runs. They cannot report the load that never began: the source that ``after`` waits for is
late itself, or the DAG is paused. So the time of day is the schedule of a DAG of its own.
"""

from __future__ import annotations

import logging
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final
from zoneinfo import ZoneInfo

from airflow.sdk import DAG, CronTriggerTimetable, get_current_context, result, task

from millrace.airflow import TAG
from millrace.airflow.notifier import post
from millrace.airflow.reporter import step
from millrace.airflow.retry import task_defaults
from millrace.declarations import parse_time
from millrace.errors import DatasetNotFoundError, VersionNotFoundError

if TYPE_CHECKING:
    from millrace.api import Store
    from millrace.declarations import SourceEntry

_DOC = """
{description}

The result of the run is `late`, the newest version and the time since which one was expected.

### Triage

* **check**: no Cassandra node responds, or the report cannot be posted (both retried): check `millrace doctor` and the
  connection `{notify}`, then clear the task. A late source is no failure of this task: see the runs of `ingest_{name}`.
"""

_FIRST_RUN_MISSED: Final = timedelta(minutes=1)
"""A DAG without a run has its last run if that was due within this time."""

logger = logging.getLogger(__name__)


def cron(text: str, timezone: str) -> CronTriggerTimetable:
    """Return the timetable of a cron string. A new DAG waits for its next time.

    By default Airflow runs it at once if less than a tenth of the interval has passed since its last time.
    """
    # A new DAG that is parsed at its time, before the scheduler has made its first run, would miss this run with 0.
    return CronTriggerTimetable(text, timezone=timezone, run_immediately=_FIRST_RUN_MISSED)


def late_dag(name: str, entry: SourceEntry) -> DAG:
    """Define the DAG ``expect_NAME``, which runs each day at ``expected_by`` in the timezone of the entry."""
    expected = parse_time(entry.expected_by or "")
    description = f"Report {name} if {entry.dataset} has no version of the last day at {entry.expected_by}."
    with DAG(
        dag_id=f"expect_{name}",
        dag_display_name=f"Expect {name}",
        description=description,
        doc_md=_DOC.format(description=description, name=name, notify=entry.notify),
        tags=[TAG, "expect", *entry.tags],
        schedule=cron(f"{expected.minute} {expected.hour} * * *", entry.timezone),
        catchup=False,
        is_paused_upon_creation=False,
        max_active_runs=1,
        default_args=task_defaults(entry.owner or "millrace"),
    ) as dag:

        @result
        @task
        def check() -> dict[str, Any]:
            """Post a report if no version was made since the same time of the day before."""
            return check_version(name, entry)

        check()
    return dag


def check_version(name: str, entry: SourceEntry) -> dict[str, Any]:
    """Post a report if a load was due in the day before the last ``expected_by``, and no version was made since."""
    context = get_current_context()
    run = context["dag_run"]
    since = expected_since(entry, run.logical_date or run.run_after)
    with step("check", dataset=entry.dataset) as (store, progress):
        version, made = _newest(store, entry.dataset)
        is_due = _is_due(entry, since)
        late = is_due and (made is None or made < since)
        newest = f"the newest one is {version} of {made.isoformat()}" if made else "there is none"
        reason = f"no version of {entry.dataset} was made since {since.isoformat()}; {newest}"
        report = {"late": late, "dataset": entry.dataset, "version": version, "since": since.isoformat()}
        in_time = f"{entry.dataset}@{version} was made in time" if is_due else "no load was due"
        progress.message(reason if late else in_time)
        progress.result(late=late)
        if late:
            logger.warning("%s", reason)
            posted = {"state": "late", "run": f"{run.dag_id}/{run.run_id}", "reason": reason, **report}
            post(str(entry.notify), {"event": "late", "source": name, "report": posted})
    return report


def expected_since(entry: SourceEntry, now: datetime) -> datetime:
    """Return the ``expected_by`` that has last passed, less a day, or ``every`` if that is longer."""
    zone = ZoneInfo(entry.timezone)
    local = now.astimezone(zone)
    expected = datetime.combine(local.date(), parse_time(entry.expected_by or ""), zone)
    last = expected if local >= expected else expected - timedelta(days=1)
    return last - max(entry.interval or timedelta(0), timedelta(days=1))


def _is_due(entry: SourceEntry, since: datetime) -> bool:
    """Return whether a load was due within a day: a source that is loaded each Monday is late on Mondays only."""
    if entry.schedule is None:
        return True
    from croniter import croniter

    start = since.astimezone(ZoneInfo(entry.timezone))
    due: datetime = croniter(entry.schedule, start - timedelta(seconds=1)).get_next(datetime)
    return due < start + timedelta(days=1)


def _newest(store: Store, dataset: str) -> tuple[str | None, datetime | None]:
    try:
        version = store.version(dataset)
    except (DatasetNotFoundError, VersionNotFoundError):
        return None, None
    return version.label, version.committed_at
