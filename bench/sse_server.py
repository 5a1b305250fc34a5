"""A server of event streams under test: its process, bound to one core, and the resources it uses."""

from __future__ import annotations

import json
import os
import select
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import psutil

from millrace.errors import StackError

__all__ = ["Load", "Server", "cores", "free_port"]

_CHECKOUT = Path(__file__).resolve().parent.parent
_START_S = 60.0


def cores() -> tuple[set[int], set[int]]:
    """Return the server's core, and the other cores for its clients. With a single core both use it."""
    mine = sorted(os.sched_getaffinity(0))
    return {mine[0]}, set(mine[1:]) or {mine[0]}


def free_port() -> int:
    """Return a port that no process listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Server:
    """A running server; ``memory_bytes`` and ``connections_to`` include all of its processes."""

    def __init__(self, name: str, port: int, process: subprocess.Popen[bytes]) -> None:
        self.name, self.port = name, port
        self._process = process

    @classmethod
    @contextmanager
    def running(
        cls,
        name: str,
        command: Sequence[str],
        port: int,
        env: Mapping[str, str],
        log: Path,
        *,
        ready: str = "/healthz",
        folder: Path = _CHECKOUT,
    ) -> Iterator[Server]:
        """Start it on its core and wait until ``ready`` answers; stop it at the end."""
        own, _ = cores()
        with log.open("ab") as out:
            process = subprocess.Popen(
                list(command),
                cwd=folder,
                env={**os.environ, **env},
                stdout=out,
                stderr=out,
                preexec_fn=lambda: os.sched_setaffinity(0, own),
            )
        server = cls(name, port, process)
        try:
            server._wait(ready, log)
            yield server
        finally:
            family = [process.pid, *(child.pid for child in server._family()[1:])]
            process.terminate()
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                for pid in family:
                    if psutil.pid_exists(pid):
                        psutil.Process(pid).kill()
                process.wait(20)

    def _wait(self, path: str, log: Path) -> None:
        deadline = time.monotonic() + _START_S
        while True:
            try:
                if httpx.get(f"http://127.0.0.1:{self.port}{path}", timeout=5, trust_env=False).status_code == 200:
                    return
            except httpx.TransportError:
                pass
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise StackError(f"{self.name} did not start: {log.read_text()[-500:]}")
            time.sleep(0.1)  # an HTTP server can only be polled

    def _family(self) -> list[psutil.Process]:
        try:
            first = psutil.Process(self._process.pid)
            return [first, *first.children(recursive=True)]
        except psutil.NoSuchProcess:
            return []

    def memory_bytes(self) -> int:
        """Return the memory of its processes without shared pages."""
        return sum(process.memory_full_info().uss for process in self._family())

    def cpu_seconds(self) -> float:
        """Return the processor time that its processes have used so far."""
        return sum(times.user + times.system for times in (process.cpu_times() for process in self._family()))

    def connections_to(self, port: int) -> int:
        """Return the number of connections that its processes have to a port."""
        count = 0
        for process in self._family():
            count += sum(1 for each in process.net_connections("tcp") if each.raddr and each.raddr.port == port)
        return count


class Load:
    """The load generator, in a process of its own on the other cores; see ``bench.sse_load``."""

    def __init__(self, what: str, server: Server, **job: Any) -> None:
        _, other = cores()
        command_job = {"what": what, "host": "127.0.0.1", "port": server.port, "cores": sorted(other), **job}
        self._process = subprocess.Popen(
            [sys.executable, "-m", "bench.sse_load", json.dumps(command_job)],
            cwd=_CHECKOUT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        self.connected = self.answer(180)

    def answer(self, timeout_s: float) -> dict[str, Any]:
        """Return the next result that it prints; raise ``StackError`` if it ends or prints none in ``timeout_s``."""
        out = self._process.stdout
        assert out is not None
        if not select.select([out], [], [], timeout_s)[0]:
            self._process.kill()
            raise StackError(f"the load generator says nothing for {timeout_s:g} s")
        line = out.readline()
        if not line:
            raise StackError(f"the load generator ended with {self._process.wait(10)}")
        return dict(json.loads(line))

    def go_on(self) -> None:
        """Let it do its next step."""
        assert self._process.stdin is not None
        self._process.stdin.write(b"\n")
        self._process.stdin.flush()

    def run(self, timeout_s: float) -> dict[str, Any]:
        """Let it do its work, and return its results; its clients stay connected."""
        self.go_on()
        return self.answer(timeout_s)

    def end(self) -> None:
        """Disconnect all clients and end the process."""
        with self._process as process:
            if process.poll() is None:
                self.go_on()
                try:
                    process.wait(30)
                except subprocess.TimeoutExpired:
                    process.kill()

    def __enter__(self) -> Load:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.end()
