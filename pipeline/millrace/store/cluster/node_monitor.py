"""Detect unresponsive nodes, for reads, for writes, and for the choice of a coordinator.

A killed node resets its connections and is detected at once. A frozen one (SIGSTOP, a long garbage collection) sends
nothing at all, so it must be probed. One slow response does not make a node unresponsive. A node is unresponsive when
it does not answer a probe in time while another node does. It counts as responsive again with its first answer.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from typing import Any

from cassandra.policies import HostStateListener
from cassandra.pool import Host

from millrace.store.cluster.probe_round import Answer, ProbeRound, ProbeTimes

_PROBE = "SELECT key FROM system.local WHERE key = 'local'"


class NodeMonitor(HostStateListener):  # type: ignore[misc]
    """The state of each node of one session: unresponsive, tried last, lost. Safe for many threads.

    A monitor exists before its cluster, whose policy and connections use it. ``bind`` completes it. Tests replace
    ``clock`` and ``new_queue``, the queue of the answers to one round of probes.
    """

    def __init__(
        self,
        times: ProbeTimes | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
        new_queue: Callable[[], Any] = queue.SimpleQueue,
    ) -> None:
        self.times = times or ProbeTimes()
        self._clock = clock
        self._new_queue = new_queue
        self._unresponsive_until: dict[Any, float] = {}
        self._deprioritized_until: dict[Any, float] = {}
        self._waiting: set[threading.Event] = set()
        self.subscribers: list[Callable[[Host], None]] = []
        """Called with each node that the driver marks down or removes. They must not block."""
        self._probes: Callable[[], Any]
        self._hosts: Callable[[], list[Host]]

    def bind(self, probes: Callable[[], Any], hosts: Callable[[], list[Host]]) -> None:
        """Set the functions that return the driver's session for probes, and the nodes of the local data centre."""
        self._probes = probes
        self._hosts = hosts

    def mark_responsive(self, host: Host) -> None:
        """Mark the node as responsive and drop all records of earlier failures. Never blocks."""
        self._unresponsive_until.pop(host.endpoint, None)
        self._deprioritized_until.pop(host.endpoint, None)

    def deprioritize(self, host: Host) -> None:
        """Try this node last for statements that name no node, for ``cool_down_s`` or until it answers a probe."""
        self._deprioritized_until[host.endpoint] = self._clock() + self.times.cool_down_s

    def is_deprioritized(self, host: Host) -> bool:
        """Return whether the node is tried last. Never probes."""
        return self._deprioritized_until.get(host.endpoint, 0.0) > self._clock()

    def is_unresponsive(self, host: Host) -> bool:
        """Return whether the node is known to be unresponsive. An expired record makes this probe the node again."""
        until = self._unresponsive_until.get(host.endpoint)
        return until is not None and (self._clock() < until or self.probe_unresponsive(host))

    def is_unavailable(self, host: Host) -> bool:
        """Return whether the driver marks the node down, or it is unresponsive."""
        return host.is_up is False or self.is_unresponsive(host)

    def probe_unresponsive(self, host: Host, *, within_s: float | None = None) -> bool:
        """Probe the node (within ``switch_s`` by default), and record and return whether it is unresponsive."""
        if not self.find_unresponsive([host], within_s=within_s):
            return False
        self._unresponsive_until[host.endpoint] = self._clock() + self.times.cool_down_s
        self.deprioritize(host)
        return True

    def find_unresponsive(
        self, hosts: Collection[Host], *, within_s: float | None = None, first_answer_s: float = 0.0
    ) -> list[Host]:
        """Probe all nodes and return those of ``hosts`` that do not answer while another node does. Record nothing.

        If no node of a cluster answers in time, the cluster counts as busy.
        """
        within_s = self.times.switch_s if within_s is None else within_s
        answering = self._answering({*hosts, *self._hosts()}, hosts, within_s, first_answer_s)
        return [host for host in hosts if host not in answering] if answering else []

    def missing(self) -> list[Host]:
        """Return the nodes that are down or do not answer a probe within ``refuse_s``."""
        hosts = self._hosts()
        up = [host for host in hosts if host.is_up is not False]
        answering = self._answering(up, up, self.times.refuse_s, self.times.refuse_s)
        return [host for host in hosts if host not in answering]

    def _answering(
        self, hosts: Collection[Host], needed: Collection[Host], within_s: float, first_answer_s: float
    ) -> set[Host]:
        return ProbeRound(
            hosts,
            needed,
            self.probe,
            within_s=within_s,
            first_answer_s=first_answer_s,
            times=self.times,
            clock=self._clock,
            answers=self._new_queue(),
        ).run()

    def probe(self, host: Host, timeout_s: float, on_answer: Callable[[Answer], None]) -> None:
        """Send a probe on a connection that carries no chunks. Call ``on_answer`` with the result, in any thread."""
        try:
            future = self._probes().execute_async(_PROBE, host=host, timeout=timeout_s)
        except Exception as error:  # noqa: BLE001 the driver raises many kinds here, all of which mean "no response"
            on_answer((host, error))
            return

        def answered(_rows: Any) -> None:
            self.mark_responsive(host)
            on_answer((host, None))

        future.add_callbacks(answered, lambda error: on_answer((host, error)))

    @contextmanager
    def waking(self, changed: threading.Event) -> Iterator[None]:
        """Set ``changed`` whenever a node may have been lost, while in the ``with`` block."""
        self._waiting.add(changed)
        try:
            yield
        finally:
            self._waiting.discard(changed)

    def wake(self) -> None:
        """Wake all waiting threads, so that each checks the nodes that it needs. Never blocks."""
        for changed in tuple(self._waiting):
            changed.set()

    def on_down(self, host: Host) -> None:
        """Wake all waiting threads and call all subscribers, because the driver marks a node down or removes it."""
        self.wake()
        for on_lost in tuple(self.subscribers):
            on_lost(host)

    on_remove = on_down

    def on_up(self, host: Host) -> None:
        """Do nothing: a probe decides whether the node responds."""

    on_add = on_up
