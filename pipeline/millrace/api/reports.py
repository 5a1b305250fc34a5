"""Keep the report of each run in the store, and return it again."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from millrace.api.connection import StoreConnection
from millrace.api.maintenance import catalogue_writes
from millrace.errors import MillraceError, RunNotFoundError, StoreError, UsageError
from millrace.load import LoadReport, RunRecord
from millrace.names import nearest
from millrace.sources import SourceWarning
from millrace.store import CatalogueWriter, DatasetRun, RunReports

if TYPE_CHECKING:
    from millrace.training import ModelReport

    RunReport: TypeAlias = LoadReport | ModelReport

FAILED_KEPT: Final = timedelta(days=90)
"""Time after which the report of a failed run expires; other reports stay."""
ALREADY_LOADED: Final = "already_loaded"
"""Code of the warning that a load was published before."""
_SEARCHED_DATASETS: Final = 8
_SEARCHED_RUNS: Final = 50


class Reports(StoreConnection):
    """The part of ``Store`` that keeps and returns the reports of runs."""

    def run_report(self, run: str) -> RunReport:
        """Return the report of a run: ``DAG/RUN`` of Airflow, or the id of a run by a command or program.

        It is a load report, or that of a training. Raises ``RunNotFoundError`` if no report of the run is kept. Lists
        in it may be shortened: see ``cut``.
        """
        document = self._run_reports.document(run)
        if document is not None:
            return _report_of(document)
        near = nearest(run, self._similar_runs(run), at_most=3)
        raise RunNotFoundError(
            f"there is no report of the run {run!r}",
            hint=f"did you mean {', '.join(near)}?" if near else "millrace show NAME names the run of a version",
            run=run,
        )

    def last_run(self, dataset: str) -> DatasetRun | None:
        """Return the newest run that loaded the dataset or tried to, or None if none is kept."""
        runs = self._run_reports.runs(dataset, at_most=1)
        return runs[0] if runs else None

    def has_succeeded(self, dataset: str, run: str) -> bool:
        """Return whether the report of the run is kept and says that it made a version of the dataset."""
        kept = self._run_reports.document(run) or {}
        return (kept.get("dataset"), kept.get("state")) == (dataset, "succeeded")

    def keep_report(self, report: LoadReport) -> LoadReport:
        """Keep the report of a run that succeeded or was skipped; return it, with a warning if that failed.

        If the load was published before and its report is kept, that one stays, because it knows the work of the load.
        """
        is_repeated = any(warning.code == ALREADY_LOADED for warning in report.warnings)
        if is_repeated and self.has_succeeded(report.dataset, report.run):
            return report
        if message := self._not_kept(report):
            return replace(report, warnings=(*report.warnings, SourceWarning("report_not_kept", message)))
        return report

    def _not_kept(self, report: RunReport) -> str:
        """Keep a report, and return a warning if that failed, else an empty text."""
        try:
            self._write_report(report, None)
        except StoreError as error:
            return f"the report of the run {report.run} was not kept in the store ({error.message})"
        return ""

    @contextmanager
    def recorded(
        self, record: RunRecord, *, unrecorded: type[Exception] | tuple[type[Exception], ...] = UsageError
    ) -> Iterator[None]:
        """Keep the report of the run if the block fails, for 90 days; the error leaves the block unchanged.

        Errors of ``unrecorded`` are no runs: the call itself was wrong. Nothing is written while no node responds. A
        report that says that an earlier attempt at the run succeeded stays. The context of the error names the run.
        """
        try:
            yield
        except Exception as error:
            if isinstance(error, MillraceError):
                error.context.setdefault("run", record.run)
            if not isinstance(error, unrecorded):
                # The error of the run is the one that the caller needs, and not a second one.
                with suppress(Exception):
                    is_reachable = len(self.cassandra.missing()) < len(self.cassandra.hosts())
                    if is_reachable and not self.has_succeeded(record.dataset, record.run):
                        self._write_report(record.failed(error), FAILED_KEPT)
            raise

    @property
    def _run_reports(self) -> RunReports:
        return RunReports(self.catalogue.reader)

    def _write_report(self, report: RunReport, ttl: timedelta | None) -> None:
        row = DatasetRun(
            dataset=report.dataset,
            started=datetime.fromisoformat(report.started) if report.started else datetime.now(UTC),
            run=report.run,
            state=report.state,
            version=report.version or None,
            rows=report.total_rows,
            rejects=report.rejected,
        )
        with catalogue_writes(self.cassandra) as writes:
            catalogue_writer = CatalogueWriter(self.cassandra, writes)
            ttl_s = None if ttl is None else int(ttl.total_seconds())
            self._run_reports.write(catalogue_writer, row, report.to_json(), ttl_s=ttl_s)

    def _similar_runs(self, run: str) -> Iterable[str]:
        """Yield the newest runs of the datasets whose names occur in the name of a run."""
        names = sorted((name for name in self.catalogue.names() if name in run), key=len, reverse=True)
        for name in names[:_SEARCHED_DATASETS]:
            yield from (row.run for row in self._run_reports.runs(name, at_most=_SEARCHED_RUNS))


def _report_of(document: Mapping[str, Any]) -> RunReport:
    from millrace.training import ModelReport

    return (
        ModelReport.from_json(document)
        if document.get("report") == ModelReport.TYPE
        else LoadReport.from_json(document)
    )
