"""The class of the driver's connections, for values of several megabytes.

Buffers have 64 KiB, large frames are received into buffers of their size, and cancelled timers release their requests.
The reactor is libev: asyncore was removed in Python 3.12, and the other reactors are slower. Outside the tested
versions the driver itself receives large frames.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from cassandra.io.libevreactor import LibevConnection

from millrace.compat.cassandra.large_frames import LargeFrames
from millrace.compat.versions import CASSANDRA_DRIVER

BUFFER_BYTES = 64 * 1024


class _Deadline:
    """Callback of a timer. Once cancelled it does nothing and keeps no reference to its request."""

    __slots__ = ("_call", "_timer")

    def __init__(self, call: Callable[[], None]) -> None:
        self._call: Callable[[], None] | None = call
        self._timer: Any = None

    def __call__(self) -> None:
        if (call := self._call) is not None:
            call()

    def start(self, create_timer: Callable[[float, Callable[[], None]], Any], timeout_s: float) -> None:
        """Start the driver's timer, which calls this object."""
        self._timer = create_timer(timeout_s, self)

    def cancel(self) -> None:
        """Cancel the timer and release the request."""
        self._call = None
        self._timer.cancel()


class _Wide:
    """The part of the connection that works with any version of the driver."""

    in_buffer_size = BUFFER_BYTES
    out_buffer_size = BUFFER_BYTES

    # While the kernel's buffer is full, the driver rejects every request on the connection (ConnectionBusy) and never
    # releases the stream ID taken for it. After 32,768 such requests the connection is unusable. The window bounds the
    # bytes that wait in this process, so requests may wait instead. A version without this attribute ignores it.
    _socket_writable = property(lambda self: True, lambda self, writable: None)

    def close(self) -> None:
        """Close the connection and call ``on_close`` at once.

        A killed node closes its connections, but the driver reports it as down only after something is sent to it. A
        request that needs both replicas, and that the other node coordinates, would wait for seconds.
        """
        super().close()  # type: ignore[misc]
        self.on_close()

    @staticmethod
    def on_close() -> None:
        """Do nothing; ``connection_class`` replaces this method."""

    @classmethod
    def create_timer(cls, timeout: float, callback: Callable[[], None]) -> _Deadline:
        """Create a timer that releases its request when it is cancelled.

        The driver keeps cancelled timers, and with each of them a request's 5 MB, until all timers that end earlier are
        gone. One request to a frozen node would keep in memory everything written or read in the next 30 seconds.
        """
        deadline = _Deadline(callback)
        deadline.start(super().create_timer, timeout)  # type: ignore[misc]
        return deadline


class WideConnection(_Wide, LargeFrames):
    """Connection that receives large frames in place."""


class StockConnection(_Wide, LibevConnection):  # type: ignore[misc]
    """Connection in which the driver receives every frame."""


def connection_class(on_close: Callable[[], None]) -> type[LibevConnection]:
    """Return a class for ``Cluster(connection_class=...)``; each of its connections calls ``on_close`` when it ends."""
    base = WideConnection if CASSANDRA_DRIVER.is_installed() else StockConnection
    return type(base.__name__, (base,), {"on_close": staticmethod(on_close)})
