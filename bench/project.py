"""``bench project``: two of 200 float columns against all of them, beside the ceiling and local gzip Parquet."""

from __future__ import annotations

import pyarrow as pa

from bench.cluster import cluster
from bench.contestant import Contestant, contestants
from bench.data import scratch, wide_arrow
from bench.job import ceiling, open_store, read_threads, write_job
from bench.options import Options
from bench.peers.parquet import write_parquet
from bench.profile import add_profile
from bench.race import add_conditions, add_runs, best, first_runs, race
from bench.report import Report
from millrace.errors import StackError

__all__ = ["run"]

_TWO = ["sensor_017", "sensor_141"]


def run(options: Options) -> Report:
    """Race reads of 200 columns of 250,000 rows (400 MB); raise when Millrace reads another table."""
    report = Report("project")
    arrow = wide_arrow()
    with cluster() as on, scratch() as folder:
        report.extra_versions = {"cassandra": on.release}
        options.say("loading the data to read")
        parquet = folder / "wide.parquet"
        with pa.memory_map(str(arrow)) as source:
            table = pa.ipc.open_file(source).read_all()
            write_parquet(table, parquet)
            store = open_store(on)
            loaded = store.load("wide", str(arrow))
            for columns in (None, _TWO):
                expected = table if columns is None else table.select(columns)
                if not store.dataset("wide").to_table(columns).equals(expected):
                    raise StackError("the data read from Cassandra differs from the loaded data")
            job, threads = write_job(store, "wide", folder), read_threads(store)
            del table, expected
        env = on.environment
        every = Contestant.of("Millrace, all 200 columns", "bench.ours:Read", env, dataset="wide")
        two = Contestant.of("Millrace, 2 columns", "bench.ours:Read", env, dataset="wide", columns=_TWO)
        top = ceiling("read", job, threads)
        peer = "bench.peers.parquet:ParquetRead"
        local = Contestant.of("pyarrow, local Parquet, all", peer, path=str(parquet))
        local_two = Contestant.of("pyarrow, local Parquet, 2 columns", peer, path=str(parquet), columns=_TWO)
        racing = [every, two, top, local, local_two]
        with contestants(*racing):
            outcomes_by_name = race(
                racing, options.runs, warm_ups=options.warm_ups, meter=on.cpu_seconds, say=options.say
            )
            first = first_runs(racing, options.fresh, meter=on.cpu_seconds)
            profiles = {contestant.name: contestant.ask("profile") for contestant in (every, two)}
    add_runs(report, outcomes_by_name, first, unit="s")
    report.add("stored bytes, all columns", loaded.stored_bytes, "bytes")
    report.add("stored bytes, 2 columns", profiles[two.name].facts["stored_bytes"], "bytes")
    report.add("chunks", loaded.chunks, "chunks")
    seconds = {name: best(outcomes).seconds for name, outcomes in outcomes_by_name.items()}
    report.ratio("project_2_of_200", seconds[every.name], seconds[two.name], aim=15)
    report.ratio("read_vs_ceiling", seconds["ceiling"], seconds[every.name], aim=0.8)
    report.ratio("read_vs_local_parquet", seconds[local.name], seconds[every.name])
    add_conditions(report, outcomes_by_name, warm_ups=options.warm_ups)
    for name, profile in profiles.items():
        add_profile(report, name, profile)
    return report
