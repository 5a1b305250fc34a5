"""The event on the wire: a cumulative snapshot of one task attempt, as CloudEvents 1.0 structured JSON.

This module alone knows the names of the fields. ``progress_event``, ``curves_event`` and ``airflow_event`` make
events; ``validate_event`` says whether something read from Kafka is one. Which partition an event goes to is
decided by ``partition_of`` and by nothing else.
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
    "Place",
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
"""A CloudEvent as ``json.loads`` gives it."""

EVENT_TYPE: Final = "millrace.progress.v1"
KINDS: Final = ("plan", "load", "verify", "publish", "warm", "prepare", "train", "repair", "maintain")
STATES: Final = ("queued", "running", "retrying", "succeeded", "failed", "cancelled", "skipped")
SHOWN_STATES: Final = (*STATES, "stalled", "lost")
"""What people can see: the bridge alone adds the last two."""
TERMINAL_STATES: Final = frozenset({"succeeded", "failed", "cancelled", "skipped"})
ATTEMPT_OVER: Final = TERMINAL_STATES | {"retrying"}
"""No later event of the same attempt means anything; ``retrying`` says that another attempt will follow."""

COUNTERS: Final = ("chunks", "bytes_raw", "bytes_stored", "retries", "under_replicated")

_COUNT_MAX: Final = 1e300
"""So that the counts of all tasks can be added up."""
_WHOLE_MAX: Final = 2**53
"""The largest whole number that every reader of JSON keeps exactly."""
_NAME_LENGTH_MAX: Final = 4_000
_SURROGATE: Final = re.compile("[\ud800-\udfff]")

_EPOCH_2020_S: Final = 1_577_836_800
_ORIGINS: Final = ("airflow", "cli", "python")
# What RFC 3986 allows in a path segment stays readable (run ids hold ":" and "+"); "/" and "%" do not.
_SEGMENT_SAFE: Final = ":+~@!$&'()*,;="


@dataclass(frozen=True, slots=True)
class TaskIdentity:
    """Which attempt of which task speaks. A run is always named by ``dag_id`` and ``run_id`` together.

    ``map_index`` is -1 for a task that is not mapped, ``attempt`` counts from 1. ``origin`` (``airflow``,
    ``cli`` or ``python``) begins the event's ``source``; left empty it follows from ``dag_id``. An identity
    stands for one execution: its sequence starts at 1, so a second execution needs another attempt or run id.
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
        """``<dag_id>/<run_id>/<task_id>/<map_index>``, each part percent-encoded where it must be."""
        parts = (self.dag_id, self.run_id, self.task_id, str(self.map_index))
        return "/".join(quote(part, safe=_SEGMENT_SAFE) for part in parts)

    @property
    def source(self) -> str:
        """``/<origin>/<subject>/<attempt>``: the record key in Kafka."""
        return f"/{self.origin}/{self.subject}/{self.attempt}"


@dataclass(frozen=True, slots=True)
class Place:
    """Where a task stands in its DAG: its ``step`` in the order of the work, and whether no other task follows it."""

    step: int
    leaf: bool


def attempt_now() -> int:
    """The number of an attempt at a run that somebody may have begun before: seconds since 2020, so it only grows.

    Airflow counts attempts; a person who goes on with a run by its id does not. ``is_counted`` tells such numbers
    from those that mean something to people.
    """
    return int(time.time() - _EPOCH_2020_S)


def is_counted(attempt: int) -> bool:
    """Whether ``attempt`` was counted, and not made by ``attempt_now``."""
    return attempt < 1_000_000


def partition_of(dag_id: str, run_id: str, partitions: int) -> int:
    """The partition of all events of a run: CRC-32 (IEEE, as zlib) of ``<dag_id>/<run_id>`` in UTF-8, modulo.

    The same on every machine, Python and day; the order inside a run rests on it.
    """
    return zlib.crc32(f"{dag_id}/{run_id}".encode("utf-8", "surrogatepass")) % partitions


def utc_text(seconds: float) -> str:
    """A Unix time as RFC 3339 with milliseconds: ``2026-11-22T10:00:00.123Z``."""
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
    """A snapshot of an attempt: ``facts`` holds every field of ``data`` that is not the identity."""
    return _envelope(identity.source, identity.subject, sequence, time_s, {**_who(identity), **facts})


def curves_event(
    identity: TaskIdentity,
    sequence: int,
    time_s: float,
    facts: Mapping[str, Any],
    series: Mapping[str, list[list[Any]]],
) -> Event:
    """All training curves of an attempt so far, as ``[step, value]`` pairs by metric."""
    data = {**_who(identity), **facts, "series": dict(series)}
    return _envelope(identity.source + "/curves", identity.subject, sequence, time_s, data)


def airflow_event(
    identity: TaskIdentity,
    state: str,
    *,
    time_s: float,
    error: Mapping[str, str] | None = None,
    begun: bool = True,
    place: Place | None = None,
) -> Event:
    """What Airflow itself says about an attempt: state and error, and the task's place in its DAG where it is known.

    With ``begun`` false the event is about an attempt that has not begun: it holds until the attempt begins.

    It is said by whichever process of Airflow learns it, so no counter can be shared: the sequence is the time
    since 2020 in hundredths of a second, followed by a digit that lets a later state win in the same hundredth.
    It fits the twelve digits until 2051.
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
    """The event as JSON in pure ASCII: no raw line separator, NUL or lone surrogate can stand in it."""
    return json.dumps(event, separators=(",", ":"), allow_nan=False).encode("ascii")


def _text(value: Any) -> bool:
    return isinstance(value, str)


def _named(value: Any) -> bool:
    """A name that can stand in an address and be compared: not empty, not endless, and nothing that UTF-8 has not."""
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
    """Return only if ``event`` is one of the three forms of the wire schema; unknown further fields are allowed.

    Checks structure and types, not lengths: how long a text may be is the reporter's promise, and a reader has
    to live with any. Raises ``ProgressError`` that names the first field that is wrong.
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
        except (TypeError, OverflowError):  # an unhashable state, an integer beyond any float
            right = False
        if not right:
            raise ProgressError(f"{prefix}{name} is {str(fields[name])[:80]!r}, which it may not be")
