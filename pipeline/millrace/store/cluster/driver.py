"""Create driver clusters with measured settings, and translate the driver's errors.

Settings: protocol v4, 64 KiB buffers, no compression, libev, a token-aware policy. Measured on 4.9 MB values
(docs/architecture.md, "The driver"): protocol v5 and the driver's own 4 KiB buffers cost up to half of the throughput
and twice the CPU. Nothing is created at import.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from cassandra import (
    ConsistencyLevel,
    InvalidRequest,
    OperationTimedOut,
    ReadTimeout,
    RequestExecutionException,
    Unauthorized,
    WriteTimeout,
)
from cassandra.auth import PlainTextAuthProvider
from cassandra.cluster import EXEC_PROFILE_DEFAULT, Cluster, ExecutionProfile, NoHostAvailable
from cassandra.connection import ConnectionBusy, ConnectionException
from cassandra.policies import (
    ConstantReconnectionPolicy,
    DCAwareRoundRobinPolicy,
    FallthroughRetryPolicy,
    HostStateListener,
    TokenAwarePolicy,
)
from cassandra.pool import Host, NoConnectionsAvailable
from cassandra.protocol import ErrorMessage, SyntaxException

from millrace.compat.cassandra import NODE_LOCAL, connection_class
from millrace.errors import StoreError, StoreTimeoutError, StoreUnavailableError
from millrace.settings import CassandraSettings

__all__ = [
    "LOCAL_ONE",
    "NODE_LOCAL",
    "REFUSED",
    "TWO",
    "NodeDownListener",
    "translate_driver_errors",
    "first_cause",
    "is_busy",
    "new_cluster",
]

TWO = ConsistencyLevel.TWO
LOCAL_ONE = ConsistencyLevel.LOCAL_ONE

REFUSED = (InvalidRequest, Unauthorized, SyntaxException)
"""Errors that every node would return for the same request."""

_TIMED_OUT = (ReadTimeout, WriteTimeout, OperationTimedOut)
# The driver has no common base class for "this node did not execute the request". A connection that is reset during a
# request raises ConnectionShutdown, an overloaded or failing node returns an ErrorMessage, and neither is a
# DriverException.
_UNANSWERED = (
    NoHostAvailable,
    ConnectionException,
    ConnectionBusy,
    NoConnectionsAvailable,
    OperationTimedOut,
    RequestExecutionException,
    ErrorMessage,
)

logging.getLogger("cassandra").addHandler(logging.NullHandler())


class NodeDownListener(HostStateListener):  # type: ignore[misc]
    """Listener that wakes waiting threads when a connection ends or the driver marks a node down."""

    def __init__(self) -> None:
        self._waiting: set[threading.Event] = set()

    @contextmanager
    def waking(self, changed: threading.Event) -> Iterator[None]:
        """Set ``changed`` whenever a node may have been lost, while in the ``with`` block."""
        self._waiting.add(changed)
        try:
            yield
        finally:
            self._waiting.discard(changed)

    def wake(self) -> None:
        """Wake all waiting threads, so that each checks the nodes that it needs. Never blocks."""
        for changed in tuple(self._waiting):
            changed.set()

    def on_down(self, host: Host) -> None:
        """Wake all waiting threads, because the driver marks a node down."""
        self.wake()

    on_remove = on_down

    def on_up(self, host: Host) -> None:
        """Do nothing: no thread waits for a node to come up."""

    on_add = on_up


class _ResponsiveFirst(TokenAwarePolicy):  # type: ignore[misc]
    """Token-aware policy that puts nodes known to be unresponsive last.

    The driver itself detects a frozen node after ten seconds. Until then it sends that node statements that name no
    node.
    """

    def __init__(self, silent_until: Mapping[Any, float], local_dc: str) -> None:
        super().__init__(DCAwareRoundRobinPolicy(local_dc), shuffle_replicas=True)
        self._silent_until = silent_until

    def make_query_plan(self, working_keyspace: str | None = None, query: Any = None) -> Iterator[Host]:
        now = time.monotonic()
        plan = super().make_query_plan(working_keyspace, query)
        return iter(sorted(plan, key=lambda host: self._silent_until.get(host.endpoint, 0.0) > now))


def new_cluster(
    settings: CassandraSettings, silent_until: Mapping[Any, float], losses: NodeDownListener, **options: Any
) -> Cluster:
    """Return a cluster that is not connected yet.

    ``silent_until`` maps the endpoints that are tried last to the time (monotonic clock) until which they are.
    ``losses`` is notified of every connection that ends and of every node that the driver marks down.
    """
    profile = ExecutionProfile(
        load_balancing_policy=_ResponsiveFirst(silent_until, settings.local_dc),
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
        connection_class=connection_class(losses.wake),
        protocol_version=4,
        compression=False,
        auth_provider=auth,
        execution_profiles={EXEC_PROFILE_DEFAULT: profile},
        # Preparing on all nodes would wait for a frozen one. The others prepare a statement when it is first sent to
        # them.
        prepare_on_all_hosts=False,
        connect_timeout=settings.connect_timeout_s,
        control_connection_timeout=settings.connect_timeout_s,
        idle_heartbeat_interval=5,
        idle_heartbeat_timeout=5,
        reconnection_policy=ConstantReconnectionPolicy(1.0, max_attempts=None),
        schema_event_refresh_window=1,
        **options,
    )
    cluster.register_listener(losses)
    return cluster


def is_busy(error: Any) -> bool:
    """Return whether a request never left this process because its connection was full.

    That is back-pressure and does not mean that the node is lost.
    """
    causes = error.errors.values() if isinstance(error, NoHostAvailable) and isinstance(error.errors, dict) else [error]
    return any(isinstance(cause, ConnectionBusy) for cause in causes)


@contextmanager
def translate_driver_errors(host: Host | None = None) -> Iterator[None]:
    """Raise the driver's errors as ``StoreTimeoutError``, ``StoreUnavailableError`` or ``StoreError``."""
    try:
        yield
    except (*_UNANSWERED, *REFUSED) as error:
        raise _ours(error, host) from None


def _ours(error: Exception, host: Host | None) -> StoreError:
    node = str(host.address) if host is not None else None
    said = f"{type(error).__name__}: {first_cause(error)}"
    if isinstance(error, REFUSED):
        return StoreError(f"Cassandra refused a request ({said})", hint="millrace doctor checks the setup", node=node)
    kind = StoreTimeoutError if isinstance(error, _TIMED_OUT) else StoreUnavailableError
    return kind(f"{node or 'Cassandra'} gave no answer ({said})", hint="see ./run status", node=node)


def first_cause(error: BaseException) -> str:
    """Return the error message of the first node, in one line of at most 200 characters."""
    causes = getattr(error, "errors", None)
    first = next(iter(causes.values()), error) if isinstance(causes, dict) else error
    return " ".join(str(first).split())[:200] or type(first).__name__
