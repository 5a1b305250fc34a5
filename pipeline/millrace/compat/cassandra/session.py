"""Open sessions of the driver within a deadline."""

from __future__ import annotations

from concurrent.futures import wait

from cassandra.cluster import Cluster, Session

from millrace.compat.cassandra.large_frames import LargeRows
from millrace.compat.versions import CASSANDRA_DRIVER


def open_session(cluster: Cluster, *, timeout_s: float) -> Session:
    """Return a session once it has tried to connect to every node, or after ``timeout_s``.

    The driver returns as soon as it is connected to one node. A request to another node would then fail as if that node
    were down. The first chunks of a load would be written, and recorded, with one replica. ``timeout_s`` is also the
    timeout for preparing a statement, which asks one node.

    Outside the tested versions a frozen node delays both: opening until ``Cluster.connect_timeout``, and preparing by
    the driver's 10 seconds. With execution profiles the driver has no public setting for the latter.
    """
    if CASSANDRA_DRIVER.is_installed():
        session = cluster.connect()
        wait(session._initial_connect_futures, timeout=timeout_s)
        session._default_timeout = timeout_s
    else:
        session = cluster.connect(wait_for_all_pools=True)
    session.client_protocol_handler = LargeRows
    return session
