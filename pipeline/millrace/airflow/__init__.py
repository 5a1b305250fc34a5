"""The only package that may import Airflow: connections, reporting of tasks, listener, links, retries and the form.

DAGs and plugins import from here and contain no logic of their own. Importing this package does not import
Airflow and opens no connection. ``connect()`` is for code that runs inside an Airflow task.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from millrace.api import Store
    from millrace.settings import Settings

__all__ = ["TAG", "connect", "is_ours"]

TAG = "millrace"
"""The tag of every Millrace DAG. Another DAG that reports through Millrace may have it, too."""

_PREFIXES = ("ingest_", "prepare_", "train_")
_NAMES = frozenset({"warm_cache", "maintain_store"})


def connect(settings: Settings | None = None) -> Store:
    """Return a connected store, by default with Airflow's connections; see ``connections.airflow_settings``.

    From then on, connections of remote sources are those of Airflow, too.
    Call it inside a task, because a session must not be used after a fork. Use the store as a context manager.
    """
    from millrace.airflow.connections import airflow_settings, source_connection
    from millrace.api import Store
    from millrace.sources import register_connections

    register_connections(source_connection)
    return Store.connect(settings or airflow_settings())


def is_ours(dag_id: str, tags: object = ()) -> bool:
    """Return whether Millrace reports progress of this DAG: it has a known name or prefix, or the tag ``millrace``."""
    has_known_name = dag_id.startswith(_PREFIXES) or dag_id in _NAMES
    return has_known_name or (isinstance(tags, list | tuple | set | frozenset) and TAG in tags)
