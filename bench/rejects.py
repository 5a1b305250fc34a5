"""``bench rejects``: loads with a budget for bad rows, of a file without a bad row and of one with 1 % of them."""

from __future__ import annotations

from bench.cluster import cluster
from bench.contestant import Contestant, contestants
from bench.data import BAD_COLUMN, FLIGHTS_ROWS, bad_rows_of, flights_csv, flights_with_bad_rows
from bench.options import Options
from bench.race import OutcomesByName, add_conditions, add_runs, best, race
from bench.report import Report
from millrace.errors import StackError

__all__ = ["run"]

_BUDGET = "2%"
_PEAK_BYTES = 400_000_000
_PLAIN, _NONE, _SOME = "no budget, no bad row", "a budget, no bad row", "a budget, 1 % bad rows"


def run(options: Options) -> Report:
    """Race loads of flights, ``options.times`` times, with one column of a given type.

    Raises when a load fails, or does not load each good row and set aside each bad one.
    """
    report = Report("rejects")
    clean, bad = str(flights_csv(options.times)), str(flights_with_bad_rows(options.times))
    given = {"null_values": ["NA"], "column_types": [[BAD_COLUMN, "int64"]]}
    with cluster() as on:
        report.extra_versions = {"cassandra": on.release}
        work, env = "bench.ours:Load", on.environment
        plain = Contestant.of(_PLAIN, work, env, source=clean, dataset="plain", **given)
        none = Contestant.of(_NONE, work, env, source=clean, dataset="none", bad_rows=_BUDGET, **given)
        some = Contestant.of(_SOME, work, env, source=bad, dataset="some", bad_rows=_BUDGET, **given)
        racing = [plain, none, some]
        with contestants(*racing):
            options.say("warming up")
            for contestant in racing:
                contestant.ask()
                on.empty("chunks")
            outcomes_by_name = race(
                racing,
                options.runs,
                between=lambda: on.empty("chunks"),
                meter=on.cpu_seconds,
                say=options.say,
            )
    _check_rows(outcomes_by_name, options.times)
    add_runs(report, outcomes_by_name)
    _compare(report, outcomes_by_name)
    add_conditions(report, outcomes_by_name, warm_ups=1)
    report.notes.append(
        f"The type of {BAD_COLUMN} is given, and a text is a bad row. Every 100th row is bad; the budget is {_BUDGET}. "
        "Rates count the rows of the file, good and bad."
    )
    return report


def _check_rows(outcomes_by_name: OutcomesByName, times: int) -> None:
    for name, outcomes in outcomes_by_name.items():
        expected = (FLIGHTS_ROWS * times, bad_rows_of(times) if name == _SOME else 0)
        for outcome in outcomes:
            if (counts := (outcome.rows, outcome.facts["rejected"])) != expected:
                raise StackError(f"{name}: {counts[0]} rows were read and {counts[1]} rejected, not {expected}")


def _compare(report: Report, outcomes_by_name: OutcomesByName) -> None:
    fastest = {name: best(outcomes) for name, outcomes in outcomes_by_name.items()}
    for name in (_NONE, _SOME):
        peak = fastest[name].peak_rss_bytes
        report.add(f"{name}: peak memory", peak / 1e6, "MB", at_most=_PEAK_BYTES / 1e6)
    rate = {name: outcome.rows_per_s for name, outcome in fastest.items()}
    report.ratio("rejects_none", rate[_NONE], rate[_PLAIN], aim=0.97)
    report.ratio("rejects_1_percent", rate[_SOME], rate[_PLAIN], aim=0.3)
