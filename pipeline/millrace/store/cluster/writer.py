"""Replicated writes that continue without one replica.

A write uses ``TWO`` while both replicas respond. It uses ``LOCAL_ONE`` when one does not, and its outcome reports one
replica, so that the caller can record the data as under-replicated. Every write is idempotent and its bytes never
change. It may therefore be sent twice, to either replica, in any order.
"""

from __future__ import annotations

import threading
from concurrent.futures import Future

from cassandra.pool import Host

from millrace.errors import StoreError, StoreTimeoutError
from millrace.store.cluster.dispatcher import HARD_LIMIT_FACTOR, Dispatcher
from millrace.store.cluster.flights import Outcome, Write
from millrace.store.cluster.session import CassandraSession
from millrace.store.cluster.window import ByteWindow

_FLOOR_BYTES = 5_000_000


class ReplicatedWriter:
    """Writer of idempotent statements: ``submit`` returns a future of the ``Outcome``.

    Memory is bounded by ``window_bytes`` of stored bytes. After writes at ``TWO`` to the same replicas have timed out
    three times, writes to them use one replica for ``cool_down_s``.

    A write fails with ``StoreUnavailableError`` when no node has responded for ``request_timeout_s``, or ten times
    ``request_timeout_s`` after it began. It fails with ``StoreError`` at once when the server rejects it for good.
    Back-pressure only slows writes down.
    """

    def __init__(
        self,
        cassandra: CassandraSession,
        *,
        window_bytes: int,
        chunks_in_flight: int = 0,
        bytes_per_s: int = 0,
        cool_down_s: float = 10.0,
    ) -> None:
        self._timeout_s = cassandra.settings.request_timeout_s
        self.window = ByteWindow(
            window_bytes, floor_bytes=_FLOOR_BYTES, limit_writes=chunks_in_flight, bytes_per_s=bytes_per_s
        )
        self._dispatcher = Dispatcher(cassandra, self.window, cool_down_s=cool_down_s)
        self.stats = self._dispatcher.stats
        self.replica_loss_times = self._dispatcher.replica_loss_times
        """Times at which a replica was lost, by the monotonic clock. That replica may lack the writes that it
        acknowledged just before."""
        self._closed = False
        self._closing = threading.Lock()

    def is_degraded(self, replicas: list[Host]) -> bool:
        """Return whether a replica is down or suspected, so the next write reaches fewer than all of them."""
        return len(self._dispatcher.suspected.live(replicas)) < len(replicas)

    def submit(self, write: Write) -> Future[Outcome]:
        """Wait for room in the window, then send the write. The future always completes.

        Raises ``StoreTimeoutError`` when there is no room for ten times ``request_timeout_s``. Raises ``StoreError``
        once the writer is closed.
        """
        self.window.acquire(write.size_bytes, timeout_s=self._timeout_s * HARD_LIMIT_FACTOR)
        future: Future[Outcome] = Future()
        with self._closing:
            if self._closed:
                self.window.release(write.size_bytes)
                raise StoreError(f"{write.description}: the writer was closed before this write began")
            self._dispatcher.begin(write, future)
        return future

    def write(self, write: Write) -> Outcome:
        """Submit a write and return its outcome.

        Raises the error of the write, or ``StoreTimeoutError`` when it does not complete within eleven times
        ``request_timeout_s``.
        """
        try:
            return self.submit(write).result(self._timeout_s * (HARD_LIMIT_FACTOR + 1))
        except TimeoutError:
            raise StoreTimeoutError(
                f"{write.description}: no response within the deadline", hint="see millrace doctor"
            ) from None

    def close(self) -> None:
        """Fail the open writes and stop the dispatcher. Closing twice does nothing."""
        with self._closing:
            if self._closed:
                return
            self._closed = True
        self._dispatcher.close()

    def __enter__(self) -> ReplicatedWriter:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.close()
