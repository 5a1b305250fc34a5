"""The optional dependencies: without the extra of a service, the service counts as switched off."""

from __future__ import annotations

from functools import cache
from importlib.util import find_spec
from typing import Final

_MODULES: Final = {
    "redis": ("redis", "hiredis"),
    "kafka": ("confluent_kafka",),
    "sources": ("yaml", "croniter", "cron_descriptor", "obstore"),
    "prepare": ("duckdb", "sklearn"),
}


@cache
def missing_extra(extra: str) -> str:
    """Return the reason why an extra cannot be used, with its remedy, or an empty text."""
    missing = [module for module in _MODULES[extra] if find_spec(module) is None]
    return f"{missing[0]} is not installed: pip install 'millrace[{extra}]'" if missing else ""
