"""The interface for code that reports progress."""

from __future__ import annotations

from typing import Any, Protocol


class ProgressTask(Protocol):
    """The interface for code that reports progress. Calls return at once in any state of Kafka and are thread-safe."""

    def advance(self, amount: float = 1) -> None:
        """Add to ``done``. It never decreases, so a negative amount is ignored."""

    def advance_to(self, done: float) -> None:
        """Set ``done``, unless that would decrease it."""

    def set_total(self, total: float | None) -> None:
        """Set the total amount of work; ``None`` while it is unknown."""

    def phase(self, name: str) -> None:
        """Set the phase that begins; the change is sent immediately."""

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
        """Set the newest value of each given metric."""

    def curve(self, metric: str, step: float, value: float) -> None:
        """Add a point to the curve of ``metric``."""

    def message(self, text: str) -> None:
        """Set the message that users see; at most 500 characters are kept."""

    def result(self, **facts: Any) -> None:
        """Set the result of the work: JSON of at most 16 kB, which all later events carry."""

    def skip(self, reason: str = "") -> None:
        """End as ``skipped`` instead of ``succeeded`` when the block ends without an error."""
