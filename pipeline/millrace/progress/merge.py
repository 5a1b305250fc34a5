"""Merge the events of all sources of a task into its state. Pure: it uses no clock and no service.

``sse_bridge/static/run_states.js`` follows the same rules; ``tests/data/progress_cases.json`` has cases for both.
A lower attempt never hides a higher one. ``attempt`` has the rules within one attempt.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

from millrace.progress.attempt import Attempt, LatestEvent, is_late, producer_role, store_latest, unix_s
from millrace.progress.event import ATTEMPT_OVER, TERMINAL_STATES, Event

RunKey = tuple[str, str]
TaskKey = tuple[str, str, str, int]
ApplyResult = Literal["new", "stale", "late"]
"""``stale``: not newer than the latest event of the same source; ``late``: after the final state of that source."""


@dataclass(frozen=True, slots=True)
class TaskState:
    """The state of a task for users: that of its highest attempt, with the reporter's newest ``data`` (or ``{}``).

    The highest attempt may never have begun: a user marked it, or an earlier task failed. Then the terminal state that
    Airflow reports for it is the state of the task. ``attempt`` and ``data`` are then those of the last attempt that
    began.
    """

    key: TaskKey
    attempt: int
    state: str
    error: dict[str, Any] | None
    data: dict[str, Any]
    source: str
    """The reporter's source; empty while only Airflow has sent events."""
    sent_s: float | None = None
    """The time at which the reporter sent ``data`` (Unix time)."""
    step: int | None = None
    """The position of the task in its DAG, if Airflow has reported it."""
    leaf: bool = False
    """Whether no task of the DAG follows this one, as far as Airflow has reported."""
    end_confirmed: bool = False
    """Whether the task's position is known, and Airflow has reported the terminal state of its highest attempt."""

    @property
    def over(self) -> bool:
        """Return whether the task is in a terminal state."""
        return self.state in TERMINAL_STATES


@dataclass(slots=True)
class _Run:
    last_order: int = 0
    steps: dict[str, int] = field(default_factory=dict)
    """The position of each task in the DAG, as Airflow reported it."""
    leaves: set[str] = field(default_factory=set)
    """The tasks that no other task follows."""
    tasks: dict[TaskKey, dict[int, Attempt]] = field(default_factory=dict)


class RunStates:
    """The newest event of every source, and the task states that follow from them.

    Events of one run must be applied in the order of their partition. Events of different runs may interleave in any
    way. Applying an event twice, or an older one after a newer one, changes nothing. A lower attempt never hides a
    higher one. Not thread-safe.
    """

    def __init__(self) -> None:
        self.sources: dict[str, LatestEvent] = {}
        self._runs: dict[RunKey, _Run] = {}
        self._order = 0

    def apply(self, event: Event) -> ApplyResult:
        """Apply a valid event; return whether it is new, stale or late. Only a new event changes anything."""
        source, sequence, data = event["source"], event["sequence"], event["data"]
        before = self.sources.get(source)
        if before is not None:
            if sequence <= before.sequence:
                return "stale"
            if is_late(before, self.attempt(data), data):
                return "late"
        self._order += 1
        latest = LatestEvent(source, sequence, self._order, data, unix_s(event.get("time")))
        # Removed first, so that the dictionary stays ordered by the latest event.
        self.sources.pop(source, None)
        self.sources[source] = latest
        run = self._runs.setdefault((data["dag_id"], data["run_id"]), _Run())
        run.last_order = self._order
        if "step" in data:
            run.steps[data["task_id"]] = data["step"]
        if data.get("leaf"):
            run.leaves.add(data["task_id"])
        key: TaskKey = (data["dag_id"], data["run_id"], data["task_id"], data["map_index"])
        attempts = run.tasks.setdefault(key, {})
        store_latest(attempts.setdefault(data["attempt"], Attempt(data["attempt"])), producer_role(source), latest)
        return "new"

    def attempt(self, data: dict[str, Any]) -> Attempt | None:
        """Return the attempt that an event's ``data`` belongs to, or ``None`` if it has no event yet."""
        run = self._runs.get((data["dag_id"], data["run_id"]))
        key = (data["dag_id"], data["run_id"], data["task_id"], data["map_index"])
        return run.tasks.get(key, {}).get(data["attempt"]) if run is not None else None

    def runs(self) -> list[RunKey]:
        """Return all runs, the most recently updated first."""
        return sorted(self._runs, key=lambda run: -self._runs[run].last_order)

    def tasks(self, run: RunKey | None = None) -> Iterator[TaskState]:
        """Yield the tasks of one run, or of all runs, ordered by their first event.

        Airflow announces a mapped task as one task before it is expanded. The announced task is omitted once mapped
        instances are known.
        """
        chosen: Iterable[_Run] = self._runs.values() if run is None else filter(None, [self._runs.get(run)])
        for each in chosen:
            mapped = {task_id for _, _, task_id, map_index in each.tasks if map_index >= 0}
            for key, attempts in each.tasks.items():
                if not (key[3] < 0 and key[2] in mapped and _only_announced(attempts)):
                    yield _state_of(key, attempts, each)

    def attempts(self, key: TaskKey) -> list[Attempt]:
        """Return all attempts of a task by ascending number."""
        run = self._runs.get(key[:2])
        return [attempt for _, attempt in sorted(run.tasks.get(key, {}).items())] if run is not None else []

    def forget(self, source: str) -> None:
        """Remove one source, if it is known."""
        latest = self.sources.pop(source, None)
        attempt = self.attempt(latest.data) if latest is not None else None
        if latest is None or attempt is None:
            return
        role = producer_role(source)
        if getattr(attempt, role) is latest:
            setattr(attempt, role, None)
        if not attempt.latest_events:
            self._drop_empty(latest.data)

    def _drop_empty(self, data: dict[str, Any]) -> None:
        run_key = (data["dag_id"], data["run_id"])
        key = (*run_key, data["task_id"], data["map_index"])
        run = self._runs[run_key]
        del run.tasks[key][data["attempt"]]
        if not run.tasks[key]:
            del run.tasks[key]
        if not run.tasks:
            del self._runs[run_key]

    def shrink(self, sources_max: int) -> list[str]:
        """Remove whole runs until at most ``sources_max`` sources are left; return the removed sources.

        Finished runs are removed first, the least recently updated one before the others. The newest run stays.
        """
        removed: list[str] = []
        excess = len(self.sources) - sources_max
        if excess <= 0:
            return removed
        of_run: dict[RunKey, list[str]] = {}
        for source, latest in self.sources.items():
            of_run.setdefault((latest.data["dag_id"], latest.data["run_id"]), []).append(source)
        oldest_first = self.runs()[:0:-1]
        oldest_first.sort(key=lambda run: not all(task.over for task in self.tasks(run)))
        for run in oldest_first:
            if len(removed) >= excess:
                break
            del self._runs[run]
            removed += of_run.get(run, [])
        for source in removed:
            del self.sources[source]
        return removed


def _only_announced(attempts: dict[int, Attempt]) -> bool:
    return all(attempt.reporter is None and attempt.curves is None for attempt in attempts.values())


def _state_of(key: TaskKey, attempts: dict[int, Attempt], run: _Run) -> TaskState:
    newest = attempts[max(attempts)]
    state, decisive = newest.resolved_state
    error = decisive.data.get("error") if decisive is not None and state in ATTEMPT_OVER else None
    if error is None and state in ("failed", "retrying", "cancelled"):
        error = next((event.data["error"] for event in newest.latest_events if event.data.get("error")), None)
    shown = newest
    if state in TERMINAL_STATES and not newest.begun and decisive is not None and decisive.data.get("begun") is False:
        shown = attempts[max((number for number in attempts if attempts[number].begun), default=newest.number)]
    reporter = shown.reporter
    return TaskState(
        key=key,
        attempt=shown.number,
        state=state,
        error=error,
        data=reporter.data if reporter is not None else {},
        source=reporter.source if reporter is not None else "",
        sent_s=reporter.time_s if reporter is not None else None,
        step=run.steps.get(key[2]),
        leaf=key[2] in run.leaves,
        end_confirmed=key[2] in run.steps and newest.airflow is not None and newest.airflow.state in TERMINAL_STATES,
    )
