"""What the page shows of a task, in words; the same for the page without JavaScript and for ``/api/progress``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from pipeline.progress.event import is_counted
from pipeline.progress.merge import RunKey, TaskState
from sse_bridge.filters import Filter
from sse_bridge.state import BridgeState

__all__ = ["RunView", "TaskView", "amount", "duration", "run_path", "run_views", "task_json"]

RUNS_SHOWN = 50


@dataclass(frozen=True, slots=True)
class TaskView:
    """One row: everything is text that is ready to be shown, except the numbers of the bar."""

    name: str
    path: str
    state: str
    phase: str
    done: str
    total: str
    unit: str
    fraction: float | None
    rate: str
    elapsed: str
    left: str
    attempt: int
    message: str
    error: str
    notes: str


@dataclass(frozen=True, slots=True)
class RunView:
    """A run and its tasks."""

    dag_id: str
    run_id: str
    path: str
    state: str
    tasks: list[TaskView]
    ended: int
    total: str
    """What all tasks of the run's main kind have done together; empty where there is only one task."""
    fraction: float | None


def amount(value: float | None, unit: str = "") -> str:
    """A number as people read it: ``336,776``; bytes as ``12.3 MB``."""
    if value is None:
        return ""
    if unit == "bytes":
        for name, size in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
            if value >= size:
                return f"{value / size:,.1f} {name}"
        return f"{value:,.0f} B"
    return f"{value:,.0f}" if value >= 100 or value == int(value) else f"{value:,.1f}"


def duration(seconds: float | None) -> str:
    """``7 s``, ``3 min 20 s``, ``2 h 5 min``."""
    if seconds is None:
        return ""
    whole = int(min(seconds, 1e9))
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def run_path(*parts: str) -> str:
    """The page's address of a run or task."""
    return "/runs/" + "/".join(quote(part, safe=":+~") for part in parts)


def task_json(task: TaskState, state: str) -> dict[str, Any]:
    """A task as ``/api/progress`` tells it: merged from all its voices, with ``stalled`` and ``lost``."""
    dag_id, run_id, task_id, map_index = task.key
    said = {name: task.data[name] for name in _TOLD if name in task.data}
    return {
        "dag_id": dag_id,
        "run_id": run_id,
        "task_id": task_id,
        "map_index": map_index,
        "attempt": task.attempt,
        "state": state,
        **said,
        "error": task.error,
    }


_TOLD = (*("kind", "dataset", "phase", "done", "total", "unit", "rate", "elapsed_s", "counters", "metrics", "message"),)


def run_views(state: BridgeState, wanted: Filter) -> list[RunView]:
    """The runs that pass, the newest first, at most fifty."""
    views: list[RunView] = []
    for run in state.picture.runs():
        tasks = _in_order(list(state.tasks(wanted, run)))
        if tasks:
            views.append(_run_view(run, tasks))
        if len(views) == RUNS_SHOWN:
            break
    return views


def _in_order(tasks: list[tuple[TaskState, str]]) -> list[tuple[TaskState, str]]:
    """In the order in which the tasks were first heard of, mapped instances by their index."""
    first: dict[str, int] = {}
    for task, _ in tasks:
        first.setdefault(task.key[2], len(first))
    return sorted(tasks, key=lambda each: (first[each[0].key[2]], each[0].key[3]))


def _run_view(run: RunKey, tasks: list[tuple[TaskState, str]]) -> RunView:
    states = {state for _, state in tasks}
    ranked = ("failed", "lost", "stalled", "running", "retrying", "queued", "cancelled", "succeeded", "skipped")
    worst = next((state for state in ranked if state in states), "queued")
    views = [_task_view(*each) for each in tasks]
    total, fraction = _total([task for task, _ in tasks]) if len(tasks) > 1 else ("", None)
    return RunView(
        dag_id=_clean(run[0]),
        run_id=_clean(run[1]),
        path=run_path(*run),
        state=worst,
        tasks=views,
        ended=sum(task.over for task, _ in tasks),
        total=total,
        fraction=fraction,
    )


def _total(tasks: list[TaskState]) -> tuple[str, float | None]:
    """A run is about the kind of work that took the most time: what its tasks have done, in words and as a share."""
    kinds: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for task in tasks:
        if "done" in task.data:
            kinds.setdefault((task.data.get("kind", ""), task.data.get("unit", "")), []).append(task.data)
    if not kinds:
        return "", None
    (kind, unit), said = max(kinds.items(), key=lambda each: sum(data["elapsed_s"] for data in each[1]))
    done = sum(data["done"] for data in said)
    total = sum(data["total"] for data in said) if all(data["total"] is not None for data in said) else None
    of = f" of {amount(total, unit)}" if total else ""
    words = f"{kind or 'all'}: {amount(done, unit)}{of}{'' if unit == 'bytes' else f' {unit}'}"
    return _clean(words), min(done / total, 1.0) if total else None


def _task_view(task: TaskState, state: str) -> TaskView:
    said = task.data
    dag_id, run_id, task_id, map_index = task.key
    done, total, unit = said.get("done", 0), said.get("total"), said.get("unit", "")
    rate = said.get("rate")
    running = state == "running"
    left = (total - done) / rate if running and total and rate and said["elapsed_s"] >= 5 else None
    error = task.error
    counters = said.get("counters", {})
    notes = [
        f"{amount(counters[name])} {text}"
        for name, text in (("retries", "retries"), ("under_replicated", "chunks with one replica"))
        if counters.get(name)
    ]
    parts = [dag_id, run_id, task_id, *([str(map_index)] if map_index >= 0 else [])]
    return TaskView(
        name=_clean(f"{task_id} [{map_index}]" if map_index >= 0 else task_id),
        path=run_path(*parts),
        state=state,
        phase="" if task.over else _clean(said.get("phase", "")),
        done=amount(done, unit) if said else "",
        total=amount(total, unit),
        unit="" if unit == "bytes" else _clean(unit),
        fraction=1.0 if state == "succeeded" else min(done / total, 1.0) if total else None,
        rate=f"{amount(rate, unit)}/s" if rate else "",
        elapsed=duration(said.get("elapsed_s")),
        left=f"about {duration(left)}" if left is not None else "",
        attempt=task.attempt if is_counted(task.attempt) else 1,
        message=_clean(said.get("message", "")),
        error=_clean(f"{error['type']}: {error['message']}") if error else "",
        notes=", ".join(notes),
    )


def _clean(text: str) -> str:
    """Text that UTF-8 can carry: a lone surrogate may stand in JSON, but on no page."""
    return text.encode("utf-8", "replace").decode("utf-8")
