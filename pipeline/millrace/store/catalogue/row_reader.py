"""Read catalogue rows from both nodes, or from one while the other is down or unresponsive.

A read from one node alone is marked as degraded.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from millrace.compat.cassandra import NODE_LOCAL
from millrace.errors import StoreError, StoreTimeoutError, StoreUnavailableError
from millrace.store.cluster.driver import LOCAL_ONE, TWO
from millrace.store.cluster.session import CassandraSession

Item = TypeVar("Item")
_UNREACHABLE = (StoreUnavailableError, StoreTimeoutError)


@dataclass(frozen=True, slots=True)
class Rows(Generic[Item]):
    """The result of one read. ``degraded`` is True if it comes from one replica alone."""

    items: list[Item]
    degraded: bool = False

    def __iter__(self) -> Iterator[Item]:
        return iter(self.items)


class RowReader:
    """Reader of rows at ``TWO``, and at ``LOCAL_ONE`` while a node is down.

    Threads may share a reader. Its only state is ``was_degraded``, which is set once and never cleared.
    """

    def __init__(self, cassandra: CassandraSession, *, strict: bool = False) -> None:
        """Create a reader. With ``strict``, a read that would be degraded raises ``StoreUnavailableError``."""
        self.cassandra = cassandra
        self._strict = strict
        self.was_degraded = False
        """Whether any read so far was degraded. A command reports this for all its reads."""

    @property
    def degraded_warning(self) -> str:
        """The notice for a command or report where ``was_degraded``."""
        down = ", ".join(self.cassandra.down()) or "one node"
        return f"{down} does not answer: a newer version may exist on that node alone"

    def rows(self, query: str, values: tuple[Any, ...]) -> Rows[Any]:
        """Return rows at ``TWO``, or at ``LOCAL_ONE`` with a node down.

        Raises ``StoreUnavailableError`` when no replica responds, ``StoreTimeoutError`` when none does in time.
        """
        statement = self.cassandra.prepare(query).bind(values)
        rows = self.rows_from_both(statement)
        return self._rows_from_one(statement) if rows is None else Rows(rows)

    def rows_from_both(self, statement: Any) -> list[Any] | None:
        """Return the rows at ``TWO``, or None when a replica is down or unresponsive.

        A replica that is only slow is waited for, up to ``request_timeout_s``.
        """
        replicas = self.cassandra.replicas(statement)
        if any(self.cassandra.monitor.is_unavailable(host) for host in replicas):
            return None
        statement.consistency_level = TWO
        deadline = time.monotonic() + self.cassandra.settings.request_timeout_s
        while (left_s := deadline - time.monotonic()) > 0:
            try:
                return self.cassandra.execute_watched(
                    statement, replicas, probe_s=self.cassandra.monitor.times.degrade_s, timeout_s=left_s
                )
            except StoreUnavailableError:
                return None
            except StoreTimeoutError:
                # A node that is only busy is asked again, because one node alone may have older rows than both
                # together.
                if any(self.cassandra.monitor.is_unavailable(host) for host in replicas):
                    return None
        return None

    def _rows_from_one(self, statement: Any) -> Rows[Any]:
        # Read node by node, because the driver does not know at once which one is frozen. Last read each node's own
        # data (``NODE_LOCAL``), because a responsive coordinator may have read from the other node.
        hosts = sorted(self.cassandra.replicas(statement), key=self.cassandra.monitor.is_unavailable)
        if self._strict:
            missing = (
                ", ".join(str(host.address) for host in hosts if self.cassandra.monitor.is_unavailable(host))
                or "a node"
            )
            raise StoreUnavailableError(
                f"this needs every node, and {missing} does not answer",
                hint="see millrace doctor; the same command can be given again",
                node=missing,
            )
        errors: list[StoreError] = []
        for level, host in [(level, host) for level in (LOCAL_ONE, NODE_LOCAL) for host in hosts]:
            statement.consistency_level = level
            try:
                rows = self.cassandra.execute(statement, host=host)
            except StoreError as error:
                if level == LOCAL_ONE and not isinstance(error, _UNREACHABLE):
                    raise
                errors.append(error)
                continue
            self.was_degraded = True
            return Rows(rows, degraded=True)
        raise type(errors[0])(
            f"the catalogue cannot be read: {'; '.join(error.message for error in errors[: len(hosts)])}",
            hint="see millrace doctor; the same command can be given again",
            node=", ".join(self.cassandra.down()) or None,
        )

    def each_copy(self, query: str, values: tuple[Any, ...]) -> Iterator[Any]:
        """Yield the rows as each replica has them.

        A read at ``TWO`` would return the copy with the later write time, good or bad.
        """
        statement = self.cassandra.prepare(query).bind(values)
        hosts = self.cassandra.replicas(statement)
        for level in (LOCAL_ONE, NODE_LOCAL):
            for host in hosts:
                statement.consistency_level = level
                try:
                    yield from self.cassandra.execute(statement, host=host)
                except StoreError:
                    continue  # down, or a cluster that does not allow NODE_LOCAL
