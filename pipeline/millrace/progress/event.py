"""Wire format of progress: each event is a cumulative snapshot of one task attempt, as CloudEvents 1.0 structured JSON.

Only this module defines the field names. ``progress_event``, ``curves_event`` and ``airflow_event`` make events.
``validate_event`` checks an object read from Kafka. ``partition_of`` alone decides the partition of an event.
"""

from __future__ import annotations

import json
import re
import sys
import time
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final
from urllib.parse import quote

from millrace.errors import ProgressError

__all__ = [
    "ATTEMPT_OVER",
    "EVENT_TYPE",
    "KINDS",
    "SHOWN_STATES",
    "STATES",
    "TERMINAL_STATES",
    "Event",
    "TaskPosition",
    "TaskIdentity",
    "airflow_event",
    "attempt_now",
    "curves_event",
    "encode_event",
    "is_counted",
    "partition_of",
    "progress_event",
    "utc_text",
    "validate_event",
]

Event = dict[str, Any]
"""A CloudEvent as ``json.loads`` returns it."""

EVENT_TYPE: Final = "millrace.progress.v1"
KINDS: Final = ("plan", "load", "verify", "publish", "warm", "prepare", "train", "repair", "maintain")
STATES: Final = ("queued", "running", "retrying", "succeeded", "failed", "cancelled", "skipped")
SHOWN_STATES: Final = (*STATES, "stalled", "lost")
"""All states that users can see. Only the bridge sets the last two."""
TERMINAL_STATES: Final = frozenset({"succeeded", "failed", "cancelled", "skipped"})
ATTEMPT_OVER: Final = TERMINAL_STATES | {"retrying"}
"""States that end an attempt. ``retrying`` means that another attempt follows; only a terminal state may replace it."""

COUNTERS: Final = ("chunks", "bytes_raw", "bytes_stored", "retries", "under_replicated")

_COUNT_MAX: Final = 1e300
"""Largest valid count. It keeps the sum over all tasks finite."""
_WHOLE_MAX: Final = 2**53
"""The largest integer that every JSON reader keeps exactly."""
_NAME_LENGTH_MAX: Final = 4_000
_SURROGATE: Final = re.compile("[\ud800-\udfff]")

_EPOCH_2020_S: Final = 1_577_836_800
_ORIGINS: Final = ("airflow", "cli", "python")
# Characters that RFC 3986 allows in a path segment stay readable (run ids contain ":" and "+"). "/" and "%" are
# percent-encoded.
_SEGMENT_SAFE: Final = ":+~@!$&'()*,;="


@dataclass(frozen=True, slots=True)
class TaskIdentity:
    """The identity of the task attempt that an event is about. ``dag_id`` and ``run_id`` together identify a run.

    ``map_index`` is -1 for a task that is not mapped. ``attempt`` counts from 1. ``origin`` (``airflow``, ``cli`` or
    ``python``) is the first part of the event's ``source``; if empty, it is derived from ``dag_id``. An identity
    identifies one execution, because its sequence starts at 1. A second execution needs another attempt or run id.
    Raises ``ValueError`` for an identity that no event can carry.
    """

    dag_id: str
    run_id: str
    task_id: str
    map_index: int = -1
    attempt: int = 1
    origin: str = ""

    def __post_init__(self) -> None:
        if not self.origin:
            named = self.dag_id if self.dag_id in ("cli", "python") else "airflow"
            object.__setattr__(self, "origin", named)
        if self.origin not in _ORIGINS:
            raise ValueError(f"origin is {self.origin!r}; it is one of {', '.join(_ORIGINS)}")
        for name in ("dag_id", "run_id", "task_id"):
            if not getattr(self, name):
                raise ValueError(f"{name} is empty")
        if self.map_index < -1 or self.attempt < 0:
            raise ValueError(f"map_index is {self.map_index} and attempt {self.attempt}; at least -1 and 0")

    @property
    def subject(self) -> str:
        """Return ``<dag_id>/<run_id>/<task_id>/<map_index>``, each part percent-encoded where necessary."""
        parts = (self.dag_id, self.run_id, self.task_id, str(self.map_index))
        return "/".join(quote(part, safe=_SEGMENT_SAFE) for part in parts)

    @property
    def source(self) -> str:
        """Return ``/<origin>/<subject>/<attempt>``, the record key in Kafka."""
        return f"/{self.origin}/{self.subject}/{self.attempt}"


@dataclass(frozen=True, slots=True)
class TaskPosition:
    """The position of a task in its DAG: ``step`` is its index in execution order; a ``leaf`` has no task after it."""

    step: int
    leaf: bool


def attempt_now() -> int:
    """Return an attempt number for a run that may have had attempts before: the seconds since 2020.

    The number increases with time. Airflow counts attempts, but resuming a run by its id has no such counter.
    ``is_counted`` distinguishes such numbers from counted ones, which are meaningful to users.
    """
    return int(time.time() - _EPOCH_2020_S)


def is_counted(attempt: int) -> bool:
    """Return whether ``attempt`` is a counted number, not one from ``attempt_now``."""
    return attempt < 1_000_000


def partition_of(dag_id: str, run_id: str, partitions: int) -> int:
    """Return the partition of all events of a run: CRC-32 (IEEE, as zlib) of ``<dag_id>/<run_id>`` in UTF-8, modulo.

    The result is the same on every machine, with every Python version and at any time. The order of events within a
    run depends on that.
    """
    return zlib.crc32(f"{dag_id}/{run_id}".encode("utf-8", "surrogatepass")) % partitions


def utc_text(seconds: float) -> str:
    """Format a Unix time as RFC 3339 with milliseconds: ``2026-11-22T10:00:00.123Z``."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"


def _envelope(source: str, subject: str, sequence: int, time_s: float, data: dict[str, Any]) -> Event:
    text = f"{sequence:012d}"
    return {
        "specversion": "1.0",
        "type": EVENT_TYPE,
        "source": source,
        "id": f"{source}#{text}",
        "subject": subject,
        "sequence": text,
        "time": utc_text(time_s),
        "datacontenttype": "application/json",
        "data": data,
    }


def _who(identity: TaskIdentity) -> dict[str, Any]:
    return {
        "dag_id": identity.dag_id,
        "run_id": identity.run_id,
        "task_id": identity.task_id,
        "map_index": identity.map_index,
        "attempt": identity.attempt,
    }


def progress_event(identity: TaskIdentity, sequence: int, time_s: float, facts: Mapping[str, Any]) -> Event:
    """Return a snapshot event of an attempt. ``facts`` holds every field of ``data`` except the identity."""
    return _envelope(identity.source, identity.subject, sequence, time_s, {**_who(identity), **facts})


def curves_event(
    identity: TaskIdentity,
    sequence: int,
    time_s: float,
    facts: Mapping[str, Any],
    series: Mapping[str, list[list[Any]]],
) -> Event:
    """Return an event with all training curves of an attempt so far, as ``[step, value]`` pairs by metric."""
    data = {**_who(identity), **facts, "series": dict(series)}
    return _envelope(identity.source + "/curves", identity.subject, sequence, time_s, data)


def airflow_event(
    identity: TaskIdentity,
    state: str,
    *,
    time_s: float,
    error: Mapping[str, str] | None = None,
    begun: bool = True,
    place: TaskPosition | None = None,
) -> Event:
    """Return an event with Airflow's view of an attempt: state, error and, if known, the task's position in its DAG.

    With ``begun`` false the event is about an attempt that has not begun. It is valid until the attempt begins.

    Any Airflow process that learns of a state sends this event, so a shared counter is not possible. Instead, the
    sequence is the time since 2020 in hundredths of a second, followed by one digit. The digit orders later states
    after earlier ones within the same hundredth. The sequence fits into twelve digits until 2051.
    Raises ``ProgressError`` if ``state`` is not in ``STATES``.
    """
    if state not in STATES:
        raise ProgressError(f"state is {state!r}", hint=f"it is one of {', '.join(STATES)}")
    data = {**_who(identity), "state": state, "error": dict(error) if error else None}
    if not begun:
        data["begun"] = False
    if place is not None:
        data |= {"step": place.step, **({"leaf": True} if place.leaf else {})}
    sequence = round((time_s - _EPOCH_2020_S) * 100) * 10 + min(STATES.index(state), 3)
    return _envelope(identity.source + "/airflow", identity.subject, max(sequence, 0), time_s, data)


def encode_event(event: Event) -> bytes:
    """Encode the event as ASCII JSON, which contains no raw line separator, NUL or lone surrogate."""
    return json.dumps(event, separators=(",", ":"), allow_nan=False).encode("ascii")


def _text(value: Any) -> bool:
    return isinstance(value, str)


def _named(value: Any) -> bool:
    """Return whether ``value`` is a name usable in URLs and comparisons.

    Such a name is a non-empty string of at most ``_NAME_LENGTH_MAX`` characters that UTF-8 can encode.
    """
    if not isinstance(value, str) or not 0 < len(value) <= _NAME_LENGTH_MAX:
        return False
    return value.isascii() or not _SURROGATE.search(value)


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= sys.float_info.max


def _count(value: Any) -> bool:
    return _number(value) and 0 <= value <= _COUNT_MAX


def _whole(least: int) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, int) and not isinstance(value, bool) and least <= value <= _WHOLE_MAX


def _or_null(check: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: value is None or check(value)


def _flag(value: Any) -> bool:
    return isinstance(value, bool)


def _column(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 2 and all(map(_text, value))


def _result(value: Any) -> bool:
    return isinstance(value, dict) and all(check(value[name]) for name, check in _RESULT.items() if name in value)


def _error(value: Any) -> bool:
    return isinstance(value, dict) and _text(value.get("type")) and _text(value.get("message"))


def _mapping_of(check: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, dict) and all(check(item) for item in value.values())


def _point(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 2 and _number(value[0]) and _or_null(_number)(value[1])


def _points(value: Any) -> bool:
    return isinstance(value, list) and len(value) <= 256 and all(map(_point, value))


_ENVELOPE: Final[dict[str, Callable[[Any], bool]]] = {
    "specversion": lambda value: value == "1.0",
    "type": lambda value: value == EVENT_TYPE,
    "source": _named,
    "id": _named,
    "subject": _named,
    "sequence": lambda value: isinstance(value, str) and len(value) == 12 and value.isascii() and value.isdigit(),
    "time": _named,
    "datacontenttype": lambda value: value == "application/json",
    "data": lambda value: isinstance(value, dict),
}
_IDENTITY: Final[dict[str, Callable[[Any], bool]]] = {
    "dag_id": _named,
    "run_id": _named,
    "task_id": _named,
    "map_index": _whole(-1),
    "attempt": _whole(0),
}
_AIRFLOW: Final[dict[str, Callable[[Any], bool]]] = {**_IDENTITY, "state": lambda value: value in STATES}
_CURVES: Final[dict[str, Callable[[Any], bool]]] = {**_IDENTITY, "series": _mapping_of(_points)}
_WHERE_GIVEN: Final[dict[str, Callable[[Any], bool]]] = {
    "error": _or_null(_error),
    "kind": _text,
    "dataset": _text,
    "begun": _flag,
    "step": _whole(0),
    "leaf": _flag,
    "result": _or_null(_result),
}
_RESULT: Final[dict[str, Callable[[Any], bool]]] = {
    "load": lambda value: isinstance(value, dict) and all(n in value and c(value[n]) for n, c in _PLANNED.items()),
    "dataset": _text,
    "version": _text,
    "kind": _text,
    "mode": _text,
    "rows": _count,
    "total_rows": _count,
    "raw_bytes": _count,
    "stored_bytes": _count,
    "columns": lambda value: isinstance(value, list) and len(value) <= 1_000 and all(map(_column, value)),
}
_PLANNED: Final[dict[str, Callable[[Any], bool]]] = {"splits": _whole(0), "total": _or_null(_count), "unit": _text}
_PROGRESS: Final[dict[str, Callable[[Any], bool]]] = {
    **_AIRFLOW,
    "error": _or_null(_error),
    "kind": _text,
    "dataset": _text,
    "phase": _text,
    "done": _count,
    "total": _or_null(_count),
    "unit": _text,
    "rate": _or_null(_count),
    "elapsed_s": _count,
    "counters": _mapping_of(_count),
    "metrics": _mapping_of(_or_null(_number)),
    "message": _text,
}


def validate_event(event: Any) -> None:
    """Check that ``event`` has one of the three forms of the wire schema; additional unknown fields are allowed.

    The check covers structure and types. Of the lengths it limits those of names, of ``columns`` and of curves. The
    reporter limits the length of other texts, so a reader must accept any. Raises ``ProgressError`` that names the
    first invalid field.
    """
    if not isinstance(event, dict):
        raise ProgressError(f"an event is a JSON object, this is {type(event).__name__}")
    _check(event, _ENVELOPE, "")
    source: str = event["source"]
    form = _CURVES if source.endswith("/curves") else _AIRFLOW if source.endswith("/airflow") else _PROGRESS
    data = event["data"]
    _check(data, form, "data.")
    _check(data, {name: check for name, check in _WHERE_GIVEN.items() if name in data}, "data.")


def _check(fields: dict[str, Any], form: dict[str, Callable[[Any], bool]], prefix: str) -> None:
    for name, check in form.items():
        if name not in fields:
            raise ProgressError(f"{prefix}{name} is missing")
        try:
            right = check(fields[name])
        except (TypeError, OverflowError):  # an unhashable state, an integer too large for a float
            right = False
        if not right:
            raise ProgressError(f"{prefix}{name} is {str(fields[name])[:80]!r}, which it may not be")
