"""A Redis server of its own for ``bench training``, on a Unix socket, with room for all forms of one shape."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil
import redis

from local_stack.services.redis import options, redis_server
from millrace.errors import StackError

__all__ = ["OwnRedis", "own_redis"]

_MEMORY_MB = 6000
_START_S = 10.0


@dataclass(frozen=True, slots=True)
class OwnRedis:
    """A running server: the path of its socket, and its process."""

    socket: Path
    process: psutil.Process

    @property
    def url(self) -> str:
        """Return the URL for ``MILLRACE_REDIS__URL``."""
        return f"unix://{self.socket}?db=0"

    def cpu_seconds(self) -> float:
        """Return the processor time that it has used so far."""
        times = self.process.cpu_times()
        return float(times.user + times.system)

    def memory_bytes(self) -> int:
        """Return the memory that its values use."""
        return int(self._client().info("memory")["used_memory"])

    def flush(self) -> None:
        """Delete all values."""
        self._client().flushall()

    def delete(self, pattern: str) -> None:
        """Delete the values whose keys match."""
        client = self._client()
        keys = list(client.scan_iter(pattern, count=10_000))
        for begin in range(0, len(keys), 10_000):
            client.unlink(*keys[begin : begin + 10_000])

    def _client(self) -> redis.Redis:
        return redis.Redis(unix_socket_path=str(self.socket))


@contextmanager
def own_redis(folder: Path) -> Iterator[OwnRedis]:
    """Start a server whose socket is in ``folder``; stop it at the end."""
    socket = folder / "redis.sock"
    settings = [part for key, value in options(_MEMORY_MB).items() for part in (f"--{key}", value)]
    command = [redis_server(), "--port", "0", "--unixsocket", str(socket), *settings]
    with (folder / "redis.log").open("ab") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        server = OwnRedis(socket, psutil.Process(process.pid))
        _wait(server, process)
        yield server
    finally:
        process.terminate()
        process.wait()


def _wait(server: OwnRedis, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + _START_S
    while process.poll() is None and time.monotonic() < deadline:
        try:
            server.memory_bytes()
            return
        except redis.ConnectionError:
            time.sleep(0.05)
    raise StackError(f"Redis at {server.socket} did not start", hint=f"see {server.socket.with_name('redis.log')}")
