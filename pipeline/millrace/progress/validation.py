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
Check = Callable[[Any], bool]
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


def _whole(least: int) -> Check:
    return lambda value: isinstance(value, int) and not isinstance(value, bool) and least <= value <= _WHOLE_MAX


def _or_null(check: Check) -> Check:
    return lambda value: value is None or check(value)


def _mapping_of(check: Check) -> Check:
    return lambda value: isinstance(value, dict) and all(map(check, value.values()))


def _list_of(check: Check, length_max: int) -> Check:
    return lambda value: isinstance(value, list) and len(value) <= length_max and all(map(check, value))


def _pair_of(first: Check, second: Check) -> Check:
    return lambda value: isinstance(value, list) and len(value) == 2 and first(value[0]) and second(value[1])


def _object_of(form: dict[str, Check], *, all_required: bool = True) -> Check:
    return lambda value: (
        isinstance(value, dict)
        and all(check(value[name]) if name in value else not all_required for name, check in form.items())
    )


_ENVELOPE: Final[dict[str, Check]] = {
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
_IDENTITY: Final[dict[str, Check]] = {
    "dag_id": _named,
    "run_id": _named,
    "task_id": _named,
    "map_index": _whole(-1),
    "attempt": _whole(0),
}
_AIRFLOW: Final[dict[str, Check]] = {**_IDENTITY, "state": lambda value: value in STATES}
_CURVES: Final[dict[str, Check]] = {
    **_IDENTITY,
    "series": _mapping_of(_list_of(_pair_of(_number, _or_null(_number)), 256)),
}
_ERROR_OR_NULL: Final = _or_null(_object_of({"type": _text, "message": _text}))
_PLANNED: Final[dict[str, Check]] = {"splits": _whole(0), "total": _or_null(_count), "unit": _text}
_RESULT: Final[dict[str, Check]] = {
    "load": _object_of(_PLANNED),
    "dataset": _text,
    "version": _text,
    "kind": _text,
    "mode": _text,
    "rows": _count,
    "total_rows": _count,
    "raw_bytes": _count,
    "stored_bytes": _count,
    "columns": _list_of(_pair_of(_text, _text), 1_000),
    "inputs": _mapping_of(_text),
    "rows_in": _count,
    "dropped": _mapping_of(_count),
    "split_rows": _mapping_of(_count),
    "class_rows": _mapping_of(_mapping_of(_count)),
    "metrics": _mapping_of(_number),
    "best": lambda value: isinstance(value, bool),
}
_WHERE_GIVEN: Final[dict[str, Check]] = {
    "error": _ERROR_OR_NULL,
    "kind": _text,
    "dataset": _text,
    "begun": lambda value: isinstance(value, bool),
    "step": _whole(0),
    "leaf": lambda value: isinstance(value, bool),
    "result": _or_null(_object_of(_RESULT, all_required=False)),
}
_PROGRESS: Final[dict[str, Check]] = {
    **_AIRFLOW,
    "error": _ERROR_OR_NULL,
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
    reporter limits the length of other texts, so a reader must accept any length. Raises ``ProgressError`` that names
    the first invalid field.
    """
    if not isinstance(event, dict):
        raise ProgressError(f"an event must be a JSON object, not {type(event).__name__}")
    _check(event, _ENVELOPE, "")
    source: str = event["source"]
    form = _CURVES if source.endswith("/curves") else _AIRFLOW if source.endswith("/airflow") else _PROGRESS
    data = event["data"]
    _check(data, form, "data.")
    _check(data, {name: check for name, check in _WHERE_GIVEN.items() if name in data}, "data.")


def _check(fields: dict[str, Any], form: dict[str, Check], prefix: str) -> None:
    for name, check in form.items():
        if name not in fields:
            raise ProgressError(f"{prefix}{name} is missing")
        try:
            is_valid = check(fields[name])
        except (TypeError, OverflowError):  # an unhashable state, an integer too large for a float
            is_valid = False
        if not is_valid:
            raise ProgressError(f"{prefix}{name} has an invalid value: {str(fields[name])[:80]!r}")
