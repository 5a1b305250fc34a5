"""``bench without``: the whole command ``millrace load`` with Kafka or Redis stopped, against one with both up."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from bench.cluster import Cluster, cluster, services
from bench.data import FLIGHTS_ROWS, flights_csv
from bench.options import Options
from bench.report import Report
from local_stack.stack import Stack
from millrace.errors import StackError
from millrace.settings import Settings

__all__ = ["run"]

_LONG = 7
"""The long load has this many times the flights of the other benchmarks: at least 30 s on two cores."""
_STATES = ("with both", "Kafka stopped", "Redis stopped")
_TIMEOUT_S = 1800.0
_LONGER_S, _LONGER_PERCENT = 1, 10
"""Aims: how much longer a short load may take, in seconds, and a long one, in percent."""


@dataclass(slots=True)
class _Loads:
    """The seconds of the loads of one size in one state, and their lines on standard error."""

    seconds: list[float] = field(default_factory=list)
    lines: set[str] = field(default_factory=set)

    @property
    def median_s(self) -> float:
        return statistics.median(self.seconds)


def run(options: Options) -> Report:
    """Run ``options.runs`` loads, short and long, in each state in turn, and report medians.

    Raises when a load fails.
    """
    report = Report("without")
    sizes = {"short": flights_csv(1), "long": flights_csv(options.times * _LONG)}
    rows = {"short": FLIGHTS_ROWS, "long": FLIGHTS_ROWS * options.times * _LONG}
    loads_by_state = {(size, state): _Loads() for size in sizes for state in _STATES}
    with services("kafka", "redis") as stack, cluster() as on:
        report.extra_versions = {"cassandra": on.release}
        for turn in range(options.runs + 1):
            for state in _STATES:
                with _stopped(stack, state):
                    for size, source in sizes.items():
                        if turn == 0 and size == "long":
                            continue  # the first turn only warms the nodes up
                        seconds, lines = _load(on.settings, source, rows[size])
                        options.say(f"  {turn}/{options.runs} {size}, {state}: {seconds:.2f} s")
                        if turn:
                            loads_by_state[size, state].seconds.append(seconds)
                            loads_by_state[size, state].lines.update(lines)
                        _forget(on)
    for size in sizes:
        whole = loads_by_state[size, "with both"].median_s
        report.add(f"{size}, with both, {rows[size]:,} rows", whole, "s")
        for state in _STATES[1:]:
            loads = loads_by_state[size, state]
            report.add(f"{size}, {state}", loads.median_s, "s")
            limit_s, limit_percent = (_LONGER_S, None) if size == "short" else (None, _LONGER_PERCENT)
            report.add(f"{size}, {state}: longer by", loads.median_s - whole, "s", at_most=limit_s)
            report.add(f"{size}, {state}: longer by", (loads.median_s / whole - 1) * 100, "%", at_most=limit_percent)
    report.notes = [
        f"{state} says: {line}" for state in _STATES for line in sorted(loads_by_state["long", state].lines)
    ]
    return report


@contextmanager
def _stopped(stack: Stack, state: str) -> Iterator[None]:
    """Stop the service that the state names until the block ends."""
    name = state.partition(" ")[0].lower()
    if name not in ("kafka", "redis"):
        yield
        return
    stack.down([name])
    try:
        yield
    finally:
        stack.up([name])


def _load(settings: Settings, source: Path, rows: int) -> tuple[float, list[str]]:
    """Run one load as a user starts it; return the seconds of the whole process and its lines on standard error."""
    command = [sys.executable, "-m", "millrace", "load", "without", str(source), "--null-value", "NA", "--json"]
    env = {**os.environ, "MILLRACE_CASSANDRA__KEYSPACE": settings.cassandra.keyspace}
    began = time.perf_counter()
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=_TIMEOUT_S, check=False)
    seconds = time.perf_counter() - began
    if done.returncode or json.loads(done.stdout)["rows"] != rows:
        raise StackError(f"millrace load ended with {done.returncode}: {done.stderr.strip() or done.stdout.strip()}")
    return seconds, done.stderr.splitlines()


def _forget(on: Cluster) -> None:
    on.empty("chunks", "pages", "versions", "attempts")
