"""Record a run of a load while it runs, so that its report can be made however it ends."""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Final

from millrace.load.plan import LoadPlan
from millrace.load.report import LoadReport
from millrace.load.report_parts import SourceFacts, StageTimes, reported_error
from millrace.load.version_reports import version_report
from millrace.sources import distinct
from millrace.store import Catalogue, Version

STAGES: Final = ("plan", "load", "fetch", "query", "join", "write", "train", "verify", "publish", "warm")


@dataclass(slots=True)
class RunRecord:
    """A run that loads a dataset: its identity, its start, the times of its stages, and its plan once it is made."""

    dataset: str
    run: str
    mode: str
    started: datetime = field(default_factory=lambda: datetime.now(UTC))
    times: StageTimes = field(default_factory=StageTimes)
    plan: LoadPlan | None = None
    _start_s: float = field(init=False)
    """The start by the monotonic clock, which never steps back."""

    def __post_init__(self) -> None:
        self._start_s = time.monotonic() - (datetime.now(UTC) - self.started).total_seconds()

    @property
    def seconds(self) -> float:
        """The seconds since the start, at least 0.001."""
        return max(0.001, time.monotonic() - self._start_s)

    def timed(self, report: LoadReport) -> LoadReport:
        """Return the report with the name of the run, its start, its seconds until now, its rate and its stages."""
        seconds = self.seconds
        stages = {**report.stages, **self.times.seconds}
        return replace(
            report,
            run=self.run,  # a load that was published before may be in a version of another run, such as a merge
            started=self.started.isoformat(timespec="milliseconds"),
            seconds=round(seconds, 3),
            rows_per_s=round(report.rows_read / seconds, 1),
            stages={name: stages[name] for name in STAGES if name in stages},
        )

    def failed(self, error: BaseException) -> LoadReport:
        """Return the report of the run that ends with this error. It has no version and counts no rows."""
        source = self.plan and self.plan.source
        facts = SourceFacts.of(source.facts()) if source else SourceFacts()
        report = LoadReport(
            dataset=self.dataset,
            version="",
            run=self.run,
            mode=self.mode,
            kind=source.kind if source else "",
            parent=self.plan.parent if self.plan else None,
            rows=0,
            total_rows=0,
            raw_bytes=0,
            stored_bytes=0,
            chunks=0,
            replicas=2,
            under_replicated=0,
            retries=0,
            splits=len(source.splits) if source else 0,
            source=facts.uri,
            source_facts=facts,
            warnings=distinct(source.warnings) if source else (),
            error=reported_error(error),
        )
        return self.timed(report)


def skipped_report(catalogue: Catalogue, version: Version, plan: LoadPlan, *, reason: str = "unchanged") -> LoadReport:
    """Return the report of a run that made no version, because its source is that of ``version`` (``reason``).

    It has the columns and all rows of ``version``, and counts no rows or bytes as added.
    """
    return version_report(
        catalogue,
        version,
        [],
        [],
        run=plan.run,
        mode=plan.mode,
        source=plan.source.uri,
        source_facts=SourceFacts.of(plan.source.facts()),
        warnings=distinct(plan.source.warnings),
        skipped=reason,
    )
