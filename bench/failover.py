"""``bench failover``: kill each node, then freeze each, under a load and a reader; nothing may fail or wait.

Pauses are measured from the fault until load and reader are stopped. The aims are for the time while the node is gone.
The time while it starts, joins again and receives hints is only reported, because restarts have no aim.
"""

from __future__ import annotations

import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from bench.alone import each_node_alone
from bench.cluster import Cluster, cluster
from bench.data import flights_arrow, scratch
from bench.options import Options
from bench.report import Report
from bench.steady import Steady, Story
from millrace.api import Store
from millrace.errors import MillraceError, StackError
from millrace.load import LoadOptions
from millrace.store.repair.repair import RepairReport

__all__ = ["run"]

_CHUNK_BYTES = 1_000_000
"""Gives ten chunks a second beside a reader, so that a pause can be seen: chunks of 5 MB are written only twice a
second here."""
_READ_TIMES = 2
_BACK_S = 20.0
"""How long a load continues after the node is back: writes return to both nodes, and hints are replayed."""
_REPAIRED_TIMEOUT_S = 300.0
_NODES = ("cassandra-2", "cassandra-1")
_KINDS = {"kill": "killed", "freeze": "frozen"}
_PAUSE_S = {"kill": 1.0, "freeze": 3.0}
_THROUGHPUT_AFTER = 0.7
"""Aims of the longest pause, and of the throughput after a fault divided by that before it."""


@dataclass(frozen=True, slots=True)
class _Fault:
    """One fault: its time, the time at which the node was started or thawed, and the records of load and reader."""

    kind: str
    node: str
    at: float
    called_back: float
    load: Story
    reader: Story

    @property
    def name(self) -> str:
        """Return the name of the dataset that its load writes."""
        return _name(self.kind, self.node)

    def throughput(self, before_s: float, after_s: float) -> tuple[float, float]:
        """Return the throughput of load and reader after the fault, each divided by that before it."""
        shares = []
        for story in (self.load, self.reader):
            before = story.amount(self.at - before_s, self.at) / before_s
            shares.append(story.amount(self.at, self.at + after_s) / after_s / max(before, 1e-9))
        return shares[0], shares[1]

    @property
    def longest_pause_s(self) -> float:
        """Return the longest pause of load and reader, from the fault until the node is started or thawed."""
        return max(story.longest_pause_s(self.at, self.called_back) for story in (self.load, self.reader))


def run(options: Options) -> Report:
    """Run two kills and two freezes.

    Raises when a fault had no effect, or a node alone does not serve everything. Failed reads and loads are failures of
    the report.
    """
    report = Report("failover")
    source = flights_arrow(_READ_TIMES)
    faults: list[_Fault] = []
    with cluster() as on, scratch() as folder:
        report.extra_versions = {"cassandra": on.release}
        with Store.connect(on.settings) as store:
            store.load("reading", str(source), LoadOptions(chunk_bytes=_CHUNK_BYTES))
        for kind in _KINDS:
            names = ["reading"]
            for node in _NODES:
                faults.append(_fault(on, options, folder, source, kind, node))
                if not faults[-1].load.failed:  # a failed load has published nothing, and the report has it
                    names.append(faults[-1].name)
                _repair_and_check(on, options, names)
            with Store.connect(on.settings) as store:
                versions = {name: store.version(name) for name in names}
            each_node_alone(on, options, source, versions)
            _repaired(on, names)  # the nodes must see each other up before the next fault
    _tell(report, options, faults)
    return report


def _name(kind: str, node: str) -> str:
    return f"{kind}_{node[-1]}"


def _fault(on: Cluster, options: Options, folder: Path, source: Path, kind: str, node: str) -> _Fault:
    name = _name(kind, node)
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
    if not fault.load.degraded_since(at):
        raise StackError(f"{name}: no write was degraded, so the fault never fired")
    options.say(
        f"  {_KINDS[kind]}: longest pause {fault.longest_pause_s:.2f} s, "
        f"{fault.load.degraded} of {len(fault.load.events)} chunks degraded"
    )
    return fault


def _repair_and_check(on: Cluster, options: Options, names: list[str]) -> None:
    """Repair until everything is on two nodes, then verify that each node has all its chunks."""
    repaired = _repaired(on, names)
    options.say(f"  repaired: {repaired.cleared} of {repaired.records} records, {repaired.copies} copies written")
    with Store.connect(on.settings) as store:
        for name in names:
            verified = store.verify(name, each_replica=True)
            if not verified.ok:
                raise StackError(f"after repairing, a node does not have all of {name}: {verified.to_json()}")


def _repaired(on: Cluster, names: list[str]) -> RepairReport:
    """Repair until no chunk is under-replicated, and return the last report.

    The store is a new one, as a user would have. Raises ``StackError`` after ``_REPAIRED_TIMEOUT_S``.
    """
    deadline = time.monotonic() + _REPAIRED_TIMEOUT_S
    with Store.connect(on.settings) as store:
        while True:
            try:
                repaired = store.repair()
                if repaired.ok and not any(store.under_replicated(store.version(name)) for name in names):
                    return repaired
                problem = str(repaired.problems[:1])
            except MillraceError as error:  # the nodes do not see each other up yet
                problem = str(error)
            if time.monotonic() > deadline:
                raise StackError(f"not repaired within {_REPAIRED_TIMEOUT_S:g} s: {problem}")
            time.sleep(1.0)


def _tell(report: Report, options: Options, faults: list[_Fault]) -> None:
    failed_reads = [why for fault in faults for why in fault.reader.failed]
    failed_loads = [why for fault in faults for why in fault.load.failed]
    report.must_be_zero("failed_reads", len(failed_reads))
    report.must_be_zero("failed_loads", len(failed_loads))
    report.notes += [f"failed: {why}" for why in (*failed_reads, *failed_loads)]
    ratios = []
    for fault in faults:
        what = f"{fault.node} {_KINDS[fault.kind]}"
        for who, story in (("load", fault.load), ("reader", fault.reader)):
            calm = story.longest_pause_s(fault.at - options.before_s, fault.at)
            gone = story.longest_pause_s(fault.at, fault.called_back)
            back = story.longest_pause_s(fault.called_back, story.told_at)
            report.add(f"{what}: {who}, longest pause before", calm, "s", peak_rss_bytes=story.peak_rss_bytes)
            report.add(f"{what}: {who}, longest pause while it is gone", gone, "s", at_most=_PAUSE_S[fault.kind])
            report.add(f"{what}: {who}, longest pause while it comes back", back, "s")
        moved = fault.load.amount(fault.at - options.before_s, fault.at) / options.before_s
        report.add(f"{what}: stored before", moved / 1e6, "MB/s")
        back_s = fault.load.told_at - fault.called_back
        moved = fault.load.amount(fault.called_back, fault.load.told_at) / back_s
        report.add(f"{what}: stored in the {back_s:.0f} s in which it comes back", moved / 1e6, "MB/s")
        report.add(f"{what}: chunks acknowledged by one node", fault.load.degraded, "chunks")
        for who, ratio in zip(("load", "reader"), fault.throughput(options.before_s, options.after_s), strict=True):
            report.add(f"{what}: {who}, throughput after by before", ratio, "")
            ratios.append(ratio)
    for kind, word in _KINDS.items():
        pauses = [fault.longest_pause_s for fault in faults if fault.kind == kind]
        report.number(f"longest_pause_{word}_s", max(pauses), at_most=_PAUSE_S[kind])
    report.number("throughput_after", min(ratios), at_least=_THROUGHPUT_AFTER)
    report.notes.append(
        f"A load from standard input in chunks of {_CHUNK_BYTES:,} bytes and a reader that compares every batch, "
        f"{options.before_s:g} s before and {options.after_s:g} s after each fault, with the node still gone, and "
        f"{_BACK_S:g} s more once it is ready again; longest pauses are of all that time from the fault on, throughput "
        "is of the time with the node gone. After each, all data was repaired and each node's copies were checked; "
        "after both kills and after both freezes each node was stopped in turn, and a fresh process read everything "
        "from the other and compared it row by row."
    )
