"""The work of each task of an ingestion. The DAG defines the order of the tasks; this module implements them.

Every function runs inside an Airflow task and reports its own progress. It passes only small JSON to later tasks: the
plan, names and totals of each split, the report. Chunks are listed only in the store's manifest.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Protocol

from airflow.sdk import get_current_context
from airflow.sdk.exceptions import AirflowSkipException

from millrace.airflow.fields import field_titles
from millrace.airflow.map_labels import map_label
from millrace.airflow.recording import (
    SECONDS_KEY,
    finished,
    recorded,
    run_record,
    seconds_of_earlier_tasks,
    verified,
)
from millrace.airflow.reporter import step

if TYPE_CHECKING:
    from millrace.api import Store
    from millrace.load import LoadOptions, LoadPlan, RunRecord
    from millrace.settings import Settings
    from millrace.sources import Paths

PLAN_KEY = "plan"
PLAN_BYTES_EXPECTED = 64_000
UNCHANGED = "the source is unchanged"

logger = logging.getLogger(__name__)


class Request(Protocol):
    """The load that a run of a DAG was started for."""

    @property
    def dataset(self) -> str:
        """The name of the dataset."""
        ...

    @property
    def mode(self) -> str:
        """The mode of the load."""
        ...

    @property
    def warm(self) -> bool:
        """Whether the new version is put into Redis."""
        ...

    @property
    def warm_options(self) -> dict[str, Any]:
        """The options of ``Store.warm``."""
        ...

    def load(self, settings: Settings) -> tuple[Paths, LoadOptions]:
        """Return the source and the options. Raises ``MillraceError`` for a request that cannot be loaded."""
        ...


def plan(request: Request) -> list[int]:
    """Fix source, schema, splits and version; write nothing. Return the indexes of the splits to load.

    The plan itself is pushed to XCom under ``PLAN_KEY``. If this run has already published its version, no split is
    returned: a cleared run is the same load, not a second one. Nor is one if the source is unchanged.
    """
    from millrace.load import loader_memory, task_unit

    context = get_current_context()
    record = _record(request.dataset, request.mode)
    with (
        step("plan", dataset=request.dataset, unit="splits") as (store, task),
        _recorded(store, record, "plan"),
        loader_memory(),
    ):
        source, options = request.load(store.settings)
        planned = store.plan(request.dataset, source, options, run=record.run)
        document = planned.to_json()
        size = len(json.dumps(document))
        if size > PLAN_BYTES_EXPECTED:
            logger.warning("the plan has %d bytes; each of its tasks fetches it from Airflow's database", size)
        context["ti"].xcom_push(key=PLAN_KEY, value=document)
        splits = [] if planned.is_done else [split.index for split in planned.source.splits]
        unit, total = task_unit(planned, None)
        # The total of the whole run, which is needed long before the last of its splits begins.
        task.result(load={"splits": len(splits), "total": (total or None) if splits else 0, "unit": unit})
        task.set_total(len(splits))
        task.advance_to(len(splits))
        version = f"{planned.dataset}@{planned.label}"
        task.message(f"{version} has all of it already" if planned.unchanged else f"{version} of {planned.source.uri}")
    context["ti"].xcom_push(key=SECONDS_KEY, value=record.times.seconds["plan"])
    return splits


def load(planned: Mapping[str, Any], index: int) -> dict[str, Any]:
    """Write one split and its manifest pages; return names and totals. Nothing is visible to readers yet."""
    from millrace.load import LoadPlan, loader_memory, task_unit

    load_plan = LoadPlan.from_json(dict(planned))
    context = get_current_context()
    # Without the label of the ``map_index_template``, Airflow would fail the task after its work.
    context["label"] = map_label(load_plan.source.splits[index].label)  # type: ignore[typeddict-unknown-key]  # read by the template
    unit, total = task_unit(load_plan, index)
    record = _record(load_plan.dataset, load_plan.mode, load_plan)
    with (
        step("load", dataset=load_plan.dataset, total=total, unit=unit) as (store, task),
        _recorded(store, record, "load"),
        loader_memory(),
    ):
        task.message(load_plan.source.splits[index].label)
        return store.load_split(load_plan, index, task=task, attempt=context["ti"].try_number).to_json()


def verify(planned: Mapping[str, Any], loaded: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Read every written chunk again. Fail, before anything is visible, if one is missing or differs.

    Skip the task if the source is unchanged. Raises ``ChunkMissingError`` for an error that a retry may solve, such as
    an unresponsive node, and ``ChunkError`` for wrong data.
    """
    from millrace.load import LoadPlan, SplitResult

    load_plan = LoadPlan.from_json(dict(planned))
    if load_plan.unchanged:
        raise AirflowSkipException(UNCHANGED)
    results = [SplitResult.from_json(dict(result)) for result in loaded[:]]
    record = _record(load_plan.dataset, load_plan.mode, load_plan)
    with (
        step("verify", dataset=load_plan.dataset, total=sum(result.rows for result in results)) as (store, task),
        _recorded(store, record, "verify"),
    ):
        sums = verified(store, load_plan, results, task, hint="nothing was published; run the load again")
    get_current_context()["ti"].xcom_push(key=SECONDS_KEY, value=record.times.seconds["verify"])
    return sums


def publish(planned: Mapping[str, Any], loaded: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Make the version visible, emit an event on the dataset's Asset, and return the load report of the whole run.

    The report of an unchanged source describes the latest version, and there is no event. Nor is there one for a
    cleared run that had succeeded. ``seconds`` and ``rows_per_s`` cover the run from its start until the version is
    visible. The store keeps the report.
    """
    from millrace.load import LoadPlan, SplitResult

    load_plan = LoadPlan.from_json(dict(planned))
    results = [SplitResult.from_json(dict(result)) for result in loaded[:]]
    context = get_current_context()
    record = _record(load_plan.dataset, load_plan.mode, load_plan)
    record.times.seconds |= seconds_of_earlier_tasks(context)
    with (
        step("publish", dataset=load_plan.dataset, total=sum(result.rows for result in results)) as (store, task),
        _recorded(store, record, "publish"),
    ):
        report = store.done(load_plan) if load_plan.is_done else store.publish(load_plan, results)
        titles = field_titles(context)
        report = finished(context, store, task, record, report, titles, is_repeated=load_plan.published)
    # Clients of Airflow's API would get a tuple wrapped in Airflow's own serialization.
    return dict(json.loads(json.dumps(report.to_json())))


def warm(report: Mapping[str, Any], *, requested: bool, unchanged: str = UNCHANGED, **options: Any) -> dict[str, Any]:
    """Put the version into Redis, or skip the task if ``warm`` is off or no version was made (reason ``unchanged``).

    ``options`` are those of ``Store.warm``.

    A Redis that is unreachable or full is no failure.
    """
    # Airflow's listener reports the skip, so no connection to the store is needed.
    if not requested:
        raise AirflowSkipException("warming is switched off")
    if report["skipped"]:
        raise AirflowSkipException(unchanged)
    from millrace.load import LoadReport, StageTimes

    times = StageTimes()
    with step("warm", dataset=report["dataset"], total=report["total_rows"]) as (store, task):
        with times.stage("warm"):
            warmed = store.warm(f"{report['dataset']}@{report['version']}", **options, task=task).to_json()
        loaded = LoadReport.from_json(report)
        store.keep_report(replace(loaded, stages={**loaded.stages, **times.seconds}))
    return warmed


def _record(dataset: str, mode: str, load_plan: LoadPlan | None = None) -> RunRecord:
    return run_record(get_current_context(), dataset, mode, load_plan)


def _recorded(store: Store, record: RunRecord, stage: str) -> AbstractContextManager[None]:
    return recorded(store, record, stage, field_titles(get_current_context()))
