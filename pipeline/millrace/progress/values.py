"""Convert values of any type to the texts and numbers that an event can carry."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any


def short_text(value: object, length_max: int) -> str:
    """Convert to text of at most ``length_max`` characters; an ellipsis replaces the rest."""
    text = str(value)
    return text if len(text) <= length_max else text[: length_max - 1] + "\N{HORIZONTAL ELLIPSIS}"


def finite_number(value: Any) -> float | int | None:
    """Convert any numeric value, including numpy's, to a finite Python number; return ``None`` for everything else."""
    if value is None:
        return None
    if isinstance(value, int):
        return int(value)
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        return None
    if not math.isfinite(number):
        return None
    return int(number) if not isinstance(value, float) and number.is_integer() else number


def fitting(values: Mapping[str, Any], bytes_max: int) -> dict[str, Any]:
    """Return the first values of a mapping, as many as have room in ``bytes_max`` bytes of JSON."""
    kept: dict[str, Any] = {}
    for name, value in values.items():
        bytes_max -= len(json.dumps([name, value])) + 2
        if bytes_max < 0:
            break
        kept[name] = value
    return kept
