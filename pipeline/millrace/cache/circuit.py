"""Circuit breaker for Redis: an unreachable Redis delays a read once, not for each chunk."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable

_log = logging.getLogger("millrace.cache")


class Circuit:
    """A circuit breaker, open after a failure: no caller uses Redis for ``retry_after_s``.

    Then one caller probes Redis, while the others continue without it. Each outage is logged once, with its error, and
    so is its end. May be used from any thread; in a forked child the circuit starts closed.
    """

    def __init__(self, name: str, retry_after_s: float, probe: Callable[[], None]) -> None:
        self._name = name
        self._retry_after_s = retry_after_s
        self._probe = probe
        self._reset()

    def _reset(self) -> None:
        self._pid = os.getpid()
        self._open_until: float | None = None
        # A lock that another thread held at the fork would stay locked in the child forever.
        self._probing = threading.Lock()

    def allows(self) -> bool:
        """Return whether Redis may be called now; after ``retry_after_s`` probe it first."""
        if self._pid != os.getpid():
            self._reset()
        if self._open_until is None:
            return True
        if time.monotonic() < self._open_until or not self._probing.acquire(blocking=False):
            return False
        try:
            self._probe()
        except Exception as error:  # noqa: BLE001  # any failure of the cache: the read continues without it
            self.failed(error)
            return False
        else:
            self._open_until = None
            _log.info("the cache at %s responds again", self._name)
            return True
        finally:
            self._probing.release()

    def failed(self, error: Exception) -> None:
        """Open the circuit for ``retry_after_s``; the first failure of an outage is logged."""
        is_ongoing = self._open_until is not None
        self._open_until = time.monotonic() + self._retry_after_s
        if not is_ongoing:
            _log.warning(
                "the cache at %s does not work (%s): chunks come from Cassandra; next try in %g s",
                self._name,
                " ".join(str(error).split()) or type(error).__name__,
                self._retry_after_s,
            )
