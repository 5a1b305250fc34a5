"""Standard input as a source: readable once, front to back, and still inspected before it is loaded.

During planning all bytes read are kept in an unnamed temporary file, so that every reader begins at the start. When
loading begins, the kept bytes are read first and the rest as it arrives.
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

STANDARD_INPUT = "-"


class StandardInput:
    """Standard input as a stream that many readers may read from its start during planning, and one when loading."""

    def __init__(self, number: int) -> None:
        self._number = number
        # The time makes two inputs different sources.
        self._begun_ns = time.time_ns()
        self._kept: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115  (lives as long as this object)
        weakref.finalize(self, self._kept.close)
        self._kept_bytes = 0
        self._ended = False
        self._loading = False
        self._taken = False

    def file(self) -> SourceFile:
        """Return its entry in a plan; the size is unknown (0), and the time is that of this object's creation."""
        return SourceFile(STANDARD_INPUT, "stdin", 0, self._begun_ns)

    def close(self) -> None:
        """Close the file of kept bytes; standard input itself stays open."""
        self._kept.close()

    def load(self) -> None:
        """Begin to load: later bytes are not kept. Raises ``UsageError`` the second time, when the bytes are gone."""
        if self._loading:
            raise UsageError("standard input was read already", hint="it can be loaded once; save it to a file")
        self._loading = True

    def read(self, offset: int, size: int) -> bytes:
        """Read at most ``size`` bytes from ``offset``; return ``b""`` at the end. Waits for bytes to arrive."""
        if offset < self._kept_bytes:
            self._kept.seek(offset)
            return self._kept.read(min(size, self._kept_bytes - offset))
        pieces: list[bytes] = []
        while size > 0 and not self._ended:
            # A pipe returns at most 64 KB at a time, which is too little for efficient parsing.
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
    """A stream of the bytes of standard input; the counterpart of ``RawStream``. ``position`` counts the bytes read."""

    def __init__(self, source: StandardInput) -> None:
        self._source = source
        self.position = 0

    def read(self, size: int) -> bytes:
        """Read at most ``size`` bytes; return ``b""`` at the end."""
        data = self._source.read(self.position, size)
        self.position += len(data)
        return data

    def close(self) -> None:
        """Do nothing: standard input stays open."""


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
