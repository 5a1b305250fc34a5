"""Plan, load and publish versions, and report on published ones."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from millrace.api.maintenance import catalogue_writes
from millrace.api.reports import ALREADY_LOADED, Reports
from millrace.dataset import Dataset
from millrace.errors import StoreError
from millrace.load import (
    LoadOptions,
    LoadPlan,
    LoadReport,
    ReplayFiles,
    ReplayReport,
    RunRecord,
    SplitOverBudgetError,
    SplitResult,
    check_any_fits,
    confirm_version,
    earlier_replay,
    load_split,
    make_plan,
    outcome,
    publish,
    publish_rejects_of_split,
    reading_of,
    rejects_of,
    replay_plan,
    replay_run,
    report_fields,
    skipped_report,
    unfinished_run,
    version_report,
)
from millrace.names import new_run_id
from millrace.progress import ProgressTask, null_task
from millrace.sources import Paths, Source, SourceLike, SourceWarning, as_paths, as_source
from millrace.store import CatalogueWriter, Lease, Version


class Loading(Reports):
    """The part of ``Store`` that loads versions and reports on them."""

    def plan(
        self,
        name: str,
        source: Paths,
        options: LoadOptions | None = None,
        *,
        run: str | None = None,
        one_stream: bool = False,
    ) -> LoadPlan:
        """Return the plan of a load; nothing is written.

        With ``one_stream`` the whole source is one split, and the search for the boundaries of splits is skipped.
        ``source`` is a path or a list of paths. The files must still exist when the splits are loaded.
        """
        return self._plan(name, as_paths(source), options or LoadOptions(), run, one_stream=one_stream)

    def _plan(self, name: str, source: Source, options: LoadOptions, run: str | None, *, one_stream: bool) -> LoadPlan:
        run = new_run_id(name) if run is None else run
        return make_plan(self.catalogue, self.settings, name, source, options, run=run, one_stream=one_stream)

    def unfinished(self, name: str, source: Paths, options: LoadOptions, *, run: str | None = None) -> str:
        """Return the run that a load with these arguments resumes.

        Raises ``PlanChangedError`` if ``run`` began with another source, schema or settings. Raises ``UsageError`` if
        there is no run to resume.
        """
        plan = self.plan(name, source, options, run=run)
        return unfinished_run(self.catalogue, plan, run)

    def load_split(
        self, plan: LoadPlan, split: int | None, *, task: ProgressTask | None = None, attempt: int = 1
    ) -> SplitResult:
        """Write one split of a plan, or the whole source as one stream; nothing becomes visible yet.

        Raises ``BadRowsError`` if this split alone has more bad rows than the load may have; only its rejects are
        visible then.
        """
        try:
            return load_split(self.cassandra, self.settings, plan, split, task=task or null_task(), attempt=attempt)
        except SplitOverBudgetError as error:
            with catalogue_writes(self.cassandra) as writes:
                raise publish_rejects_of_split(
                    self.catalogue,
                    CatalogueWriter(self.cassandra, writes),
                    writes,
                    plan,
                    split,
                    error.rejects,
                    error.refusal,
                ) from None

    def publish(
        self,
        plan: LoadPlan,
        results: Sequence[SplitResult],
        *,
        settings: Mapping[str, Any] | None = None,
    ) -> LoadReport:
        """Make the version visible, as a whole or not at all, and return the report of the load.

        ``settings`` are further settings of the version, such as ``inputs``: the full references of the versions that
        it was made from. Raises ``VersionNotFoundError`` if one of them is deleted.
        """
        with catalogue_writes(self.cassandra) as writes:
            return publish(
                self.catalogue,
                CatalogueWriter(self.cassandra, writes),
                writes,
                plan,
                results,
                settings=settings,
            )

    def load(
        self,
        name: str,
        source: SourceLike,
        options: LoadOptions | None = None,
        *,
        run: str | None = None,
        task: ProgressTask | None = None,
        **reading: Any,
    ) -> LoadReport:
        """Load ``source`` as a new version of ``name``. The version becomes visible as a whole or not at all.

        ``reading`` are fields of ``SourceOptions`` (``columns=["id", "price"]``, ``rename={"preis": "price"}``,
        ``decimal=","``) that replace those of ``options``.

        ``source`` is a path (text or a path object), a list of paths, or Arrow data. Arrow data is a pyarrow Table,
        RecordBatch or RecordBatchReader, a pandas or polars DataFrame, a relation of DuckDB, a ``Dataset``, or any
        other object with ``__arrow_c_stream__``. It is copied into a temporary file first, in bounded memory.

        Raises ``UsageError``, ``SourceError``, ``ChunkError`` or ``StoreError``. The same ``run`` with the same source
        and settings is the same load. If it was published before, nothing is written and its report is returned. If
        there is nothing to load (``plan.unchanged``), nothing is written either, and ``skipped`` is ``unchanged``. The
        report is kept in the store (``run_report``), that of a failed load for 90 days.
        """
        options = options or LoadOptions()
        options = replace(options, source=options.source.with_fields(reading)) if reading else options
        record = RunRecord(name, new_run_id(name) if run is None else run, options.mode)
        with self.recorded(record), as_source(source) as readable:
            with record.times.stage("plan"):
                plan = record.plan = self._plan(name, readable, options, record.run, one_stream=True)
            if plan.is_done:
                report = self.done(plan)
            else:
                result = self.load_split(plan, None, task=task)
                if task is not None:
                    task.phase("publish")
                report = self.publish(plan, [result])
                if task is not None:
                    self.report_outcome(report, task)
        return self.keep_report(record.timed(report))

    def replay(
        self, reference: str, *, column_types: Sequence[tuple[str, str]] = (), task: ProgressTask | None = None
    ) -> ReplayReport:
        """Append the rejected rows of a version that fit now, and set the others aside again.

        They are read with the options of their load, and with the types of the latest version except for
        ``column_types``, pairs of column and type. Rejects are replayed once: if they were replayed before, nothing is
        loaded, and the report names the version to replay instead. Raises ``UsageError`` if nothing was rejected, or if
        the latest version does not hold the rows of the version. Raises ``BadRowsError`` if no row fits.
        """
        version = self.version(reference)
        rejects = rejects_of(self.catalogue, version)
        if (earlier := earlier_replay(self.catalogue, version)) is not None:
            return earlier
        dataset = self._rejects(rejects)
        record = RunRecord(version.dataset, replay_run(version), "append")
        with tempfile.TemporaryDirectory(prefix="millrace-replay-") as folder:
            reading = reading_of(self.catalogue, dataset.version)
            files = ReplayFiles(Path(folder), reading)
            files.write(dataset.to_batches())
            unstored = version.settings["rejects"]["unstored"]
            if not files.rows:
                message = f"no row of {rejects} can be replayed: {files.cut:,} are not complete"
                return ReplayReport(version.reference, message, files.cut, unstored)
            plan = replay_plan(self.catalogue, self.settings, version, files, reading, column_types, Path(folder))
            record.plan = plan
            with self.recorded(record):
                result = load_split(
                    self.cassandra, self.settings, plan, None, task=task or null_task(), resume=False, origins=files
                )
                check_any_fits(version, result)
                report = self.publish(plan, [result])
            report = self.keep_report(record.timed(report))
        message = f"{report.rows:,} of {files.rows:,} rejected rows were added as {report.dataset}@{report.version}"
        return ReplayReport(version.reference, message, files.cut, unstored, report)

    def _rejects(self, reference: str) -> Dataset:
        version = self.version(reference)
        return Dataset(
            version,
            self.catalogue,
            self.chunk_reader,
            None,
            self.settings.read,
            lease=lambda: Lease(self.cassandra, version),
        )

    def report_outcome(self, report: LoadReport, task: ProgressTask) -> None:
        """Report the version, its rows, bytes and columns to ``task``.

        Nothing is reported if the schema of the version cannot be read.
        """
        try:
            schema = self.catalogue.pages.schema(self.version(f"{report.dataset}@{report.version}"))
        except StoreError:
            return
        task.result(**outcome(report, schema))

    def done(self, plan: LoadPlan) -> LoadReport:
        """Return the report of a plan with nothing to load (``plan.is_done``): ``published`` or ``unchanged``."""
        return self.published(plan) if plan.published else self.unchanged(plan)

    def published(self, plan: LoadPlan) -> LoadReport:
        """Return the report of a load that was published before.

        It describes the load's own version, or the version that holds its rows now. An incremental version is confirmed
        if its load was killed before: raises ``LoadSupersededError`` as ``publish`` does.
        """
        version = self.version(f"{plan.dataset}@{plan.holder}")
        with catalogue_writes(self.cassandra) as writes:
            confirm_version(self.catalogue, CatalogueWriter(self.cassandra, writes), version, plan.hex)
        report = self.report(version, added_by=plan.label)
        again = f"this load is published already as {report.dataset}@{report.version}, and nothing was written"
        return replace(report, warnings=(SourceWarning(ALREADY_LOADED, again), *report.warnings, *plan.source.warnings))

    def unchanged(self, plan: LoadPlan) -> LoadReport:
        """Return the report of a load without anything to load: of the version that has the rows of its source.

        ``skipped`` is ``unchanged``. Rows and sizes are 0, because this load added none.
        """
        version = self.version(f"{plan.dataset}@{plan.holder}")
        return skipped_report(self.catalogue, version, plan)

    def report(self, version: Version, *, added_by: str = "") -> LoadReport:
        """Return the load report of a published version. The report has no durations, because they are not stored.

        Rows and sizes count the data that this version added; for a merge they count all its data. ``added_by`` is the
        label of another version. With it they count only the data that the other version added.
        """
        label = added_by or version.label
        added = [
            page
            for page in self.catalogue.pages.refs(version)
            if page.added_by == label or (version.mode == "merge" and not added_by)
        ]
        every = [version] if label == version.label else self.catalogue.all_versions(version.dataset)
        own = next((other for other in every if other.label == label), version)
        rejected = report_fields(version.dataset, own.settings.get("rejects"))
        return version_report(self.catalogue, version, added, self.catalogue.under_replicated_of(version), **rejected)
