"""A thread that owns some state: every change of that state is a call that this thread executes."""

from __future__ import annotations

import heapq
import itertools
import queue
import threading
import time
from collections.abc import Callable
from typing import Any

_IDLE_S = 3600.0


class EventLoop:
    """A thread that executes calls one after the other: posted ones in their order, others after a delay.

    ``on_error`` is called with each error of a call, and ``on_close`` at the end, both in the thread.
    """

    def __init__(self, name: str, *, on_error: Callable[[Exception], None], on_close: Callable[[], None]) -> None:
        self._on_error = on_error
        self._on_close = on_close
        self._posted: queue.SimpleQueue[tuple[Callable[..., None], tuple[Any, ...]] | None] = queue.SimpleQueue()
        self._timers: list[tuple[float, int, Callable[..., None], tuple[Any, ...]]] = []
        self._serial = itertools.count()
        self.thread = threading.Thread(target=self._run, name=name, daemon=True)
        self.thread.start()

    def post(self, call: Callable[..., None], *args: Any) -> None:
        """Execute the call in the thread, after all calls posted before. Never blocks and takes no lock."""
        self._posted.put((call, args))

    def call_later(self, delay_s: float, call: Callable[..., None], *args: Any) -> None:
        """Execute the call after ``delay_s`` seconds. Only calls that the thread executes may use this."""
        heapq.heappush(self._timers, (time.monotonic() + delay_s, next(self._serial), call, args))

    def close(self, timeout_s: float) -> None:
        """Stop the thread after the calls posted so far, and wait for it for at most ``timeout_s``."""
        self._posted.put(None)
        self.thread.join(timeout=timeout_s)

    def _run(self) -> None:
        while True:
            # Run timers first: under a steady stream of calls they would otherwise never run.
            while self._timers and self._timers[0][0] <= time.monotonic():
                _, _, call, args = heapq.heappop(self._timers)
                self._execute(call, args)
            wait_s = max(0.0, self._timers[0][0] - time.monotonic()) if self._timers else _IDLE_S
            try:
                posted = self._posted.get(timeout=wait_s)
            except queue.Empty:
                continue
            if posted is None:
                self._on_close()
                return
            self._execute(*posted)
            del posted  # while the thread is idle, it must not keep the bytes of the last call

    def _execute(self, call: Callable[..., None], args: tuple[Any, ...]) -> None:
        try:
            call(*args)
        except Exception as error:  # noqa: BLE001 an error of one call must not end the thread
            self._on_error(error)
