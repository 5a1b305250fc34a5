"""What is true of each task, from the events of all its voices. Pure: no clock, no service.

``sse_bridge/static/run_states.js`` follows the same rules; ``tests/data/progress_cases.json`` holds cases for both.

* A terminal state is final for an attempt that has begun. The first one counts, whether the task or Airflow said it.
* An attempt has begun once its own reporter was heard, or Airflow said ``running`` or ``retrying`` of it.
* Airflow's word about an attempt that has not begun (``data.begun`` is false; or its time lies before the attempt's
  start) holds until Airflow says another one, or until the attempt begins.
* A lower attempt never hides a higher one.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

from millrace.progress.event import ATTEMPT_OVER, TERMINAL_STATES, Event

__all__ = ["Attempt", "Heard", "RunStates", "RunKey", "TaskKey", "TaskState", "Verdict", "unix_s", "producer_role"]

RunKey = tuple[str, str]
TaskKey = tuple[str, str, str, int]
BEGUN = frozenset({"running", "retrying"})
"""What Airflow says only of an attempt that has begun."""
Verdict = Literal["new", "stale", "late"]
"""``stale``: not newer than what was heard from the same source; ``late``: after that source's last word."""
Voice = Literal["reporter", "airflow", "curves"]


def producer_role(source: str) -> Voice:
    """Who speaks: the work itself, Airflow about it, or the work's curves."""
    return "curves" if source.endswith("/curves") else "airflow" if source.endswith("/airflow") else "reporter"


@dataclass(slots=True)
class Heard:
    """The newest event of one source; ``order`` counts everything that was taken, so it tells what came first."""

    source: str
    sequence: str
    order: int
    data: dict[str, Any]
    at_s: float | None = None
    """When it was said (Unix time); ``None`` where the event does not say."""
    bound: bool = True
    """Whether it was heard of an attempt that was known to have begun."""
    void: bool = False
    """Whether it is Airflow's word about the time before the attempt began, and the attempt has begun since."""

    @property
    def state(self) -> str:
        """The state this voice last reported; empty for curves."""
        return str(self.data.get("state", ""))


@dataclass(slots=True)
class Attempt:
    """The voices of one attempt of a task."""

    number: int
    reporter: Heard | None = None
    airflow: Heard | None = None
    curves: Heard | None = None
    begun: bool = False

    @property
    def verdict(self) -> tuple[str, Heard | None]:
        """The attempt's state and the voice that decides it.

        The first terminal state is final, from any source. What failed and will be tried again, as Airflow
        knows, is ``retrying``.
        """
        voices = [voice for voice in (self.reporter, self.airflow) if voice is not None and not voice.void]
        over = [voice for voice in voices if voice.state in TERMINAL_STATES]
        retrying = next((voice for voice in voices if voice.state == "retrying"), None)
        if over:
            first = min(over, key=lambda voice: voice.order)
            # Airflow's retrying says more than the task's own failed; its failed says more than retrying.
            if first.state in ("failed", "cancelled") and retrying is not None and retrying is self.airflow:
                return "retrying", first
            return first.state, first
        decisive = retrying or next(iter(voices), None)
        return (decisive.state, decisive) if decisive is not None else ("queued", None)

    @property
    def voices(self) -> list[Heard]:
        """The voices that spoke."""
        return [voice for voice in (self.reporter, self.airflow, self.curves) if voice is not None]


@dataclass(frozen=True, slots=True)
class TaskState:
    """What people should see of a task: its highest attempt, with the reporter's newest ``data`` (or ``{}``).

    What Airflow says of a further attempt that never began (marked by hand, a task before it failed) is the state of
    the task; ``attempt`` and ``data`` are then those of the last attempt that did begin.
    """

    key: TaskKey
    attempt: int
    state: str
    error: dict[str, Any] | None
    data: dict[str, Any]
    source: str
    """The reporter's source; empty while only Airflow has spoken."""
    at_s: float | None = None
    """When the reporter said ``data`` (Unix time)."""
    step: int | None = None
    """The place of the task in its DAG, where Airflow has told it."""
    leaf: bool = False
    """Whether no task of the DAG follows this one, as far as Airflow has told it."""
    told: bool = False
    """Whether the place of the task is known, and Airflow itself has said how its highest attempt ended."""

    @property
    def over(self) -> bool:
        """Whether nothing more will come of this task."""
        return self.state in TERMINAL_STATES


@dataclass(slots=True)
class _Run:
    last_order: int = 0
    steps: dict[str, int] = field(default_factory=dict)
    """The place of each task in the DAG, as Airflow told it."""
    leaves: set[str] = field(default_factory=set)
    """The tasks that no other one follows."""
    tasks: dict[TaskKey, dict[int, Attempt]] = field(default_factory=dict)


class RunStates:
    """The newest word of every source, and the state of every task that follows from them.

    Events of one run must come in the order in which they lie in their partition; runs may interleave in any
    way. Applying an event twice, or an older one after a newer, changes nothing, and a lower attempt never
    hides a higher one. Not thread-safe.
    """

    def __init__(self) -> None:
        self.sources: dict[str, Heard] = {}
        self._runs: dict[RunKey, _Run] = {}
        self._order = 0

    def apply(self, event: Event) -> Verdict:
        """Take a valid event; says whether it was new. Only a new one changes anything."""
        source, sequence, data = event["source"], event["sequence"], event["data"]
        before = self.sources.get(source)
        if before is not None:
            if sequence <= before.sequence:
                return "stale"
            if _said_last_word(before, self.attempt(data), data):
                return "late"
        self._order += 1
        heard = Heard(source, sequence, self._order, data, unix_s(event.get("time")))
        # Taken out first, so that the dictionary stays in the order in which things were last heard.
        self.sources.pop(source, None)
        self.sources[source] = heard
        run = self._runs.setdefault((data["dag_id"], data["run_id"]), _Run())
        run.last_order = self._order
        if "step" in data:
            run.steps[data["task_id"]] = data["step"]
        if data.get("leaf"):
            run.leaves.add(data["task_id"])
        key: TaskKey = (data["dag_id"], data["run_id"], data["task_id"], data["map_index"])
        attempts = run.tasks.setdefault(key, {})
        _hear(attempts.setdefault(data["attempt"], Attempt(data["attempt"])), producer_role(source), heard)
        return "new"

    def attempt(self, data: dict[str, Any]) -> Attempt | None:
        """The attempt that an event's ``data`` belongs to, if anything was heard of it."""
        run = self._runs.get((data["dag_id"], data["run_id"]))
        key = (data["dag_id"], data["run_id"], data["task_id"], data["map_index"])
        return run.tasks.get(key, {}).get(data["attempt"]) if run is not None else None

    def runs(self) -> list[RunKey]:
        """All runs, the one heard of last first."""
        return sorted(self._runs, key=lambda run: -self._runs[run].last_order)

    def tasks(self, run: RunKey | None = None) -> Iterator[TaskState]:
        """The tasks of a run, or of all, in the order in which they were first heard of.

        What Airflow announces as one task may become many: the one is then not among them.
        """
        chosen: Iterable[_Run] = self._runs.values() if run is None else filter(None, [self._runs.get(run)])
        for each in chosen:
            mapped = {task_id for _, _, task_id, map_index in each.tasks if map_index >= 0}
            for key, attempts in each.tasks.items():
                if not (key[3] < 0 and key[2] in mapped and _only_announced(attempts)):
                    yield _state_of(key, attempts, each)

    def attempts(self, key: TaskKey) -> list[Attempt]:
        """All attempts of a task, the first one first."""
        run = self._runs.get(key[:2])
        return [attempt for _, attempt in sorted(run.tasks.get(key, {}).items())] if run is not None else []

    def forget(self, source: str) -> None:
        """Forget one source, if it is there."""
        heard = self.sources.pop(source, None)
        attempt = self.attempt(heard.data) if heard is not None else None
        if heard is None or attempt is None:
            return
        for voice in ("reporter", "airflow", "curves"):
            if getattr(attempt, voice) is heard:
                setattr(attempt, voice, None)
        if not attempt.voices:
            self._drop_empty(heard.data)

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
        """Forget whole runs until at most ``sources_max`` sources are left; the sources that are gone.

        Finished runs go first, and among them the one that was heard of longest ago. The newest run stays.
        """
        gone: list[str] = []
        excess = len(self.sources) - sources_max
        if excess <= 0:
            return gone
        of_run: dict[RunKey, list[str]] = {}
        for source, heard in self.sources.items():
            of_run.setdefault((heard.data["dag_id"], heard.data["run_id"]), []).append(source)
        oldest_first = self.runs()[:0:-1]
        oldest_first.sort(key=lambda run: not all(task.over for task in self.tasks(run)))
        for run in oldest_first:
            if len(gone) >= excess:
                break
            del self._runs[run]
            gone += of_run.get(run, [])
        for source in gone:
            del self.sources[source]
        return gone


def unix_s(text: Any) -> float | None:
    """The Unix time of an event's ``time``; ``None`` for everything that is none."""
    try:
        return datetime.fromisoformat(text).timestamp()
    except (TypeError, ValueError, OverflowError, OSError):
        return None


def _hear(attempt: Attempt, voice: Voice, heard: Heard) -> None:
    """Take what one voice says of an attempt."""
    before = attempt.airflow
    if voice == "airflow":
        begun = heard.data.get("begun") is not False
        heard.bound = begun and (attempt.begun or heard.state in BEGUN)
        attempt.begun = attempt.begun or heard.bound
        heard.void = not begun and attempt.reporter is not None
    else:
        attempt.begun = True
        if voice == "reporter" and attempt.reporter is None and before is not None and not before.bound:
            before.void = _said_before(before, heard)
    setattr(attempt, voice, heard)


def _said_before(word: Heard, first: Heard) -> bool:
    """Whether Airflow's ``word`` is about the time before the attempt whose reporter was first heard with ``first``."""
    if word.data.get("begun") is False:
        return True
    if word.at_s is None or first.at_s is None:
        return word.state in ("cancelled", "skipped")
    began_s: float = first.at_s - first.data.get("elapsed_s", 0)
    return word.at_s < began_s


def _said_last_word(before: Heard, attempt: Attempt | None, data: dict[str, Any]) -> bool:
    if before.state in TERMINAL_STATES:
        of_airflow = producer_role(before.source) == "airflow"
        return not of_airflow or before.bound or (attempt is not None and attempt.begun and not before.void)
    # After retrying only an end means anything: Airflow may find that no attempt is left after all.
    return before.state in ATTEMPT_OVER and data.get("state") not in TERMINAL_STATES


def _only_announced(attempts: dict[int, Attempt]) -> bool:
    return all(attempt.reporter is None and attempt.curves is None for attempt in attempts.values())


def _state_of(key: TaskKey, attempts: dict[int, Attempt], run: _Run) -> TaskState:
    newest = attempts[max(attempts)]
    state, decisive = newest.verdict
    error = decisive.data.get("error") if decisive is not None and state in ATTEMPT_OVER else None
    if error is None and state in ("failed", "retrying", "cancelled"):
        error = next((v.data["error"] for v in newest.voices if v.data.get("error")), None)
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
        at_s=reporter.at_s if reporter is not None else None,
        step=run.steps.get(key[2]),
        leaf=key[2] in run.leaves,
        told=key[2] in run.steps and newest.airflow is not None and newest.airflow.state in TERMINAL_STATES,
    )
