"""What reporting code may say, and a task that says it to nobody."""

from __future__ import annotations

from typing import Any, Protocol, Self

__all__ = ["NullTask", "Task", "null_task"]


class Task(Protocol):
    """What reporting code may say. Every call returns at once, whatever Kafka does, and may come from any thread."""

    def advance(self, amount: float = 1) -> None:
        """Add to ``done``; it never shrinks, so a negative amount counts as nothing."""

    def advance_to(self, done: float) -> None:
        """Set ``done``, unless that would shrink it."""

    def set_total(self, total: float | None) -> None:
        """Say how much there is in all; ``None`` while nobody knows."""

    def phase(self, name: str) -> None:
        """Say which part of the work begins; sent at once."""

    def count(
        self,
        *,
        chunks: int = 0,
        bytes_raw: int = 0,
        bytes_stored: int = 0,
        retries: int = 0,
        under_replicated: int = 0,
    ) -> None:
        """Add to the counters."""

    def metrics(self, **newest: float) -> None:
        """Set the newest value of each metric named."""

    def curve(self, metric: str, step: float, value: float) -> None:
        """Add a point to the curve of ``metric``."""

    def message(self, text: str) -> None:
        """Set the line that people read; at most 500 characters are kept."""

    def result(self, **facts: Any) -> None:
        """Say how the work came out: plain JSON of at most 16 kB, which the events from now on carry."""

    def skip(self, reason: str = "") -> None:
        """End as ``skipped`` instead of ``succeeded`` when the block ends without an error."""


class NullTask:
    """The same calls as a task, and nothing happens: for code that is run without a reporter."""

    def advance(self, amount: float = 1) -> None:
        """Do nothing."""

    def advance_to(self, done: float) -> None:
        """Do nothing."""

    def set_total(self, total: float | None) -> None:
        """Do nothing."""

    def phase(self, name: str) -> None:
        """Do nothing."""

    def count(
        self,
        *,
        chunks: int = 0,
        bytes_raw: int = 0,
        bytes_stored: int = 0,
        retries: int = 0,
        under_replicated: int = 0,
    ) -> None:
        """Do nothing."""

    def metrics(self, **newest: float) -> None:
        """Do nothing."""

    def curve(self, metric: str, step: float, value: float) -> None:
        """Do nothing."""

    def message(self, text: str) -> None:
        """Do nothing."""

    def result(self, **facts: Any) -> None:
        """Do nothing."""

    def skip(self, reason: str = "") -> None:
        """Do nothing."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        return None


def null_task() -> NullTask:
    """A task that reports to nobody; usable with and without ``with``."""
    return NullTask()
