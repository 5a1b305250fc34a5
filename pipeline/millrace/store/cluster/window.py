"""A window for the bytes in flight to the cluster: always bounded, and smaller under back-pressure."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from millrace.errors import StoreTimeoutError

_GROW_AFTER_ACKS = 16


class ByteWindow:
    """Bound of the bytes in flight: at most ``limit_bytes``, except that a single write is never refused.

    ``limit_writes`` bounds the number of writes in flight and ``bytes_per_s`` the rate; 0 means no bound.

    ``throttle`` halves the window (never below ``floor_bytes``). Every 16 releases without throttling enlarge it by a
    sixteenth of the limit. A busy cluster slows a load down, and an idle one gets the full window again.
    """

    def __init__(
        self,
        limit_bytes: int,
        *,
        floor_bytes: int,
        limit_writes: int = 0,
        bytes_per_s: int = 0,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.limit_bytes = limit_bytes
        self.room_bytes = limit_bytes
        self._floor_bytes = min(floor_bytes, limit_bytes)
        self._limit_writes = limit_writes
        self._bytes_per_s = bytes_per_s
        self._clock = clock
        self._sleep = sleep
        self._next_start = 0.0
        self._writes = 0
        self.in_flight_bytes = 0
        self._quiet_acks = 0
        self._changed = threading.Condition()

    def acquire(self, size_bytes: int, *, timeout_s: float) -> None:
        """Wait for room and take it; raises ``StoreTimeoutError`` when there is none within ``timeout_s``."""
        self._keep_to_rate(size_bytes)
        deadline = self._clock() + timeout_s
        with self._changed:
            while self._is_full(size_bytes):
                if not self._changed.wait(deadline - self._clock()) and self._clock() >= deadline:
                    raise StoreTimeoutError(
                        f"the cluster accepted no write for {timeout_s:.0f} s",
                        hint="see millrace doctor and the logs of the nodes",
                    )
            self.in_flight_bytes += size_bytes
            self._writes += 1

    def _is_full(self, size_bytes: int) -> bool:
        if not self._writes:
            return False  # a single write is never refused
        return 0 < self._limit_writes <= self._writes or self.in_flight_bytes + size_bytes > self.room_bytes

    def _keep_to_rate(self, size_bytes: int) -> None:
        if not self._bytes_per_s:
            return
        with self._changed:
            now = self._clock()
            start = max(now, self._next_start)
            self._next_start = start + size_bytes / self._bytes_per_s
        # The cap is a setting and no sign of a slow cluster, so this wait counts against no timeout.
        self._sleep(start - now)

    def release(self, size_bytes: int) -> None:
        """Return the bytes of a write that was acknowledged or given up."""
        with self._changed:
            self.in_flight_bytes -= size_bytes
            self._writes -= 1
            self._quiet_acks += 1
            if self._quiet_acks >= _GROW_AFTER_ACKS and self.room_bytes < self.limit_bytes:
                self._quiet_acks = 0
                self.room_bytes = min(self.limit_bytes, self.room_bytes + max(1, self.limit_bytes // 16))
            self._changed.notify_all()

    def throttle(self) -> None:
        """Halve the window, because the cluster is busy."""
        with self._changed:
            self._quiet_acks = 0
            self.room_bytes = max(self._floor_bytes, self.room_bytes // 2)
