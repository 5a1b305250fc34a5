"""Streams of the decompressed bytes of one file, read and decompressed in bounded memory.

The compression is detected by the file's first bytes, never by its name. A name that promises a compression which the
file does not have is refused. ``position`` always counts bytes of the source file itself, for progress.
"""

from __future__ import annotations

import bz2
import io
import tempfile
import zipfile
import zlib
from collections.abc import Callable
from contextlib import closing
from typing import IO, Any, Protocol

import pyarrow as pa
from isal import igzip, isal_zlib

from millrace.errors import SourceCorruptError, SourceFormatError, SourceUnreadableError
from millrace.sources.io.compression import compression_kind
from millrace.sources.io.files import changed, check_unchanged, open_raw, stat_file
from millrace.sources.io.foreign_kinds import zip_refusal
from millrace.sources.io.hidden import is_marker
from millrace.sources.io.stdin import STANDARD_INPUT, InputStream, standard_input
from millrace.sources.model import SourceFile

_COPY_BYTES = 1 << 20
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

    Raises ``SourceChangedError`` when the file grew, shrank or was modified since the plan, also during the read.
    """

    def __init__(self, file: SourceFile, start: int = 0, stop: int | None = None) -> None:
        self._file = file
        self._raw = open_raw(file)
        self._stop = file.size_bytes if stop is None else stop
        self._at = start
        if start:
            self._raw.seek(start)

    @property
    def position(self) -> int:
        """Return the offset in the file of the next byte to be read."""
        return self._at

    def read(self, size: int = -1) -> bytes:
        """Read at most ``size`` bytes (-1: all that are left); return ``b""`` at the end."""
        left = self._stop - self._at
        count = left if size < 0 else min(size, left)
        if count <= 0:
            check_unchanged(self._file)
            return b""
        try:
            data = self._raw.read(count)
        except OSError as error:
            raise SourceUnreadableError(f"{self._file.name} cannot be read: {error.strerror or error}") from error
        if not data:
            raise changed(self._file, stat_file(self._file.uri))
        self._at += len(data)
        return data

    def close(self) -> None:
        """Close the file."""
        self._raw.close()


class _Decompressed:
    """A stream of the decompressed bytes of a file; concatenated members and frames are one stream."""

    def __init__(self, file: SourceFile, compression: str, opener: Opener) -> None:
        self._name = file.name
        self._kind = compression
        self._raw: ByteStream | None = None
        self._archive: IO[bytes] | None = None
        self._members: zipfile.ZipFile | None = None
        self._inner: Any
        if compression == "zip":
            self._archive = _spooled(open_bytes(file)) if file.uri == STANDARD_INPUT else open_raw(file)
            try:
                with _reported(self._name, self._kind):
                    self._members = zipfile.ZipFile(self._archive)
                    self._inner = self._members.open(_single_member(self._members, file))
            except BaseException:
                self.close()
                raise
            return
        self._raw = opener(file, 0, None)
        if compression == "gzip":
            self._inner = igzip.IGzipFile(fileobj=_AsFile(self._raw), mode="rb")  # type: ignore[no-untyped-call]
        elif compression == "bz2":
            self._inner = _Bz2(self._raw)
        else:
            self._inner = pa.CompressedInputStream(pa.PythonFile(_AsFile(self._raw), mode="r"), compression)

    @property
    def position(self) -> int:
        """Return the number of bytes of the compressed file read so far."""
        if self._raw is not None:
            return self._raw.position
        return self._archive.tell() if self._archive is not None else 0

    def read(self, size: int) -> bytes:
        """Read at most ``size`` decompressed bytes; return ``b""`` at the end."""
        with _reported(self._name, self._kind):
            return bytes(self._inner.read(size))

    def close(self) -> None:
        """Close the file."""
        for resource in (self._members, self._raw, self._archive):
            if resource is not None:
                resource.close()


class _AsFile(io.RawIOBase):
    """An adapter that gives the decompressors a file object for a stream."""

    def __init__(self, stream: ByteStream) -> None:
        self._from = stream

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = self._from.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)


class _Bz2:
    """A reader of concatenated bz2 streams, including empty ones, which pyarrow does not read between others."""

    def __init__(self, stream: ByteStream) -> None:
        self._from = stream
        self._inner = bz2.BZ2Decompressor()

    def read(self, size: int) -> bytes:
        """Read at most ``size`` bytes; return ``b""`` at the end of the last stream.

        Raises ``OSError`` when bytes that are not a bz2 stream follow one, and ``EOFError`` when the last is truncated.
        """
        while True:
            given = b""
            if self._inner.eof:
                given = self._inner.unused_data or self._from.read(_BZ2_BYTES)
                if not given:
                    return b""
                self._inner = bz2.BZ2Decompressor()
            elif self._inner.needs_input:
                given = self._from.read(_BZ2_BYTES)
                if not given:
                    raise EOFError
            if data := self._inner.decompress(given, size):
                return data


class _reported:
    """A context manager that translates errors of the decompressors into ``SourceCorruptError`` with the file name."""

    def __init__(self, name: str, kind: str) -> None:
        self._name, self._kind = name, kind

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if isinstance(error, EOFError) or (isinstance(error, OSError) and "Truncated" in str(error)):
            raise SourceCorruptError(
                f"{self._name} is cut short: its {self._kind} stream ends before its end mark",
                hint="copy it again",
                file=self._name,
            ) from error
        if isinstance(error, _DAMAGE):
            raise SourceCorruptError(
                f"{self._name} is damaged {self._kind} data: {error}", hint="copy it again", file=self._name
            ) from error


def _single_member(archive: zipfile.ZipFile, file: SourceFile) -> zipfile.ZipInfo:
    """Return the only file in a zip archive.

    Raises ``SourceFormatError`` for several files, none, an encrypted one, a link, and an unusual compression method.
    """
    members = [each for each in archive.infolist() if not each.is_dir() and not is_marker(each.filename)]
    name = file.name
    if refused := zip_refusal(file, archive.namelist()):
        raise refused
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


def compression_of(file: SourceFile) -> str | None:
    """Return ``gzip``, ``zstd``, ``bz2``, ``zip`` or None by the file's first bytes, as ``compression_kind`` does."""
    with closing(_Beginning(file)) as beginning:
        return compression_kind(file.name, beginning.bytes_at)


class _Beginning:
    """A reader of a few bytes at growing offsets: standard input is read up to an offset, a file is opened at it."""

    def __init__(self, file: SourceFile) -> None:
        self._file = file
        self._stream = open_bytes(file)

    def bytes_at(self, offset: int, size: int) -> bytes:
        if self._file.uri == STANDARD_INPUT:
            while (left := offset - self._stream.position) > 0 and self._stream.read(min(left, _COPY_BYTES)):
                pass
        elif offset > self._stream.position:
            self._stream.close()
            self._stream = open_bytes(self._file, min(offset, self._file.size_bytes))
        return read_fully(self._stream, size)

    def close(self) -> None:
        self._stream.close()


Opener = Callable[[SourceFile, int, int | None], ByteStream]
"""A function that opens a whole file, or a byte range (start, stop) of a file that is not compressed."""


def open_bytes(file: SourceFile, start: int = 0, stop: int | None = None) -> ByteStream:
    """Open the file's bytes without decompression."""
    return InputStream(standard_input()) if file.uri == STANDARD_INPUT else RawStream(file, start, stop)


def open_decompressed(
    file: SourceFile, start: int = 0, stop: int | None = None, *, opener: Opener = open_bytes
) -> ByteStream:
    """Open the file's bytes, decompressed if the file is compressed; a range is only for a file that is not.

    ``opener`` opens the bytes as they are in the file.
    """
    compression = compression_of(file) if start == 0 and stop is None else None
    return opener(file, start, stop) if compression is None else _Decompressed(file, compression, opener)


def open_seekable(file: SourceFile) -> IO[bytes]:
    """Open the file's decompressed bytes for random access.

    A compressed file and standard input are copied to a temporary file on disk first.
    """
    if file.uri != STANDARD_INPUT and compression_of(file) is None:
        return open_raw(file)
    return _spooled(open_decompressed(file))


def _spooled(stream: ByteStream) -> IO[bytes]:
    kept = tempfile.TemporaryFile()  # noqa: SIM115  (the caller closes it)
    try:
        while data := stream.read(_COPY_BYTES):
            kept.write(data)
    except OSError as error:
        kept.close()
        raise SourceUnreadableError(
            f"no room to decompress: {error.strerror or error}", hint="make room in TMPDIR"
        ) from error
    except BaseException:
        kept.close()
        raise
    finally:
        stream.close()
    kept.seek(0)
    return kept


def can_be_split(file: SourceFile) -> bool:
    """Return whether parts of the file can be read alone: it is not standard input and not compressed."""
    return file.uri != STANDARD_INPUT and compression_of(file) is None
