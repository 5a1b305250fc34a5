"""Show the tasks of runs while they change: a table on a terminal, else a line for each change."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from itertools import islice
from typing import TYPE_CHECKING, Any

from millrace.cli.output import say, visible
from millrace.cli.reporting import amount, count_of, draws_bars, rate_of
from millrace.display import human_seconds
from millrace.progress import Event, TaskState, is_counted, left_s_of, tasks_in_order, training_facts, training_notes

if TYPE_CHECKING:
    from millrace.cli.watcher import Watched, Watcher
    from millrace.progress import RunState

    Show = Callable[[Event | None], None]

RUNS_SHOWN = 5
DRAW_EVERY_S = 0.2

_STYLES = {
    "running": "blue",
    "succeeded": "green",
    "failed": "red",
    "lost": "red",
    "stalled": "yellow",
    "retrying": "yellow",
}


def follow(watcher: Watcher, *, until_done: bool, timeout_s: float | None = None, quiet: bool = False) -> Watched:
    """Follow ``watcher``: draw a live table on a terminal, else print a line for each change of state."""
    display: AbstractContextManager[Show]
    if quiet:
        display = nullcontext(lambda _event: None)
    else:
        display = _live_table(watcher) if draws_bars() else nullcontext(_line_printer(watcher))
    with display as show:
        for event in watcher.events(until_done=until_done, timeout_s=timeout_s):
            show(event)
    return watcher.result()


def _line_printer(watcher: Watcher) -> Show:
    """Return a function that prints one line on standard error for each change of a task's state or phase."""
    printed: dict[Any, tuple[object, ...]] = {}

    def show(event: Event | None) -> None:
        run = (event["data"]["dag_id"], event["data"]["run_id"]) if event is not None else None
        for task in tasks_in_order(watcher.tasks(run)):
            line_state = (task.state, task.attempt, (task.state == "running" and task.data.get("phase")) or "")
            if printed.get(task.key) != line_state:
                printed[task.key] = line_state
                say(_line(task, is_named=not watcher.one_run))

    return show


@contextmanager
def _live_table(watcher: Watcher) -> Iterator[Show]:
    """Draw a table; yield a function that redraws it, at most five times a second."""
    from rich.console import Console
    from rich.live import Live

    drawn_s = 0.0
    live = Live(
        console=Console(stderr=True, highlight=False, emoji=False),
        auto_refresh=False,
        get_renderable=lambda: _runs_table(watcher),
        vertical_overflow="ellipsis",
    )

    def show(_event: Event | None) -> None:
        nonlocal drawn_s
        now = time.monotonic()
        if now - drawn_s >= DRAW_EVERY_S:
            drawn_s = now
            live.refresh()

    with live:  # draws the last state at its end
        yield show


def _runs_table(watcher: Watcher) -> Any:
    from rich.console import Group
    from rich.text import Text

    run_count = len(watcher.run_states.runs())
    parts: list[Any] = []
    for run in islice(watcher.runs(), RUNS_SHOWN):
        parts.append(Text(visible("/".join(run.key)), style="bold"))
        parts.append(Text(f"{visible(run.headline)}{_pace(run)}", style=_STYLES.get(run.state, "")))
        if facts := training_facts(run.tasks):
            parts.append(Text(visible("  " + ", ".join(f"{name} {value}" for name, value in facts)), style="dim"))
        parts.append(_task_table(run.tasks))
    if run_count > RUNS_SHOWN:
        parts.append(Text(f"and {run_count - RUNS_SHOWN} older runs", style="dim"))
    if not run_count:
        parts.append(Text("no progress was reported yet", style="dim"))
    if not (watcher.connected or watcher.over):
        parts.append(Text("connecting to the bridge", style="yellow"))
    elif not watcher.kafka_connected:
        parts.append(Text("Kafka does not respond; showing the last known state", style="yellow"))
    return Group(*parts)


def _task_table(tasks: Iterable[TaskState]) -> Any:
    from rich.console import Group
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
        amounts = (count_of(task.data), rate_of(task.data), time_left(task))
        table.add_row(Text("  " + _name(task)), state, bar, *map(Text, amounts))
        if task.error is not None:
            errors.append(Text(f"  {_name(task)}: {_error(task)}", style="red"))
    return Group(table, *errors)


def time_left(task: TaskState) -> str:
    """Return the time until a task is done; empty if it is unknown."""
    left_s = left_s_of(task)
    return "" if left_s is None else human_seconds(left_s)


def _name(task: TaskState) -> str:
    _, _, task_id, map_index = task.key
    return visible(f"{task_id}[{map_index}]" if map_index >= 0 else task_id)


def _error(task: TaskState) -> str:
    return visible(f"{task.error['type']}: {task.error['message']}") if task.error else ""


def _line(task: TaskState, *, is_named: bool) -> str:
    dag_id, run_id = task.key[:2]
    parts = [visible(f"{dag_id}/{run_id}")] if is_named else []
    parts += [_name(task), task.state]
    if task.state == "running" and task.data.get("phase"):
        parts.append(f"({visible(task.data['phase'])})")
    if task.attempt > 1 and is_counted(task.attempt):
        parts.append(f"attempt {task.attempt}")
    if task.data.get("done"):
        parts.append(count_of(task.data))
    if notes := training_notes(task.data.get("metrics", {})):
        parts.append(visible(f"({', '.join(notes)})"))
    if task.error is not None:
        parts.append(_error(task))
    return " ".join(parts)


def _pace(run: RunState) -> str:
    if run.over or run.total is None or not run.total.rate:
        return ""
    left = "" if run.total.left_s is None else f", {human_seconds(run.total.left_s)} left"
    return f", {amount(run.total.rate, run.total.unit)}/s{left}"
