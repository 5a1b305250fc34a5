"""Standard input as a source: read once, front to back, and yet looked at before it is loaded.

While the source is planned, everything read is kept in a file without a name, so that each look begins at the
front again. When loading begins, what was kept comes first and the rest is read as it arrives.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
import weakref
from typing import IO

from millrace.errors import SourceUnreadableError, UsageError
from millrace.sources.model import SourceFile

__all__ = ["STANDARD_INPUT", "StandardInput", "standard_input"]

STANDARD_INPUT = "-"


class StandardInput:
    """One stream that many readers may begin to read while it is planned, and one when it is loaded."""

    def __init__(self, number: int) -> None:
        self._number = number
        # Two inputs are never taken for the same source.
        self._begun_ns = time.time_ns()
        self._kept: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115  (lives as long as this object)
        weakref.finalize(self, self._kept.close)
        self._kept_bytes = 0
        self._ended = False
        self._loading = False
        self._taken = False

    def file(self) -> SourceFile:
        """What stands for it in a plan; its size is not known, and its time is that of the plan."""
        return SourceFile(STANDARD_INPUT, "stdin", 0, self._begun_ns)

    def close(self) -> None:
        """Lets go of what was kept; standard input itself stays open."""
        self._kept.close()

    def load(self) -> None:
        """From now on nothing more is kept. ``UsageError`` the second time: it is gone then."""
        if self._loading:
            raise UsageError("standard input was read already", hint="it can be loaded once; save it to a file")
        self._loading = True

    def read(self, at: int, size: int) -> bytes:
        """At most ``size`` bytes from offset ``at``, none at the end; waits for what has not arrived yet."""
        if at < self._kept_bytes:
            self._kept.seek(at)
            return self._kept.read(min(size, self._kept_bytes - at))
        pieces: list[bytes] = []
        while size > 0 and not self._ended:
            # A pipe gives 64 KB at a time, too little to be parsed well.
            try:
                piece = os.read(self._number, size)
            except OSError as error:
                raise SourceUnreadableError(f"standard input cannot be read: {error.strerror}") from error
            self._ended = not piece
            pieces.append(piece)
            size -= len(piece)
        data = b"".join(pieces)
        if not self._loading:
            self._kept.seek(0, os.SEEK_END)
            self._kept.write(data)
            self._kept_bytes += len(data)
        return data


class InputStream:
    """A reader of standard input; the counterpart of ``RawStream``."""

    def __init__(self, source: StandardInput) -> None:
        self._source = source
        self._at = 0

    @property
    def position(self) -> int:
        """How many bytes were read so far."""
        return self._at

    def read(self, size: int) -> bytes:
        """At most ``size`` bytes, none at the end."""
        data = self._source.read(self._at, size)
        self._at += len(data)
        return data

    def close(self) -> None:
        """Leaves standard input as it is."""


_current: StandardInput | None = None


def standard_input(*, new: bool = False) -> StandardInput:
    """This process's standard input as a source; ``new`` begins a plan."""
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
