"""Compression of files: detection by the first bytes, never by the name alone, and readers for the decompressors."""

from __future__ import annotations

import bz2
import io
import shlex
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pyarrow as pa
from isal import isal_zlib

from millrace.errors import SourceCorruptError, SourceFormatError, SourceTooLargeError
from millrace.sources.format_options import COMPRESSION_ENDINGS, last_ending
from millrace.sources.io.hidden import is_marker

_MAGIC = (
    (b"\x1f\x8b", "gzip"),
    (b"\x28\xb5\x2f\xfd", "zstd"),
    (b"BZh", "bz2"),
    (b"PK\x03\x04", "zip"),
    (b"PK\x05\x06", "zip"),
)
_BZ2_BLOCKS = (b"\x31\x41\x59\x26\x53\x59", b"\x17\x72\x45\x38\x50\x90")
_UNREADABLE = (
    (b"\xfd7zXZ\0", "xz", "xz -dk {file}"),
    (b"\x04\x22\x4d\x18", "lz4", "lz4 -dk {file}"),
    (b"\x02\x21\x4c\x18", "lz4", "lz4 -dk {file}"),
    (b"\xff\x06\0\0sNaPpY", "snappy", "snzip -dk {file}"),
    (b"\x1f\x9d\x90", "compress (.Z)", "uncompress -k {file}"),
    (b"\x89LZO\0\r\n\x1a\n", "lzop", "lzop -dk {file}"),
    (b"LZIP\x01", "lzip", "lzip -dk {file}"),
)
"""Stream compressions that are not read: magic number, name, command that decompresses."""
_UNMARKED = {
    ".lzma": ("lzma", "xz --format=lzma -dk {file}"),
    ".br": ("brotli", "brotli -dk {file}"),
    ".snappy": ("snappy", "snzip -dk {file}"),
    ".deflate": ("zlib", "pigz -dkz {file}"),
    ".zz": ("zlib", "pigz -dkz {file}"),
}
"""Compressions without a magic number, detected by the name of a file that contains no text and no known format."""
_SKIPPABLE = frozenset(range(0x184D2A50, 0x184D2A60))
_BZ2_BYTES = 1 << 17
_DAMAGE: tuple[Any, ...] = (
    OSError,
    zipfile.BadZipFile,
    isal_zlib.error,
    zlib.error,
    pa.ArrowException,
    RuntimeError,
    NotImplementedError,
)
_ZIP_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2)

RATIO_MAX = 200
RATIO_FREE_BYTES = 100_000_000
"""Decompressed bytes from which the ratio of a remote file is checked."""

BytesAt = Callable[[int, int], bytes]
"""A function that returns the bytes at an offset of the file, at most as many as its second argument."""


def compression_kind(name: str, bytes_at: BytesAt) -> str | None:
    """Return ``gzip``, ``zstd``, ``bz2``, ``zip`` or None.

    Skippable frames in front of zstd data are ignored; a file of such frames alone is ``zstd`` without content.
    Raises ``SourceCorruptError`` for a name with the suffix of a compression that the file does not have, and
    ``SourceFormatError`` for a known compression that is not supported.
    """
    begin = bytes_at(0, 16)
    offset = 0
    while len(begin) >= 8 and int.from_bytes(begin[:4], "little") in _SKIPPABLE:
        offset += 8 + int.from_bytes(begin[4:8], "little")
        begin = bytes_at(offset, 16)
    # The frames of lz4 and of zstd may both follow skippable frames.
    refuse_unreadable(name, begin)
    kind = next((name for magic, name in _MAGIC if begin.startswith(magic)), None)
    # "BZh" could begin a text; the mark of a block or of the end cannot.
    if kind == "bz2" and begin[4:10] not in _BZ2_BLOCKS:
        kind = None
    if offset:
        kind = "zstd"
    promised = COMPRESSION_ENDINGS.get(last_ending(name))
    if promised and kind is None and begin:
        raise SourceCorruptError(
            f"{name} has the suffix of {promised} but not its first bytes",
            hint="rename it, or copy it again",
            file=name,
        )
    return kind


def refuse_unreadable(name: str, begin: bytes) -> None:
    """Raise ``SourceFormatError`` if the first bytes are those of a compression that is not supported."""
    for magic, kind, command in _UNREADABLE:
        if begin.startswith(magic):
            raise _unreadable(name, kind, command)


def unmarked_compression(name: str) -> SourceFormatError | None:
    """Return the error for a file that is not text if its name has the suffix of a compression, else None."""
    suffix = last_ending(name)
    return _unreadable(name, *_UNMARKED[suffix]) if suffix in _UNMARKED else None


def _unreadable(name: str, kind: str, command: str) -> SourceFormatError:
    return SourceFormatError(
        f"{name} is compressed with {kind}, which is not supported",
        hint=f"decompress it first ({command.format(file=shlex.quote(name))}), or store it with --format bytes",
        file=name,
    )


class ReadableFile(io.RawIOBase):
    """A file object for the decompressors; ``read`` returns at most as many bytes as its argument."""

    def __init__(self, read: Callable[[int], bytes]) -> None:
        self._read = read

    def readable(self) -> bool:  # noqa: D102  (of the base class)
        return True

    def readinto(self, buffer: Any) -> int:  # noqa: D102
        data = self._read(len(buffer))
        buffer[: len(data)] = data
        return len(data)


class Bz2Reader:
    """A reader of concatenated bz2 streams, including empty ones, which pyarrow does not read between others."""

    def __init__(self, read: Callable[[int], bytes]) -> None:
        self._read = read
        self._inner = bz2.BZ2Decompressor()

    def read(self, size: int) -> bytes:
        """Read at most ``size`` bytes; return ``b""`` at the end of the last stream.

        Raises ``OSError`` when bytes that are not a bz2 stream follow one, and ``EOFError`` when the last is truncated.
        """
        while True:
            given = b""
            if self._inner.eof:
                if not (given := self._inner.unused_data or self._read(_BZ2_BYTES)):
                    return b""
                self._inner = bz2.BZ2Decompressor()
            elif self._inner.needs_input and not (given := self._read(_BZ2_BYTES)):
                raise EOFError
            if data := self._inner.decompress(given, size):
                return data


@contextmanager
def corruption_reported(name: str, kind: str) -> Iterator[None]:
    """Translate errors of the decompressors into ``SourceCorruptError`` with the name of the file."""
    try:
        yield
    except (EOFError, *_DAMAGE) as error:
        damage = f"is damaged {kind} data: {error}"
        if isinstance(error, EOFError) or (isinstance(error, OSError) and "Truncated" in str(error)):
            damage = f"is cut short: its {kind} stream ends before its end mark"
        raise SourceCorruptError(f"{name} {damage}", hint="copy it again", file=name) from error


def check_ratio(name: str, compressed_bytes: int, decompressed_bytes: int) -> None:
    """Raise ``SourceTooLargeError`` for a stream that decompresses to more than ``RATIO_MAX`` times its size so far."""
    if decompressed_bytes > RATIO_FREE_BYTES and decompressed_bytes > compressed_bytes * RATIO_MAX:
        raise SourceTooLargeError(
            f"{name} decompresses to more than {RATIO_MAX} times its size",
            hint="if this is right, download it and load the copy",
            file=name,
        )


def single_member(archive: zipfile.ZipFile, name: str) -> zipfile.ZipInfo:
    """Return the only file in the zip archive ``name``.

    Raises ``SourceFormatError`` for several files, none, an encrypted one, a link, and an unusual compression method.
    """
    members = [member for member in archive.infolist() if not member.is_dir() and not is_marker(member.filename)]
    if len(members) != 1:
        raise SourceFormatError(
            f"{name} is a zip with {len(members)} files", hint="unpack it, or make one with exactly one file"
        )
    member = members[0]
    if member.flag_bits & 1:
        raise SourceFormatError(f"{name} is an encrypted zip", hint="decrypt it first")
    if member.compress_type not in _ZIP_METHODS:
        raise SourceFormatError(f"{name} uses zip method {member.compress_type}", hint="use deflate")
    if (member.external_attr >> 16) & 0o170000 == 0o120000:
        raise SourceFormatError(f"{name} has a link and no file")
    return member
