"""Prepare declared training data."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from millrace.api.caching import Caching
from millrace.api.loading import Loading
from millrace.api.maintenance import catalogue_writes
from millrace.api.reports import ALREADY_LOADED
from millrace.load import LoadReport, RunRecord
from millrace.names import new_run_id
from millrace.progress import ProgressTask, null_task
from millrace.sources import SourceWarning
from millrace.store import CatalogueWriter

if TYPE_CHECKING:
    from millrace.declarations import TrainingEntry
    from millrace.training import PreparedData, PreparePlan, Preview


class Preparing(Loading, Caching):
    """The part of ``Store`` that prepares training data."""

    def training_entry(self, name: str, *, file: str | Path | None = None) -> TrainingEntry:
        """Return the declared training data ``name``, by default from the file of the settings.

        Raises ``UsageError`` with the nearest names for an unknown one, and ``DeclarationError`` for a broken one.
        """
        from millrace.declarations import find_training

        return find_training(name, self.settings, file=None if file is None else Path(file))

    def prepare(
        self,
        name: str,
        *,
        entry: TrainingEntry | Mapping[str, Any] | None = None,
        file: str | Path | None = None,
        versions: Mapping[str, str] | None = None,
        seed: int | None = None,
        force: bool = False,
        warm: bool | None = None,
        run: str | None = None,
        task: ProgressTask | None = None,
        publishing: Callable[[PreparePlan], AbstractContextManager[object]] = nullcontext,
    ) -> LoadReport:
        """Prepare the training dataset ``name`` as a new version, which becomes visible as a whole or not at all.

        Its declaration is ``entry``, a mapping with the fields of the YAML file, or the entry ``name`` of ``file`` (by
        default the file of the settings). ``versions`` selects versions of inputs by alias, and ``seed`` replaces the
        entry's. Inputs and declaration that are unchanged since the latest version make none, and the report then has
        ``skipped``; with ``force`` they do. The same ``run`` with the same inputs and declaration is the same
        preparation. The report is kept in the store, that of a failed one for 90 days. The version is published within
        the context that ``publishing`` returns for the plan.

        Raises ``UsageError``, ``DeclarationError``, ``ExpectationError``, ``ChunkError`` or ``StoreError``.
        """
        declared = self._declared(name, entry, file)
        record = RunRecord(name, new_run_id(name) if run is None else run, "replace")
        task = task or null_task()
        with self.recorded(record):
            with record.times.stage("plan"):
                plan = self.plan_preparation(
                    name, entry=declared, versions=versions, seed=seed, force=force, run=record.run
                )
            if plan.is_done:
                report = self.prepared_before(plan)
            else:
                data = self.write_preparation(plan, task=task)
                task.phase("publish")
                with publishing(plan):
                    report = self.publish_preparation(plan, data)
            if not report.skipped and (declared.warm if warm is None else warm) and self.cache is not None:
                with record.times.stage("warm"):
                    task.phase("warm")
                    self.warm(f"{report.dataset}@{report.version}")
            self.report_outcome(report, task)
        return self.keep_report(record.timed(report))

    def plan_preparation(
        self,
        name: str,
        *,
        entry: TrainingEntry | Mapping[str, Any] | None = None,
        file: str | Path | None = None,
        versions: Mapping[str, str] | None = None,
        seed: int | None = None,
        force: bool = False,
        run: str | None = None,
    ) -> PreparePlan:
        """Return the plan of a preparation: the exact versions of its inputs; nothing is written."""
        from millrace.training import make_prepare_plan

        preparation = self._declared(name, entry, file).preparation(name)
        if seed is not None:
            preparation = replace(preparation, seed=seed)
        run = new_run_id(name) if run is None else run
        return make_prepare_plan(self.catalogue, preparation, run=run, versions=versions, force=force)

    def write_preparation(
        self, plan: PreparePlan, *, task: ProgressTask | None = None, attempt: int = 1
    ) -> PreparedData:
        """Run the query of a plan and write the rows; nothing becomes visible yet."""
        from millrace.training import prepare_rows

        inputs = {alias: self.dataset(reference) for alias, reference in plan.inputs.items()}
        return prepare_rows(self.cassandra, self.settings, plan, inputs, task=task or null_task(), attempt=attempt)

    def publish_preparation(self, plan: PreparePlan, data: PreparedData) -> LoadReport:
        """Make the version visible, as a whole or not at all, and return the report of the preparation."""
        from millrace.training import publish_prepared

        with catalogue_writes(self.cassandra) as writes:
            return publish_prepared(self.catalogue, CatalogueWriter(self.cassandra, writes), writes, plan, data)

    def prepared_before(self, plan: PreparePlan) -> LoadReport:
        """Return the report of a plan with nothing to do (``plan.is_done``), for the version that has its rows."""
        from millrace.training import unchanged_report

        report = unchanged_report(self.catalogue, plan, self.version(f"{plan.dataset}@{plan.holder}"))
        if not plan.published:
            return report
        again = f"this run has prepared {report.reference} already, and nothing was written"
        return replace(report, warnings=(SourceWarning(ALREADY_LOADED, again), *report.warnings))

    def preview_preparation(self, plan: PreparePlan, *, head: int | None = None) -> Preview:
        """Return the columns, tiles and bytes that a preparation fetches, its disk space, and its first rows."""
        from millrace.training import preview

        inputs = {alias: self.dataset(reference) for alias, reference in plan.inputs.items()}
        return preview(self.settings, plan, inputs, head=head)

    def _declared(
        self, name: str, entry: TrainingEntry | Mapping[str, Any] | None, file: str | Path | None
    ) -> TrainingEntry:
        if entry is None:
            return self.training_entry(name, file=file)
        if isinstance(entry, Mapping):
            from millrace.declarations import make_training

            return make_training(name, entry)
        return entry
