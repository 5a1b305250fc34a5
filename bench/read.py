"""``bench read``: a whole dataset back to one Arrow table, beside local gzip Parquet, the ceiling and ArcticDB."""

from __future__ import annotations

import pyarrow as pa

from bench.cluster import cluster
from bench.contestant import Contestant, contestants
from bench.data import FLIGHTS, FLIGHTS_ROWS, bench_folder, flights_arrow, flights_csv, scratch
from bench.job import ceiling, open_store, read_threads, write_job
from bench.options import Options
from bench.peers import arcticdb
from bench.peers.parquet import write_parquet
from bench.profile import add_profile
from bench.race import add_conditions, add_runs, best, first_runs, race
from bench.report import Report
from millrace.errors import StackError
from millrace.load import LoadOptions
from millrace.sources import SourceOptions

__all__ = ["run"]


def run(options: Options) -> Report:
    """Race reads of flights, ``options.times`` times; raise when a contestant fails or Millrace reads another table."""
    report = Report("read")
    arrow = flights_arrow(options.times)
    with cluster() as on, scratch() as folder:
        report.extra_versions = {"cassandra": on.release}
        options.say("loading the data to read")
        parquet = folder / "flights.parquet"
        with pa.memory_map(str(arrow)) as source:
            table = pa.ipc.open_file(source).read_all()
            write_parquet(table, parquet)
            store = open_store(on)
            how = LoadOptions(source=SourceOptions(null_values=("NA",)))
            on.once(FLIGHTS, lambda: store.load(FLIGHTS, str(flights_csv(options.times)), how))
            if not store.dataset(FLIGHTS).to_table().equals(table):
                raise StackError("the data read from Cassandra differs from the loaded table")
            job = write_job(store, FLIGHTS, folder)
            threads = read_threads(store)
            del table
        ours = Contestant.of("Millrace, from Cassandra", "bench.ours:Read", on.environment, dataset=FLIGHTS)
        local = Contestant.of("pyarrow, local Parquet", "bench.peers.parquet:ParquetRead", path=str(parquet))
        top = ceiling("read", job, threads)
        racing = [ours, local, top]
        try:
            target = arcticdb.install(bench_folder() / "peers")
        except StackError as error:
            report.notes.append(f"{error}; there is no read_vs_arcticdb.")
        else:
            report.extra_versions["arcticdb"] = arcticdb.VERSION
            arguments = {"arrow_file": str(arrow), "folder": str(folder)}
            arctic_environment = arcticdb.environment(target)
            for name, form in (("ArcticDB, local LMDB", "pandas"), ("ArcticDB, local LMDB, to Arrow", "pyarrow")):
                work = "bench.peers.arcticdb:ArcticRead"
                racing.append(Contestant.of(name, work, arctic_environment, **arguments, output_format=form))
        with contestants(*racing):
            outcomes_by_name = race(
                racing, options.runs, warm_ups=options.warm_ups, meter=on.cpu_seconds, say=options.say
            )
            first = first_runs(racing, options.fresh, meter=on.cpu_seconds)
            cpu = on.cpu_seconds()
            profile = ours.ask("profile")
            cpu = on.cpu_seconds() - cpu
    rows = FLIGHTS_ROWS * options.times
    for name, outcomes in outcomes_by_name.items():
        if any(outcome.rows != rows for outcome in [*outcomes, *first[name]]):
            raise StackError(f"{name} read {outcomes[0].rows} rows, not {rows}")
    add_runs(report, outcomes_by_name, first)
    rates = {name: best(outcomes).rows_per_s for name, outcomes in outcomes_by_name.items()}
    report.add("Arrow bytes", profile.facts["arrow_bytes"], "bytes")
    report.add("stored bytes", profile.facts["stored_bytes"], "bytes")
    report.ratio("read_vs_local_parquet", rates[ours.name], rates[local.name], aim=1.3)
    report.ratio("read_vs_ceiling", rates[ours.name], rates["ceiling"], aim=0.8)
    if arctic := [rates[contestant.name] for contestant in racing[3:]]:
        report.ratio("read_vs_arcticdb", rates[ours.name], max(arctic))
    add_conditions(report, outcomes_by_name, warm_ups=options.warm_ups)
    add_profile(report, ours.name, profile)
    report.add("the profiled read: processor time of the nodes", cpu, "s")
    return report
