"""Access to the catalogue at ``ALL``: reads and writes use all replicas, and fail while a replica is down."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import datetime
from typing import Any

from cassandra import ConsistencyLevel

from millrace.errors import StoreError, StoreUnavailableError
from millrace.store.catalogue.catalogue import Catalogue, read_attempts
from millrace.store.catalogue.row_reader import Rows
from millrace.store.catalogue.version import WITHDRAWN, LoadAttempt, MetadataBucket, Version
from millrace.store.catalogue.version_rows import read_versions
from millrace.store.cluster.session import CassandraSession

__all__ = ["AllReplicas"]

_KEY = "WHERE dataset = ? AND number = ? AND hex = ?"
_SELECT_MARK = f"SELECT mark, WRITETIME(deleted_at) AS deleted, WRITETIME(mark) AS marked FROM {{ks}}.versions {_KEY}"  # noqa: S608 constant names
_SET_MARK = f"UPDATE {{ks}}.versions USING TIMESTAMP ? SET deleted_at = ?, mark = ? {_KEY}"  # noqa: S608 constant names


class AllReplicas:
    """Base class of ``Sweeper`` and ``Undeleter``."""

    doing = "this"
    """The operation in words, for the error while a node is down."""
    undone = "nothing was changed"

    def __init__(self, cassandra: CassandraSession, catalogue: Catalogue) -> None:
        self._cassandra = cassandra
        self._catalogue = catalogue

    def require_all_up(self) -> None:
        """Raise ``StoreUnavailableError`` with one line while any node is down."""
        down = self._cassandra.missing()
        if down:
            raise StoreUnavailableError(
                f"{self.doing} needs every node, {', '.join(down)} is down",
                hint=f"start it (./run up cassandra) and give the command again; {self.undone}",
                node=", ".join(down),
            )

    def all_versions(self, dataset: str) -> list[Version]:
        """Return every version, newest first, deleted ones too."""
        self.require_all_up()
        return read_versions(self._rows, dataset).items

    def write_mark(self, version: Version, mark: str, deleted_at: datetime) -> None:
        """Overwrite the mark of a version with a later write time than it has, even if this machine's clock is behind.

        A version that its own publisher has withdrawn stays withdrawn.
        """
        key = (version.dataset, version.number, version.hex)
        rows = self._rows(_SELECT_MARK, key)
        if any(row.mark == WITHDRAWN for row in rows):
            return
        written = [at for row in rows for at in (row.deleted, row.marked) if at is not None]
        now = max([time.time_ns() // 1000, *(at + 1 for at in written)])
        self._rows(_SET_MARK, (now, deleted_at, mark, *key))

    def _require_none_under_replicated(self, dataset: str) -> None:
        """Raise ``StoreError`` while catalogue rows of the dataset are under-replicated.

        A row that is on one node alone may reference data that looks like garbage without it.
        """
        if MetadataBucket.CATALOGUE in self._under_replicated_buckets(dataset):
            raise StoreError(
                f"{dataset} has catalogue rows on one node only, so {self.undone}",
                hint=f"millrace repair {dataset} first",
                dataset=dataset,
            )

    def _under_replicated_buckets(self, dataset: str) -> Iterator[int]:
        """Yield the buckets of all under-replicated data of the dataset.

        Reads the whole table, which is small except after an outage.
        """
        query = "SELECT dataset, attempt_id, bucket FROM {ks}.under_replicated"
        try:
            rows = [row for row in self._rows(query, ()) if row.dataset == dataset]
            # A record can be written before its attempt's row. An attempt without a row on any node has written nothing
            # else.
            known = {row.attempt_id for row in self._attempts(dataset)} if rows else set()
            yield from [row.bucket for row in rows if row.attempt_id in known]
        except StoreError as error:
            if error.retriable:
                raise
            # The table has too many tombstones for one query.
            for attempt_id in self._attempts(dataset):
                records = self._rows(f"{query} WHERE dataset = ? AND attempt_id = ?", (dataset, attempt_id.attempt_id))
                yield from [row.bucket for row in records]

    def _attempts(self, dataset: str) -> list[LoadAttempt]:
        return read_attempts(self._rows, dataset)

    def _rows(self, query: str, values: tuple[Any, ...]) -> Rows[Any]:
        statement = self._cassandra.prepare(query).bind(values)
        statement.consistency_level = ConsistencyLevel.ALL
        return Rows(self._cassandra.execute(statement))

    def _execute(self, query: str, values: tuple[Any, ...]) -> None:
        self._rows(query, values)
