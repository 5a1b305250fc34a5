"""Start services in parallel, and wait until each of them serves requests."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from threading import Event

from local_stack.processes import Started, spawn, stop
from local_stack.product import are_running
from local_stack.services.airflow import USER, Airflow
from local_stack.services.base import Service, StackLayout
from local_stack.services.cassandra import CLUSTER_NODES
from local_stack.services.python import python_env
from local_stack.settings import CHECKOUT
from millrace.errors import StackError

PROBE_INTERVAL_S = 0.5
LOG_LINES_SHOWN = 20
LOG_KEPT_BYTES = 16 * 1024 * 1024
INIT_TIMEOUT_S = 120
OPEN_FILES = 65_536
"""Enough for a bridge with thousands of clients or a broker with thousands of segments; many shells allow 1,024."""

NODES = {f"cassandra-{n}" for n in range(1, CLUSTER_NODES + 1)}
"""Services that must be ready before keyspace and tables can be made; the topic is made with them if Kafka runs."""
AFTER_INIT = {"bridge"}
"""Services that read the topic from their start."""

Say = Callable[[str], None]


class Starting:
    """One attempt to bring services up: it starts ``missing`` and waits for all of ``chosen``."""

    def __init__(self, place: StackLayout, chosen: list[Service], missing: list[Service], say: Say) -> None:
        self.place = place
        self.chosen = chosen
        self.missing = missing
        self.say = say
        self.cancelled = Event()

    def run(self) -> None:
        """Return when every chosen service is ready and, if the nodes run, keyspace, tables and topic exist.

        The topic needs Kafka to run. Raises ``StackError`` of a service that failed, in preference to one that was not
        started because of it. A failed service is stopped again, and all others stay up. On an interrupt everything
        that this attempt started is stopped.
        """
        _allow_open_files()
        begun: dict[str, Future[None]] = {}
        with ThreadPoolExecutor(len(self.chosen) + 1, thread_name_prefix="start") as pool:
            try:
                self._begin(pool, begun)
                wait(begun.values())
            except BaseException:
                self.cancelled.set()
                wait(begun.values())
                for service in self.missing:
                    end(service, self.say)
                raise
        failed = [error for future in begun.values() if (error := future.exception()) is not None]
        if failed:
            raise min(failed, key=lambda error: isinstance(error, _NotTriedError))

    def _begin(self, pool: ThreadPoolExecutor, begun: dict[str, Future[None]]) -> None:
        first = [service for service in self.chosen if service.name not in AFTER_INIT]
        for service in sorted(first, key=lambda service: service.name):  # a node after the one it joins
            needed = [begun[name] for name in service.joins if name in begun]
            begun[service.name] = pool.submit(self._bring_up_after, needed, service)
        stores = [future for name, future in begun.items() if name in {*NODES, "kafka"}]
        begun["init"] = pool.submit(self._initialise, stores)
        for service in self.chosen:
            if service.name in AFTER_INIT:
                begun[service.name] = pool.submit(self._bring_up_after, [begun["init"]], service)

    def _bring_up_after(self, needed: list[Future[None]], service: Service) -> None:
        if any(future.exception() is not None for future in needed):
            raise _NotTriedError(f"{service.name} was not started: a service that it needs is not ready")
        if not self.cancelled.is_set():
            self._bring_up(service)

    def _bring_up(self, service: Service) -> None:
        begin = time.monotonic()
        is_missing = service in self.missing
        try:
            if is_missing:
                service.prepare()
                _turn_over(service)
                spawn(
                    service.command(),
                    env=service.env(),
                    folder=self.place.home,
                    log=service.log,
                    pid_file=service.pid_file,
                )
            self._wait_ready(service, begin + self.place.settings.start_timeout_s)
            if not self.cancelled.is_set():
                service.settle()
        except StackError:
            if is_missing:
                end(service, self.say)
            raise
        if self.cancelled.is_set():
            return
        how = f"ready in {time.monotonic() - begin:.1f} s" if is_missing else "already up"
        sign_in = f"  user {USER}, password {service.password()}" if isinstance(service, Airflow) else ""
        self.say(f"{service.name:<12} {how:<16} {service.address}{sign_in}")

    def _wait_ready(self, service: Service, deadline: float) -> None:
        started = service.started
        if started is None:
            raise StackError(f"{service.name} is not running", hint=f"./run up {service.name}")
        while not self.cancelled.is_set():
            why = _frozen(service, started) or service.not_ready()
            # An open port is no proof: it may belong to another process, while this service ended because the port was
            # taken.
            if started.wait(PROBE_INTERVAL_S if why else 0):
                raise StackError(f"{service.name} ended; the end of {service.log}:\n{tail(service)}")
            if why is None:
                return
            if time.monotonic() > deadline:
                late = f"{service.name} is not ready after {self.place.settings.start_timeout_s:g} s ({why})"
                raise StackError(f"{late}; the end of {service.log}:\n{tail(service)}")

    def _initialise(self, stores: Iterable[Future[None]]) -> None:
        """Make keyspace and tables by ``millrace init`` once the nodes run, and the topic if Kafka runs."""
        if any(future.exception() is not None for future in stores):
            raise _NotTriedError("keyspace and topic were not created: a service they need is not ready")
        if self.cancelled.is_set() or not are_running(self.place, NODES):
            return
        with_kafka = are_running(self.place, {"kafka"})
        without: dict[str, str] = {} if with_kafka else {"MILLRACE_KAFKA__BOOTSTRAP_SERVERS": ""}
        try:
            done = subprocess.run(
                [sys.executable, "-m", "millrace", "init", "--json"],
                env={**python_env(self.place), **without},
                cwd=CHECKOUT,
                capture_output=True,
                text=True,
                timeout=INIT_TIMEOUT_S,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise StackError(f"millrace init did not end within {INIT_TIMEOUT_S} s") from error
        if done.returncode or (with_kafka and json.loads(done.stdout)["topic"] is None):
            raise StackError(f"millrace init failed: {(done.stderr or done.stdout).strip()}")
        if not with_kafka:
            self.say(f"{'millrace':<12} tables exist; progress is off without kafka: ./run up kafka")


class _NotTriedError(StackError):
    """A service was not started because of another failure, which is the one to show."""


def _frozen(service: Service, started: Started) -> str | None:
    if started.frozen:
        raise StackError(f"{service.name} is frozen", hint=f"./run thaw {service.name}")
    return None


def end(service: Service, say: Say) -> None:
    """Stop a service with its whole session and delete its pid file; do nothing if it was not started."""
    started = service.started
    if started is not None:
        how = stop(started, service.grace_s)
        service.pid_file.unlink(missing_ok=True)
        say(f"{service.name:<12} {how}")


def end_remains(service: Service) -> None:
    """End the remaining processes of a service that died: workers without their master still hold its ports."""
    started = service.started
    if started is not None:
        stop(started, grace_s=0)
        service.pid_file.unlink(missing_ok=True)


def tail(service: Service, lines: int = LOG_LINES_SHOWN) -> str:
    """Return the last lines of a service's log, indented."""
    try:
        with service.log.open("rb") as file:
            file.seek(max(0, service.log.stat().st_size - 64 * 1024), os.SEEK_SET)
            last = file.read().decode(errors="replace").splitlines()[-lines:]
    except OSError as error:
        return f"  ({error})"
    return "\n".join(f"  {line}" for line in last) or "  (it wrote nothing)"


def _turn_over(service: Service) -> None:
    if service.log.exists() and service.log.stat().st_size > LOG_KEPT_BYTES:
        service.log.replace(service.log.with_suffix(".log.1"))


def _allow_open_files() -> None:
    """Raise this process's limit of open files, which every service inherits."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    limit = OPEN_FILES if hard == resource.RLIM_INFINITY else min(OPEN_FILES, hard)
    if soft != resource.RLIM_INFINITY and soft < limit:
        resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))
