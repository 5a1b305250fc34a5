"""Parts of a service in ``docker-compose.yml``: ports, health checks, mounts, and how it stops and restarts."""

from __future__ import annotations

from typing import Any, Final

from local_stack.services.cassandra import CLUSTER_NODES
from local_stack.settings import ENV_PREFIX, StackSettings

__all__ = ["NODES", "STAYS", "config", "health", "healthy", "mounted", "published", "read_only_folder", "variable"]

NODES: Final = tuple(f"cassandra-{number}" for number in range(1, CLUSTER_NODES + 1))
STAYS: Final = {"restart": "unless-stopped", "stop_grace_period": "60s"}
"""A service restarts after a reboot or a crash, and has 60 s to stop; by default Docker kills it after 10 s."""


def variable(name: str) -> str:
    """Return the Compose reference to a setting of the local stack, with the setting's default."""
    return f"${{{ENV_PREFIX}{name.upper()}:-{StackSettings.model_fields[name].default}}}"


def published(name: str, inside: int) -> str:
    """Return the mapping that publishes the port ``inside`` of a service on the loopback address only."""
    return f"127.0.0.1:{variable(f'{name}_port')}:{inside}"


def health(*test: str, start_s: int = 60, interval_s: int = 5) -> dict[str, Any]:
    """Return a health check whose failures count after ``start_s`` seconds.

    A service is unhealthy after 12 failures in a row. The check runs every ``interval_s`` seconds, at most 10 s long.
    """
    seconds = {"interval": interval_s, "timeout": 10, "start_period": start_s}
    return {"test": list(test), "retries": 12, **{name: f"{value}s" for name, value in seconds.items()}}


def healthy(*names: str) -> dict[str, Any]:
    """Return the condition that the health checks of the services named have passed."""
    return {name: {"condition": "service_healthy"} for name in names}


def config(text: str) -> dict[str, str]:
    """Return a config with this text, escaped so that Compose replaces no variables in it."""
    return {"content": text.replace("$", "$$")}


def mounted(source: str, target: str, **owner_and_mode: str) -> dict[str, str]:
    """Return the mount of a config; owner and mode are root and 0444 unless ``uid``, ``gid`` or ``mode`` is given."""
    return {"source": source, "target": target, **owner_and_mode}


def read_only_folder(source: str, target: str) -> dict[str, Any]:
    """Return the mount of a folder of the checkout, which must exist.

    Docker would create a missing folder as root, and ``./run`` could not write beside it.
    """
    return {
        "type": "bind",
        "source": source,
        "target": target,
        "read_only": True,
        "bind": {"create_host_path": False},
    }
