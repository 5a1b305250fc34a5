"""``bench prepare``: the shipped training data from flights and weather, against the load of the same CSV."""

from __future__ import annotations

from collections.abc import Sequence

from bench.cluster import Cluster, cluster
from bench.contestant import Contestant, Outcome, contestants
from bench.data import FLIGHTS, FLIGHTS_ROWS, flights_of_many_numbers, weather_csv
from bench.job import open_store
from bench.options import Options
from bench.race import add_conditions, add_runs, best, race
from bench.report import Report
from millrace.errors import StackError
from millrace.load import LoadOptions
from millrace.sources import SourceOptions

__all__ = ["run"]

_ENTRY = "late_arrivals"
_SMALL, _LARGE = 4, 40
"""How often the rows of flights are repeated: 1.35 and 13.5 million rows."""
_PEAK_BYTES = 700_000_000
_NULLS = ["NA"]


def run(options: Options) -> Report:
    """Race loads of flights and preparations of them, of 1.35 million rows; then one of each of 13.5 million.

    Raises when one of them fails, or does not have all rows.
    """
    report = Report("prepare")
    with cluster() as on:
        report.extra_versions = {"cassandra": on.release}
        nulls = LoadOptions(source=SourceOptions(null_values=tuple(_NULLS)))
        open_store(on).load("weather", str(weather_csv()), nulls)
        _race(on, options, report, _SMALL, options.runs, "prepare_vs_load", aim=0.15)
        _race(on, options, report, _LARGE, 1, "prepare_vs_load_large", aim=None)
    report.notes.append(
        "Rates count the rows of the main input. A preparation joins, splits, encodes and shuffles them."
    )
    return report


def _race(
    on: Cluster, options: Options, report: Report, times: int, runs: int, ratio: str, *, aim: float | None
) -> None:
    rows = FLIGHTS_ROWS * times
    source = str(flights_of_many_numbers(times))
    load = Contestant.of(
        f"load, {rows:,} rows", "bench.ours:Load", on.environment, source=source, dataset=FLIGHTS, null_values=_NULLS
    )
    prepare = Contestant.of(f"prepare, {rows:,} rows", "bench.ours:Prepare", on.environment, entry=_ENTRY)
    with contestants(load, prepare):
        outcomes = race([load, prepare], runs, meter=on.cpu_seconds, say=options.say)
    for name, runs_of_one in outcomes.items():
        _check_rows(name, runs_of_one, rows)
    add_runs(report, outcomes)
    fastest = best(outcomes[prepare.name])
    report.add(f"{prepare.name}: peak memory", fastest.peak_rss_bytes / 1e6, "MB", at_most=_PEAK_BYTES / 1e6)
    report.add(f"{prepare.name}: temporary files", fastest.facts["spilled_bytes"] / 1e6, "MB")
    for stage, seconds in fastest.facts["stages"].items():
        report.add(f"{prepare.name}: {stage}", seconds, "s")
    report.ratio(ratio, fastest.rows_per_s, best(outcomes[load.name]).rows_per_s, aim=aim)
    add_conditions(report, outcomes)


def _check_rows(name: str, outcomes: Sequence[Outcome], rows: int) -> None:
    for outcome in outcomes:
        if outcome.rows != rows:
            raise StackError(f"{name} had {outcome.rows} rows, not {rows}")
