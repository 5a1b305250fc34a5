"""Compose the headline of a run: one line for users with the kind of work and its progress or outcome.

``load: 400,000 rows added, 800,000 in the version``; ``load: plan failed, no file matches /inbox/x.csv``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from millrace.progress.formatting import amount, clean, counted
from millrace.progress.merge import RunKey, TaskState
from millrace.progress.model_metrics import metric_lines
from millrace.progress.training import training_position
from millrace.progress.values import short_text

_MESSAGE_MAX: Final = 200
_SPLITS_MAX: Final = 4
_METRICS_SHOWN: Final = 2
_BY_DAG: Final = {
    "ingest": "load",
    "maintain": "maintenance",
    "prepare": "prepare",
    "train": "train",
    "warm": "warm",
}
_BY_KIND: Final = {"repair": "repair", "maintain": "maintenance", "plan": "load", "publish": "load"}
_STEPS: Final = {"plan": "planning", "verify": "verifying", "publish": "publishing", "warm": "warming the cache"}
_APPENDS = ("append", "incremental")
"""Modes of loads whose versions also have the rows of their parents."""
_OUTCOME_IN_MESSAGE: Final = frozenset({"warm", "maintenance", "repair", "verify", "train"})
"""Kinds of work whose steps report their outcome in their last message."""


@dataclass(frozen=True, slots=True)
class Total:
    """The amounts ``done`` and ``total`` (``None``: unknown) of a run's main kind of work, in ``unit``.

    ``fraction`` is between 0 and 1, ``rate`` is in units a second, and ``left_s`` is the time left in seconds.
    """

    kind: str
    unit: str
    done: float
    total: float | None
    fraction: float | None
    rate: float | None
    left_s: float | None


def headline_of(
    key: RunKey, tasks: Sequence[TaskState], state: str, result: dict[str, Any] | None, total: Total | None
) -> str:
    """Return the headline of a run whose ``tasks`` are in order; ``total`` is the progress of its main work."""
    work = _work_of(key, tasks)
    text = _end_of(work, tasks) or (
        "queued"
        if state == "queued"
        else _outcome(work, tasks, result, total)
        if state in ("succeeded", "skipped")
        else _course(work, tasks, total)
    )
    return clean(f"{work}: {text}")


def _work_of(key: RunKey, tasks: Sequence[TaskState]) -> str:
    """Return the name of the work: from a known DAG's id, else from the kinds of the tasks, else from their ids."""
    dag_id = key[0]
    prefix = dag_id.partition("_")[0]
    if prefix in _BY_DAG:
        return _BY_DAG[prefix]
    kinds = {_BY_KIND.get(kind, kind) for task in tasks if (kind := task.data.get("kind"))}
    if "load" in kinds:
        return "load"
    if len(kinds) == 1:
        return str(kinds.pop())
    if kinds & {"repair", "maintenance"}:
        return "maintenance"
    names = {task.key[2] for task in tasks}
    return names.pop() if len(names) == 1 else dag_id


def _end_of(work: str, tasks: Sequence[TaskState]) -> str:
    """Return the first task that failed, is lost or was cancelled, with the reason; empty if there is none."""
    for state, verb in (("failed", "failed"), ("lost", "is lost"), ("cancelled", "cancelled")):
        for task in tasks:
            if task.state == state:
                name = "" if _name(task) == work else f"{_name(task)} "
                reason = _first_line(task.error["message"]) if task.error else ""
                return f"{name}{verb}" + (f", {reason}" if reason else "")
    return ""


def _name(task: TaskState) -> str:
    return f"{task.key[2]} [{task.key[3]}]" if task.key[3] >= 0 else task.key[2]


def _first_line(text: str) -> str:
    return short_text(text.strip().split("\n")[0].rstrip(), _MESSAGE_MAX)


def _outcome(work: str, tasks: Sequence[TaskState], result: dict[str, Any] | None, total: Total | None) -> str:
    """Describe the outcome of a run that succeeded or was skipped."""
    if work == "load" and result is not None:
        return _loaded(result)
    if work == "prepare" and result is not None and "split_rows" in result:
        return _prepared(result)
    if work == "train" and result is not None and result.get("kind") == "model":
        return _trained(result)
    if work == "load":
        return f"{counted(total.done, None, total.unit)} loaded" if total and total.done else "nothing to load"
    messages = [_first_line(message) for task in tasks if (message := task.data.get("message"))]
    if work == "prepare" and messages and not (total and total.done):
        return messages[0]  # the plan has the reason for which nothing was made
    if messages and (work in _OUTCOME_IN_MESSAGE or not (total and total.done)):
        return "; ".join(dict.fromkeys(messages))
    if total is None:
        return tasks[-1].state
    return counted(total.done, total.total, total.unit) if total.done else "done"


def _loaded(result: dict[str, Any]) -> str:
    if result.get("kind") == "bytes":
        size = amount(result.get("raw_bytes", 0), "bytes")
        return f"{size} added" if result.get("mode") in _APPENDS else f"{size} loaded"
    rows, total_rows = result["rows"], result.get("total_rows", result["rows"])
    if result.get("mode") in _APPENDS or total_rows != rows:
        return f"{amount(rows)} rows added, {amount(total_rows)} in the version"
    return f"{amount(rows)} rows loaded"


def _prepared(result: dict[str, Any]) -> str:
    """Describe a version of training data: its rows, and those of each split unless there are many."""
    if result.get("skipped"):
        return f"{result.get('dataset', '')}@{result['version']} is {result['skipped']}"
    rows = f"{amount(result.get('total_rows', result['rows']))} rows"
    splits = [f"{name} {amount(count)}" for name, count in result["split_rows"].items()]
    return f"{rows}: {', '.join(splits)}" if 0 < len(splits) <= _SPLITS_MAX else rows


def _trained(result: dict[str, Any]) -> str:
    """Describe a model: its version and its first metrics, those with a baseline first."""
    version = f"{result.get('dataset', '')}@{result['version']}"
    lines = sorted(metric_lines(result.get("metrics", {})), key=lambda line: line.baseline is None)[:_METRICS_SHOWN]
    return ", ".join([version, *(f"{line.name} {line.text}" for line in lines)])


def _course(work: str, tasks: Sequence[TaskState], total: Total | None) -> str:
    """Describe the progress of a run that has begun and is not over."""
    active = [task for task in tasks if task.state in ("running", "stalled", "retrying")]
    names = list(dict.fromkeys(task.key[2] for task in active))
    if not names:
        if total and total.total and total.done < total.total:
            return counted(total.done, total.total, total.unit)
        return f"waiting for {next(task.key[2] for task in tasks if task.state == 'queued')}"
    task = active[0]
    kind = task.data.get("kind", "")
    if total and ((work == "load" and kind == "load") or len(names) > 1):
        return counted(total.done, total.total, total.unit)
    progress = _step_progress([each for each in active if each.key[2] == names[0]])
    step = _STEPS.get(kind, names[0]) if work == "load" else names[0]
    if step == names[0] and (len({each.key[2] for each in tasks}) == 1 or step == work):
        return progress or task.state
    return f"{step}, {progress}" if progress else step


def _step_progress(tasks: Sequence[TaskState]) -> str:
    """Return the total progress of the instances of one step; without any, the first one's message or phase."""
    reports = [task.data for task in tasks if "done" in task.data]
    if not reports:
        return ""
    unit = reports[0]["unit"]
    same = [data for data in reports if data["unit"] == unit]
    done = sum(data["done"] for data in same)
    total = None if any(data["total"] is None for data in same) else sum(data["total"] for data in same)
    if done or total:
        # The count does not move while a query runs.
        where = reports[0]["phase"] if reports[0].get("kind") == "prepare" else training_position(tasks)
        return ", ".join(filter(None, (_first_line(where), counted(done, total, unit))))
    return _first_line(reports[0]["message"] or reports[0]["phase"])
