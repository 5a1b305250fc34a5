"""``Store``, which ``connect()`` returns: the one object that commands, DAGs and notebooks use."""

from __future__ import annotations

from millrace.api.loading import Loading
from millrace.api.maintenance import Maintenance
from millrace.api.reading import Reading


class Store(Maintenance, Loading, Reading):
    """Datasets in Cassandra, with Redis as their cache.

    Use it as a context manager, and only in the process that created it.
    """
