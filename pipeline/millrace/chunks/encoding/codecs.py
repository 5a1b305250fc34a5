"""Codecs, which compress a tile's Arrow bytes to its stored bytes and decompress them.

Every codec writes one complete stream of a public format and decompresses it to exactly the recorded size. A stream
that is too short, too long, damaged or followed by other bytes is refused. No more memory than the recorded size is
allocated for it. Codecs keep no state between calls, and every expensive call releases the GIL, so several threads may
encode or decode tiles at once.
"""

from __future__ import annotations

import gzip
import zlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, ClassVar

import pyarrow as pa
import zstandard
from isal import igzip_lib, isal_zlib

from millrace.chunks.encoding.gzip_member import crc_and_size, write_gzip_member
from millrace.compat.isal import inflate_into
from millrace.errors import ChunkFormatError, InvalidSettingError

Allocate = Callable[[int], pa.Buffer]
"""A function that returns a writable buffer of a number of bytes."""

_GZIP_TRAILER_BYTES = 8
_GZIP_MEMBER_BYTES_MIN = 20
_GZIP_DAMAGE: Any = (EOFError, gzip.BadGzipFile, isal_zlib.error, igzip_lib.error, zlib.error)


class Codec(ABC):
    """A compression format, by the name that is recorded with every tile, and its supported levels."""

    name: ClassVar[str]
    levels: ClassVar[range]

    @abstractmethod
    def compress(self, raw: Sequence[Any], level: int) -> bytes:
        """Compress the bytes of these buffers, one after another, to one complete stream."""

    @abstractmethod
    def decompress(self, stored: Any, raw_bytes: int, allocate: Allocate = pa.allocate_buffer) -> pa.Buffer:
        """Decompress to exactly ``raw_bytes`` bytes, or raise ``ChunkFormatError``.

        ``allocate`` returns the memory for the result, which is not used where the codec has memory of its own.
        """

    def raw_checksum(self, stored: Any, raw: Sequence[Any]) -> bytes:
        """Return CRC-32 and size of the raw bytes, in the form of ``Tile.raw_checksum``."""
        return crc_and_size(raw)


class Gzip(Codec):
    """RFC 1952 by isal: one member, no name, time 0, which any gzip reads."""

    name = "gzip"
    levels = range(4)

    def compress(self, raw: Sequence[Any], level: int) -> bytes:
        """Compress to one gzip member, in which buffers that hardly shrink are stored uncompressed."""
        return write_gzip_member(raw, level)

    def decompress(self, stored: Any, raw_bytes: int, allocate: Allocate = pa.allocate_buffer) -> pa.Buffer:
        """Decompress the member into one buffer of exactly ``raw_bytes``."""
        # The size in the trailer is checked before any memory is allocated. The check also refuses zero padding and a
        # second member, both of which a gzip reader would accept.
        recorded_bytes = int.from_bytes(stored[-4:], "little") if len(stored) >= _GZIP_MEMBER_BYTES_MIN else -1
        if recorded_bytes != raw_bytes & 0xFFFFFFFF:
            raise ChunkFormatError(f"the gzip stream does not end with its size of {raw_bytes} bytes")
        out = allocate(raw_bytes)
        try:
            inflated_bytes = inflate_into(stored, memoryview(out))
        except _GZIP_DAMAGE as error:
            raise ChunkFormatError(f"the gzip stream is damaged ({error})") from None
        if inflated_bytes != raw_bytes:
            size = "more than" if inflated_bytes > raw_bytes else f"{inflated_bytes} instead of"
            raise ChunkFormatError(f"the gzip stream holds {size} {raw_bytes} bytes")
        return out

    def raw_checksum(self, stored: Any, raw: Sequence[Any]) -> bytes:
        """Return the trailer: isal wrote it, and ``decompress`` has already compared it with the inflated bytes."""
        return bytes(stored[-_GZIP_TRAILER_BYTES:])


class Zstd(Codec):
    """One zstd frame with its content size."""

    name = "zstd"
    levels = range(1, 23)

    def compress(self, raw: Sequence[Any], level: int) -> bytes:
        """Compress to one zstd frame."""
        return zstandard.ZstdCompressor(level=level, write_content_size=True).compress(b"".join(raw))

    def decompress(self, stored: Any, raw_bytes: int, allocate: Allocate = pa.allocate_buffer) -> pa.Buffer:
        """Decompress the frame; its content size is checked against the recorded one before memory is allocated."""
        try:
            size = zstandard.get_frame_parameters(stored).content_size
            if size != raw_bytes:
                raise ChunkFormatError(f"the zstd frame does not declare a content of {raw_bytes} bytes")
            raw = zstandard.ZstdDecompressor().decompress(
                stored, max_output_size=raw_bytes, read_across_frames=False, allow_extra_data=False
            )
        except zstandard.ZstdError as error:
            raise ChunkFormatError(f"the zstd frame is damaged ({error})") from None
        return pa.py_buffer(raw)


class Uncompressed(Codec):
    """The uncompressed Arrow bytes, for data that no codec makes smaller."""

    name = "none"
    levels = range(23)

    def compress(self, raw: Sequence[Any], level: int) -> bytes:
        """Return the same bytes."""
        return b"".join(raw)

    def decompress(self, stored: Any, raw_bytes: int, allocate: Allocate = pa.allocate_buffer) -> pa.Buffer:
        """Return the same bytes without copying them."""
        return pa.py_buffer(stored)


CODECS: Mapping[str, Codec] = MappingProxyType({codec.name: codec for codec in (Gzip(), Zstd(), Uncompressed())})


def known_codecs() -> str:
    """Return the names that a user may give, for messages."""
    return ", ".join(CODECS)


def codec_named(name: str) -> Codec:
    """Return the codec of that name; raise ``InvalidSettingError`` with the known names if there is none."""
    if name not in CODECS:
        raise InvalidSettingError(f"codec is {name!r}", hint=f"choose one of {known_codecs()}", codec=name)
    return CODECS[name]
