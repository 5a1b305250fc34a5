"""``bench progress``: the cost of reporting the progress of a load, with Kafka up and with Kafka frozen."""

from __future__ import annotations

import statistics
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from bench.cluster import Cluster, cluster, services
from bench.contestant import Contestant, Outcome, contestants
from bench.data import FLIGHTS_ROWS, flights_arrow
from bench.options import Options
from bench.ours import Load
from bench.race import best, least_cpu_s, race
from bench.report import Report
from local_stack.stack import Stack
from millrace import progress
from millrace.errors import StackError
from millrace.settings import load_settings

__all__ = ["ReportedLoad", "run"]

WITHOUT, WITH = "without progress", "with progress"
_FROZEN_RUNS = 3
_COST_PERCENT, _FROZEN_S = 2, 5
"""Aims: the cost of reporting for a load, and the time that a load waits in all for a frozen Kafka."""


def run(options: Options) -> Report:
    """Load flights ``options.times`` times, with progress and without it in turn.

    Raises when a load fails or does not load all rows.
    """
    report = Report("progress")
    source = str(flights_arrow(options.times))
    rows = FLIGHTS_ROWS * options.times
    with services("kafka") as stack, cluster() as on:
        report.extra_versions = {"cassandra": on.release}
        kafka = {"MILLRACE_KAFKA__BOOTSTRAP_SERVERS": load_settings().kafka.bootstrap_servers}
        silent = Contestant.of(WITHOUT, "bench.ours:Load", on.environment, source=source, dataset="silent")
        reporting = Contestant.of(
            WITH, "bench.progress:ReportedLoad", {**on.environment, **kafka}, source=source, dataset="told", rows=rows
        )
        with contestants(silent, reporting):
            options.say("warming up")
            for contestant in (silent, reporting):
                contestant.ask()
                on.empty("chunks")
            outcomes_by_name = race(
                [silent, reporting],
                options.runs,
                between=lambda: on.empty("chunks"),
                meter=on.cpu_seconds,
                say=options.say,
            )
            frozen = [_frozen(stack, on, reporting, options) for _ in range(min(_FROZEN_RUNS, options.runs))]
    for name, outcomes in {**outcomes_by_name, "Kafka frozen": frozen}.items():
        if any(outcome.rows != rows for outcome in outcomes):
            raise StackError(f"{name}: {outcomes[0].rows} rows were loaded, not {rows}")
    _compare(report, outcomes_by_name, frozen)
    return report


def _frozen(stack: Stack, on: Cluster, reporting: Contestant, options: Options) -> Outcome:
    """Run one load that begins when Kafka was just frozen."""
    with _stopped_in_time(stack):
        outcome = reporting.ask()
    on.empty("chunks")
    options.say(f"  Kafka frozen: {outcome.seconds:.2f} s")
    return outcome


@contextmanager
def _stopped_in_time(stack: Stack) -> Iterator[None]:
    stack.freeze("kafka")
    try:
        yield
    finally:
        stack.thaw("kafka")


def _compare(report: Report, outcomes_by_name: dict[str, list[Outcome]], frozen: list[Outcome]) -> None:
    median_s = {name: statistics.median(outcome.seconds for outcome in each) for name, each in outcomes_by_name.items()}
    for name, outcomes in outcomes_by_name.items():
        report.add(name, best(outcomes).rows_per_s, "rows/s", peak_rss_bytes=best(outcomes).peak_rss_bytes)
        report.add(f"{name}: median", median_s[name], "s")
        report.add(f"{name}: least processor time, nodes included", least_cpu_s(outcomes), "s of a core")
    facts = outcomes_by_name[WITH][-1].facts
    report.add("events of one load", facts["delivered"], "events")
    fastest = {name: best(outcomes).seconds for name, outcomes in outcomes_by_name.items()}
    costs = {
        name: (seconds[WITH] / seconds[WITHOUT] - 1) * 100
        for name, seconds in (("fastest", fastest), ("median", median_s))
    }
    for name, cost in costs.items():
        report.add(f"progress costs, {name} against {name}", cost, "%", at_most=_COST_PERCENT)
    cpu_s = {name: least_cpu_s(outcomes) for name, outcomes in outcomes_by_name.items()}
    cost = (cpu_s[WITH] / cpu_s[WITHOUT] - 1) * 100
    report.add("progress costs, processor time", cost, "%", at_most=_COST_PERCENT)
    report.add(
        "waited for Kafka at the end, Kafka there", max(o.facts["waited_s"] for o in outcomes_by_name[WITH]), "s"
    )
    waited = max(o.facts["waited_s"] for o in frozen)
    report.add("Kafka frozen: waited for it in all", waited, "s", at_most=_FROZEN_S)
    report.add("Kafka frozen: median load", statistics.median(o.seconds for o in frozen), "s")
    report.add("Kafka frozen: longer by", statistics.median(o.seconds for o in frozen) - median_s[WITHOUT], "s")


class ReportedLoad(Load):
    """The same load, reported to Kafka as the command reports it, with a new connection each time."""

    def __init__(self, source: str, dataset: str, rows: int) -> None:
        super().__init__(source, dataset)
        self._rows = rows
        self._kafka = load_settings().kafka

    def run(self) -> dict[str, Any]:
        """Load once, timed from creating the sink until it is closed; ``waited_s`` is the time after the load."""
        identity = progress.TaskIdentity("cli", f"bench-{uuid.uuid4().hex[:8]}", "load")
        began = time.perf_counter()
        sink = progress.kafka_sink(self._kafka)
        with progress.task(identity, kind="load", dataset=self._dataset, total=self._rows, sinks=[sink]) as task:
            report = self._store.load(self._dataset, self._source, self._options, task=task)
            loaded = time.perf_counter()
        sink.close()
        ended = time.perf_counter()
        return {
            "rows": report.rows,
            "seconds": ended - began,
            "waited_s": ended - loaded,
            "delivered": getattr(sink, "delivered", 0),
        }
