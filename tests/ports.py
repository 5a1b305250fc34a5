"""Ports on which nobody listens."""

from __future__ import annotations

import socket
from contextlib import ExitStack


def free_port() -> int:
    """One that nobody holds a moment later."""
    return free_ports(1)[0]


def free_ports(count: int) -> list[int]:
    """That many different ones: all are held until the last is found, or the kernel may give one of them again."""
    with ExitStack() as held:
        servers = [held.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return [int(server.getsockname()[1]) for server in servers]
