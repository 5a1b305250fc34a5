"""``Store``, which ``connect()`` returns: the one object that commands, DAGs and notebooks use."""

from __future__ import annotations

from millrace.api.ingesting import Ingesting
from millrace.api.models import Models
from millrace.api.preparing import Preparing
from millrace.api.training import Training


class Store(Models, Ingesting, Preparing, Training):
    """Datasets in Cassandra, with Redis as their cache.

    Use it as a context manager, and only in the process that created it.
    """
