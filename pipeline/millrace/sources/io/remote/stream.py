"""A remote file as a seekable raw stream that continues at the byte reached when a transfer is interrupted."""

from __future__ import annotations

import io
from collections import OrderedDict
from collections.abc import Generator, Iterator
from typing import Any, Final

from millrace.errors import SourceUnavailableError
from millrace.sources.io.remote.model import RemoteFile, RemoteFiles, TransferInterrupted
from millrace.sources.io.remote.retries import POLICY, RetryPolicy

HEAD_BYTES: Final = 1 << 18
"""The beginning of a file that is read by one request and kept, because planning reads it several times."""
_HEADS_MAX: Final = 64
_BLOCK_BYTES: Final = 1 << 20
"""The range of one request for a read at another offset than the one reached, as in Parquet files."""
_BLOCKS_MAX: Final = 32
"""Blocks of a stream that are kept, because a reader of several columns returns to each of them: at most 32 MB."""
_RANGE_BYTES_MAX: Final = 64 << 20
"""Largest range of one request of a file that is read front to back.

Its body is read as the reader asks for it. So a stream holds one piece of it, at most 1 MB, beside its blocks and the
buffer of its socket.
"""


class Heads:
    """The beginnings of the files that were opened last in this process: at most 64 of ``HEAD_BYTES``, 16 MB."""

    def __init__(self, heads_max: int = _HEADS_MAX) -> None:
        self._heads_max = heads_max
        self._heads: OrderedDict[Any, bytes] = OrderedDict()

    def get(self, key: Any) -> bytes | None:
        """Return the beginning of the file with these facts, or None."""
        return self._heads.get(key)

    def clear(self) -> None:
        """Drop all of them."""
        self._heads.clear()

    def put(self, key: Any, head: bytes) -> None:
        """Keep the beginning of a file, and drop that of the file opened first."""
        self._heads[key] = head
        while len(self._heads) > self._heads_max:
            self._heads.popitem(last=False)


class RemoteStream(io.RawIOBase):
    """The bytes of a remote file; ``read`` returns fewer bytes than asked for only at the end.

    ``name`` is the address in messages. Raises ``SourceUnavailableError`` after the last attempt of an interrupted
    request, and the other errors of ``RemoteFiles.read`` at once. A file without ranges can only be read front to back.
    """

    def __init__(
        self, files: RemoteFiles, file: RemoteFile, name: str, *, heads: Heads, policy: RetryPolicy = POLICY
    ) -> None:
        self._files = files
        self._file = file
        self._name = name
        self._heads = heads
        self._policy = policy
        self._size = file.facts.size_bytes
        self._position = 0
        self._buffer = b""
        self._buffer_start = 0
        self._blocks: OrderedDict[int, bytes] = OrderedDict()
        self._body: Iterator[bytes] | None = None
        self._range_stop = 0
        self._range_bytes = 0

    def readable(self) -> bool:
        """Return True."""
        return True

    def seekable(self) -> bool:
        """Return whether the server answers ranges of bytes."""
        return self._file.has_ranges

    def tell(self) -> int:
        """Return the offset of the next byte."""
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Move to an offset; nothing is requested before the next read."""
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._size}[whence]
        if offset + base != self._position and not self.seekable():
            raise io.UnsupportedOperation(f"{self._name} can only be read front to back")
        self._position = max(0, base + offset)
        return self._position

    def read(self, size: int = -1) -> bytes:
        """Return the next ``size`` bytes, or fewer at the end of the file; all of them for -1."""
        pieces: list[bytes] = []
        left = size if size >= 0 else max(self._size - self._position, 0)
        while left > 0 and (piece := self._piece(left)):
            pieces.append(piece)
            left -= len(piece)
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def readinto(self, buffer: Any) -> int:
        """Read bytes into a buffer; return their number."""
        data = self.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def close(self) -> None:
        """End the request."""
        self._end_request()
        super().close()

    def _piece(self, wanted_bytes: int) -> bytes:
        """Return at most ``wanted_bytes`` bytes at the position; ``b""`` at the end."""
        if 0 <= self._size <= self._position:
            return b""
        offset = self._position - self._buffer_start
        if not 0 <= offset < len(self._buffer):
            self._fill(wanted_bytes)
            offset = self._position - self._buffer_start
        piece = self._buffer[offset : offset + wanted_bytes]
        self._position += len(piece)
        return piece

    def _fill(self, wanted_bytes: int) -> None:
        """Set the buffer to bytes at the position, from the kept ones or from a request."""
        if self._file.has_ranges and self._position < min(HEAD_BYTES, self._size):
            self._end_range()
            self._buffer, self._buffer_start = self._head(), 0
        elif self._position == self._buffer_start + len(self._buffer):
            self._buffer, self._buffer_start = self._next(self._position, wanted_bytes), self._position
        else:
            self._end_range()
            start = self._position // _BLOCK_BYTES * _BLOCK_BYTES
            self._buffer, self._buffer_start = self._block(start), start

    def _head(self) -> bytes:
        key = (self._name, self._file)
        head = self._heads.get(key)
        if head is None:
            head = self._range(0, HEAD_BYTES)
            # Without a change id another content may have equal facts, and a kept head must not be mixed with it.
            if self._file.facts.change_id:
                self._heads.put(key, head)
        return head

    def _block(self, start: int) -> bytes:
        if start in self._blocks:
            self._blocks.move_to_end(start)
            return self._blocks[start]
        block = self._blocks[start] = self._range(start, start + _BLOCK_BYTES)
        if len(self._blocks) > _BLOCKS_MAX:
            self._blocks.popitem(last=False)
        return block

    def _range(self, start: int, stop: int) -> bytes:
        """Return a whole range, without its part behind the end of the file."""
        self._range_stop = min(stop, self._size)
        pieces: list[bytes] = []
        position = start
        while position < self._range_stop:
            pieces.append(self._next(position, 0))
            position += len(pieces[-1])
        self._end_range()
        return b"".join(pieces)

    def _next(self, position: int, wanted_bytes: int) -> bytes:
        """Return the next piece of the request that reached ``position``, or of a new one."""
        attempts = self._policy.attempts(self._name)
        while True:
            try:
                if self._body is None:
                    self._body = self._request(position, wanted_bytes)
                if piece := next(self._body, b""):
                    return piece
                self._end_request()
                if self._size < 0:
                    self._size = position
                    return b""
                if position < self._range_stop:
                    raise TransferInterrupted(f"its server sent nothing from byte {position:,} on")
            except TransferInterrupted as interruption:
                self._end_request()
                self._check_repeatable(position, interruption)
                attempts.wait(interruption)

    def _request(self, position: int, wanted_bytes: int) -> Iterator[bytes]:
        """Request the rest of the range; behind it a new one, which is twice as long as the one before."""
        if not self._file.has_ranges:
            self._range_stop = self._size
            return _skipped(self._files.read(self._file, 0, self._size), position)
        if position >= self._range_stop:
            self._range_bytes = min(max(self._range_bytes * 2, _BLOCK_BYTES), _RANGE_BYTES_MAX)
            self._range_stop = min(position + max(self._range_bytes, wanted_bytes), self._size)
        return self._files.read(self._file, position, self._range_stop)

    def _check_repeatable(self, position: int, interruption: TransferInterrupted) -> None:
        """Raise ``SourceUnavailableError`` where the bytes of a second answer could be those of another content."""
        if position and not self._file.has_ranges and not self._file.facts.show_changes:
            raise SourceUnavailableError(
                f"{self._name} was interrupted at byte {position:,}: {interruption}",
                hint="its server neither answers ranges nor names a change; run the load again",
            ) from interruption

    def _end_range(self) -> None:
        """Close the body; the next request begins another range."""
        self._end_request()
        self._range_stop = self._range_bytes = 0

    def _end_request(self) -> None:
        body, self._body = self._body, None
        if isinstance(body, Generator):
            body.close()


def _skipped(body: Iterator[bytes], count: int) -> Generator[bytes, None, None]:
    """Yield the pieces of a body without its first ``count`` bytes."""
    for piece in body:
        if len(piece) > count:
            yield piece[count:]
        count = max(count - len(piece), 0)
