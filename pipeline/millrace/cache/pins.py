"""Pins: a job records that it uses a version, so that no warming evicts the version meanwhile."""

from __future__ import annotations

import os
import queue
import socket
import threading
from collections.abc import Callable
from typing import Final, Self
from uuid import uuid4

PIN_S: Final = 60.0
"""Seconds after which the pin of a dead process ends."""
RENEW_S: Final = 15.0


def new_holder(kind: str) -> str:
    """Return a unique name for the holder of a pin in this process."""
    return f"{kind}{socket.gethostname()}/{os.getpid()}/{uuid4().hex[:8]}"


class Heartbeat:
    """A pin for the duration of the ``with`` block, renewed every 15 seconds by a thread.

    It expires by itself 60 seconds after its process died. It is taken, renewed and released in the background, so the
    block never waits for Redis, and a Redis that fails never raises an error. A forked child does not renew the pin of
    its parent, and its end does not release it.
    """

    def __init__(self, renew: Callable[[], None], release: Callable[[], None], *, renew_s: float = RENEW_S) -> None:
        self._renew = renew
        self._release = release
        self._renew_s = renew_s
        self._over: queue.SimpleQueue[None] = queue.SimpleQueue()
        self._is_ending = False
        self._thread = threading.Thread(target=self._run, name="millrace-pin", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_error: object) -> None:
        """Release the pin in the background; nothing here takes a lock, as in ``Lease``."""
        self._is_ending = True
        self._over.put(None)

    def wait_released(self, seconds: float) -> None:
        """Wait for at most this long until the pin is released, if its block has ended."""
        if self._is_ending:
            self._thread.join(seconds)

    def _run(self) -> None:
        self._renew()
        while not self._is_over():
            self._renew()
        self._release()

    def _is_over(self) -> bool:
        try:
            self._over.get(timeout=self._renew_s)
        except queue.Empty:
            return False
        return True
