"""``millrace watch``: show live progress in the terminal."""

from __future__ import annotations

import math
import time
from collections import Counter
from typing import TYPE_CHECKING, Any

import click

from millrace.cli.invocation import Invocation, json_option, pass_invocation
from millrace.cli.live import follow
from millrace.cli.options import Seconds
from millrace.cli.output import say, visible
from millrace.display import human_seconds
from millrace.errors import UsageError
from millrace.progress import TaskState

if TYPE_CHECKING:
    from millrace.cli.watcher import Watched, Watcher
    from millrace.progress import RunState


EXIT_FAILED = 1
EXIT_STILL_RUNNING = 124
"""The exit code of the command ``timeout`` in the same case."""
REPORT_TIMEOUT_S = 5.0
"""Time for which a run that was just started may be unknown to the bridge."""


@click.command("watch", short_help="Live progress in the terminal.")
@click.argument("run", required=False, metavar="[DAG/RUN]")
@click.option("--url", metavar="URL", help="The bridge's address, instead of the one in the settings.")
@click.option("--timeout-s", type=Seconds(min=0.1), metavar="N", help="Stop after this many seconds.")
@json_option
@pass_invocation
def command(invocation: Invocation, /, run: str | None, url: str | None, timeout_s: float | None) -> None:
    """Follow a run until it is over, or everything until Ctrl-C.

    DAG/RUN names a run as the page does: ingest_dataset/manual__2026-11-22T10:00:00+00:00, or cli/flights-3fa9c1. The
    exit code is 0 if every task of the run succeeded, and 1 if one did not. It is 2 if no such run is reported within 5
    s, and 124 if the run is not over after --timeout-s. For a run that is over, the command returns at once. Without
    DAG/RUN all runs are shown.

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
    left_s = timeout_s if run is None else _wait_until_reported(watcher, run, timeout_s)
    watched = follow(watcher, until_done=run is not None, timeout_s=left_s, quiet=invocation.json)
    runs = list(watcher.runs())
    facts = {"over": watched.over, "succeeded": watched.succeeded, "runs": [state.to_json() for state in runs]}
    invocation.answer(
        {**facts, "tasks": [_facts(task) for state in runs for task in state.tasks]},
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


def _summary(name: str, runs: list[RunState], watched: Watched, timeout_s: float | None) -> str:
    if not runs:
        return f"no progress of {visible(name)} was reported within {human_seconds(timeout_s or 0)}"
    run = runs[0]
    counts = ", ".join(f"{count} {state}" for state, count in Counter(task.state for task in run.tasks).items())
    summary = f"{visible(run.headline)} ({counts})"
    return summary if watched.over else f"still {run.state} after {human_seconds(timeout_s or 0)}: {summary}"


def _facts(task: TaskState) -> dict[str, Any]:
    dag_id, run_id, task_id, map_index = task.key
    reported: dict[str, Any] = {
        name: task.data[name] for name in ("kind", "dataset", "done", "total", "unit") if name in task.data
    }
    identity = {"dag_id": dag_id, "run_id": run_id, "task_id": task_id, "map_index": map_index}
    return {**identity, "attempt": task.attempt, "state": task.state, **reported, "error": task.error}
