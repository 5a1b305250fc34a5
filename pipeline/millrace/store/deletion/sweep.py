"""Remove data that no version in use references, after a grace time.

A delete is never degraded. The catalogue is read at ``ALL`` and written at ``ALL``. While a replica is down every
operation here fails with one error line. Rows of ``versions`` are never removed. They are only emptied, so that no
number and no key is used again.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from millrace.errors import ChunkMissingError
from millrace.store.catalogue.catalogue import Catalogue
from millrace.store.catalogue.version import Version
from millrace.store.cluster.write_times import future_tombstone_timestamp
from millrace.store.deletion.all_replicas import AllReplicas
from millrace.store.deletion.garbage import Garbage, GarbageSearch
from millrace.store.repair.repair import ALIVE

GRACE = timedelta(hours=24)
_DELETE_PAGES = "DELETE FROM {ks}.pages USING TIMESTAMP ? WHERE dataset = ? AND attempt_id = ?"


@dataclass(slots=True)
class SweepReport:
    """The findings and actions of a sweep."""

    marked: list[str] = field(default_factory=list)
    final: list[str] = field(default_factory=list)
    """The versions in ``marked`` that ``undelete`` cannot restore, even before data is removed."""
    tags: dict[str, list[str]] = field(default_factory=dict)
    """The tags that are removed with versions in ``marked``, by reference (``with_derived``)."""
    garbage: list[dict[str, Any]] = field(default_factory=list)
    missing: list[dict[str, Any]] = field(default_factory=list)
    """Rows, pages and chunks that a version references and a node lacks; ``repair`` copies those that another has."""
    problems: list[str] = field(default_factory=list)
    """Reasons why data of a dataset was not removed."""
    waiting: int = 0
    removed_attempts: int = 0
    removed_partitions: int = 0
    dry_run: bool = False
    still_cached: str = ""
    """Why deleted versions are still in Redis until the next warming; empty if they are not."""

    def to_json(self) -> dict[str, Any]:
        """Return the fields as JSON-compatible values."""
        return asdict(self)


class Sweep:
    """Removal of garbage and of the content of deleted versions."""

    def __init__(self, catalogue: Catalogue, replicas: AllReplicas, *, alive: timedelta = ALIVE) -> None:
        self._catalogue = catalogue
        self._replicas = replicas
        self._search = GarbageSearch(catalogue, replicas, alive=alive)

    def garbage(self, dataset: str, *, grace: timedelta = GRACE) -> list[Garbage]:
        """Return the data of the dataset's load attempts that no version references; reads at ``ALL``."""
        return self._search.find(dataset, grace)

    def remove(
        self, dataset: str, garbage: Sequence[Garbage], report: SweepReport, *, grace: timedelta = GRACE
    ) -> None:
        """Remove garbage of the dataset as whole partitions at ``ALL``.

        The row in ``attempts`` is removed last, so that an interrupted removal is found again.

        Everything is fenced first and then looked up once more. A publisher, a resumed load and an undelete each check
        for the fence after they have written their own row. Of a sweep and one of these, at least one therefore sees
        the other.

        An attempt that turns out to be referenced stays fenced. Another sweep, which has read the versions before, may
        be removing it, and a version that is published or restored now must see that.
        """
        if not garbage:
            return
        self._replicas.require_replicated_catalogue(dataset)
        for item in garbage:
            self._fence(item)
        unreferenced = {item.attempt_id for item in self.garbage(dataset, grace=grace) if item.removable}
        for item in garbage:
            if item.attempt_id in unreferenced:
                self._remove(item, report)

    def _fence(self, item: Garbage) -> None:
        query = "UPDATE {ks}.attempts USING TIMESTAMP ? SET fenced = ? WHERE dataset = ? AND attempt_id = ?"
        self._replicas.execute(query, (future_tombstone_timestamp(), True, item.dataset, item.attempt_id))

    def _remove(self, item: Garbage, report: SweepReport) -> None:
        partition = (future_tombstone_timestamp(), item.dataset, item.attempt_id)
        for bucket in range(item.buckets):
            query = "DELETE FROM {ks}.chunks USING TIMESTAMP ? WHERE dataset = ? AND attempt_id = ? AND bucket = ?"
            self._replicas.execute(query, (*partition, bucket))
            report.removed_partitions += 1
        for table in ("pages", "under_replicated", "attempts"):
            query = f"DELETE FROM {{ks}}.{table} USING TIMESTAMP ? WHERE dataset = ? AND attempt_id = ?"  # noqa: S608 constant names
            self._replicas.execute(query, partition)
        report.removed_attempts += 1

    def empty_deleted(self, dataset: str, *, grace: timedelta = GRACE) -> None:
        """Remove page lists, schema and pages of deleted versions whose grace time is over. Their keys stay taken.

        Only versions whose attempt is fenced or gone are emptied, because an undelete checks for that.
        """
        now = datetime.now(UTC)
        protected = self._replicas.protected_versions(dataset)
        # Read the attempts first and then the versions, each only once. A version that is published in between or later
        # belongs to an attempt that is known here and that no version references. It counts as an active load.
        attempts = self._replicas.attempts(dataset)
        versions = self._replicas.versions_with_data(dataset)
        unfenced = {attempt.attempt_id for attempt in attempts if not attempt.fenced}
        expired = {
            version.label: version
            for version in versions
            if version.deleted_at is not None
            and now - version.deleted_at >= grace
            and version.attempt_id not in unfenced
            and (version.number, version.hex) not in protected
        }
        if not expired:
            return
        referenced, deleted = self._search.references(versions, protected)
        if self._search.active_runs(attempts, referenced | set(deleted), now):
            return  # an append to a version deleted just now shares its lists; the next sweep finds them again
        # Versions share page lists with their parents.
        kept = [version for version in versions if version.label not in expired]
        shared = {attempt_id for version in kept for attempt_id in self._out_of_line(version)}
        for version in expired.values():
            self._empty(version, shared, now)

    def _empty(self, version: Version, shared: set[UUID], now: datetime) -> None:
        with suppress(ChunkMissingError):  # an interrupted sweep has already deleted its pages
            for attempt_id in self._out_of_line(version):
                if attempt_id not in shared:
                    self._replicas.execute(_DELETE_PAGES, (future_tombstone_timestamp(), version.dataset, attempt_id))
        query = (
            "UPDATE {ks}.versions SET purged_at = ?, pages = null, files = null, arrow_schema = null "
            "WHERE dataset = ? AND number = ? AND hex = ?"
        )
        self._replicas.execute(query, (now, version.dataset, version.number, version.hex))

    def _out_of_line(self, version: Version) -> list[UUID]:
        return self._catalogue.pages.stored_out_of_line(self._catalogue.with_content(version))
