"""The work of each task of a preparation. The DAG defines the order of the tasks; this module implements them.

Every function runs inside an Airflow task and reports its own progress. It passes only small JSON to later tasks: the
plan, names and totals of the written rows, the report.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Protocol

from airflow.sdk import get_current_context

from millrace.airflow.fields import field_titles
from millrace.airflow.ingest import warm as warm_version
from millrace.airflow.recording import (
    SECONDS_KEY,
    finished,
    recorded,
    run_record,
    seconds_of_earlier_tasks,
    verified,
)
from millrace.airflow.reporter import skip, skip_unstarted, step
from millrace.errors import DatasetNotFoundError, VersionNotFoundError

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from millrace.api import Store
    from millrace.declarations import TrainingEntry
    from millrace.load import RunRecord
    from millrace.training import PreparedData, PreparePlan

MODE: Final = "replace"
UNCHANGED: Final = "inputs and declaration are unchanged"
PREPARED: Final = "this run has made its version already"

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Choice:
    """The preparation that a run was started for; the arguments of ``Store.plan_preparation``.

    Without ``entry`` the declared entry of this name is prepared. ``versions`` selects versions of inputs by alias.
    """

    entry: TrainingEntry | Mapping[str, Any] | None = None
    versions: Mapping[str, str] = field(default_factory=dict)
    seed: int | None = None
    force: bool = False


class Request(Protocol):
    """The request of a run of a DAG."""

    @property
    def dataset(self) -> str:
        """The name of the training dataset."""
        ...

    @property
    def warm(self) -> bool:
        """Whether the new version is put into Redis."""
        ...

    @property
    def waits_for_inputs(self) -> bool:
        """Whether a run is skipped while an input does not exist; otherwise it fails."""
        ...

    def choice(self) -> Choice:
        """Return the preparation. Raises ``MillraceError`` for a request that is wrong in itself."""
        ...


def plan(request: Request) -> dict[str, Any]:
    """Fix the exact versions of the inputs and the label of the version; write nothing. Return the plan.

    A cleared run is the same preparation, not a second one.
    """
    record = _record(request.dataset)
    with (
        step("plan", dataset=request.dataset, unit="inputs") as (store, task),
        _recorded(store, record, "plan"),
    ):
        choice = request.choice()
        try:
            planned = store.plan_preparation(
                request.dataset,
                entry=choice.entry,
                versions=choice.versions,
                seed=choice.seed,
                force=choice.force,
                run=record.run,
            )
        except (DatasetNotFoundError, VersionNotFoundError) as error:
            if not request.waits_for_inputs:
                raise
            skip(task, error.message)
        task.set_total(len(planned.inputs))
        task.advance_to(len(planned.inputs))
        task.message(_plan_in_words(planned))
    get_current_context()["ti"].xcom_push(key=SECONDS_KEY, value=record.times.seconds["plan"])
    return planned.to_json()


def _plan_in_words(planned: PreparePlan) -> str:
    if planned.is_done:
        return f"{planned.dataset}@{planned.holder}: {_reason(planned)}"
    return f"{planned.dataset}@{planned.label} from {', '.join(planned.inputs.values())}"


def prepare(planned: Mapping[str, Any]) -> dict[str, Any]:
    """Run the query over the inputs and write the rows; return names and totals. Nothing is visible to readers yet.

    Skip the task if there is nothing to prepare.
    """
    the_plan = _plan(planned)
    if the_plan.is_done:
        skip_unstarted("prepare", dataset=the_plan.dataset, reason=_reason(the_plan))
    record = _record(the_plan.dataset)
    with step("prepare", dataset=the_plan.dataset) as (store, task), _recorded(store, record, ""):
        attempt = get_current_context()["ti"].try_number
        return store.write_preparation(the_plan, task=task, attempt=attempt).to_json()


def verify(planned: Mapping[str, Any], prepared: Mapping[str, Any] | None) -> dict[str, Any]:
    """Read every written chunk again. Fail, before anything is visible, if one is missing or differs.

    Skip the task if there is nothing to prepare. Raises the errors of ``verified``.
    """
    the_plan = _plan(planned)
    if the_plan.is_done or prepared is None:
        skip_unstarted("verify", dataset=the_plan.dataset, reason=_reason(the_plan))
    data = _data(prepared)
    record = _record(the_plan.dataset)
    with (
        step("verify", dataset=the_plan.dataset, total=data.result.rows) as (store, task),
        _recorded(store, record, "verify"),
    ):
        hint = "nothing was published; run the preparation again"
        sums = verified(store, data.load_plan, [data.result], task, hint=hint)
    get_current_context()["ti"].xcom_push(key=SECONDS_KEY, value=record.times.seconds["verify"])
    return sums


def publish(planned: Mapping[str, Any], prepared: Mapping[str, Any] | None) -> dict[str, Any]:
    """Check ``expect``, make the version visible, emit an event on its Asset, and return the report of the run.

    The report of unchanged inputs describes the latest version, and there is no event. Nor is there one for a cleared
    run that had succeeded. The store keeps the report.
    """
    the_plan = _plan(planned)
    data = None if the_plan.is_done or prepared is None else _data(prepared)
    context = get_current_context()
    record = _record(the_plan.dataset)
    record.times.seconds |= seconds_of_earlier_tasks(context)
    total = None if data is None else data.result.rows
    with (
        step("publish", dataset=the_plan.dataset, total=total) as (store, task),
        _recorded(store, record, "publish"),
    ):
        report = store.prepared_before(the_plan) if data is None else store.publish_preparation(the_plan, data)
        titles = field_titles(context)
        report = finished(context, store, task, record, report, titles, is_repeated=the_plan.published)
        if the_plan.is_done:
            task.message(_plan_in_words(the_plan))
    # Clients of Airflow's API would get a tuple wrapped in Airflow's own serialization.
    return dict(json.loads(json.dumps(report.to_json())))


def warm(report: Mapping[str, Any], *, requested: bool) -> dict[str, Any]:
    """Put the version into Redis, or skip the task if ``warm`` is off or no version was made."""
    return warm_version(report, requested=requested, unchanged=UNCHANGED)


def _plan(planned: Mapping[str, Any]) -> PreparePlan:
    from millrace.training import PreparePlan

    return PreparePlan.from_json(planned)


def _data(prepared: Mapping[str, Any]) -> PreparedData:
    from millrace.training import PreparedData

    return PreparedData.from_json(prepared)


def _reason(planned: PreparePlan) -> str:
    return PREPARED if planned.published else UNCHANGED


def _record(dataset: str) -> RunRecord:
    return run_record(get_current_context(), dataset, MODE)


def _recorded(store: Store, record: RunRecord, stage: str) -> AbstractContextManager[None]:
    return recorded(store, record, stage, field_titles(get_current_context()))
