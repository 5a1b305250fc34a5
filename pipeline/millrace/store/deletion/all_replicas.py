"""Read and write the catalogue at ``ALL``, and find the versions that tags, leases and other versions protect.

Reads and writes use all replicas, and fail while a replica is down.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Any

from cassandra import ConsistencyLevel

from millrace.errors import StoreError, UsageError
from millrace.store.catalogue.attempt import LoadAttempt, MetadataBucket
from millrace.store.catalogue.catalogue import read_attempts, read_tags
from millrace.store.catalogue.row_reader import Rows
from millrace.store.catalogue.version import WITHDRAWN, Version
from millrace.store.catalogue.version_rows import read_versions
from millrace.store.cluster.session import CassandraSession
from millrace.store.cluster.write_times import later_than
from millrace.store.lineage.lineage import Lineage

_KEY = "WHERE dataset = ? AND number = ? AND hex = ?"
_SELECT_MARK = f"SELECT mark, WRITETIME(deleted_at) AS deleted, WRITETIME(mark) AS marked FROM {{ks}}.versions {_KEY}"  # noqa: S608 constant names
_SELECT_TAG = "SELECT number, hex, WRITETIME(number) AS at FROM {ks}.tags WHERE dataset = ? AND tag = ?"
_SET_TAG = "UPDATE {ks}.tags USING TIMESTAMP ? SET number = ?, hex = ?, removed = ? WHERE dataset = ? AND tag = ?"
_SET_MARK = f"UPDATE {{ks}}.versions USING TIMESTAMP ? SET deleted_at = ?, mark = ? {_KEY}"  # noqa: S608 constant names


class AllReplicas:
    """Reads and writes of the catalogue at ``ALL``.

    ``operation`` and ``unchanged`` say in errors which operation failed and that it had no effect.
    """

    def __init__(
        self, cassandra: CassandraSession, operation: str = "this", unchanged: str = "nothing was changed"
    ) -> None:
        self.cassandra = cassandra
        self._operation = operation
        self._unchanged = unchanged

    def require_all_up(self) -> None:
        """Raise ``StoreUnavailableError`` with one line while any node is down."""
        self.cassandra.require_all_up(self._operation, unchanged=self._unchanged)

    def versions(self, dataset: str) -> list[Version]:
        """Return every version, newest first, deleted ones too."""
        self.require_all_up()
        return read_versions(self.rows, dataset).items

    def versions_with_data(self, dataset: str) -> list[Version]:
        """Return every version that is not emptied yet, newest first, deleted ones too."""
        return [version for version in read_versions(self.rows, dataset) if version.purged_at is None]

    def attempts(self, dataset: str) -> list[LoadAttempt]:
        """Return the load attempts of a dataset."""
        return read_attempts(self.rows, dataset)

    def lineage(self) -> Lineage:
        """Return which visible versions were made from which others."""
        self.require_all_up()
        return Lineage.read(self.rows)

    def held_versions(self, dataset: str) -> set[tuple[int, str]]:
        """Return number and hex of every version that has a tag or a reader's lease, so that it is not deleted."""
        return {(number, hexpart) for _, number, hexpart in read_tags(self.rows, dataset)} | self._leased(dataset)

    def protected_versions(self, dataset: str) -> set[tuple[int, str]]:
        """Return number and hex of every version whose data stays: held, or the input of a visible version.

        A deletion that was interrupted after its mark may leave a deleted input of a version published meanwhile.
        """
        return self.held_versions(dataset) | self.lineage().inputs_of(dataset)

    def tags(self, version: Version) -> list[str]:
        """Return the tags of a version."""
        key = (version.number, version.hex)
        return [tag for tag, *target in read_tags(self.rows, version.dataset) if tuple(target) == key]

    def require_unprotected(self, version: Version) -> None:
        """Raise ``UsageError`` if the version has a tag or a lease."""
        if tags := self.tags(version):
            raise UsageError(
                f"{version.reference} has the tag {', '.join(tags)}",
                hint=f"millrace untag {version.dataset} {tags[0]} first",
                dataset=version.dataset,
                version=version.label,
            )
        self.require_unread(version)

    def require_unread(self, version: Version) -> None:
        """Raise ``UsageError`` if the version has a lease."""
        if (version.number, version.hex) in self._leased(version.dataset):
            raise UsageError(
                f"{version.reference} is being read",
                hint="try again when its readers have ended (the lease of a killed reader expires after 15 minutes)",
                dataset=version.dataset,
                version=version.label,
            )

    def _leased(self, dataset: str) -> set[tuple[int, str]]:
        self.cassandra.drain()  # a reader of this process may be about to release its lease
        rows = self.rows("SELECT number, hex FROM {ks}.leases WHERE dataset = ?", (dataset,))
        return {(row.number, row.hex) for row in rows}

    def write_mark(self, version: Version, mark: str, deleted_at: datetime) -> None:
        """Overwrite the mark of a version with a later write time than it has, even if this machine's clock is behind.

        A version that its own publisher has withdrawn stays withdrawn.
        """
        key = (version.dataset, version.number, version.hex)
        rows = self.rows(_SELECT_MARK, key)
        if any(row.mark == WITHDRAWN for row in rows):
            return
        write_time = later_than([at for row in rows for at in (row.deleted, row.marked)])
        self.execute(_SET_MARK, (write_time, deleted_at, mark, *key))

    def write_tag(self, version: Version, tag: str, *, removed: bool) -> None:
        """Remove a tag of the version, or set it again.

        The write time is just after that of the tag read now, so a move of the tag by a user at this moment wins.
        """
        for row in self.rows(_SELECT_TAG, (version.dataset, tag)):
            if (row.number, row.hex) == (version.number, version.hex):
                self.execute(_SET_TAG, (row.at + 1, version.number, version.hex, removed, version.dataset, tag))

    def require_replicated_catalogue(self, dataset: str) -> None:
        """Raise ``StoreError`` while catalogue rows of the dataset are under-replicated.

        A row that is on one node alone may reference data that looks like garbage without it.
        """
        if MetadataBucket.CATALOGUE in self._under_replicated_buckets(dataset):
            raise StoreError(
                f"{dataset} has catalogue rows on one node only, so {self._unchanged}",
                hint=f"millrace repair {dataset} first",
                dataset=dataset,
            )

    def _under_replicated_buckets(self, dataset: str) -> Iterator[int]:
        """Yield the buckets of all under-replicated data of the dataset.

        Reads the whole table, which is small except after an outage.
        """
        query = "SELECT dataset, attempt_id, bucket FROM {ks}.under_replicated"
        try:
            records = [row for row in self.rows(query, ()) if row.dataset == dataset]
            # A record can be written before its attempt's row. An attempt without a row on any node has written nothing
            # else.
            attempts = {attempt.attempt_id for attempt in self.attempts(dataset)} if records else set()
            yield from [record.bucket for record in records if record.attempt_id in attempts]
        except StoreError as error:
            if error.retriable:
                raise
            # The table has too many tombstones for one query.
            for attempt in self.attempts(dataset):
                rows = self.rows(f"{query} WHERE dataset = ? AND attempt_id = ?", (dataset, attempt.attempt_id))
                yield from [row.bucket for row in rows]

    def rows(self, query: str, values: tuple[Any, ...]) -> Rows[Any]:
        """Return the rows as all replicas together have them."""
        statement = self.cassandra.prepare(query).bind(values)
        statement.consistency_level = ConsistencyLevel.ALL
        return Rows(self.cassandra.execute(statement))

    def execute(self, query: str, values: tuple[Any, ...]) -> None:
        """Write to all replicas."""
        self.rows(query, values)
