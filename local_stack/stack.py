"""The stack as a whole: its services, and the operations on several of them together."""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

from local_stack.machine import memory_total_mb, require_disk, require_memory, sizes
from local_stack.ports import require_free
from local_stack.processes import Started
from local_stack.product import DEMO, PRODUCT_FILE, write_product_settings
from local_stack.services.airflow import Airflow
from local_stack.services.base import Service, StackLayout
from local_stack.services.bridge import Bridge
from local_stack.services.cassandra import CassandraNode
from local_stack.services.kafka import Kafka
from local_stack.services.redis import Redis
from local_stack.settings import MAX_NODES, StackSettings, load_stack_settings
from local_stack.starting import Say, Starting, end, end_remains
from millrace.errors import StackError, UsageError

DATA = ("data", "airflow", "conf", "logs", "run", "tmp", "user", DEMO)
"""The folders that ``reset`` deletes. Jars, packages, the inbox and the results of benchmarks stay."""

KILL_TIMEOUT_S = 10.0


def _say(line: str) -> None:
    print(line, flush=True)


class Stack:
    """The services of one ``MILLRACE_HOME``. Every method may be called whether the services run or not."""

    def __init__(self, settings: StackSettings | None = None, say: Say = _say) -> None:
        self.settings = settings or load_stack_settings()
        self.place = StackLayout(self.settings, sizes(self.settings, memory_total_mb()))
        self.say = say

    def node(self, number: int) -> CassandraNode:
        """Return Cassandra's node ``number``; raise ``StackError`` if the number is out of range."""
        return CassandraNode(self.place, number)

    def services(self) -> list[Service]:
        """Return every service of this stack in display order; nodes after the second only once they have data."""
        nodes = [node for node in map(self.node, range(1, MAX_NODES + 1)) if node.is_member]
        return [*nodes, Kafka(self.place), Redis(self.place), Airflow(self.place), Bridge(self.place)]

    def select(self, names: Sequence[str]) -> list[Service]:
        """Return the services named, or all services without a name.

        ``cassandra`` means every node. Raises ``UsageError`` for an unknown name.
        """
        known = {service.name: service for service in self.services()}
        chosen: dict[str, Service] = {}
        for name in names or list(known):
            group = [s for s in known.values() if name in (s.name, s.name.partition("-")[0])]
            number = name.removeprefix("cassandra-")
            if not group and number != name and number.isdecimal():
                group = [self.node(int(number))]
            if not group:
                raise UsageError(f"no service {name!r}", hint=f"the services are cassandra, {', '.join(known)}")
            chosen.update((service.name, service) for service in group)
        return list(chosen.values())

    def one(self, name: str) -> Service:
        """Return the one service named; raise ``UsageError`` if the name means several."""
        chosen = self.select([name])
        if len(chosen) > 1:
            raise UsageError(
                f"{name!r} is {len(chosen)} services", hint="name one: " + ", ".join(s.name for s in chosen)
            )
        return chosen[0]

    def up(self, names: Sequence[str] = ()) -> None:
        """Start the services that do not run yet, in parallel, and return when every service named is ready.

        Before it starts anything, it refuses a taken port, too little memory or disk, and a jar that differs from the
        lock. Raises ``StackError`` with the last lines of its log for a service that is not ready: at once if its
        process ended, otherwise after ``start_timeout_s``. That service is stopped again. The others stay up, so the
        same call can be repeated. An interrupt stops the services that this call started.
        """
        chosen = self.select(names)
        with self._locked():
            missing = [service for service in chosen if not service.running]
            for service in missing:
                end_remains(service)
            for port in (port for service in missing for port in service.ports()):
                require_free(port)
            if missing:
                require_disk(self.place.home)
                require_memory({service.name: service.memory_mb for service in missing})
            for service in missing:
                service.require()
            write_product_settings(self.place)
            Starting(self.place, chosen, missing, self.say).run()

    def down(self, names: Sequence[str] = ()) -> None:
        """Stop the services named (all without a name) in parallel, each with its whole session.

        A service that does not run is not an error.
        """
        chosen = self.select(names)
        with self._locked():
            self._end_together(chosen)

    def _end_together(self, chosen: list[Service]) -> None:
        with ThreadPoolExecutor(len(chosen)) as pool:
            for ended in [pool.submit(end, service, self.say) for service in chosen]:
                ended.result()

    def kill(self, name: str) -> None:
        """Send SIGKILL to all processes of the service and wait at most 10 s until its leader has ended.

        Raises ``StackError`` if the service does not run.
        """
        for service, started in self._running(name):
            sent = started.signal(signal.SIGKILL)
            started.wait(KILL_TIMEOUT_S)
            self.say(f"{service.name:<12} SIGKILL to {_processes(sent)}")

    def freeze(self, name: str) -> None:
        """Send SIGSTOP to the service and return when all its processes are stopped.

        A frozen service keeps its connections and answers nothing.
        """
        for service, started in self._running(name):
            self.say(f"{service.name:<12} SIGSTOP to {_processes(started.freeze())}")

    def thaw(self, name: str) -> None:
        """Send SIGCONT to the service."""
        for service, started in self._running(name):
            self.say(f"{service.name:<12} SIGCONT to {_processes(started.signal(signal.SIGCONT))}")

    def _running(self, name: str) -> list[tuple[Service, Started]]:
        services = [(service, service.started) for service in self.select([name])]
        for service, started in services:
            if started is None or started.process is None:
                raise StackError(f"{service.name} is not running", hint=f"./run up {service.name}")
        return [(service, started) for service, started in services if started is not None]

    def status(self) -> list[dict[str, Any]]:
        """Return for each service: service, state, address, ports, pid, since, log.

        The state is running, frozen, died or down.
        """
        return [_status(service) for service in self.services()]

    def reset(self) -> None:
        """Stop every service and delete its data; jars, the inbox and benchmark results stay."""
        with self._locked():
            self._end_together(self.services())
            for folder in (self.place.home / name for name in DATA):
                if folder.exists():
                    shutil.rmtree(folder)
            (self.place.home / PRODUCT_FILE).unlink(missing_ok=True)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Hold the stack's lock; raise ``StackError`` at once if another command holds it."""
        path = self.place.folder() / "stack.lock"
        with path.open("a+") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                file.seek(0)
                holder = file.read().strip() or "unknown"
                raise StackError(
                    f"another command (pid {holder}) is starting or stopping services of {self.place.home}",
                    hint="try again when it is done",
                ) from None
            file.truncate(0)
            file.write(str(os.getpid()))
            file.flush()
            yield


def _processes(count: int) -> str:
    return f"{count} process{'es' if count != 1 else ''}"


def _status(service: Service) -> dict[str, Any]:
    started = service.started
    alive = started is not None and started.process is not None
    state = "down" if started is None else "died" if not alive else "frozen" if started.frozen else "running"
    shown = started if alive else None
    return {
        "service": service.name,
        "state": state,
        "address": service.address,
        "ports": [str(port) for port in service.ports()],
        "pid": shown.pid if shown else None,
        "since": datetime.fromtimestamp(shown.create_time, UTC).isoformat(timespec="seconds") if shown else None,
        "log": str(service.log),
    }
