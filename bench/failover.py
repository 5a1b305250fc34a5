"""``bench failover``: each node killed, then each frozen, under a load and a reader; nothing may fail or wait."""

from __future__ import annotations

import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from bench.cluster import Cluster, cluster
from bench.data import flights_arrow, scratch
from bench.options import Options
from bench.report import Report
from bench.steady import Steady, Story
from pipeline.api import Store
from pipeline.errors import MillraceError, StackError
from pipeline.load import LoadOptions

__all__ = ["run"]

_CHUNK_BYTES = 1_000_000
"""Ten chunks a second beside a reader, so that a pause is a pause; chunks of 5 MB come twice a second here."""
_READ_TIMES = 2
_BACK_S = 20.0
"""How long a load goes on after the node is back: writing returns to both nodes, and hints flow."""
_HEALED_TIMEOUT_S = 300.0
_KINDS = {"kill": "killed", "freeze": "frozen"}


@dataclass(frozen=True, slots=True)
class _Fault:
    """One fault: when it struck, when the node was called back, and what load and reader did."""

    kind: str
    node: str
    at: float
    called_back: float
    load: Story
    reader: Story

    def throughput(self, before_s: float, after_s: float) -> tuple[float, float]:
        """What load and reader moved a second after the fault, by what they moved before."""
        found = []
        for story in (self.load, self.reader):
            before = story.amount(self.at - before_s, self.at) / before_s
            found.append(story.amount(self.at, self.at + after_s) / after_s / max(before, 1e-9))
        return found[0], found[1]

    @property
    def longest_pause_s(self) -> float:
        """Of load and reader, from the fault until the node was called back."""
        return max(story.longest_pause_s(self.at, self.called_back) for story in (self.load, self.reader))


def run(options: Options) -> Report:
    """Two kills and two freezes; raises when a fault never fired, or a node alone does not serve everything."""
    report = Report("failover")
    source = flights_arrow(_READ_TIMES)
    faults: list[_Fault] = []
    with cluster() as on, scratch() as folder:
        report.extra_versions = {"cassandra": on.release}
        with Store.connect(on.settings) as store:
            store.load("reading", str(source), LoadOptions(chunk_bytes=_CHUNK_BYTES))
        for kind in _KINDS:
            for node in ("cassandra-2", "cassandra-1"):
                faults.append(_fault(on, options, folder, source, kind, node))
                _heal_and_check(on, options, faults[-1])
    _tell(report, options, faults)
    return report


def _fault(on: Cluster, options: Options, folder: Path, source: Path, kind: str, node: str) -> _Fault:
    name = f"{kind}_{node[-1]}"
    options.say(f"{name}: load and reader")
    env = on.environment
    with ExitStack() as running:
        job = {"source": str(source), "chunk_bytes": _CHUNK_BYTES}
        load = Steady("endless", name, folder, env, **job)
        running.callback(load.kill)
        reader = Steady("reads", f"reader_{name}", folder, env, dataset="reading", **job)
        running.callback(reader.kill)
        load.wait_started()
        reader.wait_started()
        time.sleep(options.before_s)
        at = time.monotonic()
        getattr(on.stack, kind)(node)
        time.sleep(options.after_s)
        called_back = time.monotonic()
        on.stack.up(["cassandra"]) if kind == "kill" else on.stack.thaw(node)
        time.sleep(_BACK_S)
        fault = _Fault(kind, node, at, called_back, load.stop(), reader.stop())
    if not fault.load.degraded:
        raise StackError(f"{name}: no write was degraded, so the fault never fired")
    options.say(
        f"  {_KINDS[kind]}: longest pause {fault.longest_pause_s:.2f} s, "
        f"{fault.load.degraded} of {len(fault.load.events)} chunks degraded"
    )
    return fault


def _heal_and_check(on: Cluster, options: Options, fault: _Fault) -> None:
    """Everything is on two nodes again, and each node alone serves it; a store of its own, as a person would have."""
    names = [f"{fault.kind}_{fault.node[-1]}", "reading"]
    deadline = time.monotonic() + _HEALED_TIMEOUT_S
    with Store.connect(on.settings) as store:
        while True:
            try:
                healed = store.heal()
                if healed.ok and not any(store.debts(store.version(name)) for name in names):
                    break
                said = str(healed.problems[:1])
            except MillraceError as error:  # the nodes do not see each other up yet
                said = str(error)
            if time.monotonic() > deadline:
                raise StackError(f"not healed within {_HEALED_TIMEOUT_S:g} s: {said}")
            time.sleep(1.0)
        options.say(f"  healed: {healed.cleared} of {healed.debts} debts, {healed.copies} copies written")
        for name in names:
            verified = store.verify(name, each_replica=True)
            if not verified.ok:
                raise StackError(f"after healing, a node alone does not serve {name}: {verified.to_json()}")


def _tell(report: Report, options: Options, faults: list[_Fault]) -> None:
    failed_reads = [why for fault in faults for why in fault.reader.failed]
    failed_loads = [why for fault in faults for why in fault.load.failed]
    report.number("failed_reads", len(failed_reads))
    report.number("failed_loads", len(failed_loads))
    report.notes += [f"failed: {why}" for why in (*failed_reads, *failed_loads)]
    ratios = []
    for fault in faults:
        what = f"{fault.node} {_KINDS[fault.kind]}"
        for who, story in (("load", fault.load), ("reader", fault.reader)):
            pause = story.longest_pause_s(fault.at, fault.called_back)
            calm = story.longest_pause_s(fault.at - options.before_s, fault.at)
            back = story.longest_pause_s(fault.called_back, fault.called_back + _BACK_S)
            report.add(f"{what}: {who}, longest pause", pause, "s", peak_rss_bytes=story.peak_rss_bytes)
            report.add(f"{what}: {who}, longest pause before", calm, "s")
            report.add(f"{what}: {who}, longest pause while the node comes back", back, "s")
        moved = fault.load.amount(fault.at - options.before_s, fault.at) / options.before_s
        report.add(f"{what}: stored before", moved / 1e6, "MB/s")
        report.add(f"{what}: chunks acknowledged by one node", fault.load.degraded, "chunks")
        for who, ratio in zip(("load", "reader"), fault.throughput(options.before_s, options.after_s), strict=True):
            report.add(f"{what}: {who}, throughput after by before", ratio, "")
            ratios.append(ratio)
    for kind, word in _KINDS.items():
        pauses = [fault.longest_pause_s for fault in faults if fault.kind == kind]
        report.number(f"longest_pause_{word}_s", max(pauses))
    report.number("throughput_after", min(ratios))
    report.notes.append(
        f"A load from standard input in chunks of {_CHUNK_BYTES:,} bytes and a reader that compares every batch, "
        f"{options.before_s:g} s before and {options.after_s:g} s after each fault, with the node still gone; after "
        "each, everything was healed and read from each node alone."
    )
