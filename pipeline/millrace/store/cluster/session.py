"""A session with Cassandra: prepared statements, the state of each node, and the replicas to ask.

Nothing is created at import. A session never crosses a fork: a forked process connects again.
"""

from __future__ import annotations

import atexit
import threading
import time
from collections.abc import Sequence
from typing import Any

from cassandra import DriverException
from cassandra.cluster import Cluster, NoHostAvailable, Session
from cassandra.pool import Host
from cassandra.query import Statement

from millrace.compat.cassandra import open_session
from millrace.errors import StoreTimeoutError, StoreUnavailableError
from millrace.settings import CassandraSettings, run_hint
from millrace.store.cluster.driver import new_cluster
from millrace.store.cluster.driver_errors import first_cause, is_busy, translate_driver_errors
from millrace.store.cluster.node_monitor import NodeMonitor

_PREPARE_ROUNDS = 3
_DRAIN_S = 10.0


class CassandraSession:
    """An open session with the statements prepared on it; belongs to the process that created it.

    ``connect`` raises ``StoreUnavailableError`` when no contact point responds within ``connect_timeout_s``.
    """

    def __init__(self, cluster: Cluster, session: Session, settings: CassandraSettings, monitor: NodeMonitor) -> None:
        self.cluster = cluster
        self.session = session
        self.settings = settings
        self.monitor = monitor
        self._prepared: dict[str, Any] = {}
        self._probes: Session | None = None
        self._background: set[threading.Thread] = set()
        monitor.bind(lambda: self.probes, self.hosts)
        atexit.register(self.drain)

    @classmethod
    def connect(cls, settings: CassandraSettings, **cluster_options: Any) -> CassandraSession:
        """Return a session without a default keyspace: statements name theirs, so it can also create the keyspace."""
        monitor = NodeMonitor()
        cluster = new_cluster(settings, monitor, **cluster_options)
        try:
            session = open_session(cluster, timeout_s=settings.unresponsive_after_s)
        except (NoHostAvailable, DriverException, OSError) as error:
            cluster.shutdown()
            nodes = ", ".join(f"{address}:{settings.port}" for address in settings.contact_points)
            raise StoreUnavailableError(
                f"no Cassandra node responds at {nodes} ({first_cause(error)})",
                hint=f"set MILLRACE_CASSANDRA__CONTACT_POINTS, or start the nodes{run_hint('up cassandra')}",
                node=nodes,
            ) from None
        return cls(cluster, session, settings, monitor)

    def close(self) -> None:
        """Wait for the background threads and close the connections. Closing twice does nothing."""
        self.drain()
        atexit.unregister(self.drain)
        self.cluster.shutdown()

    def track_background(self, thread: threading.Thread) -> None:
        """Track ``thread``, which is about to end. ``drain``, ``close`` and the end of the process wait for it.

        Takes no lock, because the garbage collector calls this for an abandoned reader, in any thread.
        """
        self._forget_ended()
        self._background.add(thread)

    def drain(self) -> None:
        """Wait until all tracked background threads have ended, or for at most 10 seconds."""
        deadline = time.monotonic() + _DRAIN_S
        for thread in tuple(self._background):
            thread.join(max(0.0, deadline - time.monotonic()))
        self._forget_ended()

    def _forget_ended(self) -> None:
        self._background.difference_update([thread for thread in tuple(self._background) if not thread.is_alive()])

    @property
    def probes(self) -> Session:
        """A second session with connections of its own, so that probes do not queue behind megabytes of chunks."""
        if self._probes is None:
            with translate_driver_errors():
                self._probes = open_session(self.cluster, timeout_s=self.settings.unresponsive_after_s)
        return self._probes

    def prepare(self, query: str) -> Any:
        """Return the prepared, idempotent statement of ``query``, in which ``{ks}`` is replaced by the keyspace.

        A query is prepared once for each session. Raises like ``execute``, after every node had several chances to
        prepare it.
        """
        statement = self._prepared.get(query)
        if statement is None:
            statement = self._prepare(query.format(ks=self.settings.keyspace))
            statement.is_idempotent = True
            self._prepared[query] = statement
        return statement

    def _prepare(self, text: str) -> Any:
        for attempts_left in range(_PREPARE_ROUNDS * len(self.hosts()), -1, -1):
            try:
                with translate_driver_errors():
                    return self.session.prepare(text)
            except (StoreTimeoutError, StoreUnavailableError) as error:
                # The driver prepares on one node only, and on the next one at the next call. Probing marks unresponsive
                # nodes, so that the next call does not choose one of them again.
                if not attempts_left:
                    nodes = ", ".join(_by_address(host) for host in self.hosts())
                    message = f"{nodes or 'no node'}: {error.message}"
                    raise type(error)(message, hint=error.hint, node=nodes) from None
                if isinstance(error, StoreTimeoutError):
                    for host in self.hosts():
                        self.monitor.probe_unresponsive(host)
        raise AssertionError("unreachable")

    def execute(self, statement: Any, *, host: Host | None = None, timeout_s: float | None = None) -> list[Any]:
        """Return all rows, read from ``host`` when it is given.

        A request that finds no room on its connection is sent again until the timeout.

        Errors of the driver become one of three errors. ``StoreTimeoutError`` and ``StoreUnavailableError`` mean that
        the nodes asked did not respond, so the caller may try others. A plain ``StoreError`` is a rejection that every
        node would repeat.
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
                # The driver has no notification that a connection can be written to again.
                time.sleep(pause_s)
                pause_s = min(0.1, pause_s * 2)

    def execute_at(self, statement: Any, host: Host) -> list[Any]:
        """Return all rows from ``host``. Give up an unresponsive node after ``unresponsive_after_s``, not a slow one.

        Raises like ``execute``, and ``StoreTimeoutError`` for a node that does not even answer a probe.
        """
        _ = self.probes  # connect before a node can become unresponsive
        return self.execute_watched(statement, [host], host=host)

    def execute_watched(
        self,
        statement: Any,
        needed: Sequence[Host],
        *,
        host: Host | None = None,
        probe_s: float | None = None,
        timeout_s: float | None = None,
    ) -> list[Any]:
        """Return all rows, but give up as soon as one of the ``needed`` nodes is lost.

        A coordinator detects the loss of such a node much later. A node is lost when the driver marks it down. It is
        also lost when it does not answer a probe within ``probe_s`` (``ProbeTimes.switch_s`` by default) while another
        node does.

        Probes are sent just before ``unresponsive_after_s`` is over, and whenever a connection ends. A node that is
        only slow is waited for. ``StoreTimeoutError`` names the lost node; otherwise raises like ``execute``.
        """
        probe_s = self.monitor.times.switch_s if probe_s is None else probe_s
        wait_s = max(self.settings.unresponsive_after_s - probe_s, self.settings.unresponsive_after_s / 2)
        seconds = self.settings.request_timeout_s if timeout_s is None else timeout_s
        over = threading.Event()
        changed = threading.Event()

        def end(_result: Any) -> None:
            over.set()
            changed.set()

        with translate_driver_errors(host), self.monitor.waking(changed):
            future = self.session.execute_async(statement, timeout=seconds, host=host)
            future.add_callbacks(end, end)
            while not over.is_set():
                changed.wait(wait_s)
                changed.clear()
                if not over.is_set():
                    self._require(needed, probe_s)
            try:
                return list(future.result())
            except NoHostAvailable as error:
                if not is_busy(error):
                    raise
        return self.execute(statement, host=host, timeout_s=timeout_s)

    def _require(self, nodes: Sequence[Host], probe_s: float) -> None:
        """Raise ``StoreTimeoutError`` when a node is down or unresponsive."""
        for node in nodes:
            if node.is_up is False or self.monitor.probe_unresponsive(node, within_s=probe_s):
                state = "is down" if node.is_up is False else "is unresponsive"
                raise StoreTimeoutError(f"{node.address} {state}", hint="see millrace doctor", node=str(node))

    @property
    def cluster_name(self) -> str:
        """The cluster's own name."""
        return str(self.cluster.metadata.cluster_name)

    def hosts(self) -> list[Host]:
        """Return every node of the local data centre, sorted by address."""
        hosts = [h for h in self.cluster.metadata.all_hosts() if h.datacenter == self.settings.local_dc]
        return sorted(hosts, key=_by_address)

    def down(self) -> list[str]:
        """Return the addresses of the nodes that the driver marks down."""
        return [str(host.address) for host in self.hosts() if host.is_up is False]

    def missing(self) -> list[str]:
        """Return the addresses of nodes that are down or do not answer a probe within ``ProbeTimes.refuse_s``."""
        return [str(host.address) for host in self.monitor.missing()]

    def require_all_up(self, operation: str, *, unchanged: str = "") -> None:
        """Raise ``StoreUnavailableError`` while any node is down. ``unchanged`` is the end of its hint."""
        if down := ", ".join(self.missing()):
            raise StoreUnavailableError(
                f"{operation} needs every node, {down} is down",
                hint="; ".join(filter(None, ("start it and give the command again", unchanged))),
                node=down,
            )

    def replicas(self, statement: Statement) -> list[Host]:
        """Return the replicas of the statement's partition, sorted by address.

        Returns every node when the token map does not know the replicas. The driver's own list has no stable order,
        because ``TokenAwarePolicy`` shuffles it in place. Without sorting, the first replica to ask for a chunk would
        change with it.
        """
        key = statement.routing_key
        replicas = self.cluster.metadata.get_replicas(self.settings.keyspace, key) if key is not None else []
        return sorted(replicas, key=_by_address) or self.hosts()


def _by_address(host: Host) -> str:
    return str(host.address)
