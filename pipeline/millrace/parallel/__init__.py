"""Work in several threads, with results in order and a bound on unfinished work; heartbeats of running blocks."""

from millrace.parallel.heartbeat import Heartbeat
from millrace.parallel.ordered import in_order, worker_count

__all__ = [
    "Heartbeat",
    "in_order",
    "worker_count",
]
