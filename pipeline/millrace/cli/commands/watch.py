"""``millrace watch``: show live progress in the terminal."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable
from contextlib import AbstractContextManager, nullcontext
from itertools import islice
from typing import TYPE_CHECKING, Any

import click

from millrace.cli.invocation import Invocation, json_option, pass_invocation
from millrace.cli.output import say, visible
from millrace.cli.reporting import draws_bars
from millrace.cli.seconds import Seconds
from millrace.display import human_bytes, human_seconds
from millrace.errors import UsageError
from millrace.progress import Event, TaskState, is_counted, left_s_of, tasks_in_order

if TYPE_CHECKING:
    from millrace.cli.watcher import Watched, Watcher
    from millrace.progress import RunState


EXIT_FAILED = 1
EXIT_STILL_RUNNING = 124
"""The exit code of the command ``timeout`` in the same case."""
REPORT_TIMEOUT_S = 5.0
"""Time for which a run that was just started may be unknown to the bridge."""
RUNS_SHOWN = 5
DRAW_EVERY_S = 0.2


@click.command("watch", short_help="Live progress in the terminal.")
@click.argument("run", required=False, metavar="[DAG/RUN]")
@click.option("--url", metavar="URL", help="The bridge's address, instead of the one in the settings.")
@click.option("--timeout-s", type=Seconds(min=0.1), metavar="N", help="Stop after this many seconds.")
@json_option
@pass_invocation
def command(invocation: Invocation, /, run: str | None, url: str | None, timeout_s: float | None) -> None:
    """Follow a run until it is over, or everything until Ctrl-C.

    DAG/RUN names a run as the page does: ingest_dataset/manual__2026-11-22T10:00:00+00:00, or cli/flights-3fa9c1. The
    exit code is 0 if every task of it succeeded, 1 if one did not, 2 if no such run is reported within 5 s, and 124 if
    it is not over after --timeout-s. For a run that is over, the command returns at once. Without DAG/RUN all runs are
    shown.

    JSON: over, succeeded; runs, a list of dag_id, run_id, state, over, headline, tasks (how many), ended, steps (their
    ids in order), total (kind, unit, done, total, fraction, rate, left_s), result; and tasks, a list of dag_id, run_id,
    task_id, map_index, attempt, state, kind, dataset, done, total, unit, error.

    \b
    Example:
      millrace watch
      millrace watch cli/flights-3fa9c1
      millrace watch ingest_dataset/manual__2026-11-22T10:00:00+00:00 --json
    """
    from millrace.cli.watcher import Watcher
    from millrace.settings import load_settings

    dag_id, slash, run_id = (run or "").partition("/")
    if run is not None and not (dag_id and slash and run_id):
        raise click.UsageError(f"{run!r} is not DAG/RUN, as in cli/flights-3fa9c1")
    settings = load_settings().bridge
    token = settings.token.get_secret_value() if settings.token is not None else None
    watcher = Watcher(url or settings.url, dag_id=dag_id or None, run_id=run_id or None, token=token)
    left_s = timeout_s
    if run is not None:
        left_s = _wait_until_reported(watcher, run, timeout_s)
    watched = follow(watcher, until_done=run is not None, timeout_s=left_s, quiet=invocation.json)
    runs = list(watcher.runs())
    facts = {"over": watched.over, "succeeded": watched.succeeded, "runs": [each.to_json() for each in runs]}
    invocation.answer(
        {**facts, "tasks": [_facts(task) for each in runs for task in each.tasks]},
        lambda: say(_summary(run, runs, watched, timeout_s)) if run is not None else None,
    )
    if run is not None and not watched.succeeded:
        raise click.exceptions.Exit(EXIT_FAILED if watched.over else EXIT_STILL_RUNNING)


def _wait_until_reported(watcher: Watcher, run: str, timeout_s: float | None) -> float | None:
    """Return the rest of ``timeout_s`` once the bridge knows the run, or once the time is over.

    Raises ``UsageError`` if no such run was reported within ``REPORT_TIMEOUT_S``. A shorter
    timeout proves nothing, so it does not raise.
    """
    from millrace.cli.watcher import FIRST_RESPONSE_S

    started_s = time.monotonic()
    limit_s = math.inf if timeout_s is None else timeout_s
    reported = watcher.wait_until_reported(
        min(limit_s, REPORT_TIMEOUT_S), first_response_s=min(limit_s, FIRST_RESPONSE_S)
    )
    if not reported and limit_s >= REPORT_TIMEOUT_S:
        raise UsageError(f"no run {run} was reported", hint="`millrace watch` without a run lists the reported runs")
    return None if timeout_s is None else max(timeout_s - (time.monotonic() - started_s), 0.0)


def follow(watcher: Watcher, *, until_done: bool, timeout_s: float | None = None, quiet: bool = False) -> Watched:
    """Follow ``watcher``: draw a live table on a terminal, else print a line for each change of state."""
    table = _LiveTable(watcher) if draws_bars() and not quiet else None
    lines = _Lines(watcher) if table is None and not quiet else None
    with table if table is not None else nullcontext():
        for event in watcher.events(until_done=until_done, timeout_s=timeout_s):
            if table is not None:
                table.changed()
            elif lines is not None:
                lines.changed(event)
    return watcher.result()


def run(url: str, dag_id: str | None = None, run_id: str | None = None, *, timeout_s: float | None = None) -> Watched:
    """Follow one run until it is over and show it, as ``millrace watch DAG/RUN`` does."""
    from millrace.cli.watcher import Watcher

    return follow(Watcher(url, dag_id=dag_id, run_id=run_id), until_done=True, timeout_s=timeout_s)


class _Lines:
    """Output without a terminal: one line on standard error for each change of a task's state or phase."""

    def __init__(self, watcher: Watcher) -> None:
        self._watcher = watcher
        self._printed: dict[Any, tuple[object, ...]] = {}

    def changed(self, event: Event | None) -> None:
        run = (event["data"]["dag_id"], event["data"]["run_id"]) if event is not None else None
        for task in tasks_in_order(self._watcher.tasks(run)):
            line_state = (task.state, task.attempt, (task.state == "running" and task.data.get("phase")) or "")
            if self._printed.get(task.key) != line_state:
                self._printed[task.key] = line_state
                say(_line(task, named=not self._watcher.one_run))


class _LiveTable(AbstractContextManager["_LiveTable"]):
    """Output on a terminal: a table that is redrawn at most five times a second."""

    def __init__(self, watcher: Watcher) -> None:
        from rich.console import Console
        from rich.live import Live

        self._watcher = watcher
        self._drawn_s = 0.0
        self._live = Live(
            console=Console(stderr=True, highlight=False, emoji=False),
            auto_refresh=False,
            get_renderable=self._table,
            vertical_overflow="ellipsis",
        )

    def __enter__(self) -> _LiveTable:
        self._live.start()
        return self

    def __exit__(self, *_exc: object) -> None:
        self._live.refresh()
        self._live.stop()

    def changed(self) -> None:
        now = time.monotonic()
        if now - self._drawn_s >= DRAW_EVERY_S:
            self._drawn_s = now
            self._live.refresh()

    def _table(self) -> Any:
        from rich.console import Group
        from rich.text import Text

        run_count = len(self._watcher.run_states.runs())
        parts: list[Any] = []
        for run in islice(self._watcher.runs(), RUNS_SHOWN):
            parts.append(Text(visible("/".join(run.key)), style="bold"))
            parts.append(Text(f"{visible(run.headline)}{_pace(run)}", style=_STYLES.get(run.state, "")))
            parts.append(_table_of(run.tasks))
        if run_count > RUNS_SHOWN:
            parts.append(Text(f"and {run_count - RUNS_SHOWN} older runs", style="dim"))
        if not run_count:
            parts.append(Text("no progress was reported yet", style="dim"))
        if not (self._watcher.connected or self._watcher.over):
            parts.append(Text("connecting to the bridge", style="yellow"))
        elif not self._watcher.kafka_connected:
            parts.append(Text("Kafka does not respond; showing the last known state", style="yellow"))
        return Group(*parts)


def _table_of(tasks: Iterable[TaskState]) -> Any:
    from rich.progress_bar import ProgressBar
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, expand=True, show_header=False)
    table.add_column(ratio=2, overflow="ellipsis", no_wrap=True)
    table.add_column(width=9, no_wrap=True)
    table.add_column(ratio=3, min_width=10)
    for ratio in (3, 1, 1):
        table.add_column(ratio=ratio, justify="right", overflow="ellipsis", no_wrap=True)
    errors = []
    for task in tasks:
        done, total = task.data.get("done", 0), task.data.get("total")
        full = 1 if task.state == "succeeded" else 0
        bar = ProgressBar(total=total or 1, completed=min(done, total) if total else full)
        state = Text(task.state, style=_STYLES.get(task.state, ""))
        table.add_row(Text("  " + _name(task)), state, bar, *map(Text, (_count(task), _rate(task), _left(task))))
        if task.error is not None:
            errors.append(Text(f"  {_name(task)}: {_error(task)}", style="red"))
    if not errors:
        return table
    from rich.console import Group

    return Group(table, *errors)


_STYLES = {
    "running": "blue",
    "succeeded": "green",
    "failed": "red",
    "lost": "red",
    "stalled": "yellow",
    "retrying": "yellow",
}


def _name(task: TaskState) -> str:
    _, _, task_id, map_index = task.key
    return visible(f"{task_id}[{map_index}]" if map_index >= 0 else task_id)


def _error(task: TaskState) -> str:
    return visible(f"{task.error['type']}: {task.error['message']}") if task.error else ""


def _amount(value: float, unit: str) -> str:
    return human_bytes(value) if unit == "bytes" else f"{value:,.0f}"


def _count(task: TaskState) -> str:
    data = task.data
    if not data:
        return ""
    unit = data["unit"]
    of = f" of {_amount(data['total'], unit)}" if data["total"] is not None else ""
    return f"{_amount(data['done'], unit)}{of}" + ("" if unit == "bytes" else f" {visible(unit)}")


def _rate(task: TaskState) -> str:
    rate = task.data.get("rate")
    return f"{_amount(rate, task.data['unit'])}/s" if rate else ""


def _left(task: TaskState) -> str:
    left_s = left_s_of(task)
    return "" if left_s is None else human_seconds(left_s)


def _line(task: TaskState, *, named: bool) -> str:
    dag_id, run_id = task.key[:2]
    parts = [visible(f"{dag_id}/{run_id}")] if named else []
    parts += [_name(task), task.state]
    if task.state == "running" and task.data.get("phase"):
        parts.append(f"({visible(task.data['phase'])})")
    if task.attempt > 1 and is_counted(task.attempt):
        parts.append(f"attempt {task.attempt}")
    if task.data.get("done"):
        parts.append(_count(task))
    if task.error is not None:
        parts.append(_error(task))
    return " ".join(parts)


def _pace(run: RunState) -> str:
    if run.over or run.total is None or not run.total.rate:
        return ""
    left = "" if run.total.left_s is None else f", {human_seconds(run.total.left_s)} left"
    return f", {_amount(run.total.rate, run.total.unit)}/s{left}"


def _summary(name: str, runs: list[RunState], watched: Watched, timeout_s: float | None) -> str:
    if not runs:
        return f"no progress of {visible(name)} was reported within {human_seconds(timeout_s or 0)}"
    run = runs[0]
    states: dict[str, int] = {}
    for task in run.tasks:
        states[task.state] = states.get(task.state, 0) + 1
    counts = ", ".join(f"{count} {state}" for state, count in states.items())
    summary = f"{visible(run.headline)} ({counts})"
    return summary if watched.over else f"still {run.state} after {human_seconds(timeout_s or 0)}: {summary}"


def _facts(task: TaskState) -> dict[str, Any]:
    dag_id, run_id, task_id, map_index = task.key
    reported: dict[str, Any] = {
        name: task.data[name] for name in ("kind", "dataset", "done", "total", "unit") if name in task.data
    }
    identity = {"dag_id": dag_id, "run_id": run_id, "task_id": task_id, "map_index": map_index}
    return {**identity, "attempt": task.attempt, "state": task.state, **reported, "error": task.error}
