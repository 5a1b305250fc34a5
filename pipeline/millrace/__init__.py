"""Millrace: store datasets in Cassandra and read them in training jobs, with live progress.

``connect()`` is the entry point; it returns the ``Store`` that provides everything else. Importing this package opens
no connection and imports no service's client. The classes are imported when they are first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

from millrace import errors
from millrace.errors import *  # noqa: F403  the list of errors is kept there

if TYPE_CHECKING:
    from millrace.api import Dataset, Store
    from millrace.load import LoadReport
    from millrace.settings import Settings
    from millrace.store import Version

__version__ = "0.1.0"
__all__ = [
    "__version__",
    "connect",
    "Store",
    "Dataset",
    "Version",
    "LoadReport",
    "Settings",
]
__all__ += errors.__all__

_ROOMS: Final = {
    "Store": "millrace.api",
    "Dataset": "millrace.api",
    "Version": "millrace.store",
    "LoadReport": "millrace.load",
    "Settings": "millrace.settings",
}
"""The module of each class that is imported when it is first used, because pyarrow or pydantic is needed for it."""


if not TYPE_CHECKING:  # with this function a type checker would accept every name

    def __getattr__(name: str) -> Any:
        if name not in _ROOMS:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        value = globals()[name] = getattr(import_module(_ROOMS[name]), name)
        return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


def connect(settings: Settings | None = None, **overrides: Any) -> Store:
    """Connect and return a store that is ready to use, or raise an error that names the fault.

    Settings come from ``MILLRACE_*``, ``millrace.toml`` or the local stack of this checkout, in that order.
    ``overrides`` are sections of the settings (``cassandra={"keyspace": "other"}``). Use the store as a context
    manager, or call ``close()``. Raises ``StoreUnavailableError`` if no node responds. Raises ``UsageError`` for
    settings together with overrides, because one of them would be ignored.
    """
    from millrace.api import Store
    from millrace.settings import Settings, load_settings

    if settings is not None and (overrides or not isinstance(settings, Settings)):
        raise errors.UsageError(
            "connect() takes settings or sections of them, as in connect(cassandra={'keyspace': 'other'})",
            hint="load_settings() makes settings of sections",
        )
    return Store.connect(settings or load_settings(**overrides))
