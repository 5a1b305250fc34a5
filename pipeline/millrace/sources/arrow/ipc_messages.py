"""Sizes of Arrow IPC messages, known before memory is allocated for them.

pyarrow reads a whole record batch before it reports the size. This module therefore reads the few fields that
determine it from the messages' own headers (``Message.fbs`` of the Arrow format).
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass

from millrace.compat.pyarrow.flatbuffers import Table
from millrace.errors import SourceCorruptError, SourceTooLargeError

SCHEMA, DICTIONARY, RECORD_BATCH = 1, 2, 3
FILE_MAGIC = b"ARROW1\0\0"
_LARGEST_HEADER = 64_000_000
_LONGEST_ARRAY = 2**31 - 1
"""The most rows, or values in lists, that the Arrow format asks of a reader.

The size in bytes does not bound them, because an array of the type null takes no bytes.
"""
_CONTINUATION = b"\xff\xff\xff\xff"


@dataclass(frozen=True, slots=True)
class Message:
    """One message without its body.

    ``header`` contains its first bytes, including prefix and padding. ``rows`` is the number of rows of a record
    batch, and ``longest`` the length of its longest array. ``buffers`` contains an (offset, length) pair for each
    buffer of a compressed body; it is empty for an uncompressed one.
    """

    offset: int
    header: bytes
    kind: int
    body_bytes: int
    rows: int
    longest: int
    buffers: tuple[tuple[int, int], ...]

    @property
    def stop(self) -> int:
        """Return the offset after the message, including its body."""
        return self.offset + len(self.header) + self.body_bytes


def next_message(read: Callable[[int], bytes], name: str, offset: int) -> Message | None:
    """Return the message that begins here, or None at the end mark or the end; its body is not read.

    ``read(n)`` must return exactly ``n`` bytes unless the source ends. Raises ``SourceCorruptError`` for a damaged or
    incomplete header.
    """
    prefix = read(4)
    if not prefix:
        return None
    if prefix == _CONTINUATION:
        prefix += read(4)
    if len(prefix) not in (4, 8) or prefix == _CONTINUATION:
        raise damaged(name, "it ends in the middle of a message")
    length = int(struct.unpack("<i", prefix[-4:])[0])
    if length == 0:
        return None
    if not 8 <= length <= _LARGEST_HEADER:
        raise damaged(name, f"a message header of {length} bytes")
    metadata = read(length)
    if len(metadata) != length:
        raise damaged(name, "it ends in the middle of a message")
    try:
        kind, body_bytes, rows, longest, buffers = _parse(metadata)
    except (struct.error, ValueError) as error:
        raise damaged(name, "an invalid message header") from error
    return Message(offset, prefix + metadata, kind, body_bytes, rows, longest, buffers)


def check_size(message: Message, peek: Callable[[int, int], bytes], limit: int, name: str, label: str) -> None:
    """Raise ``SourceTooLargeError`` for a message above the limit, as it is stored or after decompression.

    ``peek(offset, size)`` returns bytes of the body. Raises ``SourceCorruptError`` for a buffer outside of the body or
    of negative size.
    """
    if message.longest > _LONGEST_ARRAY:
        raise SourceTooLargeError(
            f"{name}: {label} has an array of {message.longest:,} values; at most {_LONGEST_ARRAY:,} are read",
            hint="write it in smaller batches",
            file=name,
        )
    size = message.body_bytes
    if size <= limit and message.buffers:
        size = 0
        for offset, length in message.buffers:
            if offset < 0 or not 0 <= length <= message.body_bytes - offset:
                raise damaged(name, "a buffer outside of its message")
            prefix = peek(offset, 8) if length >= 8 else b""
            raw = struct.unpack("<q", prefix)[0] if len(prefix) == 8 else 0
            # -1 marks a buffer that is stored uncompressed.
            size += length - 8 if raw == -1 else raw
            if raw < -1:
                raise damaged(name, "a compressed buffer of negative size")
    if size > limit:
        raise SourceTooLargeError(
            f"{name}: {label} has {size:,} bytes; at most {limit:,} are read at once",
            hint=f"give --max-unit-bytes {size}, or write it in smaller batches",
            file=name,
            size_bytes=size,
        )


def damaged(name: str, reason: str) -> SourceCorruptError:
    """Return the error for damaged Arrow data."""
    return SourceCorruptError(f"{name} is damaged Arrow data: {reason}", hint="write or copy it again", file=name)


def _parse(data: bytes) -> tuple[int, int, int, int, tuple[tuple[int, int], ...]]:
    table = Table.root(data)
    kind = table.number(1, "<B")
    body_bytes = table.number(3, "<q")
    if body_bytes < 0:
        raise ValueError(body_bytes)
    if kind not in (DICTIONARY, RECORD_BATCH):
        return kind, body_bytes, 0, 0, ()
    batch = table.table(2) if kind == RECORD_BATCH else table.table(2).table(1)
    rows = batch.number(0, "<q")
    lengths = [rows, *(length for length, _ in batch.pairs(1))]
    if min(lengths) < 0:
        raise ValueError(min(lengths))
    return kind, body_bytes, rows, max(lengths), batch.pairs(2) if batch.has(3) else ()
