"""Bytes that can be read once, front to back, and are still inspected before they are loaded.

During planning all bytes read are kept in an unnamed temporary file, so that every reader begins at the start. When
loading begins, the kept bytes are read first and the rest as it arrives.
"""

from __future__ import annotations

import os
import tempfile
import weakref
from collections.abc import Callable
from typing import IO, Final

from millrace.errors import SourceUnreadableError

_KEPT_BYTES_MIN: Final = 32_000_000
"""A load reads the compression and the header before it reads from the start, also where no plan kept any bytes."""


class KeptInput:
    """An input that many readers may read from its start during planning, and one when loading.

    ``read_more`` returns the next bytes of the input, at most as many as asked for, and ``b""`` at its end.
    """

    def __init__(self, read_more: Callable[[int], bytes]) -> None:
        self._read_more = read_more
        self._kept: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115  (lives as long as this object)
        weakref.finalize(self, self._kept.close)
        self._kept_bytes = self._read_bytes = 0
        self._ended = False
        self.is_loading = False

    def close(self) -> None:
        """Close the file of kept bytes; the input itself stays open."""
        self._kept.close()

    def load(self) -> None:
        """Begin to load: later bytes are not kept, except the first ``_KEPT_BYTES_MIN`` of the input."""
        self.is_loading = True

    def read(self, offset: int, size: int) -> bytes:
        """Read at most ``size`` bytes from ``offset``; return ``b""`` at the end. Waits for bytes to arrive.

        Raises ``SourceUnreadableError`` for bytes that are not kept and that another reader has read.
        """
        if offset < self._kept_bytes:
            self._kept.seek(offset)
            return self._kept.read(min(size, self._kept_bytes - offset))
        if offset != self._read_bytes:
            raise SourceUnreadableError(
                f"an input that is read once was read beyond byte {offset:,}, and is needed from there on again",
                hint="copy it to a file, and load the file",
            )
        pieces: list[bytes] = []
        while size > 0 and not self._ended:
            # A pipe returns at most 64 KB at a time, which is too little for efficient parsing.
            piece = self._read_more(size)
            self._ended = not piece
            pieces.append(piece)
            size -= len(piece)
        data = b"".join(pieces)
        self._read_bytes += len(data)
        if not self.is_loading or self._kept_bytes < _KEPT_BYTES_MIN:
            self._kept.seek(0, os.SEEK_END)
            self._kept.write(data)
            self._kept_bytes += len(data)
        return data


class InputStream:
    """A stream of the bytes of a kept input; the counterpart of ``RawStream``. ``position`` counts the bytes read."""

    def __init__(self, source: KeptInput) -> None:
        self._source = source
        self.position = 0

    def read(self, size: int) -> bytes:
        """Read at most ``size`` bytes; return ``b""`` at the end."""
        data = self._source.read(self.position, size)
        self.position += len(data)
        return data

    def close(self) -> None:
        """Do nothing: the input stays open for the next reader."""
