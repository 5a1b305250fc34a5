"""Checksum of the source bytes of a load: a version records its source's content, not only file names and times."""

from __future__ import annotations

import base64
import struct
import zlib
from collections.abc import Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import reduce
from typing import Final, NamedTuple, Self

from isal import isal_zlib

from millrace.sources.io.byte_streams import ByteStream, StreamWrapper, open_bytes
from millrace.sources.io.stdin import STANDARD_INPUT
from millrace.sources.io.streams import open_decompressed
from millrace.sources.model import FilePart, SourceFile

_PASS_BYTES = 1 << 20
_PACKED: Final = struct.Struct("<IQ")


class ByteRange(NamedTuple):
    """The address of a file, the first byte, and the byte after the last (None: the end)."""

    uri: str
    start: int
    stop: int | None


@dataclass(frozen=True, slots=True)
class SourceChecksum:
    """CRC-32 and number of some bytes of the source.

    The contents of consecutive splits combine to that of the whole source. CRC-32 allows this, and every tool for gzip
    or zip can show the CRC-32 of a file.
    """

    crc32: int = 0
    size_bytes: int = 0

    def followed_by(self, other: Self) -> SourceChecksum:
        """Return the content of these bytes followed by the other ones."""
        crc = isal_zlib.crc32_combine(self.crc32, other.crc32, other.size_bytes)
        return SourceChecksum(crc, self.size_bytes + other.size_bytes)

    @classmethod
    def of(cls, parts: Iterable[SourceChecksum]) -> SourceChecksum:
        """Return the content of these parts, one after another."""
        return reduce(cls.followed_by, parts, cls())


def pack_checksums(parts: Sequence[SourceChecksum]) -> str:
    """Return the checksums as text of about 10 characters each; ``unpack_checksums`` restores them."""
    packed = b"".join(_PACKED.pack(part.crc32, part.size_bytes) for part in parts)
    return base64.b64encode(zlib.compress(packed)).decode()


def unpack_checksums(text: str) -> tuple[SourceChecksum, ...]:
    """Return the checksums that ``pack_checksums`` packed."""
    return tuple(SourceChecksum(*pair) for pair in _PACKED.iter_unpack(zlib.decompress(base64.b64decode(text))))


class ReadContent:
    """An opener of files for one reader, which records the content of all bytes that are read."""

    def __init__(self, files: tuple[SourceFile, ...]) -> None:
        self._files = files
        self._read: dict[ByteRange, SourceChecksum] = {}

    def open_bytes(self, file: SourceFile, start: int = 0, stop: int | None = None) -> ByteStream:
        """Open the file's bytes as they are."""
        return _Summed(open_bytes(file, start, stop, is_load=True), self._read, ByteRange(file.uri, start, stop))

    def open_decompressed(self, file: SourceFile, start: int = 0, stop: int | None = None) -> ByteStream:
        """Open the file's bytes, decompressed if the file is compressed."""
        return open_decompressed(file, start, stop, opener=self.open_bytes)

    def of_parts(self, parts: Iterable[FilePart]) -> tuple[SourceChecksum, ...] | None:
        """Return the content of the bytes of each of these parts (file, start, stop).

        A file that was not read front to back (Parquet, a zip, a part of an Arrow file) is read once more as a whole,
        by the reader of the file's first part. None if a file without ranges was not read front to back.
        """
        contents = []
        for number, start, stop in parts:
            file = self._files[number]
            checksum = self._read.get(ByteRange(file.uri, start, None if stop < 0 else stop))
            if checksum is None and start == 0 and file.has_ranges and not file.name.endswith("/"):
                checksum = self.read_whole(file)
            if checksum is None and not file.has_ranges:
                return None
            contents.append(checksum or SourceChecksum())
        return tuple(contents)

    def read_whole(self, file: SourceFile) -> SourceChecksum | None:
        """Read the whole file, and return its content."""
        with closing(self.open_bytes(file)) as stream:
            while stream.read(_PASS_BYTES):
                pass
        return self._read.get(ByteRange(file.uri, 0, None))


def read_content(files: tuple[SourceFile, ...]) -> SourceChecksum | None:
    """Read all files once, one after another, and return their content; None if one is standard input."""
    read = ReadContent(files)
    for file in files:
        if not file.has_ranges and file.uri != STANDARD_INPUT:
            read.read_whole(file)
    contents = read.of_parts(FilePart(number, 0, -1) for number in range(len(files)))
    return None if contents is None else SourceChecksum.of(contents)


class _Summed(StreamWrapper):
    """A stream that records the content of its bytes when its end is reached."""

    def __init__(self, stream: ByteStream, read: dict[ByteRange, SourceChecksum], key: ByteRange) -> None:
        super().__init__(stream)
        self._read = read
        self._key = key
        self._crc32 = self._size_bytes = 0

    def read(self, size: int) -> bytes:
        data = self._from.read(size)
        if data:
            self._crc32 = isal_zlib.crc32(data, self._crc32)
            self._size_bytes += len(data)
        elif size:
            self._read[self._key] = SourceChecksum(self._crc32, self._size_bytes)
        return data
