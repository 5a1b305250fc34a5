"""Warnings about a source: the load continues, and its report lists each of them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

WARNINGS_MAX = 100
"""Largest number of warnings in a plan, a split or a report; a report is stored in Airflow's database."""


@dataclass(frozen=True, slots=True)
class SourceWarning:
    """An unexpected property of a source that does not stop the load.

    ``code`` is a stable word of small letters and underscores for programs. ``message`` is one sentence for the user,
    with the option that helps. ``column``, ``line`` (counted from 1) and ``file`` are None where they do not apply.
    """

    code: str
    message: str
    column: str | None = None
    line: int | None = None
    file: str | None = None


def distinct(warnings: Iterable[SourceWarning]) -> tuple[SourceWarning, ...]:
    """Return the first ``WARNINGS_MAX`` warnings, each once, in their order."""
    return tuple(dict.fromkeys(warnings))[:WARNINGS_MAX]
