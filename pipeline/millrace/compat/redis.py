"""Send large values to Redis and read them from it without copying them.

redis-py's private ``PythonRespSerializer`` passes a large value to the socket as it is, and the private socket of a
connection reads a value directly into the memory of the caller. redis-py itself copies a value that it sends once, and
one that it reads twice. It does so outside the tested versions. docs/decisions/reading-large-values.md has the
measurements.
"""

from __future__ import annotations

import socket
import ssl
import struct
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from enum import Enum, auto
from functools import partial
from typing import TYPE_CHECKING, Any

from millrace.compat.versions import REDIS

if TYPE_CHECKING:
    from redis import Redis

_JOINED_BYTES_MAX = 6000
"""Size up to which values are joined to one buffer, as in redis-py."""

_PIECE_BYTES = 1 << 21
"""Size up to which a value is read by one command. Redis allocates memory for each reply; with several replies of 5 MB
and more at a time it returns that memory to the system after each of them, and clears new pages for the next one."""

Command = tuple[str | int, ...]
Allocate = Callable[[int], Any]
"""A function that returns writable memory of a number of bytes."""


class Reply(Enum):
    """The reply to a command that returns a value of known size."""

    COMPLETE = auto()
    MISSING = auto()
    OTHER_SIZE = auto()


Read = tuple[Reply, list[memoryview]]


def large_value_packer() -> Any:
    """Return the ``command_packer`` of a connection, or None for redis-py's own choice."""
    if not REDIS.is_installed():
        return None
    from redis.connection import PythonRespSerializer

    return PythonRespSerializer(_JOINED_BYTES_MAX, _encode)


def _encode(value: Any) -> Any:
    return (
        value.encode() if isinstance(value, str) else str(value).encode() if isinstance(value, int | float) else value
    )


def read_values(redis: Redis, commands: Sequence[Command], sizes: Sequence[int], allocate: Allocate) -> Read:
    """Send commands one after another, and read the value that each returns into memory of ``allocate``.

    Stops at the first reply that is not a value of its size, and returns it. An empty value counts as missing, because
    GETRANGE returns one for a key that does not exist. Raises the errors of redis-py. A lost connection is opened again
    and the commands are repeated as often as the connection's own settings say.
    """
    if not REDIS.is_installed():
        return _read_by_client(redis, commands, sizes)
    # Arrow's buffers have the format "b".
    buffers = [memoryview(allocate(size)).cast("B") for size in sizes]
    pool = redis.connection_pool
    connection: Any = pool.get_connection()
    try:
        read = partial(_read_in_place, connection, commands, buffers)
        reply: Reply = connection.retry.call_with_retry(read, lambda _: connection.disconnect())
        return reply, buffers
    finally:
        pool.release(connection)


def _read_by_client(redis: Redis, commands: Sequence[Command], sizes: Sequence[int]) -> Read:
    values: list[memoryview] = []
    for command, size in zip(commands, sizes, strict=True):
        value: Any = redis.execute_command(*command)  # type: ignore[no-untyped-call]
        if not value:
            return Reply.MISSING, values
        if not isinstance(value, bytes) or len(value) != size:
            return Reply.OTHER_SIZE, values
        values.append(memoryview(value))
    return Reply.COMPLETE, values


def _read_in_place(connection: Any, commands: Sequence[Command], buffers: Sequence[memoryview]) -> Reply:
    for command, buffer in zip(commands, buffers, strict=True):
        for part, piece in _pieces(command, buffer):
            connection.send_command(*part)
            reply = _receive(connection, piece)
            if reply is not Reply.COMPLETE:
                return reply
    return Reply.COMPLETE


def _pieces(command: Command, buffer: memoryview) -> Iterator[tuple[Command, memoryview]]:
    """Yield commands for the parts of a value, each with its part of the buffer.

    The last part asks for one byte more than the value should have, so a longer value is a reply of another size.
    """
    size = len(buffer)
    if command[0] != "GET" or size <= _PIECE_BYTES:
        yield command, buffer
        return
    for start in range(0, size, _PIECE_BYTES):
        end = min(start + _PIECE_BYTES, size)
        yield ("GETRANGE", command[1], start, end - (end < size)), buffer[start:end]


def _receive(connection: Any, buffer: memoryview) -> Reply:
    """Read one reply; leave the connection either without unread bytes or disconnected."""
    expected = b"$%d\r\n" % len(buffer)
    with _disconnected_on_error(connection):
        header = _header(connection, len(expected))
        if header == expected:
            with _waiting_in_kernel(connection._sock) as flags:
                _fill(connection, buffer, flags)
                _fill(connection, memoryview(bytearray(2)), flags)  # the line's end
            return Reply.COMPLETE
    if header.startswith(b"$") and not header.startswith((b"$-", b"$0")):
        # A value of another size. Its unread rest may be up to 512 MB.
        connection.disconnect()
        return Reply.OTHER_SIZE
    # redis-py reads the rest of a short reply, and raises the error that an error reply stands for.
    connection._parser._reader.feed(header)
    return Reply.OTHER_SIZE if connection.read_response() else Reply.MISSING


def _header(connection: Any, size_max: int) -> bytes:
    """Return the first bytes of a reply: ``size_max``, or fewer if it is a short line."""
    header = bytearray(size_max)
    received = 0
    while received < size_max and not header.endswith(b"\r\n", 0, received):
        received += _received(connection, memoryview(header)[received:])
    return bytes(header[:received])


@contextmanager
def _waiting_in_kernel(sock: Any) -> Iterator[int]:
    """Give the flags with which the kernel fills a whole buffer in one call, with the timeout of the socket.

    Without them a value of 5 MB takes 40 calls. After each of them the thread has to get the GIL back, for which it
    waits up to 5 ms while another thread computes. TLS has no such flags.
    """
    timeout_s = sock.gettimeout()
    if isinstance(sock, ssl.SSLSocket) or not timeout_s:
        yield 0
        return
    microseconds = round(timeout_s * 1e6)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("@ll", *divmod(microseconds, 1_000_000)))
    sock.settimeout(None)
    try:
        yield socket.MSG_WAITALL
    finally:
        sock.settimeout(timeout_s)


def _fill(connection: Any, buffer: memoryview, flags: int) -> None:
    filled = 0
    while filled < len(buffer):
        filled += _received(connection, buffer[filled:], flags)


def _received(connection: Any, buffer: memoryview, flags: int = 0) -> int:
    from redis.exceptions import ConnectionError as LostConnectionError

    try:
        count = int(connection._sock.recv_into(buffer, 0, flags))
    except BlockingIOError:  # the kernel's timeout, see ``_waiting_in_kernel``
        raise TimeoutError from None
    if not count:
        raise LostConnectionError("Connection closed by server.")
    return count


@contextmanager
def _disconnected_on_error(connection: Any) -> Iterator[None]:
    """Close the connection after any error, because its next bytes are unknown; raise the errors of redis-py."""
    from redis import exceptions

    try:
        yield
    except BaseException as error:
        connection.disconnect()
        if isinstance(error, TimeoutError):
            raise exceptions.TimeoutError("Timeout reading from Redis") from None
        if isinstance(error, OSError):
            raise exceptions.ConnectionError(f"Error while reading from Redis: {error}") from None
        raise
