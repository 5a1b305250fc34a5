"""Work in several threads, with results in order and a bound on unfinished work."""

from millrace.parallel.ordered import in_order, worker_count

__all__ = [
    "in_order",
    "worker_count",
]
