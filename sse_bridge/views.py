"""Views of runs and tasks: display text for the page without JavaScript, and JSON for ``/api/progress``.

Both are made from the same facts.
"""

from __future__ import annotations

from itertools import islice
from typing import Any
from urllib.parse import quote

from millrace.progress import (
    RunKey,
    RunState,
    TaskState,
    amount,
    clean,
    duration,
    is_counted,
    is_over,
    left_s_of,
    ranks_of,
    short_text,
    training_facts,
    training_notes,
)
from sse_bridge.filters import Filter
from sse_bridge.outcome import columns_of, facts_of
from sse_bridge.state import BridgeState

RUNS_SHOWN = 50
TASKS_SHOWN = 50
"""Limit for a run shown among others; the run's own page shows up to ``TASKS_MAX``."""
TASKS_MAX = 2_000
TEXT_MAX = 2_000
"""Limit in characters, because a foreign producer may send a text of a megabyte."""


View = dict[str, Any]
"""The values of a run or a task for the template, by name. Most are display text."""


def run_path(*parts: str) -> str:
    """Return the page's address of a run or task."""
    return "/runs/" + "/".join(quote(clean(part), safe=":+~") for part in parts)


def task_json(task: TaskState, state: str) -> dict[str, Any]:
    """Return a task for ``/api/progress``: merged from all its sources, with ``stalled`` and ``lost``."""
    dag_id, run_id, task_id, map_index = task.key
    facts = {name: task.data[name] for name in _REPORTED_FIELDS if name in task.data}
    return {
        "dag_id": dag_id,
        "run_id": run_id,
        "task_id": task_id,
        "map_index": map_index,
        "attempt": task.attempt,
        "state": state,
        **facts,
        "error": task.error,
    }


_REPORTED_FIELDS = (
    *("kind", "dataset", "phase", "done", "total", "unit", "rate", "elapsed_s", "counters", "metrics", "message"),
    "result",
)


def run_views(state: BridgeState, selection: Filter, airflow_url: str = "") -> list[View]:
    """Return views of the runs that pass, the most recently updated first, at most ``RUNS_SHOWN``."""
    count = TASKS_SHOWN if selection.run is None else TASKS_MAX
    return [_run_view(run, airflow_url, count) for run in islice(state.runs(selection), RUNS_SHOWN)]


def _airflow_path(url: str, key: RunKey, *task: str) -> str:
    """Return the address of a run or task in Airflow; ``airflow.js`` makes the same."""
    if not url or key[0] in ("cli", "python"):
        return ""
    parts = ("dags", key[0], "runs", key[1], *task)
    return f"{url}/" + "/".join(quote(clean(part), safe="") for part in parts)


def _shown_tasks(run: RunState, count: int) -> list[TaskState]:
    """Return up to ``count`` tasks in their order; those that run or need attention take precedence."""
    urgent = [task for task in run.tasks if task.state in _URGENT]
    others = [task for task in run.tasks if task.state not in _URGENT]
    kept = {task.key for task in (urgent + others)[:count]}
    return [task for task in run.tasks if task.key in kept]


_URGENT = frozenset({"failed", "lost", "stalled", "retrying", "running"})


def _run_view(run: RunState, airflow_url: str, count: int) -> View:
    """Return a run and up to ``count`` of its tasks, in the order of the work.

    ``fraction`` is the completed fraction of the run's main work, and ``pace`` its rate and the time left, if known.
    ``airflow`` is Airflow's address of the run, empty for work that Airflow has not started. ``facts`` are label and
    value of each line of the outcome that the run reported, ``training`` those of the ranks that train.
    """
    total = run.total
    rate = f"{amount(total.rate, total.unit)}/s" if total and total.rate else ""
    left = f"about {duration(total.left_s)} left" if total and total.left_s is not None else ""
    shown = _shown_tasks(run, count)
    columns, further = columns_of(run.result or {})
    return {
        "dag_id": _shown(run.key[0]),
        "run_id": _shown(run.key[1]),
        "path": run_path(*run.key),
        "state": run.state,
        "headline": run.headline,
        "tasks": [_task_view(task, airflow_url) for task in shown],
        "total_tasks": len(run.tasks),
        "further": amount(len(run.tasks) - len(shown)) if len(shown) < len(run.tasks) else "",
        "ended": run.ended,
        "fraction": total.fraction if total else None,
        "pace": "" if is_over(run.state) else ", ".join(filter(None, (rate, left))),
        "airflow": _airflow_path(airflow_url, run.key),
        "facts": facts_of(run.result) if run.result else [],
        "columns": columns,
        "training": [(_shown(name), value) for name, value in training_facts(run.tasks)],
        "training_caption": "All ranks" if len(ranks_of(run.tasks)) > 1 else "Training",
        "further_columns": further,
    }


def _task_view(task: TaskState, airflow_url: str) -> View:
    """Return one row of a run's table. ``fraction`` is that of the bar, ``log`` Airflow's address of the task's log."""
    data = task.data
    dag_id, run_id, task_id, map_index = task.key
    done, total, unit = data.get("done", 0), data.get("total"), data.get("unit", "")
    rate = data.get("rate")
    counters = data.get("counters", {})
    notes = [
        f"{amount(counters[name])} {text}"
        for name, text in (("retries", "retries"), ("under_replicated", "chunks with one replica"))
        if counters.get(name)
    ] + training_notes(data.get("metrics", {}))
    left_s = left_s_of(task)
    log = _airflow_path(
        airflow_url, (dag_id, run_id), "tasks", task_id, *(["mapped", str(map_index)] if map_index >= 0 else [])
    )
    parts = [dag_id, run_id, task_id, *([str(map_index)] if map_index >= 0 else [])]
    return {
        "name": _shown(f"{task_id} [{map_index}]" if map_index >= 0 else task_id),
        "path": run_path(*parts),
        "state": task.state,
        "phase": "" if task.over else _shown(data.get("phase", "")),
        "done": amount(done, unit) if data else "",
        "total": amount(total, unit),
        "unit": "" if unit == "bytes" else _shown(unit),
        "fraction": 1.0 if task.state == "succeeded" else min(done / total, 1.0) if total else None,
        "rate": f"{amount(rate, unit)}/s" if rate else "",
        "elapsed": duration(data.get("elapsed_s")),
        "left": f"about {duration(left_s)}" if left_s is not None else "",
        "attempt": task.attempt if is_counted(task.attempt) else 1,
        "message": _shown(data.get("message", "")),
        "error": _shown(f"{task.error['type']}: {task.error['message']}") if task.error else "",
        "notes": _shown(", ".join(notes)),
        "log": f"{log}?try_number={task.attempt}" if log and task.state != "queued" else "",
    }


def _shown(text: str) -> str:
    """Return the text cut to ``TEXT_MAX`` characters, without code points that UTF-8 cannot encode."""
    return clean(short_text(text, TEXT_MAX))
