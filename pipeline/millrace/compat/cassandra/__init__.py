"""The Cassandra driver: its receive loop, its connections and its sessions."""

from millrace.compat.cassandra.connection import connection_class
from millrace.compat.cassandra.large_frames import NODE_LOCAL
from millrace.compat.cassandra.session import open_session

__all__ = ["NODE_LOCAL", "connection_class", "open_session"]
