"""Check that an object read from Kafka is a valid event: structure, types, and limits of names and numbers."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from typing import Any, Final

from millrace.errors import ProgressError
from millrace.progress.event import EVENT_TYPE, STATES

_COUNT_MAX: Final = 1e300
"""Largest valid count. It keeps the sum over all tasks finite."""
_WHOLE_MAX: Final = 2**53
"""The largest integer that every JSON reader keeps exactly."""
_NAME_LENGTH_MAX: Final = 4_000
_SURROGATE: Final = re.compile("[\ud800-\udfff]")


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
        raise ProgressError(f"an event must be a JSON object, not {type(event).__name__}")
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
            is_valid = check(fields[name])
        except (TypeError, OverflowError):  # an unhashable state, an integer too large for a float
            is_valid = False
        if not is_valid:
            raise ProgressError(f"{prefix}{name} has an invalid value: {str(fields[name])[:80]!r}")
