"""``docker-compose.yml``: the same system for Docker, rendered from the same templates and descriptions."""

from local_stack.compose.file import COMPOSE_FILE, compose_file, is_current

__all__ = ["COMPOSE_FILE", "compose_file", "is_current"]
