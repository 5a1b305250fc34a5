"""Leases: a reader records which version it reads, so that the version is not deleted meanwhile."""

from __future__ import annotations

import socket
import threading
from datetime import UTC, datetime
from typing import Any, Self
from uuid import uuid4

from millrace.errors import StoreError
from millrace.parallel import Heartbeat
from millrace.store.catalogue.version import Version
from millrace.store.cluster.driver import LOCAL_ONE, TWO
from millrace.store.cluster.session import CassandraSession

_TTL_S = 900
_RENEW_S = 300.0
_WRITE_TIMEOUT_S = 1.0
_WAIT_TAKEN_MAX_S = 10.0
"""Seconds; longer than one write to both nodes and one write to each of them alone may take."""


class Lease:
    """A lease for the duration of the ``with`` block, renewed every 5 minutes.

    It expires by itself 15 minutes after a reader dies. It is taken and released in the background; ``wait_taken``
    returns when it is taken. Best effort: a lease that cannot be written never fails a read. The grace time of 24 hours
    of a deleted version still protects its readers then.
    """

    def __init__(self, cassandra: CassandraSession, version: Version, *, renew_s: float = _RENEW_S) -> None:
        self._cassandra = cassandra
        self._version = version
        self._lease = uuid4()
        self._taken = threading.Event()
        self._heartbeat = Heartbeat(self._renew, self._release, renew_s=renew_s, name="millrace-lease")

    def __enter__(self) -> Self:
        self._heartbeat.__enter__()
        return self

    def wait_taken(self) -> None:
        """Wait until the lease is stored or could not be stored, or for at most ``_WAIT_TAKEN_MAX_S``."""
        self._taken.wait(_WAIT_TAKEN_MAX_S)

    def __exit__(self, *_error: object) -> None:
        """Release the lease in the background; ``CassandraSession.drain`` and the end of the process wait for that."""
        self._cassandra.track_background(self._heartbeat.thread)
        self._heartbeat.__exit__()

    def _renew(self) -> None:
        try:
            self._write()
        finally:
            self._taken.set()

    def _release(self) -> None:
        self._run("DELETE FROM {ks}.leases WHERE dataset = ? AND lease = ?", (self._version.dataset, self._lease))

    def _write(self) -> None:
        values = (self._version.dataset, self._lease, self._version.number, self._version.hex, socket.gethostname())
        query = (
            "INSERT INTO {ks}.leases (dataset, lease, number, hex, holder, taken) VALUES (?, ?, ?, ?, ?, ?) USING TTL ?"
        )
        self._run(query, (*values, datetime.now(UTC), _TTL_S))

    def _run(self, query: str, values: tuple[Any, ...]) -> None:
        try:
            statement = self._cassandra.prepare(query).bind(values)
        except (StoreError, RuntimeError):
            return
        live = [
            host for host in self._cassandra.replicas(statement) if not self._cassandra.monitor.is_unavailable(host)
        ]
        # A reader must not wait for a node that is known to be unresponsive.
        for level, host in [(TWO, None)] * (len(live) > 1) + [(LOCAL_ONE, host) for host in live]:
            statement.consistency_level = level
            needed = live if host is None else [host]
            try:
                self._cassandra.execute_watched(statement, needed, host=host, timeout_s=_WRITE_TIMEOUT_S)
            except (StoreError, RuntimeError):  # RuntimeError while the interpreter ends
                continue
            return
