"""Millrace: datasets into Cassandra and out to training jobs, with live progress.

``connect()`` is the way in; everything else hangs on what it returns. Importing this package opens nothing
and imports no service's client.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from millrace.api import Store
    from millrace.settings import Settings

__version__ = "0.1.0"
__all__ = ["__version__", "connect"]


def connect(settings: Settings | None = None, **overrides: Any) -> Store:
    """A store that is ready to use, or an error that names what is wrong; nothing in between.

    Settings come from ``MILLRACE_*``, ``millrace.toml`` or the local stack of this checkout, in that order;
    ``overrides`` are sections of the settings (``cassandra={"keyspace": "other"}``). Use it as a context
    manager, or call ``close()``. Raises ``StoreUnavailableError`` when no node answers, and ``UsageError`` for
    settings together with overrides, of which one would be left out.
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
