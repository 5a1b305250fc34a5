"""Reader of Arrow IPC files and streams: one record batch at a time, after a check of its size."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import IO

import pyarrow as pa

from millrace.sources.arrow.ipc_messages import (
    DICTIONARY,
    FILE_MAGIC,
    RECORD_BATCH,
    SCHEMA,
    Message,
    check_size,
    damaged,
    next_message,
)
from millrace.sources.io.byte_streams import ByteStream, Opener, read_fully
from millrace.sources.io.files import open_raw
from millrace.sources.model import SourceFile
from millrace.sources.types import check_names
from millrace.sources.values import check_values

_COPY_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class ArrowIndex:
    """The positions and sizes of the messages of an uncompressed Arrow file, by kind."""

    schema: Message
    dictionaries: tuple[Message, ...]
    batches: tuple[Message, ...]


def index_arrow(file: SourceFile, max_unit_bytes: int) -> ArrowIndex:
    """Read the headers of all messages of an uncompressed file, and skip the bodies.

    Raises ``SourceTooLargeError`` for a message above the limit and ``SourceCorruptError`` for damaged data.
    """
    messages: list[Message] = []
    batches = 0
    with closing(open_raw(file)) as raw:
        is_file = raw.read(len(FILE_MAGIC)) == FILE_MAGIC
        offset = len(FILE_MAGIC) if is_file else 0
        raw.seek(offset)
        while offset < file.size_bytes and (message := next_message(raw.read, file.name, offset)):
            if message.stop > file.size_bytes:
                raise damaged(file.name, "it is cut short")
            peek = partial(_peek, raw, offset + len(message.header))
            check_size(message, peek, max_unit_bytes, file.name, _label(message, batches))
            batches += message.kind == RECORD_BATCH
            messages.append(message)
            offset = message.stop
            raw.seek(offset)
        _check_end(raw.read, is_file, file.name)
    if not messages or messages[0].kind != SCHEMA:
        raise damaged(file.name, "it does not begin with a schema")
    return ArrowIndex(
        messages[0],
        tuple(message for message in messages if message.kind == DICTIONARY),
        tuple(message for message in messages if message.kind == RECORD_BATCH),
    )


def _peek(raw: IO[bytes], body: int, offset: int, size: int) -> bytes:
    raw.seek(body + offset)
    return raw.read(size)


def _check_end(read: Callable[[int], bytes], is_file: bool, name: str) -> None:
    """Check the bytes after the end mark: a file must have a footer, and a stream must end."""
    last = b""
    while data := read(_COPY_BYTES):
        last = (last + data)[-6:]
    if is_file and last != b"ARROW1":
        raise damaged(name, "it is cut short")
    if last and not is_file:
        raise damaged(name, "there is more data after its end mark")


def read_arrow_schema(file: SourceFile, opener: Opener, max_unit_bytes: int) -> pa.Schema:
    """Return the schema of a file, from its first message."""
    stream = opener(file, 0, None)
    with closing(stream), _damage_reported(file.name):
        schema = pa.ipc.open_stream(_Measured(stream, file.name, max_unit_bytes).as_file()).schema
        check_names(schema)
        return schema


def read_arrow(
    file: SourceFile, opener: Opener, max_unit_bytes: int, start: int = 0, stop: int = -1
) -> Iterator[tuple[pa.RecordBatch, int]]:
    """Yield record batches ``start`` to ``stop`` (-1: the last) with the number of source bytes read for them so far.

    Raises ``SourceTooLargeError`` for a message above the limit and ``SourceCorruptError`` for damaged data.
    """
    if start == 0 and stop < 0:
        stream = opener(file, 0, None)
        with closing(stream):
            measured = _Measured(stream, file.name, max_unit_bytes)
            for batch in _batches(measured, file.name, 0):
                yield batch, stream.position
            with _damage_reported(file.name):
                _check_end(stream.read, measured.is_file, file.name)
        return
    index = index_arrow(file, max_unit_bytes)
    messages = index.batches[start : len(index.batches) if stop < 0 else stop]
    if not messages:
        return
    # A batch needs the dictionaries before it; later ones are within the range of the batches.
    parts = [(index.schema.offset, index.schema.stop)]
    parts += [(d.offset, d.stop) for d in index.dictionaries if d.offset < messages[0].offset]
    joined = _Joined(file, opener, [*parts, (messages[0].offset, messages[-1].stop)])
    with closing(joined):
        measured, done = _Measured(joined, file.name, max_unit_bytes), 0
        rows = sum(message.rows for message in index.batches[:start])
        for batch, message in zip(_batches(measured, file.name, rows), messages, strict=True):
            done += message.stop - message.offset
            yield batch, done


def _batches(measured: _Measured, name: str, rows: int) -> Iterator[pa.RecordBatch]:
    with _damage_reported(name), pa.ipc.open_stream(measured.as_file()) as reader:
        for batch in reader:
            check_values(batch, name, rows, damaged)
            rows += batch.num_rows
            yield batch


@contextmanager
def _damage_reported(name: str) -> Iterator[None]:
    """Translate pyarrow's errors for bad data into one error that names the file."""
    try:
        yield
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        first = str(error).split("\n")[0]
        raise damaged(name, first[:1].lower() + first[1:]) from error


class _Joined:
    """Ranges of a file one after another, as one stream."""

    def __init__(self, file: SourceFile, opener: Opener, ranges: list[tuple[int, int]]) -> None:
        self._file, self._opener = file, opener
        self._ranges = ranges
        self._stream: ByteStream | None = None

    @property
    def position(self) -> int:
        return self._stream.position if self._stream else 0

    def read(self, size: int) -> bytes:
        while self._stream is not None or self._ranges:
            if self._stream is None:
                start, stop = self._ranges.pop(0)
                self._stream = self._opener(self._file, start, stop)
            if data := self._stream.read(size):
                return data
            self._stream.close()
            self._stream = None
        return b""

    def close(self) -> None:
        if self._stream is not None:
            self._stream.close()


class _Measured(io.RawIOBase):
    """A stream of messages, each passed on only after the check that its size is below the limit."""

    def __init__(self, stream: ByteStream, name: str, limit: int) -> None:
        self._from, self._name, self._limit = stream, name, limit
        self._ahead = b""
        self._body_left = 0
        self._batches = 0
        self._ended = False
        begin = read_fully(stream, len(FILE_MAGIC))
        self.is_file = begin == FILE_MAGIC
        self._begin = b"" if self.is_file else begin

    def as_file(self) -> pa.PythonFile:
        return pa.PythonFile(self, mode="r")

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        pieces: list[bytes] = []
        while size > 0 and (piece := self._some(size)):
            pieces.append(piece)
            size -= len(piece)
        return b"".join(pieces)

    def _some(self, size: int) -> bytes:
        if not self._ahead and not self._body_left and not self._ended:
            self._next()
        if self._ahead:
            piece, self._ahead = self._ahead[:size], self._ahead[size:]
            return piece
        piece = self._from.read(min(size, self._body_left))
        self._body_left -= len(piece)
        return piece

    def _take(self, size: int) -> bytes:
        taken, self._begin = self._begin[:size], self._begin[size:]
        return taken + read_fully(self._from, size - len(taken))

    def _next(self) -> None:
        message = next_message(self._take, self._name, 0)
        if message is None:
            self._ended = True
            return
        label = _label(message, self._batches)
        self._batches += message.kind == RECORD_BATCH
        if message.buffers and message.body_bytes <= self._limit:
            # The decompressed sizes are in the body.
            body = read_fully(self._from, message.body_bytes)
            check_size(message, lambda offset, size: body[offset : offset + size], self._limit, self._name, label)
            self._ahead = message.header + body
            return
        check_size(message, lambda offset, size: b"", self._limit, self._name, label)
        self._ahead, self._body_left = message.header, message.body_bytes


def _label(message: Message, batches: int) -> str:
    if message.kind == RECORD_BATCH:
        return f"record batch {batches} ({message.rows:,} rows)"
    return "a dictionary" if message.kind == DICTIONARY else "the schema"
