"""Acknowledged writes that a killed node loses, because its commit log was not synced yet."""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Iterable


class UnsyncedWrites:
    """The acknowledged writes of the last seconds, by bucket.

    ``loss_times`` are the times at which a replica was lost, by the monotonic clock; the writer adds to it. A write
    acknowledged within ``sync_window_s`` of a loss may be missing on that replica.
    """

    def __init__(self, loss_times: list[float], *, sync_window_s: float) -> None:
        self._loss_times = loss_times
        self._handled_losses = 0
        self._sync_window_s = sync_window_s
        self._recent: deque[tuple[float, int]] = deque()

    def add(self, bucket: int, acknowledged_at: float | None = None) -> None:
        """Add a write that both replicas acknowledged, by default now."""
        self._recent.append((time.monotonic() if acknowledged_at is None else acknowledged_at, bucket))

    def take_lost(self) -> Counter[int]:
        """Return the number of writes of each bucket that are near a loss since the last call."""
        losses = self._loss_times[self._handled_losses :]
        self._handled_losses += len(losses)
        lost = Counter[int]()
        if losses:
            lost.update(bucket for acknowledged_at, bucket in self._recent if self._is_near(acknowledged_at, losses))
        horizon = time.monotonic() - 2 * self._sync_window_s
        while self._recent and self._recent[0][0] < horizon:
            self._recent.popleft()
        return lost

    def is_lost(self, acknowledged_at: float) -> bool:
        """Return whether a loss that ``take_lost`` has already handled is near this acknowledgement."""
        return self._is_near(acknowledged_at, self._loss_times[: self._handled_losses])

    def _is_near(self, acknowledged_at: float, loss_times: Iterable[float]) -> bool:
        return any(abs(acknowledged_at - lost_at) <= self._sync_window_s for lost_at in loss_times)
