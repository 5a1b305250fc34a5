"""Watch how much disk the scratch folder takes while a statement runs, and stop it where that is too much."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Final

from millrace.training.prepare.engine.scratch import Scratch

_PERIOD_S: Final = 0.02
_END_S: Final = 10.0


class SpillWatch:
    """The most bytes of a scratch folder, sampled within each ``with``.

    DuckDB limits its temporary files, but not its database. So ``stop`` is called where both exceed the room.
    """

    def __init__(self, scratch: Scratch, stop: Callable[[], None], *, period_s: float = _PERIOD_S) -> None:
        self.most_bytes = 0
        self.is_stopped = False
        self._scratch = scratch
        self._stop = stop
        self._period_s = period_s
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None

    def __enter__(self) -> None:
        self.is_stopped = False
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, args=(self._ended,), daemon=True, name="millrace-spill")
        self._thread.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        if self._thread is not None:
            self._thread.join(_END_S)
        self._sample()

    def _watch(self, ended: threading.Event) -> None:
        while not ended.wait(self._period_s):
            room_bytes = self._scratch.room_bytes
            if self._sample() > (room_bytes if room_bytes is not None else sys.maxsize) and not self.is_stopped:
                self.is_stopped = True
                self._stop()

    def _sample(self) -> int:
        used_bytes = self._scratch.used_bytes()
        self.most_bytes = max(self.most_bytes, used_bytes)
        return used_bytes
