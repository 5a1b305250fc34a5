"""A dead Redis costs a read its time once, not at every chunk."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable

__all__ = ["Circuit"]

_log = logging.getLogger("millrace.cache")


class Circuit:
    """Open after a failure: for ``retry_after_s`` nobody asks Redis; then one caller probes, and the others go on.

    Says once for each outage what is missing, and once that it is back. Works from any thread; a forked child
    starts closed.
    """

    def __init__(self, name: str, retry_after_s: float, probe: Callable[[], None]) -> None:
        self._name = name
        self._retry_after_s = retry_after_s
        self._probe = probe
        self._reset()

    def _reset(self) -> None:
        self._pid = os.getpid()
        self._open_until: float | None = None
        # A lock that another thread held when the process forked would stay locked in the child for ever.
        self._probing = threading.Lock()

    def allows(self) -> bool:
        """True when Redis may be asked now."""
        if self._pid != os.getpid():
            self._reset()
        if self._open_until is None:
            return True
        if time.monotonic() < self._open_until or not self._probing.acquire(blocking=False):
            return False
        try:
            return self._try_again()
        finally:
            self._probing.release()

    def _try_again(self) -> bool:
        try:
            self._probe()
        except Exception as error:  # noqa: BLE001  # whatever is wrong with the cache, the read goes on without it
            self.failed(error)
            return False
        self._open_until = None
        _log.info("the cache at %s answers again", self._name)
        return True

    def failed(self, error: Exception) -> None:
        """Opens the circuit."""
        known = self._open_until is not None
        self._open_until = time.monotonic() + self._retry_after_s
        if not known:
            _log.warning(
                "the cache at %s does not work (%s): chunks come from Cassandra; next try in %g s",
                self._name,
                " ".join(str(error).split()) or type(error).__name__,
                self._retry_after_s,
            )
