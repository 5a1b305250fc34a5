"""The rank of this process and the number of ranks, as launchers of distributed jobs give them."""

from __future__ import annotations

import os
from collections.abc import Mapping

from millrace.errors import UsageError


def rank_and_world_size(
    rank: int | None, world_size: int | None, environment: Mapping[str, str] = os.environ
) -> tuple[int, int]:
    """Return both numbers; one that is None comes from ``RANK`` or ``WORLD_SIZE``, else it is 0 or 1."""
    return (
        _number("RANK", 0, environment) if rank is None else rank,
        _number("WORLD_SIZE", 1, environment) if world_size is None else world_size,
    )


def _number(variable: str, default: int, environment: Mapping[str, str]) -> int:
    text = environment.get(variable, "")
    if not text:
        return default
    try:
        return int(text)
    except ValueError:
        raise UsageError(f"{variable}={text!r} is not a number", hint=f"unset {variable}, or pass the value") from None
