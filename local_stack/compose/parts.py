"""The parts of a service in ``docker-compose.yml``: ports, health checks, mounts, and how it ends and comes back."""

from __future__ import annotations

from typing import Any, Final

from local_stack.services.cassandra import CLUSTER_NODES
from local_stack.settings import ENV_PREFIX, StackSettings

__all__ = ["NODES", "STAYS", "config", "health", "healthy", "mounted", "published", "variable"]

NODES: Final = tuple(f"cassandra-{number}" for number in range(1, CLUSTER_NODES + 1))
STAYS: Final = {"restart": "unless-stopped", "stop_grace_period": "60s"}
"""A service comes back after a reboot or a crash, and ends in its own time: Docker kills after 10 s."""


def variable(name: str) -> str:
    """Return the reference to a setting of the local stack, with its default, as Compose replaces it."""
    return f"${{{ENV_PREFIX}{name.upper()}:-{StackSettings.model_fields[name].default}}}"


def published(name: str, inside: int) -> str:
    """Return how the port ``inside`` of a service is reached on this machine, and from nowhere else."""
    return f"127.0.0.1:{variable(f'{name}_port')}:{inside}"


def health(*test: str, start_s: int = 60, interval_s: int = 5) -> dict[str, Any]:
    """Return a health check that may fail for ``start_s``, and then 12 times."""
    seconds = {"interval": interval_s, "timeout": 10, "start_period": start_s}
    return {"test": list(test), "retries": 12, **{name: f"{value}s" for name, value in seconds.items()}}


def healthy(*names: str) -> dict[str, Any]:
    """Return the condition that the services named are healthy."""
    return {name: {"condition": "service_healthy"} for name in names}


def config(text: str) -> dict[str, str]:
    """Return a file of this text, in which Compose replaces nothing."""
    return {"content": text.replace("$", "$$")}


def mounted(source: str, target: str, **owner_and_mode: str) -> dict[str, str]:
    """Return the mount of a config; ``uid``, ``gid`` and ``mode`` are root's and 0444 unless given."""
    return {"source": source, "target": target, **owner_and_mode}
