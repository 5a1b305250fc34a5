"""Plan, load and publish versions, and report on published ones."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from millrace.api.maintenance import catalogue_writes
from millrace.errors import StoreError
from millrace.load import (
    LoadOptions,
    LoadPlan,
    LoadReport,
    SplitResult,
    load_split,
    make_plan,
    outcome,
    publish,
    version_report,
)
from millrace.names import new_run_id, parse_reference
from millrace.progress import ProgressTask, null_task
from millrace.settings import Settings
from millrace.sources import Source, SourceLike, SourceWarning, as_source
from millrace.store import CassandraSession, Catalogue, CatalogueWriter, Version


class Loading:
    """The loading part of ``Store``, whose methods of the same names describe these."""

    def __init__(self, cassandra: CassandraSession, catalogue: Catalogue, settings: Settings) -> None:
        self._cassandra = cassandra
        self._catalogue = catalogue
        self._settings = settings

    def plan(
        self, name: str, source: Source, options: LoadOptions | None, *, run: str | None, one_stream: bool
    ) -> LoadPlan:
        """Return the plan of a load; nothing is written."""
        return make_plan(
            self._catalogue,
            self._settings,
            name,
            source,
            options or LoadOptions(),
            run=new_run_id(name) if run is None else run,
            one_stream=one_stream,
        )

    def load_split(self, plan: LoadPlan, split: int | None, *, task: ProgressTask | None, attempt: int) -> SplitResult:
        """Write one split of a plan, or the whole source as one stream."""
        return load_split(self._cassandra, self._settings, plan, split, task=task or null_task(), attempt=attempt)

    def publish(self, plan: LoadPlan, results: Sequence[SplitResult], *, seconds: float = 0.0) -> LoadReport:
        """Make the version visible and return the report of the load."""
        with catalogue_writes(self._cassandra) as writes:
            catalogue_writer = CatalogueWriter(self._cassandra, writes)
            return publish(self._catalogue, catalogue_writer, writes, plan, results, seconds=seconds)

    def load(
        self,
        name: str,
        source: SourceLike,
        options: LoadOptions | None,
        *,
        run: str | None,
        task: ProgressTask | None,
        reading: dict[str, Any],
    ) -> LoadReport:
        """Load a source as a new version; ``reading`` replaces fields of the options' ``SourceOptions``."""
        began = time.monotonic()
        with as_source(source) as given:
            plan = self.plan(name, given, _with_reading(options, reading), run=run, one_stream=True)
            if plan.published:
                return self.published(plan)
            report = self._loaded(plan, task)
        seconds = time.monotonic() - began
        return replace(report, seconds=round(seconds, 3), rows_per_s=round(report.rows / seconds, 1))

    def _loaded(self, plan: LoadPlan, task: ProgressTask | None) -> LoadReport:
        results = [self.load_split(plan, None, task=task, attempt=1)]
        if task is not None:
            task.phase("publish")
        report = self.publish(plan, results)
        if task is not None:
            self.report_outcome(report, task)
        return report

    def report_outcome(self, report: LoadReport, task: ProgressTask) -> None:
        """Report the version, its rows, bytes and columns to ``task``."""
        try:
            schema = self._catalogue.pages.schema(self._version(f"{report.dataset}@{report.version}"))
        except StoreError:
            return
        task.result(**outcome(report, schema))

    def published(self, plan: LoadPlan) -> LoadReport:
        """Return the report of a load that was published before."""
        report = self.report(self._version(f"{plan.dataset}@{plan.holder}"), added_by=plan.label)
        again = f"this very load is {report.dataset}@{report.version} already, and nothing was written"
        return replace(
            report, warnings=(SourceWarning("already_loaded", again), *report.warnings, *plan.source.warnings)
        )

    def report(self, version: Version, *, added_by: str = "") -> LoadReport:
        """Return the load report of a published version."""
        label = added_by or version.label
        added = [
            page
            for page in self._catalogue.pages.refs(version)
            if page.added_by == label or (version.mode == "merge" and not added_by)
        ]
        return version_report(self._catalogue, version, added, self._catalogue.under_replicated_of(version))

    def _version(self, reference: str) -> Version:
        return self._catalogue.resolve(*parse_reference(reference))


def _with_reading(options: LoadOptions | None, reading: dict[str, Any]) -> LoadOptions:
    options = options or LoadOptions()
    return replace(options, source=options.source.with_fields(reading)) if reading else options
