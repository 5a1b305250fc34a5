"""The checksum of what was read: a version says which bytes it was made of, and not only of which names and times."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import closing
from dataclasses import dataclass
from typing import Self

from isal import isal_zlib

from millrace.sources.model import SourceFile
from millrace.sources.stdin import STANDARD_INPUT
from millrace.sources.streams import ByteStream, open_bytes, open_plain

__all__ = ["Content", "ReadContent", "read_content"]

_PASS_BYTES = 1 << 20

Part = tuple[int, int, int]
Place = tuple[str, int, int]
"""Address, first byte and the byte after the last (-1: the end)."""


@dataclass(frozen=True, slots=True)
class Content:
    """CRC-32 and number of some bytes of the source; what follows is added, so that splits make up the whole.

    CRC-32, because sums of parts can be joined, and every tool that knows gzip or zip can say a file's.
    """

    crc32: int = 0
    size_bytes: int = 0

    def followed_by(self, other: Self) -> Content:
        """The content of these bytes and then those."""
        crc = isal_zlib.crc32_combine(self.crc32, other.crc32, other.size_bytes)
        return Content(crc, self.size_bytes + other.size_bytes)

    def to_json(self) -> list[int]:
        """A short list."""
        return [self.crc32, self.size_bytes]


class ReadContent:
    """Opens files for one reader, and knows afterwards what was read of them."""

    def __init__(self, files: tuple[SourceFile, ...]) -> None:
        self._files = files
        self._read: dict[Place, Content] = {}

    def open_bytes(self, file: SourceFile, start: int = 0, stop: int | None = None) -> ByteStream:
        """The file's bytes as they are."""
        return _Summed(open_bytes(file, start, stop), self._read, _place(file, start, stop))

    def open_plain(self, file: SourceFile, start: int = 0, stop: int | None = None) -> ByteStream:
        """The file's plain bytes, decompressed where need be."""
        return open_plain(file, start, stop, opener=self.open_bytes)

    def of_parts(self, parts: Iterable[Part]) -> Content | None:
        """All bytes of these parts (file, start, stop), one after another.

        What was not read front to back (Parquet, a zip, a part of an Arrow file) is read once more, file by file, by
        whoever has the file's first part.
        """
        whole = Content()
        for number, start, stop in parts:
            file = self._files[number]
            found = self._read.get((file.uri, start, stop))
            if found is None and start == 0 and file.uri != STANDARD_INPUT and not file.name.endswith("/"):
                found = self._passed_over(file)
            if found is None and file.uri == STANDARD_INPUT:
                return None
            whole = whole.followed_by(found or Content())
        return whole

    def _passed_over(self, file: SourceFile) -> Content | None:
        with closing(self.open_bytes(file)) as stream:
            while stream.read(_PASS_BYTES):
                pass
        return self._read.get(_place(file, 0, None))


def read_content(files: tuple[SourceFile, ...]) -> Content | None:
    """Read all files once for their content, one after another; None for standard input."""
    return ReadContent(files).of_parts((number, 0, -1) for number in range(len(files)))


def _place(file: SourceFile, start: int, stop: int | None) -> Place:
    return file.uri, start, -1 if stop is None else stop


class _Summed:
    """A stream that says at its end what came out of it."""

    def __init__(self, stream: ByteStream, read: dict[Place, Content], key: Place) -> None:
        self._from = stream
        self._read = read
        self._key = key
        self._crc32 = self._size_bytes = 0

    @property
    def position(self) -> int:
        return self._from.position

    def read(self, size: int) -> bytes:
        data = self._from.read(size)
        if data:
            self._crc32 = isal_zlib.crc32(data, self._crc32)
            self._size_bytes += len(data)
        elif size:
            self._read[self._key] = Content(self._crc32, self._size_bytes)
        return data

    def close(self) -> None:
        self._from.close()
