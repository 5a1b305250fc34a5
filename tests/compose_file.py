"""``docker-compose.yml`` as Compose reads it, with its variables replaced, and the health checks of its services."""

from __future__ import annotations

import re
from typing import Any

import yaml

from local_stack.compose import COMPOSE_FILE

_VARIABLE = re.compile(r"\$(?:(?P<escaped>\$)|\{(?P<name>\w+)(?:(?P<operator>:[-?])(?P<word>[^}]*))?\})")


def interpolated(value: Any, variables: dict[str, str]) -> Any:
    """Return ``value`` with each ``${NAME:-default}`` replaced; ValueError for a ``${NAME:?message}`` that is unset."""

    def replaced(match: re.Match[str]) -> str:
        if match["escaped"]:
            return "$"
        given = variables.get(match["name"], "")
        if not given and match["operator"] == ":?":
            raise ValueError(f"{match['name']}: {match['word']}")
        return given or match["word"] or ""

    if isinstance(value, dict):
        return {key: interpolated(inner, variables) for key, inner in value.items()}
    if isinstance(value, list):
        return [interpolated(inner, variables) for inner in value]
    return _VARIABLE.sub(replaced, value) if isinstance(value, str) else value


def read_compose(**variables: str) -> dict[str, Any]:
    """Return the committed file's model, with ``variables`` as the environment of ``docker compose``."""
    return dict(interpolated(yaml.safe_load(COMPOSE_FILE.read_text()), variables))


def health_command(service: dict[str, Any]) -> list[str]:
    """Return the health check of a service as Docker runs it."""
    kind, *words = service["healthcheck"]["test"]
    return words if kind == "CMD" else ["/bin/sh", "-c", *words]
