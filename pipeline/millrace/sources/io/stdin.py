"""Standard input as a source: readable once, front to back, and still inspected before it is loaded."""

from __future__ import annotations

import os
import sys
import time

from millrace.errors import SourceUnreadableError, UsageError
from millrace.sources.io.kept_input import KeptInput
from millrace.sources.model import SourceFile

STANDARD_INPUT = "-"


class StandardInput(KeptInput):
    """Standard input as a stream that many readers may read from its start during planning, and one when loading."""

    def __init__(self, number: int) -> None:
        super().__init__(self._read_input)
        self._number = number
        # The time makes two inputs different sources.
        self._begun_ns = time.time_ns()

    def file(self) -> SourceFile:
        """Return its entry in a plan; the size is unknown (0), and the time is that of this object's creation."""
        return SourceFile(STANDARD_INPUT, "stdin", 0, self._begun_ns, has_ranges=False)

    def load(self) -> None:
        """Begin to load: later bytes are not kept. Raises ``UsageError`` the second time, when the bytes are gone."""
        if self.is_loading:
            raise UsageError("standard input was read already", hint="it can be loaded once; save it to a file")
        super().load()

    def _read_input(self, size: int) -> bytes:
        try:
            return os.read(self._number, size)
        except OSError as error:
            raise SourceUnreadableError(f"standard input cannot be read: {error.strerror}") from error


_current: StandardInput | None = None


def standard_input(*, new: bool = False) -> StandardInput:
    """Return this process's standard input as a source; ``new`` begins a plan and discards kept bytes.

    Raises ``UsageError`` when there is no standard input.
    """
    global _current
    if new or _current is None:
        if _current is not None:
            _current.close()
            _current = None
        try:
            _current = StandardInput(sys.stdin.fileno())
        except (AttributeError, OSError, ValueError) as error:
            raise UsageError("there is no standard input", hint="name a file") from error
    return _current
