"""Wire format of progress: each event is a cumulative snapshot of one task attempt, as CloudEvents 1.0 structured JSON.

``progress_event``, ``curves_event`` and ``airflow_event`` make events. ``validation`` checks an event read from Kafka.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

from millrace.errors import ProgressError
from millrace.progress.identity import EPOCH_2020_S, TaskIdentity, TaskPosition

Event = dict[str, Any]
"""A CloudEvent as ``json.loads`` returns it."""

EVENT_TYPE: Final = "millrace.progress.v1"
STATES: Final = ("queued", "running", "retrying", "succeeded", "failed", "cancelled", "skipped")
TERMINAL_STATES: Final = frozenset({"succeeded", "failed", "cancelled", "skipped"})
ATTEMPT_OVER: Final = TERMINAL_STATES | {"retrying"}
"""States that end an attempt. ``retrying`` means that another attempt follows; only a terminal state may replace it."""

COUNTERS: Final = ("chunks", "bytes_raw", "bytes_stored", "retries", "under_replicated")


def utc_text(seconds: float) -> str:
    """Format a Unix time as RFC 3339 with milliseconds: ``2026-11-22T10:00:00.123Z``."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"


def _event(identity: TaskIdentity, source: str, sequence: int, time_s: float, facts: Mapping[str, Any]) -> Event:
    text = f"{sequence:012d}"
    return {
        "specversion": "1.0",
        "type": EVENT_TYPE,
        "source": source,
        "id": f"{source}#{text}",
        "subject": identity.subject,
        "sequence": text,
        "time": utc_text(time_s),
        "datacontenttype": "application/json",
        "data": {
            "dag_id": identity.dag_id,
            "run_id": identity.run_id,
            "task_id": identity.task_id,
            "map_index": identity.map_index,
            "attempt": identity.attempt,
            **facts,
        },
    }


def progress_event(identity: TaskIdentity, sequence: int, time_s: float, facts: Mapping[str, Any]) -> Event:
    """Return a snapshot event of an attempt. ``facts`` holds every field of ``data`` except the identity."""
    return _event(identity, identity.source, sequence, time_s, facts)


def curves_event(
    identity: TaskIdentity,
    sequence: int,
    time_s: float,
    facts: Mapping[str, Any],
    series: Mapping[str, list[list[Any]]],
) -> Event:
    """Return an event with all training curves of an attempt so far, as ``[step, value]`` pairs by metric."""
    return _event(identity, f"{identity.source}/curves", sequence, time_s, {**facts, "series": dict(series)})


def airflow_event(
    identity: TaskIdentity,
    state: str,
    *,
    time_s: float,
    error: Mapping[str, str] | None = None,
    begun: bool = True,
    position: TaskPosition | None = None,
) -> Event:
    """Return an event with Airflow's view of an attempt: state, error and, if known, the task's position in its DAG.

    With ``begun`` false the event is about an attempt that has not begun. It is valid until the attempt begins.

    Any Airflow process that learns of a state sends this event, so a shared counter is not possible. Instead, the
    sequence is the time since 2020 in hundredths of a second, followed by one digit. The digit orders later states
    after earlier ones within the same hundredth. The sequence fits into twelve digits until 2051.
    Raises ``ProgressError`` if ``state`` is not in ``STATES``.
    """
    if state not in STATES:
        raise ProgressError(f"state is {state!r}", hint=f"it must be one of {', '.join(STATES)}")
    facts: dict[str, Any] = {"state": state, "error": dict(error) if error else None}
    if not begun:
        facts["begun"] = False
    if position is not None:
        facts |= {"step": position.step, **({"leaf": True} if position.leaf else {})}
    sequence = round((time_s - EPOCH_2020_S) * 100) * 10 + min(STATES.index(state), 3)
    return _event(identity, f"{identity.source}/airflow", max(sequence, 0), time_s, facts)


def encode_event(event: Event) -> bytes:
    """Encode the event as ASCII JSON, which contains no raw line separator, NUL or lone surrogate."""
    return json.dumps(event, separators=(",", ":"), allow_nan=False).encode("ascii")
