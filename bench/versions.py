"""``bench versions``: what questions cost when a dataset has 5,000 versions, and when a version has 250,000 chunks."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import pyarrow as pa

from bench.cluster import Cluster, cluster
from bench.contestant import Contestant, best, contestants
from bench.data import flights_arrow, scratch
from bench.job import open_store
from bench.many import COLUMN, make_chunks, make_versions
from bench.options import Options
from bench.report import Report
from pipeline.load import LoadOptions

__all__ = ["QUESTIONS", "run", "small_file"]

QUESTIONS = ("versions", "show", "count_rows", "head", "filter", "append")
VERSIONS = 5_000
CHUNKS = 250_000
_ROWS = 1_000


def small_file(folder: Path, first: int) -> Path:
    """A thousand flights with their numbers from ``first``, as an Arrow file."""
    with pa.memory_map(str(flights_arrow(1))) as source:
        table = pa.ipc.open_file(source).read_all().slice(0, _ROWS)
    table = table.add_column(0, COLUMN, pa.array(range(first, first + _ROWS), pa.int64()))
    path = folder / f"from-{first}.arrow"
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, table.schema) as file:
        file.write_table(table)
    return path


def run(options: Options) -> Report:
    """Each question by a process of its own, and ``millrace`` itself from start to end."""
    report = Report("versions")
    with cluster() as on, scratch() as folder:
        report.extra_versions = {"cassandra": on.release}
        store = open_store(on)
        for name, made in (("versions", VERSIONS), ("chunks", CHUNKS)):
            options.say(f"making {made:,} {name}")
            store.load(name, str(small_file(folder, 0)))
            began = time.monotonic()
            (make_versions if name == "versions" else make_chunks)(store, name, made - (name == "versions"))
            if name == "versions":
                store.load(name, str(small_file(folder, 10**12)), LoadOptions(mode="append"))
            options.say(f"  in {time.monotonic() - began:.0f} s")
            _ask(on, options, report, name, f"{made:,} {name}", folder)
    report.notes.append(
        "Seconds of a question in a process that is connected, and of the whole command (start, import, connect); "
        "filter keeps one chunk; append loads 1,000 rows."
    )
    return report


def _ask(on: Cluster, options: Options, report: Report, name: str, title: str, folder: Path) -> None:
    for question in QUESTIONS:
        asked = {"dataset": name, "questions": [question], "source": str(small_file(folder, 10**13)), "number": 7}
        one = Contestant.of(f"{title}: {question}", "bench.many:Ask", on.environment, **asked)
        with contestants(one):
            outcomes = [one.ask() for _ in range(1 if question == "append" else options.runs)]
        chosen = best(outcomes)
        report.add(one.name, chosen.seconds, "s", peak_rss_bytes=chosen.peak_rss_bytes)
        report.add("  the first time", outcomes[0].seconds, "s")
        for fact in ("requests", "read_bytes", "written_bytes"):
            if outcomes[0].facts[fact]:
                report.add(f"  {fact.replace('_', ' ')}", outcomes[0].facts[fact], "")
    for command in (["versions", name], ["show", name], ["read", name, "--head", "5"]):
        whole = [sys.executable, "-c", _COMMAND, *command, "--json"]
        one = Contestant(f"{title}: millrace {' '.join(command)}", whole, on.environment)
        with contestants(one):
            outcome = best([one.ask() for _ in range(2)])
        report.add(one.name, outcome.seconds, "s", peak_rss_bytes=outcome.peak_rss_bytes)


_COMMAND = """
import json, resource, subprocess, sys, time
for _ in sys.stdin:
    began = time.perf_counter()
    child = subprocess.Popen([sys.executable, "-m", "pipeline", *sys.argv[1:]], stdout=subprocess.DEVNULL)
    code = child.wait()
    seconds = time.perf_counter() - began
    if code:
        sys.exit(code)
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024
    print(json.dumps({"seconds": seconds, "rows": 1, "peak_rss_bytes": peak}), flush=True)
"""
"""``millrace`` as people start it; a small parent, because a child's peak begins with its parent's."""
