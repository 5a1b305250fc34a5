"""A record of a running block in another service, renewed by a thread for as long as the block runs."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from typing import Self


class Heartbeat:
    """A record for the duration of the ``with`` block: a thread renews it every ``renew_s`` seconds, and releases it.

    The first renewal takes it. It is taken, renewed and released in the background, so the block never waits for the
    service. The thread that took the record releases it, so none of its writes can come after the release. A forked
    child does not renew the record of its parent, and its end does not release it.
    """

    def __init__(self, renew: Callable[[], None], release: Callable[[], None], *, renew_s: float, name: str) -> None:
        self._renew = renew
        self._release = release
        self._renew_s = renew_s
        self._over: queue.SimpleQueue[None] = queue.SimpleQueue()
        self._is_ending = False
        self.thread = threading.Thread(target=self._run, name=name, daemon=True)
        """The thread, which ends after the release."""

    def __enter__(self) -> Self:
        self.thread.start()
        return self

    def __exit__(self, *_error: object) -> None:
        """Release the record in the background.

        Nothing here takes a lock: the garbage collector calls this for an abandoned reader, in a thread that may
        already hold the lock.
        """
        self._is_ending = True
        self._over.put(None)

    def wait_released(self, seconds: float) -> None:
        """Wait for at most this long until the record is released, if its block has ended."""
        if self._is_ending:
            self.thread.join(seconds)

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
