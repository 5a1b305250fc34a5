"""The field ``splits`` of an entry of training data: weights of splits by a hash, or cut-off times."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from itertools import pairwise
from typing import TYPE_CHECKING, Annotated, Any, Final

from pydantic import AfterValidator, WithJsonSchema

from millrace.declarations.error_text import raised, wrong_value
from millrace.declarations.option_fields import ONE_OR_MANY
from millrace.names import first_duplicate

if TYPE_CHECKING:
    from millrace.training import CutSplits, HashSplits

TRAIN: Final = "train"
_BY, _AT, _REST = "by", "at", "rest"
_NAME_PATTERN: Final = r"[a-z][a-z0-9_]{0,38}"
_TIME_PATTERN: Final = (
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}([ T][0-9]{2}:[0-9]{2}(:[0-9]{2}(\.[0-9]{1,6})?)?(Z|[+-][0-9]{2}:[0-9]{2})?)?"
)
_CONDITION: Final = re.compile(rf"(?P<comparison><=?) *(?P<time>{_TIME_PATTERN})")
_SUM_TOLERANCE: Final = 1e-9


def _check_splits(value: dict[str, Any]) -> dict[str, Any]:
    return _checked_cuts(value) if _AT in value else _checked_weights(value)


def _checked_weights(value: dict[str, Any]) -> dict[str, Any]:
    weights = {name: weight for name, weight in value.items() if name != _BY}
    _check_names(weights, ())
    for name, weight in weights.items():
        if isinstance(weight, bool) or not isinstance(weight, int | float) or not 0 < weight <= 1:
            raise _wrong(weight, "give a weight above 0, and at most 1", name)
    total = math.fsum(weights.values())
    if abs(total - 1) > _SUM_TOLERANCE:
        raise raised(f"has weights that sum to {total:.10g}", "give weights that sum to 1", field="splits")
    return {_BY: _checked_by(value[_BY]), **weights} if value.get(_BY) is not None else weights


def _checked_by(columns: Any) -> list[str]:
    names = [columns] if isinstance(columns, str) else columns
    if not isinstance(names, list | tuple) or not names or not all(isinstance(name, str) and name for name in names):
        raise _wrong(columns, "give a column or a list of columns", _BY)
    if duplicate := first_duplicate(names):
        raise raised(f"has the column {duplicate} twice", "give each column once", field=("splits", _BY))
    return list(names)


def _checked_cuts(value: dict[str, Any]) -> dict[str, Any]:
    if other := next((name for name in value if name != _AT), None):
        hint = "give either weights or conditions below at"
        raise raised(f"contradicts {_AT}", hint, field=("splits", other))
    conditions = value[_AT]
    if not isinstance(conditions, dict):
        raise _wrong(conditions, 'give a map of conditions, as in {train: "< 2013-09-01", test: rest}', _AT)
    _check_names(conditions, (_AT,))
    *limited, last = conditions
    if conditions[last] != _REST:
        raise _wrong(conditions[last], f"the last split has the condition {_REST}", _AT, last)
    limits = [(name, _limit(name, conditions[name])) for name in limited]
    for (before, earlier), (name, later) in pairwise(limits):
        if later <= earlier:
            raise _wrong(conditions[name], f"give a later time than that of {before}", _AT, name)
    return value


def _limit(name: str, condition: Any) -> tuple[datetime, bool]:
    """Return the time of a condition, and whether the split has rows of this very time."""
    match = _CONDITION.fullmatch(condition) if isinstance(condition, str) else None
    try:
        if match is None:
            raise ValueError
        time = datetime.fromisoformat(match["time"])
    except ValueError:
        raise _wrong(condition, 'give < or <= and a date or time, as in "< 2013-09-01"', _AT, name) from None
    return time if time.tzinfo else time.replace(tzinfo=UTC), match["comparison"] == "<="


def _check_names(splits: Mapping[str, Any], path: tuple[str, ...]) -> None:
    for name in splits:
        if not isinstance(name, str) or not re.fullmatch(_NAME_PATTERN, name):
            hint = "use a lower-case letter, then up to 38 lower-case letters, digits or underscores"
            raise raised("is not the name of a split", hint, field=("splits", *path, str(name)))
    where = ("splits", *path)
    if len(splits) < 2:
        raise raised("has fewer than two splits", f"give {TRAIN} and at least one more", field=where)
    if TRAIN not in splits:
        raise raised(f"has no split {TRAIN}", f"name one of them {TRAIN}", field=where)


def _wrong(value: Any, hint: str, *path: str) -> Exception:
    problem = wrong_value(value, hint)
    return raised(problem.message, problem.hint, field=("splits", *path))


def split_columns(splits: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the columns by whose hash the rows are split; none for the key, and for cut-off times."""
    return tuple(splits.get(_BY, ()))


def has_cuts(splits: Mapping[str, Any]) -> bool:
    """Return whether the splits are cut-off times."""
    return _AT in splits


def made_splits(splits: Mapping[str, Any]) -> HashSplits | CutSplits:
    """Return checked splits as the preparation takes them."""
    from millrace.training import CutSplits, HashSplits

    if has_cuts(splits):
        return CutSplits(dict(splits[_AT]))
    weights = {name: float(weight) for name, weight in splits.items() if name != _BY}
    return HashSplits(weights, split_columns(splits))


_NAMES_SCHEMA: Final = {"pattern": f"^{_NAME_PATTERN}$"}
_SPLITS_SCHEMA: Final = {
    "anyOf": [
        {
            "type": "object",
            "properties": {_BY: ONE_OR_MANY},
            "required": [TRAIN],
            "minProperties": 2,
            "propertyNames": _NAMES_SCHEMA,
            "additionalProperties": {"type": "number", "exclusiveMinimum": 0, "maximum": 1},
        },
        {
            "type": "object",
            "properties": {
                _AT: {
                    "type": "object",
                    "required": [TRAIN],
                    "minProperties": 2,
                    "propertyNames": _NAMES_SCHEMA,
                    "additionalProperties": {"type": "string", "pattern": f"^(<=? *{_TIME_PATTERN}|{_REST})$"},
                }
            },
            "required": [_AT],
            "additionalProperties": False,
        },
    ]
}
Splits = Annotated[dict[str, Any], AfterValidator(_check_splits), WithJsonSchema(_SPLITS_SCHEMA)]
"""Checked splits, in the form of the file."""
