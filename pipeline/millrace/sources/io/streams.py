"""Streams of the decompressed bytes of one file, read and decompressed in bounded memory.

The compression is detected by the file's first bytes, never by its name. A file whose name denotes another compression
is refused. ``position`` always counts bytes of the source file itself, for progress.
"""

from __future__ import annotations

import tempfile
import zipfile
from contextlib import closing
from functools import partial
from typing import IO, Any

import pyarrow as pa
from isal import igzip

from millrace.errors import SourceUnreadableError
from millrace.sources.io.byte_streams import ByteStream, Opener, StreamWrapper, open_bytes, read_fully
from millrace.sources.io.compression import (
    Bz2Reader,
    ReadableFile,
    check_ratio,
    compression_kind,
    corruption_reported,
    single_member,
)
from millrace.sources.io.files import open_raw
from millrace.sources.io.foreign_kinds import zip_refusal
from millrace.sources.model import SourceFile

_COPY_BYTES = 1 << 20


class _Decompressed(StreamWrapper):
    """A stream of the decompressed bytes of a file; concatenated members and frames are one stream."""

    def __init__(self, file: SourceFile, compression: str, opener: Opener) -> None:
        super().__init__(opener(file, 0, None))
        self._reported = partial(corruption_reported, file.name, compression)
        self._inner: Any
        if compression == "gzip":
            self._inner = igzip.IGzipFile(fileobj=ReadableFile(self._from.read), mode="rb")  # type: ignore[no-untyped-call]
        elif compression == "bz2":
            self._inner = Bz2Reader(self._from.read)
        else:
            self._inner = pa.CompressedInputStream(pa.PythonFile(ReadableFile(self._from.read), mode="r"), compression)

    def read(self, size: int) -> bytes:
        """Read at most ``size`` decompressed bytes; return ``b""`` at the end."""
        with self._reported():
            return bytes(self._inner.read(size))


class _ZipMember:
    """A stream of the only file in a zip archive; the list of its files is at the end of the archive."""

    def __init__(self, file: SourceFile) -> None:
        self._reported = partial(corruption_reported, file.name, "zip")
        self._archive = open_raw(file) if file.has_ranges else _spooled(open_bytes(file))
        try:
            with self._reported():
                archive = zipfile.ZipFile(self._archive)
                if refusal := zip_refusal(file, archive.namelist()):
                    raise refusal
                self._member = archive.open(single_member(archive, file.name))
        except BaseException:
            self.close()
            raise

    @property
    def position(self) -> int:
        """Return the number of bytes of the archive read so far."""
        return self._archive.tell()

    def read(self, size: int) -> bytes:
        """Read at most ``size`` bytes of the file; return ``b""`` at the end."""
        with self._reported():
            return self._member.read(size)

    def close(self) -> None:
        """Close the archive."""
        self._archive.close()


class _RatioChecked(StreamWrapper):
    """A stream of decompressed bytes that ends with an error where a small remote file becomes a huge one."""

    def __init__(self, file: SourceFile, decompressed: ByteStream) -> None:
        super().__init__(decompressed)
        self._name, self._read_bytes = file.name, 0

    def read(self, size: int) -> bytes:
        """Read at most ``size`` decompressed bytes; return ``b""`` at the end."""
        data = self._from.read(size)
        self._read_bytes += len(data)
        check_ratio(self._name, self.position, self._read_bytes)
        return data


def compression_of(file: SourceFile) -> str | None:
    """Return ``gzip``, ``zstd``, ``bz2``, ``zip`` or None by the file's first bytes, as ``compression_kind`` does."""
    with closing(_Beginning(file)) as beginning:
        return compression_kind(file.name, beginning.bytes_at)


class _Beginning:
    """A reader of a few bytes at growing offsets: an input is read up to an offset, a file is opened at it."""

    def __init__(self, file: SourceFile) -> None:
        self._file = file
        self._stream = open_bytes(file)

    def bytes_at(self, offset: int, size: int) -> bytes:
        if not self._file.has_ranges:
            while (left := offset - self._stream.position) > 0 and self._stream.read(min(left, _COPY_BYTES)):
                pass
        elif offset > self._stream.position:
            self._stream.close()
            self._stream = open_bytes(self._file, min(offset, self._file.size_bytes))
        return read_fully(self._stream, size)

    def close(self) -> None:
        self._stream.close()


def open_decompressed(
    file: SourceFile, start: int = 0, stop: int | None = None, *, opener: Opener = open_bytes
) -> ByteStream:
    """Open the file's bytes, decompressed if the file is compressed; a range is only for a file that is not.

    ``opener`` opens the bytes as they are in the file.
    """
    compression = compression_of(file) if start == 0 and stop is None else None
    if compression is None:
        return opener(file, start, stop)
    stream = _ZipMember(file) if compression == "zip" else _Decompressed(file, compression, opener)
    return _RatioChecked(file, stream) if "://" in file.uri else stream


def open_seekable(file: SourceFile) -> IO[bytes]:
    """Open the file's decompressed bytes for random access.

    A compressed file and a file without ranges (standard input) are copied to a temporary file on disk first.
    """
    if file.has_ranges and compression_of(file) is None:
        return open_raw(file)
    return _spooled(open_decompressed(file))


def _spooled(stream: ByteStream) -> IO[bytes]:
    kept = tempfile.TemporaryFile()  # noqa: SIM115  (the caller closes it)
    try:
        while data := stream.read(_COPY_BYTES):
            kept.write(data)
    except BaseException as error:
        kept.close()
        if not isinstance(error, OSError):
            raise
        reason = error.strerror or error
        raise SourceUnreadableError(f"no room to decompress: {reason}", hint="make room in TMPDIR") from error
    finally:
        stream.close()
    kept.seek(0)
    return kept


def can_be_split(file: SourceFile) -> bool:
    """Return whether parts of the file can be read alone: it has ranges and is not compressed."""
    return file.has_ranges and compression_of(file) is None
