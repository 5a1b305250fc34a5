"""Compute the view of a run for users: its state, its total, its headline, and its tasks in the DAG's order.

Pure. It is the only such code in Python: ``/api/progress``, the page without JavaScript and ``watch`` use it.
``sse_bridge/static/run_states.js`` follows the same rules; ``tests/data/progress_cases.json`` has cases for both.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any, Final

from millrace.progress.event import TERMINAL_STATES
from millrace.progress.headline import Total, headline_of
from millrace.progress.merge import RunKey, TaskState

RUN_QUIET_S: Final = 15.0
"""Time without an event after which a run counts as over: a scheduler starts the next task with a delay."""

_ENDS: Final = ("failed", "lost", "cancelled", "succeeded", "skipped")
_WRITING: Final = frozenset({"load", "prepare"})
_AFTER_WRITING: Final = frozenset({"verify", "publish", "warm"})
_LEFT_AFTER_S: Final = 5.0
"""Before this elapsed time the rate is too uncertain to estimate the time left."""
_LEFT_MAX_S: Final = 1e9
"""Longest time left that is reported; a rate near zero gives arbitrarily long times."""


@dataclass(frozen=True, slots=True)
class RunState:
    """The view of a run for users. ``result`` is the outcome that its last successful step reported, or ``None``."""

    key: RunKey
    state: str
    tasks: tuple[TaskState, ...]
    ended: int
    total: Total | None
    headline: str
    result: dict[str, Any] | None

    @property
    def over(self) -> bool:
        """Return whether every task is over, and there is at least one."""
        return bool(self.tasks) and self.ended == len(self.tasks)

    def to_json(self) -> dict[str, Any]:
        """Return the run as JSON values: ``tasks`` is their number, ``steps`` are their ids in the DAG's order."""
        return {
            "dag_id": self.key[0],
            "run_id": self.key[1],
            "state": self.state,
            "over": self.over,
            "headline": self.headline,
            "tasks": len(self.tasks),
            "ended": self.ended,
            "steps": list(dict.fromkeys(task.key[2] for task in self.tasks)),
            "total": None if self.total is None else asdict(self.total),
            "result": self.result,
        }


def state_of_run(key: RunKey, tasks: Iterable[TaskState]) -> RunState:
    """Return the view of the run with these tasks, each of which already has the state that users see."""
    ordered = tasks_in_order(tasks)
    state = run_state([task.state for task in ordered])
    total = total_of(ordered, state)
    result = result_of(ordered)
    return RunState(
        key=key,
        state=state,
        tasks=tuple(ordered),
        ended=sum(is_over(task.state) for task in ordered),
        total=total,
        headline=headline_of(key, ordered, state, result, total),
        result=result,
    )


def is_over(state: str) -> bool:
    """Return whether a task in this state has ended or is lost."""
    return state in TERMINAL_STATES or state == "lost"


def run_state(states: list[str]) -> str:
    """Return the state of a run with tasks in these states.

    A run is running from the start of its first task to the end of its last one, unless a task is lost or stalled. It
    then has the state of its worst task.
    """
    if states and all(map(is_over, states)):
        return next(end for end in _ENDS if end in states)
    for problem in ("lost", "stalled"):
        if problem in states:
            return problem
    return "running" if any(state != "queued" for state in states) else "queued"


def tasks_in_order(tasks: Iterable[TaskState]) -> list[TaskState]:
    """Sort tasks by their step in the DAG, then by the start of their first instance, then by their first event.

    Tasks with an unknown step come last. Instances of one task are sorted by their map index.
    """
    unordered = list(tasks)
    ranks: dict[str, tuple[float, float, int]] = {}
    for number, task in enumerate(unordered):
        step, start_s, first = ranks.get(task.key[2], (math.inf, math.inf, number))
        step = min(step, math.inf if task.step is None else task.step)
        ranks[task.key[2]] = (step, min(start_s, _start_s(task)), first)
    return sorted(unordered, key=lambda task: (ranks[task.key[2]], task.key[3]))


def _start_s(task: TaskState) -> float:
    return math.inf if task.sent_s is None else task.sent_s - task.data.get("elapsed_s", 0)


def result_of(tasks: Iterable[TaskState]) -> dict[str, Any] | None:
    """Return the outcome that the last successful step reported (a version or a model), or ``None``."""
    results = [task.data["result"] for task in tasks if task.state == "succeeded" and task.data.get("result")]
    return next(filter(_is_outcome, reversed(results)), None)


def _is_outcome(result: dict[str, Any]) -> bool:
    return "version" in result and ("rows" in result or result.get("kind") == "model")


def left_s_of(task: TaskState) -> float | None:
    """Return the seconds until a running task is done; ``None`` if it does not run or the time is unknown."""
    if task.state != "running":
        return None
    data = task.data
    return _left_s(data.get("elapsed_s", 0), data.get("done", 0), data.get("total"), data.get("rate"))


def total_of(tasks: Iterable[TaskState], state: str) -> Total | None:
    """Return the amounts done and in total of the run's main work.

    In a load with a plan the main work is loading, and the plan gives the total from the start. In other runs it is the
    kind of work that took the most time; verify, publish and warm do not count in a run that loads or prepares.
    """
    groups: dict[tuple[str, str], list[TaskState]] = {}
    planned: dict[str, Any] | None = None
    for task in tasks:
        kind, unit = task.data.get("kind", ""), task.data.get("unit", "")
        if kind == "plan":
            planned = (task.data.get("result") or {}).get("load") or planned
        elif "done" in task.data:
            groups.setdefault((kind, unit), []).append(task)
    if planned is not None:
        kind, unit = "load", str(planned["unit"])
        total: float | None = planned["total"]
        chosen = groups.get((kind, unit), [])
    else:
        if any(key[0] in _WRITING for key in groups):
            groups = {key: group for key, group in groups.items() if key[0] not in _AFTER_WRITING}
        if not groups:
            return None
        (kind, unit), chosen = max(groups.items(), key=lambda each: sum(t.data["elapsed_s"] for t in each[1]))
        totals = [task.data["total"] for task in chosen]
        total = None if any(each is None for each in totals) else sum(totals)
    done = sum(task.data["done"] for task in chosen)
    fraction = 1.0 if state == "succeeded" else min(done / total, 1.0) if total else None
    rate = _rate(chosen, done, over=is_over(state) or state == "skipped")
    elapsed_s = max((task.data["elapsed_s"] for task in chosen if task.state == "running"), default=0)
    return Total(kind, unit, done, total, fraction, rate, _left_s(elapsed_s, done, total, rate))


def _rate(tasks: list[TaskState], done: float, *, over: bool) -> float | None:
    """Return the rate in units a second: the sum over the running tasks, or the average once the run is over."""
    if not over:
        return sum(task.data["rate"] or 0 for task in tasks if task.state == "running") or None
    timed = [task for task in tasks if task.sent_s is not None]
    if not timed:
        return None
    span = max(task.sent_s or 0 for task in timed) - min(map(_start_s, timed))
    return done / span if span >= 0.2 else None


def _left_s(elapsed_s: float, done: float, total: float | None, rate: float | None) -> float | None:
    if not total or not rate or elapsed_s < _LEFT_AFTER_S:
        return None
    left = max(total - done, 0) / rate
    return left if left < _LEFT_MAX_S else None
