"""Create driver clusters with measured settings.

Settings: protocol v4, 64 KiB buffers, no compression, libev, a token-aware policy. Measured on 4.9 MB values
(docs/architecture.md, "The driver"): protocol v5 and the driver's own 4 KiB buffers cost up to half of the throughput
and twice the CPU. Nothing is created at import.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from typing import Any, ClassVar

from cassandra import ConsistencyLevel
from cassandra.auth import PlainTextAuthProvider
from cassandra.cluster import EXEC_PROFILE_DEFAULT, Cluster, ExecutionProfile
from cassandra.connection import Connection
from cassandra.policies import (
    ConstantReconnectionPolicy,
    DCAwareRoundRobinPolicy,
    FallthroughRetryPolicy,
    TokenAwarePolicy,
)
from cassandra.pool import Host

from millrace.settings import CassandraSettings
from millrace.store.cluster.large_frames import LargeFrames
from millrace.store.cluster.node_monitor import NodeMonitor

__all__ = ["BUFFER_BYTES", "LOCAL_ONE", "NODE_LOCAL", "TWO", "ResponsiveFirstPolicy", "WideConnection", "new_cluster"]

TWO = ConsistencyLevel.TWO
LOCAL_ONE = ConsistencyLevel.LOCAL_ONE
NODE_LOCAL = 11
"""Consistency level at which the coordinator uses its own data alone. The driver has no name for it but sends the
number."""
ConsistencyLevel.value_to_name.setdefault(NODE_LOCAL, "NODE_LOCAL")

BUFFER_BYTES = 64 * 1024

logging.getLogger("cassandra").addHandler(logging.NullHandler())


class _Deadline:
    """Callback of a timer. Once cancelled it does nothing and keeps no reference to its request."""

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


class WideConnection(LargeFrames):
    """Connection on libev with 64 KiB buffers.

    asyncore was removed in Python 3.12, and every other reactor is slower.
    """

    in_buffer_size = BUFFER_BYTES
    out_buffer_size = BUFFER_BYTES
    on_close: ClassVar[Callable[[], None] | None] = None

    # While the kernel's buffer is full, the driver rejects every request on the connection (ConnectionBusy) and never
    # releases the stream ID taken for it. After 32,768 such requests the connection is unusable. The window bounds the
    # bytes that wait in this process, so requests may wait instead.
    _socket_writable = property(lambda self: True, lambda self, writable: None)

    def close(self) -> None:
        """Close the connection and wake the waiting threads at once.

        A killed node closes its connections, but the driver reports it as down only after something is sent to it. A
        request that needs both replicas, and that the other node coordinates, would wait for seconds.
        """
        super().close()
        if (on_close := type(self).on_close) is not None:
            on_close()

    @classmethod
    def create_timer(cls, timeout: float, callback: Callable[[], None]) -> _Deadline:
        """Create a timer that releases its request when it is cancelled.

        The driver keeps cancelled timers, and with each of them a request's 5 MB, until all timers that end earlier are
        gone. One request to a frozen node would keep in memory everything written or read in the next 30 seconds.
        """
        deadline = _Deadline(callback)
        deadline._timer = super().create_timer(timeout, deadline)
        return deadline


class ResponsiveFirstPolicy(TokenAwarePolicy):  # type: ignore[misc]
    """Token-aware policy that puts deprioritized nodes last.

    The driver itself detects a frozen node after ten seconds. Until then it sends that node statements that name no
    node.
    """

    def __init__(self, monitor: NodeMonitor, local_dc: str) -> None:
        super().__init__(DCAwareRoundRobinPolicy(local_dc), shuffle_replicas=True)
        self._monitor = monitor

    def make_query_plan(self, working_keyspace: str | None = None, query: Any = None) -> Iterator[Host]:
        """Yield the nodes to try, replicas first, deprioritized nodes last."""
        return iter(sorted(super().make_query_plan(working_keyspace, query), key=self._monitor.is_deprioritized))


def new_cluster(settings: CassandraSettings, monitor: NodeMonitor, **options: Any) -> Cluster:
    """Return a cluster that is not connected yet.

    ``monitor`` says which nodes are tried last. It is notified of every connection that ends and of every node that
    the driver marks down.
    """
    Connection.in_buffer_size = Connection.out_buffer_size = BUFFER_BYTES
    profile = ExecutionProfile(
        load_balancing_policy=ResponsiveFirstPolicy(monitor, settings.local_dc),
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
        connection_class=type("WideConnection", (WideConnection,), {"on_close": staticmethod(monitor.wake)}),
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
    cluster.register_listener(monitor)
    return cluster
