"""The body of a response as pieces, with limits on its bytes, its rate and its waiting times."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import httpx

from millrace.errors import SourceTooLargeError, SourceUnavailableError, SourceUnreadableError
from millrace.sources.io.remote.addresses import WebAddress
from millrace.sources.io.remote.deadlines import within
from millrace.sources.io.remote.model import PIECE_BYTES_MAX, UNKNOWN_SIZE, TransferInterrupted
from millrace.sources.io.remote.responses import ResponseMetadata, transport_error


@dataclass(frozen=True, slots=True)
class TransferLimits:
    """The limits of one request. The longest time for a body is ``grace_s`` and its bytes at the least rate."""

    connect_s: float = 10.0
    read_s: float = 60.0
    """The time until the headers of a response have arrived, and between two pieces of its body."""
    grace_s: float = 60.0
    """The rate is checked after this time of waiting for pieces; the time of the reader does not count."""
    bytes_per_s_min: int = 10_000
    unknown_bytes_max: int = 100_000_000_000
    """The largest body of a file whose size the server does not name."""

    def timeouts(self) -> dict[str, float]:
        """Return the timeouts of a request as httpx takes them."""
        return {"connect": self.connect_s, "pool": self.connect_s, "read": self.read_s, "write": self.read_s}


def body_pieces(
    response: httpx.Response,
    metadata: ResponseMetadata,
    expected_bytes: int,
    address: WebAddress,
    limits: TransferLimits,
) -> Iterator[bytes]:
    """Yield the first ``expected_bytes`` of a body, or all of it if the number is -1.

    Raises ``TransferInterrupted`` for a body that is shorter or interrupted, and ``SourceUnavailableError`` for one
    that is too slow. Raises ``SourceUnreadableError`` for one of unknown length without a mark of its end, because its
    truncation could not be noticed.
    """
    if expected_bytes == UNKNOWN_SIZE and metadata.length == UNKNOWN_SIZE and not _marks_its_end(response):
        raise SourceUnreadableError(
            f"{address} does not mark the end of its body",
            hint="let the server send a Content-Length",
            file=str(address),
        )
    pieces, received, waited_s = response.iter_raw(), 0, 0.0
    while expected_bytes == UNKNOWN_SIZE or received < expected_bytes:
        begun = time.monotonic()
        with interruptions_reported(address), within(limits.read_s):
            piece = next(pieces, b"")
        waited_s += time.monotonic() - begun
        if not piece:
            break
        if expected_bytes != UNKNOWN_SIZE:
            piece = piece[: expected_bytes - received]
        received += len(piece)
        _check_limits(received, waited_s, expected_bytes, address, limits)
        for first in range(0, len(piece), PIECE_BYTES_MAX):
            yield piece[first : first + PIECE_BYTES_MAX]
    if received < expected_bytes:
        raise TransferInterrupted(f"the body ends after {received:,} of {expected_bytes:,} bytes")
    if metadata.length == expected_bytes:
        # The end of the message, which has arrived, so that the connection can be used again.
        with within(limits.read_s):
            next(pieces, b"")


def _marks_its_end(response: httpx.Response) -> bool:
    encoding: str = response.headers.get("transfer-encoding", "")
    return encoding.strip().lower() == "chunked"


def _check_limits(
    received: int, waited_s: float, expected_bytes: int, address: WebAddress, limits: TransferLimits
) -> None:
    if waited_s > limits.grace_s and received < waited_s * limits.bytes_per_s_min:
        raise SourceUnavailableError(
            f"{address} is too slow: it sends fewer than {limits.bytes_per_s_min:,} bytes per second",
            hint="load it again later, or download it and load the copy",
            file=str(address),
        )
    if expected_bytes == UNKNOWN_SIZE and received > limits.unknown_bytes_max:
        raise SourceTooLargeError(
            f"{address} sends more than {limits.unknown_bytes_max:,} bytes without naming its size",
            hint="let the server send a Content-Length",
            file=str(address),
        )


@contextmanager
def interruptions_reported(address: WebAddress) -> Iterator[None]:
    """Translate errors of httpx: ``TransferInterrupted``, or ``SourceUnreadableError`` where a retry cannot help."""
    try:
        yield
    except httpx.TransportError as error:
        raise transport_error(error, address) from error
