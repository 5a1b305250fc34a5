"""One session with Cassandra, set up as measured: protocol v4, 64 KiB buffers, no compression, libev, token-aware.

Measured on 4.9 MB values (docs/architecture.md, "the driver"): protocol v5 and the driver's own 4 KiB buffers cost
up to half of the throughput and twice the CPU. Nothing here is made at import, and a session never crosses a
fork: whoever forks connects anew.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import wait
from contextlib import contextmanager
from typing import Any

from cassandra import (
    ConsistencyLevel,
    DriverException,
    InvalidRequest,
    OperationTimedOut,
    ReadTimeout,
    RequestExecutionException,
    Unauthorized,
    WriteTimeout,
)
from cassandra.auth import PlainTextAuthProvider
from cassandra.cluster import EXEC_PROFILE_DEFAULT, Cluster, ExecutionProfile, NoHostAvailable, Session
from cassandra.connection import Connection, ConnectionBusy, ConnectionException
from cassandra.io.libevreactor import LibevConnection
from cassandra.policies import (
    ConstantReconnectionPolicy,
    DCAwareRoundRobinPolicy,
    FallthroughRetryPolicy,
    TokenAwarePolicy,
)
from cassandra.pool import Host, NoConnectionsAvailable
from cassandra.protocol import ErrorMessage, SyntaxException
from cassandra.query import Statement

from pipeline.errors import StoreError, StoreTimeoutError, StoreUnavailableError
from pipeline.settings import CassandraSettings

__all__ = ["LOCAL_ONE", "NODE_LOCAL", "REFUSED", "TWO", "CassandraSession", "errors_as_ours", "is_busy"]

TWO = ConsistencyLevel.TWO
LOCAL_ONE = ConsistencyLevel.LOCAL_ONE
NODE_LOCAL = 11
"""The coordinator answers from its own data alone; the driver has no name for it but sends the number."""
ConsistencyLevel.value_to_name.setdefault(NODE_LOCAL, "NODE_LOCAL")

REFUSED = (InvalidRequest, Unauthorized, SyntaxException)
"""What every node would say to the same request."""

_TIMED_OUT = (ReadTimeout, WriteTimeout, OperationTimedOut)
# The driver has no common base for "this node did not do it": a connection that is reset under a request raises
# ConnectionShutdown, an overloaded or half-dead node an ErrorMessage, and neither is a DriverException.
_UNANSWERED = (
    NoHostAvailable,
    ConnectionException,
    ConnectionBusy,
    NoConnectionsAvailable,
    OperationTimedOut,
    RequestExecutionException,
    ErrorMessage,
)

_BUFFER_BYTES = 64 * 1024
_PROBE = "SELECT key FROM system.local WHERE key = 'local'"
_PROBE_PATIENCE_S = 0.25
_SURE_AFTER_S = 2.0
"""As patient is who refuses to do something because a node is silent."""
_SILENT_FOR_S = 5.0
"""A node that did not answer a probe is asked last for so long, and then probed again."""
_PREPARE_ROUNDS = 3
_SETTLED_S = 10.0

logging.getLogger("cassandra").addHandler(logging.NullHandler())


class _Deadline:
    """What a timer calls, unless it has been cancelled."""

    __slots__ = ("_call", "_timer")

    def __init__(self, call: Callable[[], None]) -> None:
        self._call: Callable[[], None] | None = call
        self._timer: Any = None

    def __call__(self) -> None:
        if (call := self._call) is not None:
            call()

    def cancel(self) -> None:
        self._call = None
        self._timer.cancel()


class _WideConnection(LibevConnection):  # type: ignore[misc]
    """libev, because asyncore is gone from Python 3.12 and every other reactor is slower."""

    in_buffer_size = _BUFFER_BYTES
    out_buffer_size = _BUFFER_BYTES

    # While the kernel's buffer is full the driver refuses every request on the connection (ConnectionBusy) and never
    # gives back the stream number it has taken for it: 32,768 of them, and the connection is of no use any more. The
    # window bounds what waits in this process, so requests may wait.
    _socket_writable = property(lambda self: True, lambda self, writable: None)

    @classmethod
    def create_timer(cls, timeout: float, callback: Callable[[], None]) -> _Deadline:
        """A timer that lets go of its request when it is cancelled.

        The driver keeps cancelled timers, and with them a request's 5 MB, until every timer that ends earlier is
        gone: one request to a frozen node would hold on to everything written or read in the next 30 seconds.
        """
        deadline = _Deadline(callback)
        deadline._timer = super().create_timer(timeout, deadline)
        return deadline


class CassandraSession:
    """An open session and the statements prepared on it; belongs to the process that made it.

    ``connect`` raises ``StoreUnavailableError`` when no contact point answers within ``connect_timeout_s``.
    """

    def __init__(self, cluster: Cluster, session: Session, settings: CassandraSettings) -> None:
        self.cluster = cluster
        self.session = session
        self.settings = settings
        self.pid = os.getpid()
        self._prepared: dict[str, Any] = {}
        self._probes: Session | None = None
        self._silent_until: dict[Any, float] = {}
        self._behind: set[threading.Thread] = set()
        # Preparing asks one node and waits so long for it; there is no public setting beside execution profiles.
        session._default_timeout = settings.silent_after_s

    @classmethod
    def connect(cls, settings: CassandraSettings, **cluster_options: Any) -> CassandraSession:
        """A session in no keyspace: statements name it, so one session can also create it."""
        Connection.in_buffer_size = Connection.out_buffer_size = _BUFFER_BYTES
        profile = ExecutionProfile(
            load_balancing_policy=TokenAwarePolicy(DCAwareRoundRobinPolicy(settings.local_dc), shuffle_replicas=True),
            consistency_level=LOCAL_ONE,
            request_timeout=settings.request_timeout_s,
            retry_policy=FallthroughRetryPolicy(),
        )
        auth = None
        if settings.username is not None:
            password = settings.password.get_secret_value() if settings.password else ""
            auth = PlainTextAuthProvider(settings.username, password)
        cluster = Cluster(
            list(settings.contact_points),
            port=settings.port,
            connection_class=_WideConnection,
            protocol_version=4,
            compression=False,
            auth_provider=auth,
            execution_profiles={EXEC_PROFILE_DEFAULT: profile},
            connect_timeout=settings.connect_timeout_s,
            control_connection_timeout=settings.connect_timeout_s,
            idle_heartbeat_interval=5,
            idle_heartbeat_timeout=5,
            reconnection_policy=ConstantReconnectionPolicy(1.0, max_attempts=None),
            schema_event_refresh_window=1,
            **cluster_options,
        )
        try:
            session = _with_every_pool(cluster.connect(), settings.silent_after_s)
        except (NoHostAvailable, DriverException, OSError) as error:
            cluster.shutdown()
            nodes = ", ".join(f"{address}:{settings.port}" for address in settings.contact_points)
            raise StoreUnavailableError(
                f"no Cassandra node answers at {nodes} ({_first_cause(error)})",
                hint="start the local stack with ./run up cassandra, or set MILLRACE_CASSANDRA__CONTACT_POINTS",
                node=nodes,
            ) from None
        return cls(cluster, session, settings)

    def close(self) -> None:
        """What was begun behind is done, and connections are closed; closing twice does nothing."""
        self.settle()
        self.cluster.shutdown()

    def behind(self, work: Callable[[], None], *, name: str) -> None:
        """``work``, something small, is done while the caller goes on; the end of the process waits for it, too."""

        def do() -> None:
            try:
                work()
            finally:
                self._behind.discard(thread)

        # Not a daemon: the interpreter waits for it, whether or not anybody closes the session.
        thread = threading.Thread(target=do, name=name)
        self._behind.add(thread)
        thread.start()

    def settle(self) -> None:
        """Returns when everything that was begun behind is done, or after ``_SETTLED_S``."""
        deadline = time.monotonic() + _SETTLED_S
        for thread in list(self._behind):
            thread.join(max(0.0, deadline - time.monotonic()))

    @property
    def probes(self) -> Session:
        """A session of its own connections, for questions that must not wait behind megabytes of chunks."""
        if self._probes is None:
            with errors_as_ours():
                self._probes = _with_every_pool(self.cluster.connect(), self.settings.silent_after_s)
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
                return self.session.prepare(text)
            except (*_UNANSWERED, *REFUSED) as error:
                # The driver asks one node only, the next one at the next call.
                if not left or isinstance(error, REFUSED):
                    raise _ours(error, None) from None
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
        with errors_as_ours(host):
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
        """All rows from ``host``; a node that has fallen silent is given up after ``silent_after_s``, a slow one not.

        Raises like ``execute``; ``StoreTimeoutError`` for a node that answers not even a tiny question.
        """
        probes_ready = self.probes  # connected while nothing is wrong yet
        over = threading.Event()
        with errors_as_ours(host):
            future = self.session.execute_async(statement, timeout=self.settings.request_timeout_s, host=host)
            future.add_callbacks(lambda _rows: over.set(), lambda _error: over.set())
            while not over.wait(self.settings.silent_after_s):
                if probes_ready is not None and self.fell_silent(host):
                    raise StoreTimeoutError(
                        f"{host.address} has fallen silent", hint="see ./run status", node=str(host)
                    )
            try:
                return list(future.result())
            except NoHostAvailable as error:
                if not is_busy(error):
                    raise
        return self.execute(statement, host=host)

    def answers(self, host: Host, *, patience_s: float = _PROBE_PATIENCE_S) -> bool:
        """Whether the node answers a tiny question in time, on a connection that chunks do not fill."""
        try:
            self.probes.execute(_PROBE, host=host, timeout=patience_s)
        except Exception:  # noqa: BLE001 the driver raises many kinds here, all of which mean "no answer"
            return False
        self._silent_until.pop(host.endpoint, None)
        return True

    def fell_silent(self, host: Host, *, patience_s: float = _PROBE_PATIENCE_S) -> bool:
        """Whether the node is silent while another one speaks; a cluster of which all are slow is only busy."""
        if self.answers(host, patience_s=patience_s) or self.answers(host, patience_s=patience_s):
            return False
        if not any(self.answers(other, patience_s=patience_s) for other in self.hosts() if other != host):
            return False
        self._silent_until[host.endpoint] = time.monotonic() + _SILENT_FOR_S
        return True

    def is_silent(self, host: Host) -> bool:
        """Whether the node fell silent a moment ago; who has been silent for a while is asked again."""
        until = self._silent_until.get(host.endpoint)
        return until is not None and (time.monotonic() < until or self.fell_silent(host))

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

        The ring has an order of its own, but knows no replicas for a moment whenever the driver reads the topology
        anew: who is asked first for a chunk would change with it.
        """
        key = statement.routing_key
        found = self.cluster.metadata.get_replicas(self.settings.keyspace, key) if key is not None else []
        return sorted(found, key=_by_address) or self.hosts()


def _by_address(host: Host) -> str:
    return str(host.address)


def _with_every_pool(session: Session, timeout_s: float) -> Session:
    """The session, once it has tried to connect to every node; a node that is silent is waited for ``timeout_s``.

    The driver returns as soon as it has a connection to one node, and a request to another one then fails as if that
    node were down: the first chunks of a load would be written, and noted, as having one replica.
    """
    wait(session._initial_connect_futures, timeout=timeout_s)
    return session


def is_busy(error: Any) -> bool:
    """A request never left this process because the connection was full: back-pressure, not a node that is gone."""
    causes = error.errors.values() if isinstance(error, NoHostAvailable) and isinstance(error.errors, dict) else [error]
    return any(isinstance(cause, ConnectionBusy) for cause in causes)


@contextmanager
def errors_as_ours(host: Host | None = None) -> Iterator[None]:
    """What the driver raises inside becomes ``StoreTimeoutError``, ``StoreUnavailableError`` or ``StoreError``."""
    try:
        yield
    except (*_UNANSWERED, *REFUSED) as error:
        raise _ours(error, host) from None


def _ours(error: Exception, host: Host | None) -> StoreError:
    node = str(host.address) if host is not None else None
    said = f"{type(error).__name__}: {_first_cause(error)}"
    if isinstance(error, REFUSED):
        return StoreError(f"Cassandra refused a request ({said})", hint="millrace doctor checks the setup", node=node)
    kind = StoreTimeoutError if isinstance(error, _TIMED_OUT) else StoreUnavailableError
    return kind(f"{node or 'Cassandra'} gave no answer ({said})", hint="see ./run status", node=node)


def _first_cause(error: BaseException) -> str:
    causes = getattr(error, "errors", None)
    first = next(iter(causes.values()), error) if isinstance(causes, dict) else error
    return " ".join(str(first).split())[:200] or type(first).__name__
