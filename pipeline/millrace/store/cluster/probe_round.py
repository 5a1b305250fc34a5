"""Probe several nodes at the same time, and wait until it is decided which of them answer."""

from __future__ import annotations

import queue
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any

from cassandra.pool import Host

from millrace.store.cluster.driver_errors import is_busy

Answer = tuple[Host, Any]
"""A node and the error of its probe, or None when the node answered."""
SendProbe = Callable[[Host, float, Callable[[Answer], None]], None]
"""Send a probe to a node with a timeout in seconds, and pass its answer on. Never raises, never waits."""


@dataclass(frozen=True, slots=True)
class ProbeTimes:
    """Timeouts and intervals of probes, in seconds. There are three timeouts, one for each consequence."""

    switch_s: float = 0.5
    """Before a request uses the other replica alone. That costs little, so this is short."""
    degrade_s: float = 1.0
    """Before a catalogue row is read from one node alone. The other node may have a newer version."""
    refuse_s: float = 4.0
    """Before an operation that needs every node is refused."""
    grace_s: float = 0.25
    """For the other nodes after the first answer, when that answer was late itself: all nodes may be busy."""
    first_answer_s: float = 5.0
    """For the first answer, when a writer waits for it. Also the timeout of a probe that a writer sends."""
    resend_s: float = 0.02
    """Until a probe that failed at once is sent again."""
    interval_s: float = 1.0
    """Between two probes of a node that a writer suspects."""
    cool_down_s: float = 5.0
    """For which an unresponsive node is tried last. After this time it is probed again."""


class ProbeRound:
    """One probe to each of ``hosts``. ``run`` returns the nodes that answered, once all of ``needed`` are decided.

    A node that has not answered within ``within_s`` is decided if another node has answered. If none has, one may be
    frozen and the other busy, or all are down. The first answer then decides, if it comes within ``first_answer_s``.
    """

    def __init__(
        self,
        hosts: Collection[Host],
        needed: Collection[Host],
        send: SendProbe,
        *,
        within_s: float,
        first_answer_s: float = 0.0,
        times: ProbeTimes,
        clock: Callable[[], float] = time.monotonic,
        answers: Any = None,
    ) -> None:
        self._send = send
        self._times = times
        self._clock = clock
        self._answers = queue.SimpleQueue[Answer]() if answers is None else answers
        self._needed = set(needed)
        self._pending = set(hosts)
        self._answered: set[Host] = set()
        self._failed: set[Host] = set()
        self._resend: set[Host] = set()
        self._in_time = self._deadline = clock() + within_s
        self._last_deadline = clock() + first_answer_s
        self._timeout_s = max(within_s, first_answer_s)

    def run(self) -> set[Host]:
        """Send the probes, wait, and return the nodes that answered."""
        self._probe(self._pending)
        while not self._is_decided() and (left_s := self._left_s()) > 0:
            try:
                host, error = self._answers.get(timeout=min(left_s, self._times.resend_s) if self._resend else left_s)
            except queue.Empty:
                self._probe(self._resend)
                self._resend.clear()
            else:
                self._handle(host, error)
        return self._answered

    def _probe(self, hosts: Collection[Host]) -> None:
        for host in hosts:
            self._send(host, self._timeout_s, self._answers.put)

    def _is_decided(self) -> bool:
        if self._answered:
            return not self._pending.intersection(self._needed)
        return not self._pending

    def _left_s(self) -> float:
        """Return the seconds until the deadline. Without any answer in time, the deadline moves to the last one."""
        if not self._answered and self._clock() >= self._deadline:
            self._deadline = max(self._deadline, self._last_deadline)
        return self._deadline - self._clock()

    def _handle(self, host: Host, error: Any) -> None:
        if error is None:
            if not self._answered and self._clock() > self._in_time:
                self._deadline = self._clock() + self._times.grace_s
            self._answered.add(host)
            self._pending.discard(host)
        elif is_busy(error):
            # A probe that found no room on its connection decides nothing: a busy node and a frozen one look the same.
            self._resend.add(host)
        elif host not in self._failed:
            # A failure counts when it is repeated, because the connection may just have been replaced.
            self._failed.add(host)
            self._resend.add(host)
        else:
            self._pending.discard(host)
