"""Read the catalogue: datasets, versions, tags, load attempts and records of under-replicated data.

These are small rows. They are read at ``TWO``, and at ``LOCAL_ONE`` only while a node is down.
"""

from __future__ import annotations

from collections.abc import Set
from dataclasses import replace
from uuid import UUID

from millrace.errors import VersionNotFoundError
from millrace.names import VersionSelector
from millrace.store.catalogue.attempt import LoadAttempt, UnderReplicated
from millrace.store.catalogue.not_found import not_found
from millrace.store.catalogue.page_reader import PageReader
from millrace.store.catalogue.repair_records import read_records
from millrace.store.catalogue.row_reader import RowReader, Rows
from millrace.store.catalogue.selection import select
from millrace.store.catalogue.version import Version
from millrace.store.catalogue.version_graph import VersionGraph
from millrace.store.catalogue.version_rows import ReadRows, VersionContents, read_versions
from millrace.store.cluster.session import CassandraSession

ALL_DATASETS_PARTITION = 0
DERIVED_DATASETS_PARTITION = 1
"""The partitions of ``datasets``: every name, and the names of datasets with versions that were made from others."""
_NEWEST_VERSIONS = 8


def read_attempts(read: ReadRows, dataset: str) -> list[LoadAttempt]:
    """Return the load attempts of a dataset."""
    rows = read(
        "SELECT attempt_id, run, fingerprint, role, split, try_number, first_row, version, host, started, last_seen, "
        "buckets, finished, fenced FROM {ks}.attempts WHERE dataset = ?",
        (dataset,),
    )
    return [LoadAttempt.from_row(dataset, row) for row in rows]


def read_names(read: ReadRows, partition: int) -> list[str]:
    """Return the names in this partition of ``datasets``, sorted."""
    rows = read("SELECT dataset FROM {ks}.datasets WHERE shard = ?", (partition,))
    return [row.dataset for row in rows]


def read_tags(read: ReadRows, dataset: str) -> list[tuple[str, int, str]]:
    """Return every tag of a dataset: its name, and number and hex of the tagged version."""
    rows = read("SELECT tag, number, hex, removed FROM {ks}.tags WHERE dataset = ?", (dataset,))
    return [(row.tag, row.number, row.hex) for row in rows if not row.removed]


class Catalogue:
    """Reader of the catalogue; ``CatalogueWriter`` writes it.

    ``reader`` reads its rows and ``pages`` the pages that they reference. Threads may share an instance.
    """

    def __init__(self, cassandra: CassandraSession, *, strict: bool = False) -> None:
        """Create a reader. With ``strict``, a read that would be degraded raises ``StoreUnavailableError``."""
        self.reader = RowReader(cassandra, strict=strict)
        self.pages = PageReader(self.reader)
        self._contents = VersionContents(self.reader)

    def names(self) -> list[str]:
        """Return the names of all datasets that were ever registered, sorted."""
        return read_names(self.reader.rows, ALL_DATASETS_PARTITION)

    def derived_names(self) -> list[str]:
        """Return the names of all datasets that ever had a version made from others, sorted."""
        return read_names(self.reader.rows, DERIVED_DATASETS_PARTITION)

    def versions(self, dataset: str) -> list[Version]:
        """Return every visible version, newest first, without schema and pages."""
        return _visible(self.all_versions(dataset)).items

    def all_versions(self, dataset: str) -> Rows[Version]:
        """Return all versions of a dataset, newest first, including the deleted ones.

        The number of a deleted version is never used again.
        """
        return read_versions(self.reader.rows, dataset)

    def numbered(self, dataset: str, number: int) -> Rows[Version]:
        """Return every visible version of that number: one, or several that were published concurrently."""
        return _visible(read_versions(self.reader.rows, dataset, " AND number = ?", (number,)))

    def _latest(self, dataset: str) -> tuple[Version | None, bool]:
        """Return the version that readers get by default, or None, and whether the read was degraded.

        ``VersionGraph.latest`` has the rule. Reads a few rows, and all versions only if those rows do not decide it.
        """
        rows = read_versions(self.reader.rows, dataset, f" LIMIT {_NEWEST_VERSIONS}")
        graph = VersionGraph(rows)
        if len(rows.items) == _NEWEST_VERSIONS and not graph.decides_latest:
            rows = self.all_versions(dataset)
            graph = VersionGraph(rows)
        return graph.latest, rows.degraded

    def resolve(self, dataset: str, selector: VersionSelector) -> Version:
        """Return the selected version with schema and pages, its checksum verified.

        ``Version.degraded`` is True if any of the reads was. Raises ``DatasetNotFoundError`` or
        ``VersionNotFoundError``, and ``UsageError`` where a number or a time matches several versions. Only a selection
        by time reads all versions.
        """
        match, degraded = self._find(dataset, selector)
        if match is None:
            raise self._version_not_found(dataset, selector, degraded=degraded)
        content = self._contents.cached(match)
        return replace(content, degraded=content.degraded or degraded)

    def _find(self, dataset: str, selector: VersionSelector) -> tuple[Version | None, bool]:
        """Return the version or None, and whether any of the reads was degraded."""
        if selector.tag is not None:
            targets = self.tagged(dataset, selector.tag)
            if not targets.items:
                return None, targets.degraded
            match, degraded = self._find(dataset, VersionSelector(full=targets.items[0]))
            return match, degraded or targets.degraded
        number = selector.full[0] if selector.full is not None else selector.number
        if number is not None:
            candidates = self.numbered(dataset, number)
        elif selector.as_of is not None:
            candidates = _visible(self.all_versions(dataset))
        else:
            return self._latest(dataset)
        return select(candidates, selector), candidates.degraded

    def tagged(self, dataset: str, tag: str) -> Rows[tuple[int, str]]:
        """Return number and hex of the tagged version, or no item where there is no such tag."""
        query = "SELECT number, hex, removed FROM {ks}.tags WHERE dataset = ? AND tag = ?"
        rows = self.reader.rows(query, (dataset, tag))
        return Rows([(row.number, row.hex) for row in rows if not row.removed], rows.degraded)

    def _version_not_found(self, dataset: str, selector: VersionSelector, *, degraded: bool) -> Exception:
        if degraded:
            return not_found(self.reader.cassandra, dataset, str(selector), degraded=True)
        latest, degraded = self._latest(dataset)
        if latest is None:
            return not_found(self.reader.cassandra, dataset, degraded=degraded)
        return VersionNotFoundError(
            f"{dataset} has no version {selector}",
            hint=f"millrace versions {dataset} shows them; the latest is {latest.label}",
            dataset=dataset,
            version=str(selector),
        )

    def with_content(self, version: Version) -> Version:
        """Return the same version with schema and pages, verified; raises like ``VersionContents.read``."""
        return self._contents.read(version)

    def attempts(self, dataset: str, *, run: str | None = None) -> list[LoadAttempt]:
        """Return the load attempts of a dataset, of one run or of all runs."""
        return [row for row in read_attempts(self.reader.rows, dataset) if run is None or row.run == run]

    def tags(self, dataset: str) -> list[tuple[str, int, str]]:
        """Return every tag of a dataset: its name, and number and hex of the tagged version."""
        return read_tags(self.reader.rows, dataset)

    def under_replicated(self, dataset: str, attempts: Set[UUID]) -> list[UnderReplicated]:
        """Return the records of under-replicated data of these load attempts."""
        return read_records(self.reader, dataset, attempts)

    def under_replicated_of(self, version: Version) -> list[UnderReplicated]:
        """Return the records of data of the version that is on one node only."""
        attempts = {page.attempt_id for page in self.pages.each_ref(version)} | {version.attempt_id}
        return self.under_replicated(version.dataset, attempts)


def _visible(versions: Rows[Version]) -> Rows[Version]:
    return Rows([version for version in versions if version.deleted_at is None], versions.degraded)
