"""Millrace: store datasets in Cassandra and read them in training jobs, with live progress.

``connect()`` is the entry point; it returns the ``Store`` that provides everything else. Importing this package opens
no connection and imports no service's client.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from millrace.api import Store
    from millrace.settings import Settings

__version__ = "0.1.0"
__all__ = ["__version__", "connect"]


def connect(settings: Settings | None = None, **overrides: Any) -> Store:
    """Connect and return a store that is ready to use, or raise an error that names the fault.

    Settings come from ``MILLRACE_*``, ``millrace.toml`` or the local stack of this checkout, in that order.
    ``overrides`` are sections of the settings (``cassandra={"keyspace": "other"}``). Use the store as a context
    manager, or call ``close()``. Raises ``StoreUnavailableError`` if no node responds. Raises ``UsageError`` for
    settings together with overrides, because one of them would be ignored.
    """
    from millrace.api import Store
    from millrace.errors import UsageError
    from millrace.settings import Settings, load_settings

    if settings is not None and (overrides or not isinstance(settings, Settings)):
        raise UsageError(
            "connect() takes settings or sections of them, as in connect(cassandra={'keyspace': 'other'})",
            hint="load_settings() makes settings of sections",
        )
    return Store.connect(settings or load_settings(**overrides))
