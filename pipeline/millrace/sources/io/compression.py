"""Detection of a file's compression by its first bytes, never by its name alone."""

from __future__ import annotations

import shlex
from collections.abc import Callable

from millrace.errors import SourceCorruptError, SourceFormatError

_SUFFIXES = {".gz": "gzip", ".gzip": "gzip", ".zst": "zstd", ".zstd": "zstd", ".bz2": "bz2", ".zip": "zip"}
_MAGIC = (
    (b"\x1f\x8b", "gzip"),
    (b"\x28\xb5\x2f\xfd", "zstd"),
    (b"BZh", "bz2"),
    (b"PK\x03\x04", "zip"),
    (b"PK\x05\x06", "zip"),
)
_BZ2_BLOCKS = (b"\x31\x41\x59\x26\x53\x59", b"\x17\x72\x45\x38\x50\x90")
_LZ4_FRAME = b"\x04\x22\x4d\x18"
_UNREADABLE = (
    (b"\xfd7zXZ\0", "xz", "xz -dk {file}"),
    (_LZ4_FRAME, "lz4", "lz4 -dk {file}"),
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

BytesAt = Callable[[int, int], bytes]
"""A function that returns the bytes at an offset of the file, at most as many as its second argument."""


def compression_kind(name: str, bytes_at: BytesAt) -> str | None:
    """Return ``gzip``, ``zstd``, ``bz2``, ``zip`` or None.

    Skippable frames in front of zstd data are ignored; a file of such frames alone is ``zstd`` without content.
    Raises ``SourceCorruptError`` for a name with the suffix of a compression that the file does not have, and
    ``SourceFormatError`` for a known compression that is not supported.
    """
    begin = bytes_at(0, 16)
    at, skipped = 0, False
    while len(begin) >= 8 and int.from_bytes(begin[:4], "little") in _SKIPPABLE:
        at += 8 + int.from_bytes(begin[4:8], "little")
        begin, skipped = bytes_at(at, 16), True
    # The frames of lz4 and of zstd may both follow skippable frames.
    refuse_unreadable(name, begin)
    kind = next((name for magic, name in _MAGIC if begin.startswith(magic)), None)
    # "BZh" could begin a text; the mark of a block or of the end cannot.
    if kind == "bz2" and begin[4:10] not in _BZ2_BLOCKS:
        kind = None
    if skipped:
        kind = "zstd"
    promised = next((kind for ending, kind in _SUFFIXES.items() if name.lower().endswith(ending)), None)
    if promised and kind is None and begin:
        raise SourceCorruptError(f"{name} is named like {promised} but does not begin like it", file=name)
    return kind


def refuse_unreadable(name: str, begin: bytes) -> None:
    """Raise ``SourceFormatError`` if the first bytes are those of a compression that is not supported."""
    for magic, kind, command in _UNREADABLE:
        if begin.startswith(magic):
            raise _unreadable(name, kind, command)


def unmarked_compression(name: str) -> SourceFormatError | None:
    """Return the error for a file that is not text if its name has the suffix of a compression, else None."""
    for ending, (kind, command) in _UNMARKED.items():
        if name.lower().endswith(ending):
            return _unreadable(name, kind, command)
    return None


def name_inside(name: str) -> str:
    """Return a file's name without the ending of its compression."""
    for ending in _SUFFIXES:
        if name.lower().endswith(ending):
            return name[: -len(ending)]
    return name


def _unreadable(name: str, kind: str, command: str) -> SourceFormatError:
    return SourceFormatError(
        f"{name} is compressed with {kind}, which is not read",
        hint=f"decompress it first ({command.format(file=shlex.quote(name))}), or store it with --format bytes",
        file=name,
    )
