"""The DAG of a declared source, which its rendered file defines by ``ingest_dag``; parsing opens no connection."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from airflow.sdk import DAG, Asset, AssetAny, DeltaTriggerTimetable

from millrace.airflow import TAG
from millrace.airflow.ingest_tasks import DOC, ingest_tasks
from millrace.airflow.lateness import cron, late_dag
from millrace.airflow.notifier import ReportNotifier
from millrace.airflow.retry import task_defaults
from millrace.declarations import SourceEntry, declared_load
from millrace.errors import UsageError

if TYPE_CHECKING:
    from millrace.load import LoadOptions
    from millrace.settings import Settings
    from millrace.sources import Paths

_DOC = """
{description}

This DAG belongs to the entry `{name}` of the file of declared sources:

```yaml
{fields}
```

A source that is unchanged makes no version: *load*, *verify* and *warm* are skipped, and the report has
`"skipped": "unchanged"`. `millrace ingest {name} --force` loads it in any case. Change the entry to change the DAG.
"""


@dataclass(frozen=True, slots=True)
class EntryRequest:
    """The request of a run of an entry's DAG."""

    entry: SourceEntry
    dag_run: Any

    @property
    def dataset(self) -> str:
        """The name of the dataset."""
        return self.entry.dataset

    @property
    def mode(self) -> str:
        """The mode of the load."""
        return self.entry.mode

    @property
    def warm(self) -> bool:
        """Whether the new version is put into Redis."""
        return self.entry.warm

    @property
    def warm_options(self) -> dict[str, Any]:
        """The options of ``Store.warm``; an entry has none."""
        return {}

    def load(self, settings: Settings) -> tuple[Paths, LoadOptions]:
        """Return the source and the options. A run without a logical date takes the time it was triggered.

        Raises ``UsageError`` for a backfill unless the mode is ``incremental``: each day would replace the day before,
        or append the same rows again.
        """
        if self.dag_run.run_type == "backfill" and self.entry.mode != "incremental":
            raise UsageError(
                f"a backfill of the mode {self.entry.mode} is refused",
                hint="make the source incremental, or load one day with: millrace ingest NAME --date YYYY-MM-DD",
            )
        load = declared_load(self.entry, settings, logical_date=self.dag_run.logical_date or self.dag_run.run_after)
        return load.source, load.options


def ingest_dag(name: str, values: Mapping[str, Any]) -> DAG:
    """Define the DAG ``ingest_NAME`` of an entry with these fields, and the DAG that reports it as late."""
    # The fields were checked when the file was rendered.
    entry = SourceEntry.model_validate(values, context={"name": name, "is_checked": True})
    reports: Any = ReportNotifier(connection=entry.notify, source=name) if entry.notify else None
    with DAG(
        dag_id=f"ingest_{name}",
        dag_display_name=f"Ingest {name}",
        description=_description(entry),
        doc_md=_documentation(name, entry, values),
        tags=[TAG, "ingest", *entry.tags],
        schedule=_schedule(entry),
        catchup=False,
        is_paused_upon_creation=False,
        max_active_runs=1,
        default_args=task_defaults(entry.owner or "millrace"),
        on_failure_callback=reports,
        on_success_callback=reports,
    ) as dag:
        ingest_tasks(lambda context: EntryRequest(entry, context["dag_run"]))
    if entry.expected_by and entry.notify:
        late_dag(name, entry)
    return dag


def _schedule(entry: SourceEntry) -> Any:
    if entry.schedule:
        return cron(entry.schedule, entry.timezone)
    if interval := entry.interval:
        return DeltaTriggerTimetable(interval)
    # By name, because the URI of a dataset's asset contains the name of the cluster, which parsing must not ask for.
    return AssetAny(*(Asset.ref(name=f"dataset/{dataset}") for dataset in entry.after)) if entry.after else None


def _description(entry: SourceEntry) -> str:
    return f"Load {entry.dataset} from {', '.join(entry.uri)}: {entry.schedule_in_words()}."


def _documentation(name: str, entry: SourceEntry, values: Mapping[str, Any]) -> str:
    """Return the documentation with the fields of the entry, which cannot contain credentials."""
    fields = "\n".join(f"{field}: {json.dumps(value, ensure_ascii=False)}" for field, value in values.items())
    return _DOC.format(description=_description(entry), name=name, fields=fields).lstrip() + DOC
