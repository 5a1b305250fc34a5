"""``bench filter``: a filter that keeps 1 % of a sorted column against none, beside local gzip Parquet."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc

from bench.cluster import cluster
from bench.contestant import Contestant, contestants
from bench.data import FLIGHTS_ROWS, SORTED_BY, scratch, sorted_arrow
from bench.job import open_store
from bench.options import Options
from bench.peers.parquet import write_parquet
from bench.profile import add_profile
from bench.race import add_conditions, add_runs, best, first_runs, race
from bench.report import Report
from millrace.errors import StackError

__all__ = ["run"]


def run(options: Options) -> Report:
    """Race on flights sorted by time, ``options.times`` times; raise when Millrace finds other rows than pyarrow."""
    report = Report("filter")
    arrow = sorted_arrow(options.times)
    rows = FLIGHTS_ROWS * options.times
    with cluster() as on, scratch() as folder:
        report.extra_versions = {"cassandra": on.release}
        options.say("loading the data to read")
        parquet = folder / "flights.parquet"
        with pa.memory_map(str(arrow)) as source:
            table = pa.ipc.open_file(source).read_all()
            write_parquet(table, parquet)
            limit = table[SORTED_BY][rows // 100]
            kept = table.filter(pc.field(SORTED_BY) < limit)
            store = open_store(on)
            store.load("sorted", str(arrow))
            if not store.dataset("sorted").to_table(filter=pc.field(SORTED_BY) < limit).equals(kept):
                raise StackError("the filter kept other rows than pyarrow's own")
            below = [SORTED_BY, limit.cast(pa.int64()).as_py()]
            expected = {"all": rows, "1 %": kept.num_rows}
            del table, kept
        env, peer = on.environment, "bench.peers.parquet:ParquetRead"
        every = Contestant.of("Millrace, all", "bench.ours:Read", env, dataset="sorted")
        few = Contestant.of("Millrace, 1 %", "bench.ours:Read", env, dataset="sorted", below=below)
        local = Contestant.of("pyarrow, local Parquet, 1 %", peer, path=str(parquet), below=below)
        racing = [every, few, local]
        with contestants(*racing):
            outcomes_by_name = race(
                racing, options.runs, warm_ups=options.warm_ups, meter=on.cpu_seconds, say=options.say
            )
            first = first_runs(racing, options.fresh, meter=on.cpu_seconds)
            profiles = {contestant.name: contestant.ask("profile") for contestant in (few, every)}
    for name, outcomes in outcomes_by_name.items():
        if outcomes[0].rows != expected[name.rpartition(", ")[2]]:
            raise StackError(f"{name} read {outcomes[0].rows} rows")
    add_runs(report, outcomes_by_name, first, unit="s")
    report.add("rows kept", expected["1 %"], "rows")
    report.add("stored bytes fetched for 1 %", profiles[few.name].facts["stored_bytes"], "bytes")
    seconds = {name: best(outcomes).seconds for name, outcomes in outcomes_by_name.items()}
    report.ratio("filter_1_percent", seconds[every.name], seconds[few.name], aim=20)
    add_conditions(report, outcomes_by_name, warm_ups=options.warm_ups)
    for name, profile in profiles.items():
        add_profile(report, name, profile)
    return report
