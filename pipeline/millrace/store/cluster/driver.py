"""Create driver clusters with measured settings.

Settings: protocol v4, 64 KiB buffers, no compression, libev, a token-aware policy. Protocol v5 and
the driver's default buffers of 4 KiB were slower with values of 4.9 MB (docs/architecture.md, "The driver"). The
throughput fell to as little as half, and the CPU time doubled. Nothing is created at import.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

from cassandra import ConsistencyLevel
from cassandra.auth import PlainTextAuthProvider
from cassandra.cluster import EXEC_PROFILE_DEFAULT, Cluster, ExecutionProfile
from cassandra.policies import (
    ConstantReconnectionPolicy,
    DCAwareRoundRobinPolicy,
    FallthroughRetryPolicy,
    TokenAwarePolicy,
)
from cassandra.pool import Host

from millrace.compat.cassandra import connection_class
from millrace.settings import CassandraSettings
from millrace.store.cluster.node_monitor import NodeMonitor

TWO = ConsistencyLevel.TWO
LOCAL_ONE = ConsistencyLevel.LOCAL_ONE

logging.getLogger("cassandra").addHandler(logging.NullHandler())


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
        connection_class=connection_class(monitor.wake),
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
