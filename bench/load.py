"""``bench load``: CSV and Arrow into Cassandra, beside DataStax Bulk Loader, local gzip Parquet and the ceiling."""

from __future__ import annotations

from pathlib import Path

from bench.cluster import Cluster, cluster
from bench.contestant import Contestant, Outcome, contestants
from bench.data import FLIGHTS, FLIGHTS_ROWS, flights_arrow, flights_csv, scratch
from bench.job import ceiling, open_store, write_job
from bench.options import Options
from bench.peers.dsbulk import DSBULK, bulk_load, create_flights_table
from bench.profile import add_profile
from bench.race import add_conditions, add_runs, best, race
from bench.report import Report
from local_stack.settings import load_stack_settings
from local_stack.stack import Stack
from millrace.errors import StackError

__all__ = ["run"]

_NULLS = ["NA"]
_CEILING_TABLE = "ceiling"


def run(options: Options) -> Report:
    """Race loads of flights, ``options.times`` times; raise when a contestant fails or does not load all rows."""
    report = Report("load")
    csv, arrow = flights_csv(options.times), flights_arrow(options.times)
    with cluster() as on, scratch() as folder:
        report.extra_versions = {"cassandra": on.release, "dsbulk": DSBULK}
        _millrace_and_peers(on, options, report, csv, arrow, folder)
        if options.dsbulk_runs:
            _dsbulk(on, options, report)
    return report


def _millrace_and_peers(on: Cluster, options: Options, report: Report, csv: Path, arrow: Path, folder: Path) -> None:
    env = on.environment
    from_csv = Contestant.of(
        "Millrace from CSV", "bench.ours:Load", env, source=str(csv), dataset=FLIGHTS, null_values=_NULLS
    )
    from_arrow = Contestant.of("Millrace from Arrow", "bench.ours:Load", env, source=str(arrow), dataset="arrow")
    peers = "bench.peers.parquet:CsvToParquet"
    target = str(folder / "out.parquet")
    whole = Contestant.of("pyarrow CSV to Parquet, whole", peers, source=str(csv), target=target, whole=True)
    streamed = Contestant.of("pyarrow CSV to Parquet, streamed", peers, source=str(csv), target=target, whole=False)
    with contestants(from_csv, from_arrow, whole, streamed):
        options.say("warming up")
        first = from_arrow.ask()
        job = write_job(open_store(on), "arrow", folder, table=_CEILING_TABLE)
        on.create_like_chunks(_CEILING_TABLE)
        top = ceiling("load", job, options.cores)
        with contestants(top):
            racing = [from_csv, from_arrow, top, whole, streamed]
            outcomes_by_name = race(
                racing,
                options.runs,
                between=lambda: on.empty("chunks", _CEILING_TABLE),
                meter=on.cpu_seconds,
                say=options.say,
            )
        cpu = on.cpu_seconds()
        profiles = {contestant.name: contestant.ask("profile") for contestant in (from_csv, from_arrow)}
        cpu = on.cpu_seconds() - cpu
    on.leave(FLIGHTS)
    rows = FLIGHTS_ROWS * options.times
    for name, outcomes in outcomes_by_name.items():
        if any(outcome.rows != rows for outcome in outcomes):
            raise StackError(f"{name} loaded {outcomes[0].rows} rows, not {rows}")
    add_runs(report, outcomes_by_name)
    _facts(report, first)
    winner = {name: best(outcomes).rows_per_s for name, outcomes in outcomes_by_name.items()}
    parquet = max(winner[whole.name], winner[streamed.name])
    report.ratio("load_vs_local_parquet", winner[from_csv.name], parquet, aim=1.0)
    report.ratio("load_vs_ceiling", winner[from_arrow.name], winner["ceiling"], aim=0.8)
    add_conditions(report, outcomes_by_name)
    for name, outcome in profiles.items():
        add_profile(report, name, outcome)
    report.add("both profiled loads: processor time of the nodes", cpu, "s")


def _facts(report: Report, outcome: Outcome) -> None:
    report.add("stored bytes", outcome.facts["stored_bytes"], "bytes")
    report.add("raw bytes (Arrow)", outcome.facts["raw_bytes"], "bytes")
    report.add("chunks", outcome.facts["chunks"], "chunks")


def _dsbulk(on: Cluster, options: Options, report: Report) -> None:
    place = Stack(load_stack_settings()).place
    source = flights_csv(options.dsbulk_times)
    table = create_flights_table(on)
    loads = []
    for turn in range(options.dsbulk_runs):
        loads.append(bulk_load(place, on.settings.cassandra, source))
        options.say(f"  {turn + 1}/{options.dsbulk_runs} DataStax Bulk Loader: {loads[-1].rows_per_s:,.0f} rows/s")
        on.empty(table)
    fastest = max(load.rows_per_s for load in loads)
    peak = max(load.peak_rss_bytes for load in loads)
    report.add("DataStax Bulk Loader, its own report", fastest, "rows/s", peak_rss_bytes=peak)
    ours = next(row.value for row in report.rows if row.what == "Millrace from CSV")
    report.ratio("load_vs_dsbulk", ours, fastest, aim=40)
    report.notes.append(
        f"DataStax Bulk Loader: one row a row, its own defaults, flights x{options.dsbulk_times}, best of "
        f"{options.dsbulk_runs} by the rate that it reports (--dsbulk-times 20 gives it all rows)."
    )
