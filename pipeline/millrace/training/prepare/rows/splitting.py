"""The splits of rows: by weights and a hash, or by cut-off times of the moment of prediction."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from datetime import UTC, datetime
from fractions import Fraction
from typing import Final

from millrace.errors import UsageError
from millrace.training.prepare.engine import literal
from millrace.training.prepare.entry import REST, CutSplits, HashSplits
from millrace.training.prepare.rows.canonical import SPLIT_DIGITS

TRAIN: Final = "train"
"""The split whose rows decide statistics, categories and weights."""
_NUMBERS: Final = 16**SPLIT_DIGITS
_TOLERANCE: Final = Fraction(1, 10**9)
_CONDITION: Final = re.compile(r"\s*(<=|>=|<|>)\s*(\S.*?)\s*")


def split_names(splits: HashSplits | CutSplits) -> tuple[str, ...]:
    """Return the names of the splits in the order of the declaration; raise ``UsageError`` without ``train``."""
    names = tuple(splits.weights if isinstance(splits, HashSplits) else splits.conditions)
    if TRAIN not in names:
        raise UsageError(f"the splits {', '.join(names) or '(none)'} have no split {TRAIN!r}", hint="name one so")
    return names


def weight_limits(splits: HashSplits) -> tuple[int, ...]:
    """Return for each split the number that ``split_number`` of its rows is below; 0.7 means seven tenths exactly.

    Raises ``UsageError`` for weights that are not above 0 or do not sum to 1.
    """
    for name, weight in splits.weights.items():
        if not (math.isfinite(weight) and weight > 0):
            raise UsageError(f"the weight {weight} of split {name!r} is not a number above 0", hint="leave it out")
    weights = [Fraction(str(weight)) for weight in splits.weights.values()]
    if abs(sum(weights, Fraction(-1))) > _TOLERANCE:
        raise UsageError(f"the weights of the splits sum to {float(sum(weights)):.10g}", hint="give weights of sum 1")
    limits = [math.ceil(sum(weights[: end + 1]) * _NUMBERS) for end in range(len(weights) - 1)]
    return (*(min(limit, _NUMBERS - 1) for limit in limits), _NUMBERS)


def split_of(number: int, limits: Sequence[int]) -> int:
    """Return the position of the split of a row with this ``split_number``."""
    return next(place for place, limit in enumerate(limits) if number < limit)


def cut_sql(splits: CutSplits, at: str, *, otherwise: int) -> str:
    """Return SQL for the position of a row's split; ``at`` is an expression of type TIMESTAMP in UTC.

    Rows that fulfil no condition have the position ``otherwise``.
    """
    whens = [
        f"WHEN {_condition_sql(at, name, text)} THEN {i}" for i, (name, text) in enumerate(splits.conditions.items())
    ]
    return f"CASE {' '.join(whens)} ELSE {otherwise} END"


def weight_sql(limits: Sequence[int], digits: str) -> str:
    """Return SQL for the position of a row's split from an expression for the digits of its hash."""
    whens = [f"WHEN {digits} < '{limit:0{SPLIT_DIGITS}x}' THEN {place}" for place, limit in enumerate(limits[:-1])]
    return f"CASE {' '.join(whens)} ELSE {len(limits) - 1} END" if whens else "0"


def cut_condition(split: str, text: str) -> tuple[str, datetime] | None:
    """Return the comparison and the time in UTC, without a zone, of a condition; None for ``rest``.

    Raises ``UsageError`` for another text.
    """
    condition = _parsed(split, text)
    if condition is None:
        return None
    comparison, moment = condition
    return comparison, moment.astimezone(UTC).replace(tzinfo=None) if moment.tzinfo else moment


def has_zone(split: str, text: str) -> bool:
    """Return whether the time of a condition has a time zone; raise as ``cut_condition`` does."""
    condition = _parsed(split, text)
    return condition is not None and condition[1].tzinfo is not None


def _parsed(split: str, text: str) -> tuple[str, datetime] | None:
    if text.strip() == REST:
        return None
    match = _CONDITION.fullmatch(text)
    try:
        moment = datetime.fromisoformat(match[2]) if match else None
    except ValueError:
        moment = None
    if match is None or moment is None:
        raise UsageError(
            f"the condition {text!r} of split {split!r} is not a comparison with a date or time",
            hint=f'write "< 2013-09-01", "< 2013-09-01 12:00", or {REST}',
        )
    return match[1], moment


def _condition_sql(at: str, split: str, text: str) -> str:
    condition = cut_condition(split, text)
    return "TRUE" if condition is None else f"{at} {condition[0]} {literal(condition[1])}"
