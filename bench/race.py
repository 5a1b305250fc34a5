"""A race: contestants in turn, the state of the machine meanwhile, and the rows of the report about both.

The same program has other figures on another machine, or on the same one at another time. So the causes of a difference
are reported beside each figure: the spread of the runs, the first run of a fresh process, page faults, time in the
kernel, the allocator, and the processor time used by other programs and by the host.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Mapping, Sequence

import psutil

from bench.contestant import Contestant, Outcome, contestants
from bench.report import Report

__all__ = ["OutcomesByName", "add_conditions", "add_runs", "best", "first_runs", "least_cpu_s", "race"]

OutcomesByName = Mapping[str, Sequence[Outcome]]
"""The outcomes of each contestant by its name."""


def race(
    started: Sequence[Contestant],
    runs: int,
    *,
    warm_ups: int = 0,
    between: Callable[[], None] | None = None,
    meter: Callable[[], float] | None = None,
    say: Callable[[str], None] | None = None,
    enough_s: float = math.inf,
) -> dict[str, list[Outcome]]:
    """Run each contestant ``runs`` times: A B C, then C B A, so that none always follows the same other one.

    Before that each works ``warm_ups`` times uncounted: nodes that were started a moment ago take twice the processor
    time for a read until their code is compiled. ``between()`` is called after each run. The growth of ``meter()``
    during a run is its fact ``nodes_cpu_s``. ``say(line)`` receives a line for each run. A contestant whose runs took
    ``enough_s`` in all runs no more.
    """
    outcomes_by_name: dict[str, list[Outcome]] = {contestant.name: [] for contestant in started}
    for _ in range(warm_ups):
        for contestant in started:
            contestant.ask()
    for turn in range(runs):
        for contestant in started if turn % 2 == 0 else reversed(started):
            outcomes = outcomes_by_name[contestant.name]
            if sum(earlier.seconds for earlier in outcomes) >= enough_s:
                continue
            outcome = _metered(contestant, meter or (lambda: 0.0))
            outcomes.append(outcome)
            if say is not None:
                rate = f"{outcome.rows_per_s:,.0f} rows/s in {outcome.seconds:.2f} s"
                say(f"  {turn + 1}/{runs} {contestant.name}: {rate}")
            if between is not None:
                between()
    return outcomes_by_name


def first_runs(
    started: Sequence[Contestant],
    runs: int,
    *,
    between: Callable[[], None] | None = None,
    meter: Callable[[], float] | None = None,
) -> dict[str, list[Outcome]]:
    """Return the first run of ``runs`` fresh processes of each contestant, in turn; the nodes are warm."""
    outcomes_by_name: dict[str, list[Outcome]] = {contestant.name: [] for contestant in started}
    for _ in range(runs):
        for contestant in started:
            fresh = contestant.fresh()
            with contestants(fresh):
                outcomes_by_name[contestant.name].append(_metered(fresh, meter or (lambda: 0.0)))
            if between is not None:
                between()
    return outcomes_by_name


def _metered(contestant: Contestant, meter: Callable[[], float]) -> Outcome:
    """Let it work once; add the processor time used meanwhile by nodes, other programs and the host as facts."""
    nodes, before = meter(), psutil.cpu_times()
    outcome = contestant.ask()
    after = psutil.cpu_times()
    outcome.facts.setdefault("nodes_cpu_s", meter() - nodes)  # a contestant may have measured a part of its work
    busy = sum(getattr(after, kind) - getattr(before, kind) for kind in ("user", "nice", "system", "irq", "softirq"))
    own = outcome.facts.get("cpu_s", 0.0) + outcome.facts["nodes_cpu_s"]
    outcome.facts["others_cpu_s"] = max(0.0, busy - own)
    outcome.facts["host_s"] = getattr(after, "steal", 0.0) - getattr(before, "steal", 0.0)
    return outcome


def best(outcomes: Sequence[Outcome]) -> Outcome:
    """Return the fastest run, with the largest peak memory of all runs."""
    fastest = max(outcomes, key=lambda outcome: outcome.rows_per_s)
    peak = max(outcome.peak_rss_bytes for outcome in outcomes)
    return Outcome(fastest.seconds, fastest.rows, peak, fastest.facts)


def least_cpu_s(outcomes: Sequence[Outcome]) -> float:
    """Return the least processor time of a run, nodes included: a busy machine changes it least."""
    return min(float(o.facts.get("cpu_s", 0.0) + o.facts.get("nodes_cpu_s", 0.0)) for o in outcomes)


def add_runs(
    report: Report, outcomes_by_name: OutcomesByName, first: OutcomesByName | None = None, *, unit: str = "rows/s"
) -> None:
    """Add the best run of each contestant, then figures that explain why another machine may differ.

    ``unit`` is ``rows/s`` or ``s``. ``first`` are first runs of fresh processes.
    """
    for name, outcomes in outcomes_by_name.items():
        chosen = best(outcomes)
        report.add(name, _figure(chosen, unit), unit, peak_rss_bytes=chosen.peak_rss_bytes)
    for name, outcomes in outcomes_by_name.items():
        figures = [_figure(outcome, unit) for outcome in outcomes]
        report.add(f"{name}: median of {len(figures)} runs", statistics.median(figures), unit)
        report.add(f"{name}: worst run", max(figures) if unit == "s" else min(figures), unit)
        if first is not None:
            figure = statistics.median(_figure(outcome, unit) for outcome in first[name])
            report.add(f"{name}: first run of a fresh process, median of {len(first[name])}", figure, unit)
        report.add(f"{name}: least processor time, nodes included", least_cpu_s(outcomes), "s of a core")
        if all("kernel_s" in outcome.facts for outcome in outcomes):
            report.add(f"{name}: of it in the kernel, median", _median(outcomes, "kernel_s"), "s of a core")
            report.add(f"{name}: page faults of a run, median", _median(outcomes, "page_faults"), "faults")


def add_conditions(report: Report, outcomes_by_name: OutcomesByName, *, warm_ups: int = 0) -> None:
    """Add notes: other load on the processor, the order of the runs, and the configuration of each contestant."""
    every = [outcome for outcomes in outcomes_by_name.values() for outcome in outcomes]
    others, host = ([o.facts[kind] / o.seconds for o in every] for kind in ("others_cpu_s", "host_s"))
    report.notes.append(
        f"While they ran, other programs took {statistics.mean(others):.2f} cores on average and {max(others):.2f} at "
        f"most, the host {statistics.mean(host):.2f} and {max(host):.2f} (steal). Above 0.1 the figures are not of a "
        "quiet machine."
    )
    report.notes.append(f"Order: in turn, each second time backwards, after {warm_ups} uncounted runs of each.")
    for name, outcomes in outcomes_by_name.items():
        if configuration := outcomes[0].facts.get("configuration"):
            report.notes.append(f"{name}: {configuration}.")


def _figure(outcome: Outcome, unit: str) -> float:
    return outcome.seconds if unit == "s" else outcome.rows_per_s


def _median(outcomes: Sequence[Outcome], fact: str) -> float:
    return statistics.median(float(outcome.facts[fact]) for outcome in outcomes)
