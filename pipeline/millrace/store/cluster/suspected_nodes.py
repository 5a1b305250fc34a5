"""Nodes that get no writes of one writer, because they were lost or did not answer a probe."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from cassandra.pool import Host

from millrace.store.cluster.event_loop import EventLoop
from millrace.store.cluster.node_monitor import NodeMonitor


class SuspectedNodes:
    """The suspected nodes of one writer. Only the writer's loop may call it, except for ``live``.

    A suspected node gets no writes until it answers a probe. A suspicion does not affect reads: a lost connection is
    reason enough to write to the other replica, but not to read the catalogue from one node alone.
    """

    def __init__(self, monitor: NodeMonitor, loop: EventLoop, on_suspected: Callable[[Host], None]) -> None:
        self._monitor = monitor
        self._loop = loop
        self._on_suspected = on_suspected
        self._suspected: set[Any] = set()
        self._is_checking = False

    def live(self, replicas: list[Host]) -> list[Host]:
        """Return the replicas that are neither down nor suspected."""
        return [host for host in replicas if host.is_up is not False and host.endpoint not in self._suspected]

    def suspect(self, host: Host) -> None:
        """Mark the node as suspected, and probe it every second until it answers."""
        if host.endpoint in self._suspected:
            return
        self._suspected.add(host.endpoint)
        self._monitor.deprioritize(host)
        self._on_suspected(host)
        self._loop.call_later(self._monitor.times.interval_s, self._probe_again, host)

    def check(self, hosts: list[Host]) -> None:
        """Probe ``hosts``, because one did not respond in time. Suspect those that are unresponsive.

        A thread of its own waits for the answers. There is one check at a time.
        """
        if not self._is_checking:
            self._is_checking = True
            threading.Thread(target=self._check, args=(hosts,), name="millrace-probes", daemon=True).start()

    def _check(self, hosts: list[Host]) -> None:
        unresponsive: list[Host] = []
        try:
            unresponsive = self._monitor.find_unresponsive(hosts, first_answer_s=self._monitor.times.first_answer_s)
        finally:
            self._loop.post(self._end_check, unresponsive)

    def _end_check(self, unresponsive: list[Host]) -> None:
        self._is_checking = False
        for host in unresponsive:
            self.suspect(host)

    def _probe_again(self, host: Host) -> None:
        if host.endpoint in self._suspected:
            self._monitor.deprioritize(host)
            self._monitor.probe(host, self._monitor.times.first_answer_s, self._post_answer)
            self._loop.call_later(self._monitor.times.interval_s, self._probe_again, host)

    def _post_answer(self, answer: tuple[Host, Any]) -> None:
        host, error = answer
        if error is None:
            self._loop.post(self._suspected.discard, host.endpoint)
