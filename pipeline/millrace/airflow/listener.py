"""The Airflow listener: a second source of task states, for tasks whose own process can no longer report.

Airflow calls a hook in the task's process, in the scheduler or in the API server. The class of the passed object
differs between these processes. Hooks only put an event into a queue. They never block or raise. They query the
database once at the start of a run and twice at its end. These queries use the SQLAlchemy session of the run object.
"""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from functools import wraps
from importlib import import_module
from typing import Any, Final

from airflow.listeners import hookimpl

from millrace.airflow import is_ours
from millrace.airflow.identity import identity_of, positions_of
from millrace.airflow.sender import ReportSender
from millrace.progress import TaskPosition, airflow_event

TEXT_MAX: Final = 500
_MARKED_S: Final = 0.5
"""When a user marks a running task, Airflow sets its end and writes the row in less time than this."""

_NEVER_BEGAN: Final = {
    "upstream_failed": ("cancelled", "not run: an upstream task failed"),
    "success": ("succeeded", None),
    "failed": ("failed", "marked as failed before it began"),
}
"""State and error to report, by Airflow's state, if the next attempt of a task never began; else ``skipped``."""

_NEEDED_BY_TASKS = ("millrace.api", "millrace.airflow.request", "millrace.cache", "confluent_kafka", "redis")

SENDER = ReportSender()
"""The sender of this process. It is not in the plugin's file, because Airflow executes that file twice."""

logger = logging.getLogger(__name__)


def _quietly(hook: Callable[..., None]) -> Callable[..., None]:
    """Wrap a hook to log its exceptions: a hook that raises prevents the calls of every other plugin's hooks."""

    @wraps(hook)
    def safe(*args: Any, **kwargs: Any) -> None:
        try:
            hook(*args, **kwargs)
        except Exception:
            logger.warning("%s failed; this change of state is not reported", hook.__name__, exc_info=True)

    return safe


class RunAndTaskListener:
    """A listener that reports the tasks of Millrace DAGs under ``<source>/airflow``: state, error and DAG position."""

    def __init__(self, sender: ReportSender = SENDER) -> None:
        self._sender = sender

    @hookimpl
    @_quietly
    def on_starting(self, component: Any) -> None:
        """Import the modules that every task needs in the scheduler, before it forks the workers of its executor.

        The imports cost each task 0.6 s of processor time (python -X importtime -c 'import millrace.api'), and the
        steps of a load run one after the other. No connection is opened: sessions are created after the fork.
        """
        # The passed job has no type yet at this point.
        if sys.argv[1:2] == ["scheduler"]:
            for name in _NEEDED_BY_TASKS:
                import_module(name)

    @hookimpl
    @_quietly
    def on_task_instance_running(self, previous_state: Any, task_instance: Any) -> None:
        """Report ``running``. Airflow calls this in the task's process, before its work begins."""
        self._report(task_instance, "running")

    @hookimpl
    @_quietly
    def on_task_instance_success(self, previous_state: Any, task_instance: Any) -> None:
        """Report ``succeeded``. Airflow calls this in the task's process, or in the API server if a user marked it."""
        self._report_end(task_instance, "succeeded")

    @hookimpl
    @_quietly
    def on_task_instance_skipped(self, previous_state: Any, task_instance: Any) -> None:
        """Report ``skipped``: the task skipped itself, or a user marked it."""
        self._report_end(task_instance, "skipped")

    @hookimpl
    @_quietly
    def on_task_instance_failed(self, previous_state: Any, task_instance: Any, error: Any) -> None:
        """Report ``failed``, or ``retrying`` if a retry follows.

        Airflow calls this in the task's process, in the scheduler if the worker vanished, or in the API server.
        """
        error = error or "failed; Airflow gives no reason"
        if _state_text(task_instance.state) == "up_for_retry":
            self._report(task_instance, "retrying", error=error)
        else:
            self._report_end(task_instance, "failed", error=error)

    @hookimpl
    @_quietly
    def on_dag_run_running(self, dag_run: Any, msg: str) -> None:
        """Report ``queued`` for every task without a state, so that users see all steps of the run from its start.

        Airflow calls this in the scheduler when a run begins, also a cleared one.
        """
        instances, positions = _instances(dag_run)
        for instance in instances:
            if instance.state is None:
                self._report(instance, "queued", begun=False, positions=positions)

    @hookimpl
    @_quietly
    def on_dag_run_success(self, dag_run: Any, msg: str) -> None:
        """Report the end of every task whose own end was not reported: tasks that did not run will not run any more.

        Airflow calls this in the scheduler, or in the API server if a user marked the run.
        """
        self._report_ends(dag_run, msg)

    @hookimpl
    @_quietly
    def on_dag_run_failed(self, dag_run: Any, msg: str) -> None:
        """Report the end of every task whose own end was not reported.

        No other hook reports a killed task process without retries left. Its supervisor sets the state, and no hook of
        the task is called.
        """
        self._report_ends(dag_run, msg)

    @hookimpl
    @_quietly
    def before_stopping(self, component: Any) -> None:
        """Send the waiting events, for at most 2 s. Every task process and Airflow component calls this at its end."""
        self._sender.flush(2.0)

    def _report_end(self, instance: Any, state: str, *, error: Any = None) -> None:
        """Report the end of the running attempt, or of an attempt that a user marked and that never began."""
        begun = instance.try_number != 0 and not _was_over(instance)
        self._report(instance, state, error=error, begun=begun)

    def _report_ends(self, dag_run: Any, msg: str) -> None:
        instances, positions = _instances(dag_run)
        cleared = _cleared(dag_run) if instances else set()
        for instance in instances:
            airflow_state = _state_text(instance.state)
            key = (instance.task_id, instance.map_index, instance.try_number)
            if not instance.try_number or key in cleared or airflow_state in ("upstream_failed", "removed"):
                # The attempt was announced as ``queued``, or the task was cleared. Without this event it would stay so.
                state, reason = _NEVER_BEGAN.get(airflow_state, ("skipped", None))
                self._report(instance, state, error=reason, begun=False, positions=positions)
            elif end := _end_of(instance, airflow_state, msg):
                # Timed at the task's end, so that a later report of the task's own process counts as newer.
                ended = instance.end_date.timestamp() if instance.end_date else time.time()
                self._report(instance, end[0], error=end[1], time_s=ended, positions=positions)

    def _report(
        self,
        instance: Any,
        state: str,
        *,
        error: Any = None,
        begun: bool = True,
        time_s: float | None = None,
        positions: dict[str, TaskPosition] | None = None,
    ) -> None:
        """Report a state of the latest attempt that Airflow has counted, or of the next one if it has not begun."""
        # With ``positions`` the run is known to be of a Millrace DAG, and so are its tasks. In the scheduler, task
        # instances do not have the tags of their DAG.
        if positions is None:
            dag = getattr(getattr(instance, "task", None), "dag", None)
            if not is_ours(instance.dag_id, getattr(dag, "tags", ())):
                return
            positions = positions_of(dag)
        identity = identity_of(instance)
        event = airflow_event(
            identity if begun else replace(identity, attempt=identity.attempt + 1),
            state,
            time_s=time.time() if time_s is None else time_s,
            error=_error_facts(error),
            begun=begun,
            position=positions.get(instance.task_id),
        )
        self._sender.put(event)


def _instances(dag_run: Any) -> tuple[list[Any], dict[str, TaskPosition]]:
    """Return the task instances and positions of a Millrace run, read in its own session; none for other runs."""
    # ``dag`` is an attribute of a run object, never a query.
    dag = getattr(dag_run, "dag", None)
    session = _session_of(dag_run) if is_ours(dag_run.dag_id, getattr(dag, "tags", ())) else None
    return ([], {}) if session is None else (list(dag_run.get_task_instances(session=session)), positions_of(dag))


def _cleared(dag_run: Any) -> set[tuple[str, int, int]]:
    """Return the attempts of this run in Airflow's history: another attempt of these tasks was requested."""
    from airflow.models.taskinstancehistory import TaskInstanceHistory as History
    from sqlalchemy import select

    of_run = (History.dag_id == dag_run.dag_id, History.run_id == dag_run.run_id)
    query = select(History.task_id, History.map_index, History.try_number).where(*of_run)
    return {tuple(row) for row in _session_of(dag_run).execute(query)}


def _session_of(dag_run: Any) -> Any:
    from sqlalchemy.orm import object_session

    return object_session(dag_run)


def _end_of(instance: Any, airflow_state: str, msg: str) -> tuple[str, str | None] | None:
    """Return the final state and error of an attempt of a finished run; None if its own process reported them."""
    if airflow_state == "failed":
        return "failed", f"its process ended without a report, or Airflow terminated it ({msg})"
    if airflow_state == "skipped":
        was_stopped = instance.start_date is not None and msg == "timed_out"
        return ("cancelled", "the run exceeded its time limit") if was_stopped else ("skipped", None)
    # An empty operator, for example, succeeds without a process.
    return ("succeeded", None) if airflow_state == "success" and not instance.hostname else None


def _was_over(instance: Any) -> bool:
    """Return whether a task had already ended when a user marked it: its end is then older than the last change."""
    ended, changed = instance.end_date, getattr(instance, "updated_at", None)
    return ended is not None and changed is not None and (changed - ended).total_seconds() > _MARKED_S


def _state_text(state: Any) -> str:
    """Return a state as stored in the database: ``str`` of the enumeration in a task's process is different."""
    return str(getattr(state, "value", state))


def _error_facts(error: Any) -> dict[str, str] | None:
    if error is None:
        return None
    kind = type(error).__name__ if isinstance(error, BaseException) else "Airflow"
    text = str(error)
    return {"type": kind, "message": text if len(text) <= TEXT_MAX else text[: TEXT_MAX - 1] + "…"}


LISTENER: Final = RunAndTaskListener()
