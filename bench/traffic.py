"""``bench traffic``: eight loaders and eight readers at once on nodes with 1 GiB heaps, against one of each."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from bench.cluster import Cluster, cluster
from bench.data import flights_arrow, scratch
from bench.options import Options
from bench.report import Report
from bench.steady import Steady, Story
from millrace.api import Store
from millrace.errors import StackError
from millrace.load import LoadOptions
from millrace.settings import CHUNK_BYTES_MAX

__all__ = ["percentile", "run"]

_HEAP_MB = 1024
_TIMES = 3
_MANY = 8
_ONE_S = 60.0
_SETTLE_S = 5.0


@dataclass(frozen=True, slots=True)
class _Traffic:
    """The records of ``loaders`` and ``readers`` between two times."""

    begin: float
    end: float
    loaders: list[Story]
    readers: list[Story]
    row_bytes: float
    """Stored bytes of a row, needed because readers count rows."""

    @property
    def stored_bytes_per_s(self) -> tuple[float, float]:
        """Return the rates of writing and of reading."""
        seconds = self.end - self.begin
        written = sum(story.amount(self.begin, self.end) for story in self.loaders)
        rows = sum(story.amount(self.begin, self.end) for story in self.readers)
        return written / seconds, rows * self.row_bytes / seconds

    def waits_s(self, stories: Sequence[Story]) -> list[float]:
        """Return the wait of every chunk, shortest first."""
        return sorted(wait for story in stories for wait in story.waits_between(self.begin, self.end))

    @property
    def failed(self) -> list[str]:
        """Return all failures, at any time."""
        return [why for story in (*self.loaders, *self.readers) for why in story.failed]


def run(options: Options) -> Report:
    """Run the traffic of one loader and reader, then of eight each.

    Raises when a node dies or runs out of memory. Failed loads and reads are failures of the report.
    """
    report = Report("traffic")
    source = flights_arrow(_TIMES)
    with cluster(heap_mb=_HEAP_MB) as on, scratch() as folder:
        report.extra_versions = {"cassandra": on.release}
        with Store.connect(on.settings) as store:
            loaded = store.load("reading", str(source), LoadOptions(chunk_bytes=CHUNK_BYTES_MAX))
        row_bytes = loaded.stored_bytes / loaded.rows
        before = _logs(on)
        single = _traffic(on, options, folder, source, 1, min(_ONE_S, options.traffic_s), row_bytes)
        many = _traffic(on, options, folder, source, _MANY, options.traffic_s, row_bytes)
        _nodes_are_well(on, before)
    _tell(report, single, many)
    return report


def _traffic(
    on: Cluster, options: Options, folder: Path, source: Path, each: int, seconds: float, row_bytes: float
) -> _Traffic:
    options.say(f"{each} loaders and {each} readers for {seconds:g} s")
    job = {"source": str(source), "chunk_bytes": CHUNK_BYTES_MAX}
    with ExitStack() as running:
        loaders = [Steady("loads", f"loaded_{each}_{n}", folder, on.environment, **job) for n in range(each)]
        readers = [
            Steady("reads", f"reader_{each}_{n}", folder, on.environment, dataset="reading", **job) for n in range(each)
        ]
        for program in (*loaders, *readers):
            running.callback(program.kill)
        for program in (*loaders, *readers):
            program.wait_started()
        time.sleep(_SETTLE_S)
        begin = time.monotonic()
        time.sleep(seconds)
        end = time.monotonic()
        stories = [program.stop() for program in (*loaders, *readers)]
    return _Traffic(begin, end, stories[:each], stories[each:], row_bytes)


def _logs(on: Cluster) -> dict[str, tuple[int | None, int]]:
    """Return the pid and the length of the log of each node."""
    rows = [row for row in on.stack.status() if row["service"].startswith("cassandra")]
    return {row["service"]: (row["pid"], Path(row["log"]).stat().st_size) for row in rows}


def _nodes_are_well(on: Cluster, before: dict[str, tuple[int | None, int]]) -> None:
    for row in on.stack.status():
        if row["service"] not in before:
            continue
        pid, start = before[row["service"]]
        with Path(row["log"]).open("rb") as log:
            log.seek(start)
            out_of_memory = b"OutOfMemoryError" in log.read()
        if row["pid"] != pid or out_of_memory:
            raise StackError(f"{row['service']} ran out of memory or died: {row['log']}")


def percentile(ordered: Sequence[float], share: float) -> float:
    """Return the value below which ``share`` of the ordered values are, or 0 without values."""
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else 0.0


def _tell(report: Report, single: _Traffic, many: _Traffic) -> None:
    tails = []
    for traffic in (single, many):
        each = len(traffic.loaders)
        written, read = traffic.stored_bytes_per_s
        for who, rate, stories in (("written", written, traffic.loaders), ("read", read, traffic.readers)):
            peak = max(story.peak_rss_bytes for story in stories)
            report.add(f"{each} of each: stored bytes {who}", rate / 1e6, "MB/s", peak_rss_bytes=peak)
            waits = traffic.waits_s(stories)
            for share in (0.5, 0.99):
                report.add(f"{each} of each: a chunk {who}, p{share * 100:.0f}", percentile(waits, share) * 1e3, "ms")
            if traffic is many:
                tails.append(percentile(waits, 0.99) * 1e3)
        report.add(f"{each} of each: loads done", sum(len(story.done) for story in traffic.loaders), "loads")
        degraded = sum(story.degraded for story in traffic.loaders)
        report.add(f"{each} of each: chunks acknowledged by one node", degraded, "chunks")
    failed = single.failed + many.failed
    report.must_be_zero("failed", len(failed))
    report.notes += [f"failed: {why}" for why in failed[:20]]
    report.ratio("total_vs_one", sum(many.stored_bytes_per_s), sum(single.stored_bytes_per_s), aim=0.8)
    report.number("chunk_p99_ms", max(tails))
    report.notes.append(
        f"Heaps of {_HEAP_MB} MiB; {many.end - many.begin:.0f} s of {len(many.loaders)} loaders and as many readers, "
        "each a process of its own, after one of each; readers compare every batch. chunk_p99_ms is the larger of the "
        "p99 of a chunk written (from handing it over to both nodes' word) and read."
    )
