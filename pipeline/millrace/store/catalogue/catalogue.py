"""Read the catalogue: datasets, versions, tags, load attempts and records of under-replicated data.

These are small rows. They are read at ``TWO``, and at ``LOCAL_ONE`` only while a node is down.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Set
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from functools import partial
from itertools import chain
from typing import Any
from uuid import UUID

from millrace.errors import (
    ChecksumMismatchError,
    DatasetNotFoundError,
    StoreError,
    StoreUnavailableError,
    VersionNotFoundError,
)
from millrace.names import VersionSelector
from millrace.store.catalogue.page_reader import PageReader
from millrace.store.catalogue.selection import select
from millrace.store.catalogue.version import LoadAttempt, UnderReplicated, Version
from millrace.store.cluster.session import CassandraSession

__all__ = ["ALL_DATASETS_PARTITION", "Catalogue"]

ALL_DATASETS_PARTITION = 0
_ONE_VERSION = "WHERE dataset = ? AND number = ? AND hex = ?"
Rows = Callable[[str, tuple[Any, ...]], list[Any]]
_FIRST_VERSIONS = 8
_VERSIONS_KEPT = 64
_ATTEMPTS_ASKED_FOR = 500
"""Number of load attempts above which the whole ``under_replicated`` table is read. Reading the table costs about as
much as reading this many of its partitions."""
_DEBTS_A_REQUEST = 100
_RECORD_REQUESTS = 4
"""Number of concurrent requests; each asks its coordinator for up to a hundred partitions."""
_SUMMARY = (
    "number, hex, parent, mode, kind, attempt_id, attempts, run, code, rows, raw_bytes, stored_bytes, chunks, "
    "page_count, source, settings, committed_at, checksum, deleted_at, mark, purged_at"
)


def _is_mark(row: Any) -> bool:
    """Return whether the row holds only a deletion mark, because its node missed the version's row."""
    return row.checksum is None and (row.deleted_at is not None or row.purged_at is not None)


class Catalogue(PageReader):
    """Reader of the catalogue. ``degraded`` is True when the last read used one node alone.

    ``CatalogueWriter`` writes the catalogue.
    """

    def __init__(self, cassandra: CassandraSession, *, strict: bool = False) -> None:
        """Create a reader. With ``strict``, a read that would be degraded raises ``StoreUnavailableError``."""
        super().__init__(cassandra, strict=strict)
        # Versions can be cached because their content never changes.
        self._known: OrderedDict[tuple[Any, ...], Version] = OrderedDict()

    def names(self) -> list[str]:
        """Return the names of all datasets that were ever registered, sorted."""
        rows = self.rows("SELECT dataset FROM {ks}.datasets WHERE shard = ?", (ALL_DATASETS_PARTITION,))
        return [row.dataset for row in rows]

    def versions(self, dataset: str) -> list[Version]:
        """Return every visible version, newest first, without schema and pages."""
        return [version for version in self.every_version(dataset) if version.deleted_at is None]

    def every_version(self, dataset: str, rows: Rows | None = None) -> list[Version]:
        """Return all versions of a dataset, newest first, including the deleted ones.

        The number of a deleted version is never used again. ``rows`` reads at another consistency level (``ALL``,
        before something is deleted).
        """
        query = f"SELECT {_SUMMARY} FROM {{ks}}.versions WHERE dataset = ?"  # noqa: S608 constant names
        found = (rows or self.rows)(query, (dataset,))
        return [Version.from_row(dataset, row) for row in found if not _is_mark(row)]

    def latest(self, dataset: str) -> Version | None:
        """Return the first visible version in clustering order, or None.

        Reads a few rows. Reads all versions only when those few rows are all deleted.
        """
        first = self._versions_where(dataset, f"dataset = ? LIMIT {_FIRST_VERSIONS}", ())
        visible = [version for version in first if version.deleted_at is None]
        if not visible and len(first) == _FIRST_VERSIONS:
            visible = self.versions(dataset)
        return next(iter(visible), None)

    def numbered(self, dataset: str, number: int) -> list[Version]:
        """Return every visible version of that number: one, or several that were published concurrently."""
        found = self._versions_where(dataset, "dataset = ? AND number = ?", (number,))
        return [version for version in found if version.deleted_at is None]

    def _versions_where(self, dataset: str, where: str, values: tuple[Any, ...]) -> list[Version]:
        query = f"SELECT {_SUMMARY} FROM {{ks}}.versions WHERE {where}"  # noqa: S608 constant names
        found = self.rows(query, (dataset, *values))
        return [Version.from_row(dataset, row) for row in found if not _is_mark(row)]

    def resolve(self, dataset: str, selector: VersionSelector) -> Version:
        """Return the selected version with schema and pages, its checksum verified.

        Raises ``DatasetNotFoundError`` or ``VersionNotFoundError``, and ``UsageError`` where a number or a time matches
        several versions. Only a selection by time reads all versions.
        """
        found, degraded = self._find(dataset, selector)
        if found is None and degraded:
            raise self.unknown(dataset, str(selector))
        if found is None:
            latest = self.latest(dataset)
            if latest is None:
                raise self.unknown(dataset)
            raise VersionNotFoundError(
                f"{dataset} has no version {selector}",
                hint=f"millrace versions {dataset} shows them; the latest is {latest.label}",
                dataset=dataset,
                version=str(selector),
            )
        whole = self.known_whole(found)
        return replace(whole, degraded=whole.degraded or degraded)

    def _find(self, dataset: str, selector: VersionSelector) -> tuple[Version | None, bool]:
        """Return the version or None, and whether any of the reads was ``degraded``."""
        full, degraded = selector.full, False
        if selector.tag is not None:
            rows = self.rows("SELECT number, hex FROM {ks}.tags WHERE dataset = ? AND tag = ?", (dataset, selector.tag))
            degraded = self.degraded
            if not rows:
                return None, degraded
            full = (rows[0].number, rows[0].hex)
        if full is not None:
            found = select(self.numbered(dataset, full[0]), VersionSelector(full=full))
        elif selector.number is not None:
            found = select(self.numbered(dataset, selector.number), selector)
        elif selector.as_of is not None:
            found = select(self.versions(dataset), selector)
        else:
            found = self.latest(dataset)
        return found, degraded or self.degraded

    def unknown(self, dataset: str, version: str = "") -> StoreError:
        """Return the error for a name that was not found.

        While a node is down this is ``StoreUnavailableError``, because the name may exist on that node alone.
        """
        if self.degraded:
            down = ", ".join(self._cassandra.down()) or "one node"
            what = f"{dataset}@{version}" if version else f"a dataset {dataset!r}"
            return StoreUnavailableError(
                f"{what} is not known to the nodes that answer, and {down} does not answer",
                hint="it may be known there alone: millrace doctor",
                dataset=dataset,
                version=version or None,
                node=down,
            )
        return DatasetNotFoundError(
            f"there is no dataset {dataset!r}", hint="millrace ls shows what is there", dataset=dataset
        )

    def known_whole(self, version: Version) -> Version:
        """Return the version like ``whole``, from this process's cache when its row is unchanged."""
        key = (version.dataset, version.number, version.hex)
        known = self._known.get(key)
        if known is not None:
            same = replace(version, schema_blob=known.schema_blob, pages_blob=known.pages_blob)
            marks = {name: getattr(same, name) for name in ("deleted_at", "mark", "purged_at", "degraded")}
            if replace(known, **marks) == same:
                return same
        whole = self.whole(version)
        if not whole.degraded:
            self._known[key] = whole
            while len(self._known) > _VERSIONS_KEPT:
                self._known.popitem(last=False)
        return whole

    def whole(self, version: Version) -> Version:
        """Return the same version with schema and pages, its checksum verified.

        Raises ``VersionNotFoundError`` for a version that was removed, ``ChecksumMismatchError`` when no copy of its
        row is good, and ``StoreUnavailableError`` when its row is missing in a degraded read.
        """
        query = f"SELECT {_SUMMARY}, arrow_schema, pages FROM {{ks}}.versions {_ONE_VERSION}"  # noqa: S608 constant names
        values = (version.dataset, version.number, version.hex)
        rows = self.rows(query, values)
        degraded = self.degraded
        if not rows and degraded:
            raise self.unknown(version.dataset, version.label)
        if not rows or rows[0].purged_at is not None:
            raise VersionNotFoundError(
                f"{version.reference} was deleted a moment ago", dataset=version.dataset, version=version.label
            )
        for row in chain(rows, self._each_copy(query, values)):
            found = Version.from_row(version.dataset, row)
            whole = replace(found, schema_blob=row.arrow_schema, pages_blob=row.pages, degraded=degraded)
            actual = whole.compute_checksum()
            if actual == whole.checksum:
                return whole
        raise ChecksumMismatchError(
            f"the row of {version.reference} is not what was written",
            hint="no node that answers has a good copy: millrace doctor",
            stage="stored",
            expected=whole.checksum.hex(),
            actual=actual.hex(),
            dataset=version.dataset,
            version=version.label,
        )

    def attempts(self, dataset: str, *, run: str | None = None, rows: Rows | None = None) -> list[LoadAttempt]:
        """Return the load attempts of a dataset, of one run or of all runs."""
        found = (rows or self.rows)(
            "SELECT attempt_id, run, fingerprint, split, try_number, first_row, version, host, started, last_seen, "
            "buckets, "
            "finished FROM {ks}.attempts WHERE dataset = ?",
            (dataset,),
        )
        return [LoadAttempt.from_row(dataset, row) for row in found if run is None or row.run == run]

    def tags(self, dataset: str) -> list[tuple[str, int, str]]:
        """Return every tag of a dataset: its name, and number and hex of the tagged version.

        A removed tag is stored as number 0. A process with a clock that is behind could not overwrite a deleted row.
        """
        rows = self.rows("SELECT tag, number, hex FROM {ks}.tags WHERE dataset = ?", (dataset,))
        return [(row.tag, row.number, row.hex) for row in rows if row.number]

    def under_replicated(self, dataset: str, attempts: Set[UUID]) -> list[UnderReplicated]:
        """Return the records of under-replicated data for these load attempts."""
        if len(attempts) > _ATTEMPTS_ASKED_FOR:
            with suppress(StoreError):  # the table may be full of tombstones after a long outage
                return self._under_replicated_of_all(dataset, attempts)
        ordered = sorted(attempts)
        groups = [ordered[start : start + _DEBTS_A_REQUEST] for start in range(0, len(ordered), _DEBTS_A_REQUEST)]
        found: list[UnderReplicated] = []
        degraded = False
        with ThreadPoolExecutor(_RECORD_REQUESTS, thread_name_prefix="millrace-records") as pool:
            for group, records in zip(
                groups, pool.map(partial(self._under_replicated_at_two, dataset), groups), strict=True
            ):
                if records is None:
                    records = []
                    for attempt_id in group:
                        records += self._under_replicated_of(dataset, attempt_id)
                        degraded = degraded or self.degraded
                found += records
        self.degraded = degraded
        return found

    def _under_replicated_of_all(self, dataset: str, attempts: Set[UUID]) -> list[UnderReplicated]:
        """Read the whole table, which is empty except after an outage.

        Reading 5,000 partitions took 0.8 s, reading the table 0.02 s.
        """
        rows = self.rows("SELECT dataset, attempt_id, bucket, record_id, chunks FROM {ks}.under_replicated", ())
        mine = (row for row in rows if row.dataset == dataset and row.attempt_id in attempts)
        return [UnderReplicated(dataset, row.attempt_id, row.bucket, row.record_id, row.chunks) for row in mine]

    def _under_replicated_at_two(self, dataset: str, attempts: list[UUID]) -> list[UnderReplicated] | None:
        """Read the records of several load attempts in one request at ``TWO``.

        A version of 5,000 appends has 5,000 load attempts. Returns None for a single attempt, and while a replica is
        down or unresponsive.
        """
        if len(attempts) < 2:
            return None
        columns = "attempt_id, bucket, record_id, chunks"
        query = f"SELECT {columns} FROM {{ks}}.under_replicated WHERE dataset = ? AND attempt_id IN ?"  # noqa: S608 constant names
        statement = self._cassandra.prepare(query).bind((dataset, attempts))
        hosts = self._cassandra.replicas(statement)
        if any(self._cassandra.monitor.is_unavailable(host) for host in hosts):
            return None
        rows = self._rows_of_two(statement, hosts)
        if rows is None:
            return None
        return [UnderReplicated(dataset, row.attempt_id, row.bucket, row.record_id, row.chunks) for row in rows]

    def _under_replicated_of(self, dataset: str, attempt_id: UUID) -> list[UnderReplicated]:
        query = "SELECT bucket, record_id, chunks FROM {ks}.under_replicated WHERE dataset = ? AND attempt_id = ?"
        return [
            UnderReplicated(dataset, attempt_id, row.bucket, row.record_id, row.chunks)
            for row in self.rows(query, (dataset, attempt_id))
        ]
