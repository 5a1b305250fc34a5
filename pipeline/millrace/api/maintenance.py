"""Tag, repair, merge, delete and restore versions."""

from __future__ import annotations

from collections.abc import Iterable
from uuid import UUID

from millrace.api.cache_removal import remove_deleted
from millrace.api.connection import StoreConnection
from millrace.errors import StoreError
from millrace.load import merge_siblings
from millrace.progress import ProgressTask, null_task
from millrace.store import (
    CassandraSession,
    CatalogueWriter,
    LineageGraph,
    RepairReport,
    ReplicaRepair,
    ReplicatedWriter,
    SweepReport,
    UndeleteReport,
    Version,
    VersionDeletion,
    VersionGraph,
    lineage_graph,
    remove_tag,
    repairable,
    set_tag,
)

_CATALOGUE_WINDOW_BYTES = 5_000_000


def catalogue_writes(cassandra: CassandraSession) -> ReplicatedWriter:
    """Return a writer with a window for catalogue rows and pages."""
    return ReplicatedWriter(cassandra, window_bytes=_CATALOGUE_WINDOW_BYTES)


def record_under_replicated(cassandra: CassandraSession, keys: Iterable[tuple[str, UUID, int]]) -> None:
    """Record under-replicated data that a check has found by dataset, attempt and bucket, each key once."""
    if unique := dict.fromkeys(keys):
        with catalogue_writes(cassandra) as writes:
            catalogue_writer = CatalogueWriter(cassandra, writes)
            for key in unique:
                catalogue_writer.record_under_replicated(*key, 0)


class Maintenance(StoreConnection):
    """The part of ``Store`` that tags, repairs, merges and deletes versions."""

    def tag(self, reference: str, tag: str) -> Version:
        """Tag a version and return it; an existing tag moves to this version."""
        version = self.version(reference)
        with catalogue_writes(self.cassandra) as writes:
            set_tag(self.catalogue, CatalogueWriter(self.cassandra, writes), version, tag)
        return version

    def untag(self, name: str, tag: str) -> None:
        """Remove a tag; the version stays."""
        latest = self.versions(name)[0]
        with catalogue_writes(self.cassandra) as writes:
            remove_tag(self.catalogue, CatalogueWriter(self.cassandra, writes), latest, tag)

    def repair(self, name: str | None = None, *, task: ProgressTask | None = None) -> RepairReport:
        """Write the missing replicas that are on record, and merge appends that did not see each other.

        Raises ``StoreUnavailableError`` while a node is down.
        """
        task = task or null_task()
        self.cassandra.require_all_up("repairing")
        names = self.catalogue.names() if name is None else [self.versions(name)[0].dataset]
        report = ReplicaRepair(self.cassandra, self.chunk_reader).repair(names, task=task)
        for dataset in names:
            try:
                report.merged += self._merge(dataset)
            except StoreError as error:
                if error.retriable:
                    raise
                report.problems.append({"dataset": dataset, "error": type(error).__name__, "message": str(error)})
        task.message(report.summary)
        return report

    def _merge(self, name: str) -> list[str]:
        """Merge appends that did not see each other; return the reference of the merge if one was made."""
        graph = VersionGraph(self.catalogue.versions(name))
        if graph.latest is None or graph.latest.mode == "replace":
            return []
        with catalogue_writes(self.cassandra) as writes:
            merged = merge_siblings(self.catalogue, CatalogueWriter(self.cassandra, writes), graph.latest)
        return [] if merged.label in {version.label for version in graph.versions} else [merged.reference]

    def lineage(self, reference: str) -> LineageGraph:
        """Return the versions that a version was made from, and the visible ones that were made from it."""
        return lineage_graph(self.catalogue, self.version(reference))

    def delete(
        self,
        reference: str,
        *,
        whole: bool = False,
        now: bool = False,
        dry_run: bool = False,
        with_derived: bool = False,
        shown: SweepReport | None = None,
    ) -> SweepReport:
        """Mark a version as deleted, or every version of the dataset if ``whole`` is true.

        Data that no other version needs is removed by ``fsck(delete=True)`` after the grace time of 24 hours. With
        ``now`` it is removed at once. With ``dry_run`` nothing is changed. Raises ``UsageError`` for a tagged or leased
        version, and for one that a visible version was made from. Raises ``StoreUnavailableError`` while a node is
        down; nothing was deleted then.

        With ``with_derived``, all versions that were made from these are deleted too, and their tags are removed. The
        report of a dry run, given as ``shown``, bounds them: one that it lacks is refused, and nothing is deleted.

        Deleted versions are removed from Redis, too. If Redis is unreachable, the report says so, and the next warming
        removes them.
        """
        return self._uncached(
            self._deletion.delete(
                reference, whole=whole, now=now, dry_run=dry_run, with_derived=with_derived, shown=shown
            )
        )

    def undelete(self, reference: str, *, dry_run: bool = False) -> UndeleteReport:
        """Undo a ``delete`` or ``prune`` before a sweep begins to remove the data.

        ``reference`` has a number, a full version or a time. Raises ``VersionNotFoundError`` for a version that is
        removed or was withdrawn, or whose inputs are deleted: restore those first. Raises ``UsageError`` for one that
        is not deleted, and ``StoreUnavailableError`` while a node is down.
        """
        return self._deletion.undelete(reference, dry_run=dry_run)

    def prune(self, name: str, keep: int, *, now: bool = False, dry_run: bool = False) -> SweepReport:
        """Mark all versions as deleted, except the newest ``keep``.

        Tagged and leased versions are kept too, versions that a visible version was made from, and appends that no
        merge holds yet.
        """
        return self._uncached(self._deletion.prune(name, keep, now=now, dry_run=dry_run))

    def prune_rejects(self, *, now: bool = False, dry_run: bool = False) -> SweepReport:
        """Mark as deleted the rejects of failed loads, of all datasets, that are older than 90 days.

        ``prune`` and ``delete`` do the same for the rejects of their dataset.
        """
        return self._uncached(self._deletion.prune_rejects(now=now, dry_run=dry_run))

    def _uncached(self, report: SweepReport) -> SweepReport:
        """Remove the deleted versions of the report from Redis; record in it why that failed."""
        if not report.dry_run:
            datasets = dict.fromkeys(reference.partition("@")[0] for reference in report.marked)
            report.still_cached = remove_deleted(self, datasets, unlisted=True)
        return report

    def fsck(self, *, delete: bool = False, now: bool = False) -> SweepReport:
        """Report unreferenced data, and data that a version references but a node does not have.

        Unreferenced data comes from failed loads and deleted versions. With ``delete`` it is removed if its grace time
        is over; with ``now`` there is no grace time. Missing replicas are recorded for ``repair``.
        """
        report, missing = self._deletion.fsck(delete=delete, now=now)
        keys = [(replica.dataset, replica.attempt_id, replica.bucket) for replica in repairable(missing)]
        record_under_replicated(self.cassandra, keys)
        return report

    @property
    def _deletion(self) -> VersionDeletion:
        return VersionDeletion(self.cassandra, self.catalogue, alive=self.alive)
