"""Detect unresponsive nodes: from the driver's events, and by probes where the driver reports nothing.

A killed node resets its connections and is detected at once. A frozen one (SIGSTOP, a long garbage collection) sends
nothing at all, so it must be probed. One slow response does not make a node suspect. A node is suspected when it does
not answer a probe while another node does, and trusted again with its first answer. When all nodes are slow and none
has answered in time, the first answer gives the other nodes a short grace time.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from cassandra.cluster import ResponseFuture
from cassandra.pool import Host

from millrace.store.cluster.session import CassandraSession, is_busy

__all__ = ["Health"]

PROBE_PATIENCE_S = 0.5
PROBE_EVERY_S = 1.0
PROBE_AGAIN_S = 0.02
PROBE_TIMEOUT_S = 5.0
GRACE_S = PROBE_PATIENCE_S / 2
"""Seconds that the other nodes have after the first answer, when that answer itself was late."""


class Health:
    """The suspected nodes of a writer. Only the writer's dispatcher thread calls it, except for ``live``.

    ``post`` puts a call into the dispatcher's queue; ``later`` runs one there after a number of seconds.
    """

    def __init__(
        self,
        cassandra: CassandraSession,
        *,
        post: Callable[..., None],
        later: Callable[..., None],
        on_suspect: Callable[[Host], None],
    ) -> None:
        self._cassandra = cassandra
        self._post = post
        self._later = later
        self._on_suspect = on_suspect
        self._suspects: set[Any] = set()
        self._asked: dict[Any, int] = {}
        self._round = 0
        self._overdue: list[Host] = []

    def live(self, replicas: list[Host]) -> list[Host]:
        """Return the replicas that are neither down nor suspected."""
        return [h for h in replicas if h.is_up is not False and h.endpoint not in self._suspects]

    def suspect(self, host: Host) -> None:
        """Mark the node as suspected, so that it gets no requests until it answers a probe."""
        if host.endpoint in self._suspects:
            return
        self._suspects.add(host.endpoint)
        self._cassandra.deprioritize(host)
        self._on_suspect(host)
        self._later(PROBE_EVERY_S, self._ask_again, host)

    def silence(self, hosts: list[Host]) -> None:
        """Probe all of ``hosts`` because one did not respond in time.

        Nodes that stay unresponsive while another one answers are suspected.
        """
        if self._asked:
            return
        self._round += 1
        for host in hosts:
            self._asked[host.endpoint] = self._round
            self._probe(host)
        self._later(PROBE_PATIENCE_S, self._judge, self._round, hosts)

    def _judge(self, round_number: int, hosts: list[Host]) -> None:
        if round_number != self._round:
            return
        silent = [host for host in hosts if self._asked.get(host.endpoint) == round_number]
        if len(silent) == len(hosts):
            # Either one node is frozen and the other one busy, or both are gone. The first answer decides.
            self._overdue = hosts
            self._later(PROBE_TIMEOUT_S - PROBE_PATIENCE_S, self._give_up, round_number)
            return
        self._asked.clear()
        for host in silent:
            self.suspect(host)

    def _give_up(self, round_number: int) -> None:
        """End a round of probes that no node has answered, so that a new round may begin."""
        if round_number == self._round and self._overdue:
            self._overdue = []
            self._asked.clear()

    def _probe(self, host: Host) -> None:
        try:
            future: ResponseFuture = self._cassandra.probes.execute_async(
                "SELECT key FROM system.local WHERE key = 'local'", host=host, timeout=PROBE_TIMEOUT_S
            )
        except Exception:  # noqa: BLE001 the driver raises many kinds here, all of which mean "no response"
            return
        future.add_callbacks(
            lambda _rows: self._post(self._answered, host), lambda error: self._post(self._refused, host, error)
        )

    def _answered(self, host: Host) -> None:
        was_asked = self._asked.pop(host.endpoint, None) is not None
        self._suspects.discard(host.endpoint)
        self._cassandra.speaks(host)
        if was_asked and self._overdue:
            hosts, self._overdue = self._overdue, []
            self._later(GRACE_S, self._judge, self._round, hosts)

    def _refused(self, host: Host, error: Any) -> None:
        """Handle a failed probe: the node stays probed and is judged, or stays suspected and is probed again.

        A probe that found no room on the connection decides nothing, because a busy node and a frozen one look the
        same. It is sent again at once, and only a busy node will have answered it by the time of the judgement.
        """
        if is_busy(error) and host.endpoint in self._asked:
            self._later(PROBE_AGAIN_S, self._probe_if_asked, host)

    def _probe_if_asked(self, host: Host) -> None:
        if host.endpoint in self._asked:
            self._probe(host)

    def _ask_again(self, host: Host) -> None:
        if host.endpoint in self._suspects:
            self._cassandra.deprioritize(host)
            self._probe(host)
            self._later(PROBE_EVERY_S, self._ask_again, host)
