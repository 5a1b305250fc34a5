"""One session with Cassandra: statements prepared once, which nodes answer, and whom to ask.

Nothing here is made at import, and a session never crosses a fork: whoever forks connects anew.
"""

from __future__ import annotations

import atexit
import os
import threading
import time
from collections.abc import Sequence
from concurrent.futures import wait
from typing import Any

from cassandra import DriverException
from cassandra.cluster import Cluster, NoHostAvailable, Session
from cassandra.pool import Host
from cassandra.query import Statement

from millrace.errors import StoreTimeoutError, StoreUnavailableError
from millrace.settings import CassandraSettings
from millrace.store.driver import (
    LOCAL_ONE,
    NODE_LOCAL,
    REFUSED,
    TWO,
    NodeDownListener,
    first_cause,
    is_busy,
    new_cluster,
    translate_driver_errors,
)
from millrace.store.large_frames import LargeRows

__all__ = ["LOCAL_ONE", "NODE_LOCAL", "REFUSED", "TWO", "CassandraSession", "translate_driver_errors", "is_busy"]

_PROBE = "SELECT key FROM system.local WHERE key = 'local'"
_PROBE_PATIENCE_S = 0.25
_SURE_AFTER_S = 2.0
"""As patient is who refuses to do something because a node is silent."""
_SILENT_FOR_S = 5.0
"""A node that did not answer a probe is asked last for so long, and then probed again."""
_PREPARE_ROUNDS = 3
_SETTLED_S = 10.0


class CassandraSession:
    """An open session and the statements prepared on it; belongs to the process that made it.

    ``connect`` raises ``StoreUnavailableError`` when no contact point answers within ``connect_timeout_s``.
    """

    def __init__(
        self,
        cluster: Cluster,
        session: Session,
        settings: CassandraSettings,
        *,
        asked_last: dict[Any, float],
        losses: NodeDownListener,
    ) -> None:
        self.cluster = cluster
        self.session = session
        self.settings = settings
        self.pid = os.getpid()
        self._prepared: dict[str, Any] = {}
        self._probes: Session | None = None
        self._silent_until: dict[Any, float] = {}
        self._asked_last = asked_last
        self._losses = losses
        self._behind: set[threading.Thread] = set()
        atexit.register(self.settle)
        # Preparing asks one node and waits so long for it; there is no public setting beside execution profiles.
        session._default_timeout = settings.unresponsive_after_s

    @classmethod
    def connect(cls, settings: CassandraSettings, **cluster_options: Any) -> CassandraSession:
        """A session in no keyspace: statements name it, so one session can also create it."""
        asked_last: dict[Any, float] = {}
        losses = NodeDownListener()
        cluster = new_cluster(settings, asked_last, losses, **cluster_options)
        try:
            session = _open(cluster, settings.unresponsive_after_s)
        except (NoHostAvailable, DriverException, OSError) as error:
            cluster.shutdown()
            nodes = ", ".join(f"{address}:{settings.port}" for address in settings.contact_points)
            raise StoreUnavailableError(
                f"no Cassandra node answers at {nodes} ({first_cause(error)})",
                hint="start the local stack with ./run up cassandra, or set MILLRACE_CASSANDRA__CONTACT_POINTS",
                node=nodes,
            ) from None
        return cls(cluster, session, settings, asked_last=asked_last, losses=losses)

    def close(self) -> None:
        """What was begun behind is done, and connections are closed; closing twice does nothing."""
        self.settle()
        atexit.unregister(self.settle)
        self.cluster.shutdown()

    def behind(self, thread: threading.Thread) -> None:
        """``thread`` is about to end by itself; ``settle``, ``close`` and the end of the process wait for it.

        Takes no lock: the garbage collector calls this, in whichever thread it runs, for a reader that was abandoned.
        """
        self._forget_ended()
        self._behind.add(thread)

    def settle(self) -> None:
        """Returns when everything that was begun behind is done, or after ``_SETTLED_S``."""
        deadline = time.monotonic() + _SETTLED_S
        for thread in tuple(self._behind):
            thread.join(max(0.0, deadline - time.monotonic()))
        self._forget_ended()

    def _forget_ended(self) -> None:
        for thread in tuple(self._behind):
            if not thread.is_alive():
                self._behind.discard(thread)

    @property
    def probes(self) -> Session:
        """A session of its own connections, for questions that must not wait behind megabytes of chunks."""
        if self._probes is None:
            with translate_driver_errors():
                self._probes = _open(self.cluster, self.settings.unresponsive_after_s)
        return self._probes

    def prepare(self, query: str) -> Any:
        """The prepared statement of ``query`` (``{ks}`` stands for the keyspace), made once, idempotent.

        Raises like ``execute``, after every node has been given the chance to prepare it.
        """
        statement = self._prepared.get(query)
        if statement is None:
            statement = self._prepare(query.format(ks=self.settings.keyspace))
            statement.is_idempotent = True
            self._prepared[query] = statement
        return statement

    def _prepare(self, text: str) -> Any:
        for left in range(_PREPARE_ROUNDS * len(self.hosts()), -1, -1):
            try:
                with translate_driver_errors():
                    return self.session.prepare(text)
            except (StoreTimeoutError, StoreUnavailableError) as error:
                # The driver asks one node only, the next one at the next call: not one that is silent again.
                if not left:
                    nodes = ", ".join(_by_address(host) for host in self.hosts())
                    said = f"{nodes or 'no node'}: {error.message}"
                    raise type(error)(said, hint=error.hint, node=nodes) from None
                if isinstance(error, StoreTimeoutError):
                    for host in self.hosts():
                        self.probe_unresponsive(host)
        raise AssertionError("unreachable")

    def execute(self, statement: Any, *, host: Host | None = None, timeout_s: float | None = None) -> list[Any]:
        """All rows, from ``host`` when it is given; what the driver raises becomes one of three errors.

        A connection that has no room for a request is asked again until the time is over.

        ``StoreTimeoutError`` and ``StoreUnavailableError`` say that the node or nodes asked gave no answer, so
        that others may be asked; a plain ``StoreError`` is what every node would say.
        """
        seconds = self.settings.request_timeout_s if timeout_s is None else timeout_s
        deadline = time.monotonic() + seconds
        pause_s = 0.005
        with translate_driver_errors(host):
            while True:
                left_s = max(0.1, deadline - time.monotonic())
                try:
                    return list(self.session.execute(statement, timeout=left_s, host=host))
                except NoHostAvailable as error:
                    if not is_busy(error) or time.monotonic() + pause_s > deadline:
                        raise
                # Nobody tells when a connection can be written to again.
                time.sleep(pause_s)
                pause_s = min(0.1, pause_s * 2)

    def execute_at(self, statement: Any, host: Host) -> list[Any]:
        """Return all rows from ``host``. Give up an unresponsive node after ``unresponsive_after_s``, not a slow one.

        Raises like ``execute``; ``StoreTimeoutError`` for a node that answers not even a tiny question.
        """
        _ = self.probes  # connected while nothing is wrong yet
        return self.execute_watched(statement, [host], host=host)

    def execute_watched(
        self,
        statement: Any,
        needed: Sequence[Host],
        *,
        host: Host | None = None,
        patience_s: float = _PROBE_PATIENCE_S,
        timeout_s: float | None = None,
    ) -> list[Any]:
        """All rows; given up as soon as one of the nodes that it needs is lost, which a coordinator learns much later.

        A node is lost when the driver says so, or when it does not answer a probe within ``patience_s`` twice while
        another one does. Probes are sent just before ``unresponsive_after_s`` is over, and whenever a connection ends.
        A node that is only slow is waited for. ``StoreTimeoutError`` names the node; otherwise raises like ``execute``.
        """
        wait_s = max(self.settings.unresponsive_after_s - patience_s, self.settings.unresponsive_after_s / 2)
        seconds = self.settings.request_timeout_s if timeout_s is None else timeout_s
        over = threading.Event()
        changed = threading.Event()

        def end(_said: Any) -> None:
            over.set()
            changed.set()

        with translate_driver_errors(host), self._losses.waking(changed):
            future = self.session.execute_async(statement, timeout=seconds, host=host)
            future.add_callbacks(end, end)
            while not over.is_set():
                changed.wait(wait_s)
                changed.clear()
                if not over.is_set():
                    self._require(needed, patience_s)
            try:
                return list(future.result())
            except NoHostAvailable as error:
                if not is_busy(error):
                    raise
        return self.execute(statement, host=host, timeout_s=timeout_s)

    def _require(self, nodes: Sequence[Host], patience_s: float) -> None:
        """Raises ``StoreTimeoutError`` for a node that is down or silent."""
        for node in nodes:
            if node.is_up is False or self.probe_unresponsive(node, patience_s=patience_s):
                what = "is down" if node.is_up is False else "has fallen silent"
                raise StoreTimeoutError(f"{node.address} {what}", hint="see ./run status", node=str(node))

    def answers(self, host: Host, *, patience_s: float = _PROBE_PATIENCE_S) -> bool:
        """Whether the node answers a tiny question in time, on a connection that chunks do not fill."""
        try:
            self.probes.execute(_PROBE, host=host, timeout=patience_s)
        except Exception:  # noqa: BLE001 the driver raises many kinds here, all of which mean "no answer"
            return False
        self.speaks(host)
        return True

    def speaks(self, host: Host) -> None:
        """It has answered: nothing that was said of it before holds."""
        self._silent_until.pop(host.endpoint, None)
        self._asked_last.pop(host.endpoint, None)

    def deprioritize(self, host: Host) -> None:
        """For a few seconds, or until it answers, whatever names no node is asked of the others first."""
        self._asked_last[host.endpoint] = time.monotonic() + _SILENT_FOR_S

    def probe_unresponsive(self, host: Host, *, patience_s: float = _PROBE_PATIENCE_S) -> bool:
        """Whether the node is silent while another one speaks; a cluster of which all are slow is only busy."""
        if self.answers(host, patience_s=patience_s) or self.answers(host, patience_s=patience_s):
            return False
        if not any(self.answers(other, patience_s=patience_s) for other in self.hosts() if other != host):
            return False
        self._silent_until[host.endpoint] = time.monotonic() + _SILENT_FOR_S
        self.deprioritize(host)
        return True

    def is_silent(self, host: Host) -> bool:
        """Whether the node fell silent a moment ago; who has been silent for a while is asked again."""
        until = self._silent_until.get(host.endpoint)
        return until is not None and (time.monotonic() < until or self.probe_unresponsive(host))

    def is_gone(self, host: Host) -> bool:
        """Whether the driver holds the node for down, or it has fallen silent."""
        return host.is_up is False or self.is_silent(host)

    @property
    def cluster_name(self) -> str:
        """The name that the cluster gives itself."""
        return str(self.cluster.metadata.cluster_name)

    def hosts(self) -> list[Host]:
        """Every node of the local data centre, by address."""
        hosts = [h for h in self.cluster.metadata.all_hosts() if h.datacenter == self.settings.local_dc]
        return sorted(hosts, key=_by_address)

    def down(self) -> list[str]:
        """Addresses of nodes that the driver holds for down."""
        return [str(host.address) for host in self.hosts() if host.is_up is False]

    def missing(self) -> list[str]:
        """Addresses of nodes that are down, or that do not answer a tiny question within seconds."""
        up = {
            host: host.is_up is not False and any(self.answers(host, patience_s=_SURE_AFTER_S) for _ in range(2))
            for host in self.hosts()
        }
        return [str(host.address) for host, answers in up.items() if not answers]

    def replicas(self, statement: Statement) -> list[Host]:
        """The nodes that hold the statement's partition, by address; every node where the token map cannot tell.

        The driver's own list has no order to rely on: ``TokenAwarePolicy`` shuffles it in place, and who is asked
        first for a chunk would change with it.
        """
        key = statement.routing_key
        found = self.cluster.metadata.get_replicas(self.settings.keyspace, key) if key is not None else []
        return sorted(found, key=_by_address) or self.hosts()


def _by_address(host: Host) -> str:
    return str(host.address)


def _open(cluster: Cluster, timeout_s: float) -> Session:
    """A session, once it has tried to connect to every node; a node that is silent is waited for ``timeout_s``.

    The driver returns as soon as it has a connection to one node, and a request to another one then fails as if that
    node were down: the first chunks of a load would be written, and noted, as having one replica.
    """
    session = cluster.connect()
    session.client_protocol_handler = LargeRows
    wait(session._initial_connect_futures, timeout=timeout_s)
    return session
