"""Read catalogue rows from both nodes, or from one while the other is down or unresponsive.

A read from one node alone is marked as degraded.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

from millrace.errors import StoreError, StoreTimeoutError, StoreUnavailableError
from millrace.store.cluster.session import LOCAL_ONE, NODE_LOCAL, TWO, CassandraSession

__all__ = ["RowReader"]

"""Probe timeout in seconds. A working node that responds late must not make the catalogue look older than it is."""
_UNREACHABLE = (StoreUnavailableError, StoreTimeoutError)


class RowReader:
    """Reader of rows at ``TWO``, and at ``LOCAL_ONE`` while a node is down.

    ``degraded`` is True when the last read used one node alone.
    """

    def __init__(self, cassandra: CassandraSession, *, strict: bool = False) -> None:
        """Create a reader. With ``strict``, a read that would be degraded raises ``StoreUnavailableError``."""
        self._cassandra = cassandra
        self._strict = strict
        self.degraded = False
        self.was_degraded = False
        """Whether any read so far was degraded. A command reports this for all its reads."""

    @property
    def cassandra(self) -> CassandraSession:
        """The session that the rows are read with."""
        return self._cassandra

    @property
    def degraded_words(self) -> str:
        """The notice for a command or report where ``was_degraded``."""
        down = ", ".join(self._cassandra.down()) or "one node"
        return f"{down} does not answer: a newer version may be known there alone"

    def rows(self, query: str, values: tuple[Any, ...]) -> list[Any]:
        """Return rows at ``TWO``, or at ``LOCAL_ONE`` with a node down; set ``degraded`` accordingly.

        Raises ``StoreUnavailableError`` when no replica responds, ``StoreTimeoutError`` when none does in time.
        """
        statement = self._cassandra.prepare(query).bind(values)
        replicas = self._cassandra.replicas(statement)
        if not any(self._cassandra.monitor.is_unavailable(host) for host in replicas):
            rows = self._rows_of_two(statement, replicas)
            if rows is not None:
                self.degraded = False
                return rows
        return self._rows_of_one(statement)

    def _rows_of_two(self, statement: Any, replicas: list[Any]) -> list[Any] | None:
        """Return the rows at ``TWO``, or None when a replica is down or unresponsive.

        A replica that is only slow is waited for, up to ``request_timeout_s``.
        """
        statement.consistency_level = TWO
        deadline = time.monotonic() + self._cassandra.settings.request_timeout_s
        while (left_s := deadline - time.monotonic()) > 0:
            try:
                return self._cassandra.execute_watched(
                    statement, replicas, probe_s=self._cassandra.monitor.times.degrade_s, timeout_s=left_s
                )
            except StoreUnavailableError:
                return None
            except StoreTimeoutError:
                # A node that is only busy is asked again, because one node alone may have older rows than both
                # together.
                if any(self._cassandra.monitor.is_unavailable(host) for host in replicas):
                    return None
        return None

    def _rows_of_one(self, statement: Any) -> list[Any]:
        # Read node by node, because the driver does not know at once which one is frozen. Last read each node's own
        # data (``NODE_LOCAL``), because a responsive coordinator may have read from the other node.
        hosts = sorted(self._cassandra.replicas(statement), key=self._cassandra.monitor.is_unavailable)
        if self._strict:
            missing = (
                ", ".join(str(host.address) for host in hosts if self._cassandra.monitor.is_unavailable(host))
                or "a node"
            )
            raise StoreUnavailableError(
                f"{missing} does not answer, and this needs every node",
                hint="see millrace doctor; the same command can be given again",
                node=missing,
            )
        said: list[StoreError] = []
        for level, host in [(level, host) for level in (LOCAL_ONE, NODE_LOCAL) for host in hosts]:
            statement.consistency_level = level
            try:
                rows = self._cassandra.execute(statement, host=host)
            except StoreError as error:
                if level == LOCAL_ONE and not isinstance(error, _UNREACHABLE):
                    raise
                said.append(error)
                continue
            self.degraded = self.was_degraded = True
            return rows
        raise type(said[0])(
            f"the catalogue cannot be read: {'; '.join(error.message for error in said[: len(hosts)])}",
            hint="see millrace doctor; the same command can be given again",
            node=", ".join(self._cassandra.down()) or None,
        )

    def down(self) -> list[str]:
        """Return the addresses of the nodes that the driver marks down."""
        return self._cassandra.down()

    def _each_copy(self, query: str, values: tuple[Any, ...]) -> Iterator[Any]:
        """Yield the rows as each replica has them.

        A read at ``TWO`` would return the copy with the later write time, good or bad.
        """
        statement = self._cassandra.prepare(query).bind(values)
        hosts = self._cassandra.replicas(statement)
        for level in (LOCAL_ONE, NODE_LOCAL):
            for host in hosts:
                statement.consistency_level = level
                try:
                    yield from self._cassandra.execute(statement, host=host)
                except StoreError:
                    continue  # down, or a cluster that does not allow NODE_LOCAL
