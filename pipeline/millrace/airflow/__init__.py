"""The one room that may import Airflow: connections, task to reporter, listener, links, retries, the form.

DAGs and plugins import from here and hold no logic of their own. Importing this package imports nothing of
Airflow and opens nothing; ``connect()`` is for code that runs inside an Airflow task.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from millrace.api import Store
    from millrace.settings import Settings

__all__ = ["TAG", "connect", "is_ours"]

TAG = "millrace"
"""Every DAG of ours carries this tag; a DAG of anybody else that reports through us may carry it too."""

_PREFIXES = ("ingest_", "prepare_")
_NAMES = frozenset({"train_model", "warm_cache", "maintain_store"})


def connect(settings: Settings | None = None) -> Store:
    """A store that is ready to use, by Airflow's connections; see ``connections.airflow_settings``.

    Call it inside a task: a session must not outlive a fork. Use it as a context manager.
    """
    from millrace.airflow.connections import airflow_settings
    from millrace.api import Store

    return Store.connect(settings or airflow_settings())


def is_ours(dag_id: str, tags: object = ()) -> bool:
    """Whether progress of this DAG is ours to report: by its name in the contract, or by the tag ``millrace``."""
    named = dag_id.startswith(_PREFIXES) or dag_id in _NAMES
    return named or (isinstance(tags, list | tuple | set | frozenset) and TAG in tags)
