"""What the bridge knows: the newest event of each source as it stands in Kafka, and who has fallen silent.

Pure: time comes in as an argument, Kafka and clients are somewhere else.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from millrace.errors import ProgressError
from millrace.progress.event import utc_text, validate_event
from millrace.progress.merge import RunKey, RunStates, TaskState, Verdict, producer_role
from millrace.progress.runs import RunState, is_over, state_of_run
from sse_bridge.filters import Filter, Labels

__all__ = ["BridgeState", "Incoming", "Liveness", "Skipped", "key_text", "parse_record"]

TOLD_S = 1.0
"""After the last word about a run whose end Airflow has told of every step."""


@dataclass(frozen=True, slots=True)
class Incoming:
    """A record from Kafka that is an event. ``raw`` are its bytes as they stand there."""

    partition: int
    offset: int
    raw: bytes
    event: dict[str, Any]
    said_s: float
    """When the broker took it (Unix time)."""
    key: str = ""
    """The record's key: the source, unless a foreign producer chose another one."""


@dataclass(frozen=True, slots=True)
class Skipped:
    """A record that is no event: poison, or a tombstone that ``deletes`` the record with this key."""

    partition: int
    offset: int
    deletes: str = ""


@dataclass(slots=True)
class Liveness:
    """When a running attempt was last heard of, and since when its ``done`` has stood still (Unix times)."""

    heard_s: float
    moved_s: float
    done: float
    phase: str
    judged: str = "running"


_DIGITS_SAFE = 300
"""A whole number of so many digits is within what a double holds."""


def _no_constant(name: str) -> Any:
    raise ProgressError(f"{name} is not JSON")


def _finite(text: str) -> float:
    """A number that a double holds. JSON allows larger ones, which readers then cannot write again."""
    value = float(text)
    if math.isinf(value):
        raise ProgressError(f"{text[:80]} is beyond the numbers that JSON's readers know")
    return value


def _whole(text: str) -> int:
    if len(text) > _DIGITS_SAFE:
        _finite(text)
    return int(text)


def key_text(key: bytes) -> str:
    """A record's key as text; two keys never become the same one by what UTF-8 cannot hold."""
    try:
        return key.decode("utf-8", "surrogatepass")
    except UnicodeDecodeError:
        return key.decode("utf-8", "backslashreplace")


def parse_record(raw: bytes) -> dict[str, Any]:
    """The event in a record's value. Raises ``ProgressError`` for everything that is none."""
    try:
        event = json.loads(raw.decode("utf-8"), parse_constant=_no_constant, parse_float=_finite, parse_int=_whole)
    except (ValueError, RecursionError) as error:
        raise ProgressError(f"not JSON: {error}") from None
    validate_event(event)
    return dict(event)


class BridgeState:
    """The picture of all runs, their raw events, and the silence of those that run. Not thread-safe."""

    def __init__(self, *, stalled_after_s: float, lost_after_s: float, sources_max: int) -> None:
        self.picture = RunStates()
        self.silences: dict[str, Liveness] = {}
        self._raw: dict[str, bytes] = {}
        self._keys: dict[str, str] = {}
        """The record's key of each source whose key is another one."""
        self._heard_s: dict[RunKey, float] = {}
        self._stalled_after_s = stalled_after_s
        self._lost_after_s = lost_after_s
        self._sources_max = sources_max

    def apply(self, incoming: Incoming, heard_s: float) -> tuple[Verdict, bool]:
        """Take an event that was heard at ``heard_s``: whether it was new, and whether it ended a silence."""
        event = incoming.event
        source = event["source"]
        voice = producer_role(source)
        if voice == "curves":
            # Points are passed on as they are and never looked at: parsed they would be most of the memory.
            event = {**event, "data": {**event["data"], "series": {}}}
        verdict = self.picture.apply(event)
        if verdict != "new":
            return verdict, False
        self._raw.pop(source, None)
        self._raw[source] = incoming.raw
        if incoming.key not in ("", source):
            self._keys[source] = incoming.key
        self._heard_s[(event["data"]["dag_id"], event["data"]["run_id"])] = heard_s
        if len(self._raw) > self._sources_max * 1.1:
            for gone in self.picture.shrink(self._sources_max):
                self._drop(gone)
            known = set(self.picture.runs())
            self._heard_s = {run: at_s for run, at_s in self._heard_s.items() if run in known}
        return verdict, self._listen(source, event["data"], heard_s)

    def forget(self, key: str) -> None:
        """Forget every source whose record had this key: it was deleted from the topic."""
        for source in (key, *[source for source, other in self._keys.items() if other == key]):
            self.picture.forget(source)
            self._drop(source)

    def _drop(self, source: str) -> None:
        self._raw.pop(source, None)
        self._keys.pop(source, None)
        self.silences.pop(source, None)

    def _listen(self, source: str, data: dict[str, Any], heard_s: float) -> bool:
        if producer_role(source) != "reporter":
            return False
        before = self.silences.pop(source, None)
        revived = before is not None and before.judged != "running"
        if data["state"] != "running":
            return revived
        still = before is not None and (before.done, before.phase) == (data["done"], data["phase"])
        moved_s = before.moved_s if still and before is not None else heard_s
        self.silences[source] = Liveness(heard_s, moved_s, data["done"], data["phase"])
        return revived

    def judge(self, now_s: float, hearing_since_s: float) -> list[str]:
        """The sources whose silence has become ``stalled`` or ``lost`` by now.

        The bridge's own deafness is nobody's silence: it counts from ``hearing_since_s`` at the earliest, so
        call this only while the bridge hears Kafka.
        """
        changed = []
        for source, known in self.silences.items():
            silent_s = now_s - max(known.heard_s, hearing_since_s)
            state = (
                "lost"
                if silent_s >= self._lost_after_s
                else "stalled"
                if silent_s >= self._stalled_after_s
                else "running"
            )
            # Silence only gets worse; what ends it is an event, in apply().
            worse = state not in ("running", known.judged)
            if worse and self._still_runs(self.picture.sources[source].data):
                known.judged = state
                changed.append(source)
        return changed

    def _still_runs(self, data: dict[str, Any]) -> bool:
        attempt = self.picture.attempt(data)
        return attempt is not None and attempt.verdict[0] == "running"

    def labels(self, data: dict[str, Any]) -> Labels:
        """What an event can be chosen by. Airflow's own reports take dataset and kind from what the task last said."""
        dataset, kind = data.get("dataset"), data.get("kind")
        if dataset is None:
            attempts = self.picture.attempts((data["dag_id"], data["run_id"], data["task_id"], data["map_index"]))
            said = [attempt.reporter.data for attempt in attempts if attempt.reporter is not None]
            known = said[-1] if said else {}
            dataset, kind = known.get("dataset", ""), known.get("kind", "")
        return Labels(data["dag_id"], data["run_id"], data["task_id"], str(data["map_index"]), str(dataset), str(kind))

    def events(self, wanted: Filter) -> list[bytes]:
        """The newest event of each source that passes, as it stands in Kafka, in the order of arrival."""
        if wanted.everything:
            return list(self._raw.values())
        sources = self.picture.sources
        return [raw for source, raw in self._raw.items() if wanted.passes(self.labels(sources[source].data))]

    def silent(self, wanted: Filter) -> list[dict[str, Any]]:
        """For each running source that passes: what silence says, when it was heard and when it moved."""
        sources = self.picture.sources
        return [
            {
                "source": source,
                "state": known.judged,
                "heard": utc_text(known.heard_s),
                "moved": utc_text(known.moved_s),
            }
            for source, known in self.silences.items()
            if wanted.everything or wanted.passes(self.labels(sources[source].data))
        ]

    def shown_state(self, task: TaskState) -> str:
        """The task's state with the bridge's own judgement in it."""
        known = self.silences.get(task.source)
        return known.judged if known is not None and task.state == "running" else task.state

    def tasks(self, wanted: Filter, run: RunKey | None = None) -> Iterator[tuple[TaskState, str]]:
        """The tasks that pass, each with the state that people should see."""
        for task in self.picture.tasks(run):
            if wanted.everything or wanted.passes(self.labels(_data_of(task))):
                yield task, self.shown_state(task)

    def runs(self, wanted: Filter) -> Iterator[RunState]:
        """The runs that have tasks which pass, the one heard of last first."""
        for run in self.picture.runs() if wanted.run is None else [wanted.run]:
            tasks = [replace(task, state=shown) for task, shown in self.tasks(wanted, run)]
            if tasks:
                yield state_of_run(run, tasks)

    @property
    def count(self) -> int:
        """How many sources are known."""
        return len(self._raw)

    def over(self, wanted: Filter) -> bool:
        """Whether there is a task that passes and nothing more will come of any: each has ended or is lost."""
        states = [state for _, state in self.tasks(wanted, wanted.run)]
        return bool(states) and all(map(is_over, states))

    def settled(self, wanted: Filter, now_s: float, settle_s: float) -> bool:
        """Whether it is over and nothing was heard of it for ``settle_s``: a further task may not have spoken yet.

        Where Airflow itself has said of every step of the run how it ended, a second is enough.
        """
        if not self.over(wanted):
            return False
        tasks = [task for task, _ in self.tasks(wanted, wanted.run)]
        if wanted == Filter(dag_id=wanted.dag_id, run_id=wanted.run_id) and wanted.run is not None and _is_whole(tasks):
            settle_s = min(settle_s, TOLD_S)
        heard_s = max(self._heard_s.get(task.key[:2], 0.0) for task in tasks)
        return now_s - heard_s >= settle_s


def _is_whole(tasks: list[TaskState]) -> bool:
    """Whether Airflow has said how each of these tasks of a run ended, and no further one can follow.

    Of a mapped task nobody tells how many instances there will be; those that come later end before what follows it.
    """
    leaves = [task for task in tasks if task.leaf]
    return bool(leaves) and all(task.told for task in tasks) and all(task.key[3] < 0 for task in leaves)


def _data_of(task: TaskState) -> dict[str, Any]:
    dag_id, run_id, task_id, map_index = task.key
    return task.data or {"dag_id": dag_id, "run_id": run_id, "task_id": task_id, "map_index": map_index}
