"""The bridge's state: the newest event of each source as stored in Kafka, and the timeouts of running sources.

Pure: time is an argument, and neither Kafka nor clients are used here.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from millrace.progress import (
    ApplyResult,
    RunKey,
    RunState,
    RunStates,
    TaskState,
    is_over,
    producer_role,
    state_of_run,
    utc_text,
)
from sse_bridge.filters import Filter, Labels
from sse_bridge.records import Incoming

CONFIRMED_QUIET_S = 1.0
"""Delay after the last event of a run before it is complete, if Airflow has reported how every step ended."""


@dataclass(slots=True)
class Liveness:
    """When the last event of a running attempt came, and when its ``done`` or phase last changed (Unix times)."""

    received_s: float
    progressed_s: float
    done: float
    phase: str
    state: str = "running"


class BridgeState:
    """The states of all runs, their raw events, and the liveness of running sources. Not thread-safe."""

    def __init__(self, *, stalled_after_s: float, lost_after_s: float, sources_max: int) -> None:
        self.run_states = RunStates()
        self.liveness: dict[str, Liveness] = {}
        self._raw: dict[str, bytes] = {}
        self._keys: dict[str, str] = {}
        """The record's key of each source whose key differs from the source."""
        self._received_s: dict[RunKey, float] = {}
        self._stalled_after_s = stalled_after_s
        self._lost_after_s = lost_after_s
        self._sources_max = sources_max

    def apply(self, incoming: Incoming, received_s: float) -> tuple[ApplyResult, bool]:
        """Apply an event received at ``received_s``; return the result, and whether its source was stalled or lost."""
        event = incoming.event
        source = event["source"]
        if producer_role(source) == "curves":
            # Curve points are passed on as raw bytes and not used here. Parsed, they would be most of the memory.
            event = {**event, "data": {**event["data"], "series": {}}}
        result = self.run_states.apply(event)
        if result != "new":
            return result, False
        self._raw.pop(source, None)
        self._raw[source] = incoming.raw
        if incoming.key not in ("", source):
            self._keys[source] = incoming.key
        self._received_s[(event["data"]["dag_id"], event["data"]["run_id"])] = received_s
        if len(self._raw) > self._sources_max * 1.1:
            for removed in self.run_states.shrink(self._sources_max):
                self._drop(removed)
            runs = set(self.run_states.runs())
            self._received_s = {run: time_s for run, time_s in self._received_s.items() if run in runs}
        return result, self._track_liveness(source, event["data"], received_s)

    def forget(self, key: str) -> None:
        """Forget every source whose record had this key, because the record was deleted from the topic."""
        for source in (key, *[source for source, other in self._keys.items() if other == key]):
            self.run_states.forget(source)
            self._drop(source)

    def _drop(self, source: str) -> None:
        self._raw.pop(source, None)
        self._keys.pop(source, None)
        self.liveness.pop(source, None)

    def _track_liveness(self, source: str, data: dict[str, Any], received_s: float) -> bool:
        if producer_role(source) != "reporter":
            return False
        before = self.liveness.pop(source, None)
        revived = before is not None and before.state != "running"
        if data["state"] != "running":
            return revived
        unchanged = before is not None and (before.done, before.phase) == (data["done"], data["phase"])
        progressed_s = before.progressed_s if unchanged and before is not None else received_s
        self.liveness[source] = Liveness(received_s, progressed_s, data["done"], data["phase"])
        return revived

    def update_timeouts(self, now_s: float, connected_since_s: float) -> list[str]:
        """Return the sources that have become ``stalled`` or ``lost`` by ``now_s``.

        Time during which the bridge was disconnected from Kafka does not count: timeouts start at
        ``connected_since_s`` at the earliest. Call this only while Kafka answers.
        """
        changed = []
        for source, liveness in self.liveness.items():
            elapsed_s = now_s - max(liveness.received_s, connected_since_s)
            state = (
                "lost"
                if elapsed_s >= self._lost_after_s
                else "stalled"
                if elapsed_s >= self._stalled_after_s
                else "running"
            )
            # Here the state only gets worse. An event makes the source running again, in apply().
            worse = state not in ("running", liveness.state)
            if worse and self._still_runs(self.run_states.sources[source].data):
                liveness.state = state
                changed.append(source)
        return changed

    def _still_runs(self, data: dict[str, Any]) -> bool:
        attempt = self.run_states.attempt(data)
        return attempt is not None and attempt.resolved_state[0] == "running"

    def labels(self, data: dict[str, Any]) -> Labels:
        """Return the labels of an event, which filters compare.

        Airflow's own events have no dataset and kind, so these are taken from the task's last report.
        """
        dataset, kind = data.get("dataset"), data.get("kind")
        if dataset is None:
            attempts = self.run_states.attempts((data["dag_id"], data["run_id"], data["task_id"], data["map_index"]))
            last_report = next((attempt.reporter.data for attempt in reversed(attempts) if attempt.reporter), {})
            dataset, kind = last_report.get("dataset", ""), last_report.get("kind", "")
        return Labels(data["dag_id"], data["run_id"], data["task_id"], str(data["map_index"]), str(dataset), str(kind))

    def events(self, selection: Filter) -> list[bytes]:
        """Return the newest event of each source that passes, as stored in Kafka, in the order of arrival."""
        if selection.everything:
            return list(self._raw.values())
        sources = self.run_states.sources
        return [raw for source, raw in self._raw.items() if selection.passes(self.labels(sources[source].data))]

    def liveness_json(self, selection: Filter) -> list[dict[str, Any]]:
        """Return, for each running source that passes, its state by timeout, its last event and its last progress."""
        sources = self.run_states.sources
        return [
            {
                "source": source,
                "state": liveness.state,
                "received": utc_text(liveness.received_s),
                "progressed": utc_text(liveness.progressed_s),
            }
            for source, liveness in self.liveness.items()
            if selection.everything or selection.passes(self.labels(sources[source].data))
        ]

    def shown_state(self, task: TaskState) -> str:
        """Return the task's state: for a running task, the state by its timeout."""
        liveness = self.liveness.get(task.source)
        return liveness.state if liveness is not None and task.state == "running" else task.state

    def tasks(self, selection: Filter, run: RunKey | None = None) -> Iterator[tuple[TaskState, str]]:
        """Yield the tasks that pass, each with its state by ``shown_state``."""
        for task in self.run_states.tasks(run):
            if selection.everything or selection.passes(self.labels(_data_of(task))):
                yield task, self.shown_state(task)

    def runs(self, selection: Filter) -> Iterator[RunState]:
        """Yield the runs that have tasks which pass, the most recently updated first."""
        for run in self.run_states.runs() if selection.run is None else [selection.run]:
            tasks = [replace(task, state=shown) for task, shown in self.tasks(selection, run)]
            if tasks:
                yield state_of_run(run, tasks)

    @property
    def count(self) -> int:
        """Return the number of known sources."""
        return len(self._raw)

    def all_over(self, selection: Filter) -> bool:
        """Return whether at least one task passes, and each one that passes has ended or is lost."""
        states = [state for _, state in self.tasks(selection, selection.run)]
        return bool(states) and all(map(is_over, states))

    def is_complete(self, selection: Filter, now_s: float, quiet_s: float) -> bool:
        """Return whether all tasks that pass are over and no event of their runs came for ``quiet_s``.

        The delay leaves time for a further task that has not reported yet. For a filter of exactly one run,
        ``CONFIRMED_QUIET_S`` is enough if Airflow itself has reported how every step of it ended.
        """
        if not self.all_over(selection):
            return False
        tasks = [task for task, _ in self.tasks(selection, selection.run)]
        of_one_run = selection.run is not None and selection == Filter(selection.dag_id, selection.run_id)
        if of_one_run and _all_ends_confirmed(tasks):
            quiet_s = min(quiet_s, CONFIRMED_QUIET_S)
        received_s = max(self._received_s.get(task.key[:2], 0.0) for task in tasks)
        return now_s - received_s >= quiet_s


def _all_ends_confirmed(tasks: list[TaskState]) -> bool:
    """Return whether Airflow has reported how each of these tasks of a run ended, and no further task can follow.

    The number of instances of a mapped task is unknown. Instances that come later end before the tasks downstream
    of it, so the leaves of the DAG decide, and none of them may be mapped.
    """
    leaves = [task for task in tasks if task.leaf]
    return bool(leaves) and all(task.end_confirmed for task in tasks) and all(task.key[3] < 0 for task in leaves)


def _data_of(task: TaskState) -> dict[str, Any]:
    dag_id, run_id, task_id, map_index = task.key
    return task.data or {"dag_id": dag_id, "run_id": run_id, "task_id": task_id, "map_index": map_index}
