"""Streams of the bytes of one file as they are stored. ``position`` counts bytes of the source file, for progress."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from millrace.errors import SourceUnreadableError
from millrace.sources.io.files import changed, check_unchanged, open_raw, present_facts
from millrace.sources.io.inputs import input_of
from millrace.sources.io.kept_input import InputStream
from millrace.sources.io.remote.access import is_remote
from millrace.sources.model import SourceFile


class ByteStream(Protocol):
    """A stream of decompressed bytes, read front to back."""

    def read(self, size: int) -> bytes:
        """Read at most ``size`` bytes; return ``b""`` only at the end of the stream."""

    @property
    def position(self) -> int:
        """Return the number of bytes of the source file read so far."""

    def close(self) -> None:
        """Close the file."""


def read_fully(stream: ByteStream, size: int) -> bytes:
    """Read exactly ``size`` bytes, or fewer if the stream ends before."""
    data = stream.read(size) if size else b""
    while 0 < len(data) < size and (more := stream.read(size - len(data))):
        data += more
    return data


class RawStream:
    """A stream of the bytes ``start`` to ``stop`` of a file, exactly as planned.

    ``position`` is the offset in the file of the next byte to be read. Raises ``SourceChangedError`` when the file
    grew, shrank or was modified since the plan, also during the read. At the end of a remote file this is checked with
    ``is_load`` only.
    """

    def __init__(self, file: SourceFile, start: int = 0, stop: int | None = None, *, is_load: bool = False) -> None:
        self._file = file
        # Each request of a remote file is conditional, so that planning needs no other check.
        self._is_checked = is_load or not is_remote(file.uri)
        self._raw = open_raw(file)
        self._stop = file.size_bytes if stop is None else stop
        self.position = start
        if start:
            self._raw.seek(start)

    def read(self, size: int) -> bytes:
        """Read at most ``size`` bytes; return ``b""`` at the end."""
        count = min(size, self._stop - self.position)
        if count <= 0:
            if self._is_checked:
                check_unchanged(self._file)
            return b""
        try:
            data = self._raw.read(count)
        except OSError as error:
            raise SourceUnreadableError(f"{self._file.name} cannot be read: {error.strerror or error}") from error
        if not data:
            raise changed(self._file, present_facts(self._file))
        self.position += len(data)
        return data

    def close(self) -> None:
        """Close the file."""
        self._raw.close()


class StreamWrapper:
    """The base of streams that change or observe the bytes of another stream."""

    def __init__(self, stream: ByteStream) -> None:
        self._from = stream

    @property
    def position(self) -> int:
        """Return the number of bytes of the source file read so far."""
        return self._from.position

    def close(self) -> None:
        """Close the file."""
        self._from.close()


Opener = Callable[[SourceFile, int, int | None], ByteStream]
"""A function that opens a whole file, or a byte range (start, stop) of a file that is not compressed."""


def open_bytes(file: SourceFile, start: int = 0, stop: int | None = None, *, is_load: bool = False) -> ByteStream:
    """Open the file's bytes without decompression; ``is_load`` as in ``RawStream``."""
    return RawStream(file, start, stop, is_load=is_load) if file.has_ranges else InputStream(input_of(file))
