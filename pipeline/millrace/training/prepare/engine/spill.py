"""Watch how much disk the scratch folder takes while a statement runs."""

from __future__ import annotations

import threading
from types import TracebackType
from typing import Final

from millrace.training.prepare.engine.scratch import Scratch

_PERIOD_S: Final = 0.2
_END_S: Final = 10.0


class SpillWatch:
    """The most bytes of a scratch folder, sampled within each ``with``."""

    def __init__(self, scratch: Scratch, *, period_s: float = _PERIOD_S) -> None:
        self.most_bytes = 0
        self._scratch = scratch
        self._period_s = period_s
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None

    def __enter__(self) -> None:
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
            self._sample()

    def _sample(self) -> None:
        self.most_bytes = max(self.most_bytes, self._scratch.used_bytes())
