"""The races of one shape of samples, and the figures that come of them."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field

from bench.contestant import Contestant, Outcome, contestants
from bench.options import Options
from bench.race import best, race
from bench.report import Report
from bench.training.contestants import (
    BATCH_ROWS,
    FIRST_BATCH,
    PEER_BATCH_ROWS,
    PEERS,
    Peer,
    Starters,
    cold,
    of_peer,
    ours,
    parquet,
    starts,
    waits,
    warm,
)
from bench.training.figures import Figures
from bench.training.prepared import Prepared
from millrace.errors import StackError

__all__ = ["ShapeRace"]

_ENOUGH_S = 20.0
_MILLRACE = "Millrace"
_PROBE_FORMS = {"stored": "gzip", "raw": "raw", "decoded": "decoded"}


@dataclass(slots=True)
class ShapeRace:
    """Race all contestants of one shape; add their rows to the report and their ratios to the figures."""

    shape: Prepared
    options: Options
    report: Report
    figures: Figures
    others_cores: list[float] = field(default_factory=list)
    """The cores that other programs used during each run of Parquet, which has one process and no servers."""

    spreads: dict[str, float] = field(default_factory=dict)
    """How far apart rows of a batch are in the data, by the name of the contestant."""

    def run(self) -> None:
        """Run every group; those of one group run in turn."""
        for batch_rows in BATCH_ROWS:
            self._warm(batch_rows)
        self.shape.redis.delete("probe:*")
        for peer in PEERS:
            self._peer(peer)
        self.shape.redis.delete("samples:*")
        for batch_rows in BATCH_ROWS:
            self._cold(batch_rows)
            self._starts(batch_rows)
            self._waits(batch_rows)

    def _warm(self, batch_rows: int) -> None:
        outcomes = self._raced(warm(self.shape, batch_rows, self.options.probe))
        rate = {name: best(of_one).rows_per_s for name, of_one in outcomes.items()}
        of = {form: ours(form, batch_rows) for form in ("stored", "raw", "decoded")}
        gzip = [parquet("gzip", encoding, batch_rows) for encoding in ("binary", "lists")]
        plain = parquet("plain", "binary", batch_rows)
        self._ratio("training_warm_vs_parquet", rate[of["stored"]] / max(rate[name] for name in gzip))
        self._ratio("training_warm_vs_parquet_plain", rate[of["raw"]] / rate[plain])
        self._ratio("training_warm_vs_memmap", rate[of["decoded"]] / rate[f"memmap, {batch_rows}"])
        self._ratio("training_raw_vs_stored", rate[of["raw"]] / rate[of["stored"]])
        least = min(_cpu_s_per_gb(outcomes[name]) for name in gzip)
        self._ratio("training_cpu_vs_parquet", least / _cpu_s_per_gb(outcomes[of["stored"]]))
        for form, name in of.items():
            if self.options.probe is not None:
                self._ratio("training_vs_probe", rate[name] / rate[f"probe, {_PROBE_FORMS[form]}, {batch_rows}"])

    def _peer(self, peer: Peer) -> None:
        try:
            outcomes = self._raced(of_peer(self.shape, peer))
        except StackError as error:
            self.report.notes.append(f"{self.shape.shape}: {error}; there is no training_warm_vs_{peer.name}.")
            return
        rate = {name: best(of_one).rows_per_s for name, of_one in outcomes.items()}
        own = rate.pop(ours(self.shape.chosen, PEER_BATCH_ROWS))
        self._ratio(f"training_warm_vs_{peer.name}", own / max(rate.values()))

    def _cold(self, batch_rows: int) -> None:
        outcomes = self._raced(cold(self.shape, batch_rows), self.shape.on.cpu_seconds)
        own, read, rows = (best(of_one).rows_per_s for of_one in outcomes.values())
        self._ratio("training_cold_vs_read", own / read)
        self._ratio("training_cold_vs_rows", own / rows)

    def _starts(self, batch_rows: int) -> None:
        with ExitStack() as stack:
            started = _started(starts(self.shape, batch_rows), stack)
            outcomes = race(started, self.options.runs, warm_ups=1)
        for name, of_one in outcomes.items():
            first_s, resume_s = (statistics.median(o.facts[fact] for o in of_one) for fact in ("first_s", "resume_s"))
            peak = best(of_one).peak_rss_bytes
            self._add(f"{name}, {batch_rows}", first_s * 1000, "ms", peak)
            self._add(f"{name}, {batch_rows}, resumed in the middle", resume_s * 1000, "ms", peak)
            if name == FIRST_BATCH:
                self._ratio("first_batch_ms", first_s * 1000)
                self._ratio("resume_vs_start", first_s / resume_s)

    def _waits(self, batch_rows: int) -> None:
        own = next(row.value for row in self.report.rows if row.what == self._what(ours(self.shape.chosen, batch_rows)))
        consumer = waits(self.shape, batch_rows, step_s=2 * batch_rows / own)
        with contestants(consumer):
            outcomes = race([consumer], self.options.runs)[consumer.name]
        p99_s, gap_s = (statistics.median(o.facts[fact] for o in outcomes) for fact in ("p99_s", "gap_s"))
        peak = best(outcomes).peak_rss_bytes
        self._add(f"{consumer.name}, {batch_rows}: p99 of its waits", p99_s * 1000, "ms", peak)
        self._add(f"{consumer.name}, {batch_rows}: wait between two epochs", gap_s * 1000, "ms", peak)
        self._ratio("wait_p99_ms", p99_s * 1000)
        self._ratio("epoch_gap_ms", gap_s * 1000)

    def _raced(self, starters: Starters, meter: Callable[[], float] | None = None) -> dict[str, list[Outcome]]:
        """Start each contestant and check an epoch of it, then race them all; add their rows and settings.

        ``meter`` is the processor time of the servers that they use, that of Redis by default.
        """
        meter = meter or self.shape.redis.cpu_seconds
        with ExitStack() as stack:
            started = _started(starters, stack, self._check)
            outcomes = race(started, self.options.runs, meter=meter, say=self.options.say, enough_s=_ENOUGH_S)
        for name, of_one in outcomes.items():
            if name.startswith("Parquet"):
                self.others_cores += [o.facts["others_cpu_s"] / o.seconds for o in of_one]
            if not any(row.what == self._what(name) for row in self.report.rows):
                fastest = best(of_one)
                self._add(name, fastest.rows_per_s, "rows/s", fastest.peak_rss_bytes)
                if "first_rows_per_s" in fastest.facts:
                    first = max(o.facts["first_rows_per_s"] for o in of_one)
                    self._add(f"{name}: an epoch after a pause", first, "rows/s", fastest.peak_rss_bytes)
                self._add(f"{name}: processor time, servers included", _cpu_s_per_gb(of_one), "s of a core/GB")
                self.report.notes.append(f"{self._what(name)}: {of_one[0].facts['configuration']}{self._spread(name)}.")
        return outcomes

    def _check(self, contestant: Contestant) -> None:
        """Let it deliver one epoch, uncounted, and check every row; a wrong row is a failure of the benchmark."""
        outcome = contestant.ask("check")
        facts, what = outcome.facts, self._what(contestant.name)
        self.options.say(f"  {what}: an epoch of {outcome.rows:,} rows checked")
        if facts.get("wrong"):
            self.report.failures.append(f"{what}: {facts['wrong']} rows are not those of their number")
        if facts.get("repeated") or facts.get("missing"):
            uneven = f"{what}: of {outcome.rows:,} rows {facts['repeated']} came twice and {facts['missing']} never"
            (self.report.failures if contestant.name.startswith(_MILLRACE) else self.report.notes).append(uneven)
        if "spread" in facts:
            self.spreads[contestant.name] = facts["spread"]

    def _spread(self, name: str) -> str:
        if name not in self.spreads:
            return ""
        return f"; two rows of a batch are {self.spreads[name]:.1%} of the data apart"

    def _ratio(self, name: str, value: float) -> None:
        self.figures.add(name, self.shape.shape, value)

    def _add(self, name: str, value: float, unit: str, peak_rss_bytes: int | None = None) -> None:
        self.report.add(self._what(name), value, unit, peak_rss_bytes=peak_rss_bytes)

    def _what(self, name: str) -> str:
        return f"{self.shape.shape}: {name}"


def _started(
    starters: Starters, stack: ExitStack, check: Callable[[Contestant], None] | None = None
) -> list[Contestant]:
    """Start each contestant, after the check of the one before; the stack ends them."""
    started = []
    for name, start in starters.items():
        contestant = start(name)
        stack.callback(contestant.close)
        if check is not None:
            check(contestant)
        started.append(contestant)
    return started


def _cpu_s_per_gb(outcomes: Sequence[Outcome]) -> float:
    """Return the least processor time for a delivered gigabyte, servers included."""
    return min(float((o.facts["cpu_s"] + o.facts["nodes_cpu_s"]) / o.facts["delivered_bytes"] * 1e9) for o in outcomes)
