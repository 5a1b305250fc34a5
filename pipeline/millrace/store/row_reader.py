"""Rows of the catalogue: from both nodes, and from one, said to be so, only while the other is down or silent."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

from millrace.errors import StoreError, StoreTimeoutError, StoreUnavailableError
from millrace.store.session import LOCAL_ONE, NODE_LOCAL, TWO, CassandraSession

__all__ = ["RowReader"]

_SURE_AFTER_S = 0.5
"""A healthy node that answers late must not make the catalogue look older than it is."""
_UNREACHABLE = (StoreUnavailableError, StoreTimeoutError)


class RowReader:
    """``rows`` at ``TWO``, at ``LOCAL_ONE`` while a node is down; ``degraded`` says which it was the last time."""

    def __init__(self, cassandra: CassandraSession, *, strict: bool = False) -> None:
        """``strict``: what would be degraded raises ``StoreUnavailableError`` instead."""
        self._cassandra = cassandra
        self._strict = strict
        self.degraded = False
        self.was_degraded = False
        """Whether any rows ever were: what a command says of all that it read."""

    @property
    def cassandra(self) -> CassandraSession:
        """The session that rows are read with."""
        return self._cassandra

    @property
    def degraded_words(self) -> str:
        """What a command or report says where ``was_degraded``."""
        down = ", ".join(self._cassandra.down()) or "one node"
        return f"{down} does not answer: a newer version may be known there alone"

    def rows(self, query: str, values: tuple[Any, ...]) -> list[Any]:
        """Rows at ``TWO``; with a node down at ``LOCAL_ONE``. ``degraded`` says which it was for these rows.

        Raises ``StoreUnavailableError`` when no replica answers, ``StoreTimeoutError`` when none does in time.
        """
        statement = self._cassandra.prepare(query).bind(values)
        replicas = self._cassandra.replicas(statement)
        if not any(self._cassandra.is_gone(host) for host in replicas):
            rows = self._rows_of_two(statement, replicas)
            if rows is not None:
                self.degraded = False
                return rows
        return self._rows_of_one(statement)

    def _rows_of_two(self, statement: Any, replicas: list[Any]) -> list[Any] | None:
        """The rows at ``TWO``, None when a replica is down or has fallen silent; who is only slow is waited for."""
        statement.consistency_level = TWO
        deadline = time.monotonic() + self._cassandra.settings.request_timeout_s
        while (left_s := deadline - time.monotonic()) > 0:
            try:
                return self._cassandra.execute_watched(statement, replicas, patience_s=_SURE_AFTER_S, timeout_s=left_s)
            except StoreUnavailableError:
                return None
            except StoreTimeoutError:
                # Who is only busy is asked again: what one node alone knows may be older than what both do.
                if any(self._cassandra.is_gone(host) for host in replicas):
                    return None
        return None

    def _rows_of_one(self, statement: Any) -> list[Any]:
        # Node by node: which of them is frozen is nothing that the driver knows at once. And each for its own data
        # at last: a coordinator that is alive may have asked the other one.
        hosts = sorted(self._cassandra.replicas(statement), key=self._cassandra.is_gone)
        if self._strict:
            missing = ", ".join(str(host.address) for host in hosts if self._cassandra.is_gone(host)) or "a node"
            raise StoreUnavailableError(
                f"{missing} does not answer, and this needs every node",
                hint="see ./run status; the same command can be given again",
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
            hint="see ./run status; the same command can be given again",
            node=", ".join(self._cassandra.down()) or None,
        )

    def down(self) -> list[str]:
        """Addresses of the nodes that the driver holds for down."""
        return self._cassandra.down()

    def _each_copy(self, query: str, values: tuple[Any, ...]) -> Iterator[Any]:
        """The rows as each replica has them: a read at ``TWO`` lets the later copy win, good or bad."""
        statement = self._cassandra.prepare(query).bind(values)
        hosts = self._cassandra.replicas(statement)
        for level in (LOCAL_ONE, NODE_LOCAL):
            for host in hosts:
                statement.consistency_level = level
                try:
                    yield from self._cassandra.execute(statement, host=host)
                except StoreError:
                    continue  # down, or a cluster that does not allow NODE_LOCAL
