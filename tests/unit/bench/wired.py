"""An in-memory cluster behind the part of the driver that a profile times.

Requests go through the driver's own ``Session.execute_async``, and for each a frame arrives on a connection of the
product's class. The calls are therefore those with real nodes; only the rows come from memory.
"""

from __future__ import annotations

import socket
import struct
import threading
from collections import deque
from collections.abc import Callable
from typing import Any

from cassandra.cluster import Session
from cassandra.connection import _ConnectionIOBuffer
from cassandra.protocol import ResultMessage
from cassandra.query import BoundStatement

from millrace.compat.cassandra.connection import WideConnection
from millrace.store.cluster.session import CassandraSession
from tests.unit.store.fakes import FakeCassandra

__all__ = ["WiredCassandra"]

_VOID = struct.pack(">BBhBi", 0x84, 0, 0, ResultMessage.opcode, 4) + struct.pack(">i", 1)


class _Connection(WideConnection):
    """One end of a socket pair, without an event loop; the driver ignores a response without a request."""

    def __init__(self, own: socket.socket) -> None:
        own.setblocking(False)
        self._io_buffer = _ConnectionIOBuffer(self)
        self._socket = own
        self.lock = threading.RLock()
        self.orphaned_request_ids: set[int] = set()
        self.request_ids: deque[int] = deque()
        self._requests: dict[int, Any] = {}
        self._continuous_paging_sessions: dict[int, Any] = {}

    def defunct(self, error: Exception) -> None:
        raise error


class _Request:
    """A stand-in for the driver's ``ResponseFuture``."""

    def __init__(self, cluster: WiredCassandra, statement: Any, host: Any) -> None:
        self._cluster, self._statement, self._host = cluster, statement, host
        self._rows: list[Any] = []
        self._attempt: Any = None

    def send_request(self) -> None:
        writes = not isinstance(self._statement, BoundStatement)
        if writes or self._statement.prepared_statement.query_string.startswith("INSERT"):
            self._attempt = self._cluster._execute_async(self._statement, self._host, 0.0)
        else:
            self._rows = self._cluster._execute(self._statement, host=self._host)
        self._cluster.answer_arrives()

    def add_callbacks(self, done: Callable[[Any], None], failed: Callable[[Any], None]) -> None:
        if self._attempt is None:
            done(self._rows)
        else:
            self._attempt.add_callbacks(done, failed)

    def result(self) -> list[Any]:
        return self._rows


class _Session(Session):  # type: ignore[misc]
    def __init__(self, cluster: WiredCassandra) -> None:
        self._of = cluster
        self._request_init_callbacks: list[Any] = []

    def _create_response_future(self, query: Any, *given: Any) -> _Request:
        return _Request(self._of, query, given[-1])

    def execute(self, statement: Any, timeout: float | None = None, host: Any = None) -> list[Any]:  # type: ignore[override]
        return self._of._execute(statement, timeout, host)

    def prepare(self, query: str) -> Any:  # type: ignore[override]
        return self._of._prepare_now(query)


class WiredCassandra(FakeCassandra):
    """Two in-memory nodes whose requests and responses pass through the driver."""

    def __init__(self) -> None:
        super().__init__()
        self.session = self._probes = _Session(self)
        own, self._other = socket.socketpair()
        self._connection = _Connection(own)
        self._arriving = threading.Lock()

    def execute_watched(self, *args: Any, **kwargs: Any) -> list[Any]:
        """Call the product's own method: that of the in-memory cluster waits for nothing."""
        return CassandraSession.execute_watched(self, *args, **kwargs)

    def answer_arrives(self) -> None:
        """Deliver a response, and notify the connection that it can read, as the event loop does."""
        with self._arriving:
            self._other.send(_VOID)
            self._connection.handle_read(None, 0)

    def close(self) -> None:
        self._other.close()
        self._connection._socket.close()
