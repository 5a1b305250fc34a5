"""``bench versions``: the cost of queries on a dataset of 5,000 versions and on a version of 250,000 chunks."""

from __future__ import annotations

import shlex
import sys
import time
from pathlib import Path

import pyarrow as pa

from bench.cluster import Cluster, cluster
from bench.contestant import Contestant, Outcome, contestants
from bench.data import flights_arrow, scratch
from bench.job import open_store
from bench.many import COLUMN, make_chunks, make_versions
from bench.options import Options
from bench.race import best
from bench.report import Report
from millrace.load import LoadOptions

__all__ = ["QUESTIONS", "run", "small_file"]

QUESTIONS = ("versions", "show", "count_rows", "head", "filter", "append")
VERSIONS = 5_000
CHUNKS = 250_000
_ROWS = 1_000
_ANSWER_S = 1.0
_ANSWER_BYTES = 400_000_000
_APPEND_BYTES = 1_000_000
"""Aims: of each question except an append, in a process that is connected and as a command; of the bytes that an append
writes."""
_NUMBER = 7
_COMMAND_RUNS = 2


def small_file(folder: Path, first: int) -> Path:
    """Return the path of an Arrow file of a thousand flights that are numbered from ``first``."""
    with pa.memory_map(str(flights_arrow(1))) as source:
        table = pa.ipc.open_file(source).read_all().slice(0, _ROWS)
    table = table.add_column(0, COLUMN, pa.array(range(first, first + _ROWS), pa.int64()))
    path = folder / f"from-{first}.arrow"
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, table.schema) as file:
        file.write_table(table)
    return path


def run(options: Options) -> Report:
    """Run each question in a process of its own, and as the whole command ``millrace`` from start to end."""
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
        "Seconds of a question in a process that is connected, and of the whole command (start, import, connect); no "
        "command asks for count_rows alone. filter keeps one chunk; append loads 1,000 rows."
    )
    return report


def _ask(on: Cluster, options: Options, report: Report, name: str, title: str, folder: Path) -> None:
    source = str(small_file(folder, 10**13))
    commands = {
        "versions": ["versions", name],
        "show": ["show", name],
        "head": ["read", name, "--head", "5"],
        "filter": ["read", name, "--filter", f"{COLUMN} = {_NUMBER}"],
        "append": ["load", name, source, "--mode", "append"],
    }
    for question in QUESTIONS:
        once, limit_s = (True, None) if question == "append" else (False, _ANSWER_S)
        asked = {"dataset": name, "questions": [question], "source": source, "number": _NUMBER}
        contestant = Contestant.of(f"{title}: {question}", "bench.many:Ask", on.environment, **asked)
        outcomes = _asked(contestant, 1 if once else options.runs)
        _tell(report, contestant.name, best(outcomes), limit_s)
        report.add("  the first time", outcomes[0].seconds, "s", at_most=limit_s)
        for fact in ("requests", "read_bytes", "written_bytes"):
            if outcomes[0].facts[fact]:
                limit = _APPEND_BYTES if once and fact == "written_bytes" else None
                report.add(f"  {fact.replace('_', ' ')}", outcomes[0].facts[fact], "", at_most=limit)
        if question in commands:
            command = commands[question]
            whole = [sys.executable, "-c", _COMMAND, *command, "--json"]
            shown = shlex.join("FILE" if word == source else word for word in command)
            outcomes = _asked(Contestant(question, whole, on.environment), 1 if once else _COMMAND_RUNS)
            _tell(report, f"  as a command: millrace {shown}", best(outcomes), limit_s)


def _asked(contestant: Contestant, runs: int) -> list[Outcome]:
    with contestants(contestant):
        return [contestant.ask() for _ in range(runs)]


def _tell(report: Report, what: str, outcome: Outcome, limit_s: float | None) -> None:
    peak, peak_limit = outcome.peak_rss_bytes, None if limit_s is None else _ANSWER_BYTES
    report.add(what, outcome.seconds, "s", peak_rss_bytes=peak, at_most=limit_s, peak_at_most=peak_limit)


_COMMAND = """
import json, resource, subprocess, sys, time
for _ in sys.stdin:
    began = time.perf_counter()
    child = subprocess.Popen([sys.executable, "-m", "millrace", *sys.argv[1:]], stdout=subprocess.DEVNULL)
    code = child.wait()
    seconds = time.perf_counter() - began
    if code:
        sys.exit(code)
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024
    print(json.dumps({"seconds": seconds, "rows": 1, "peak_rss_bytes": peak}), flush=True)
"""
"""``millrace`` as a user starts it. The parent is small, because a child's peak begins with its parent's."""
