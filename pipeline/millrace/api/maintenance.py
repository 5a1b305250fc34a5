"""Tag versions, repair replicas and merge appends that did not see each other."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from uuid import UUID

from millrace.errors import StoreError
from millrace.load import merge_siblings
from millrace.progress import ProgressTask
from millrace.store import (
    CassandraSession,
    Catalogue,
    CatalogueWriter,
    ChunkReader,
    RepairReport,
    ReplicaRepair,
    ReplicatedWriter,
    Tags,
    Version,
    VersionGraph,
)

_CATALOGUE_WINDOW_BYTES = 5_000_000


def catalogue_writes(cassandra: CassandraSession) -> ReplicatedWriter:
    """Return a writer with a window for catalogue rows and pages."""
    return ReplicatedWriter(cassandra, window_bytes=_CATALOGUE_WINDOW_BYTES)


class Maintenance:
    """The part of ``Store`` that changes tags and repairs data."""

    def __init__(self, cassandra: CassandraSession, catalogue: Catalogue, chunk_reader: ChunkReader) -> None:
        self._cassandra = cassandra
        self._catalogue = catalogue
        self._repairs = ReplicaRepair(cassandra, chunk_reader)

    def tag(self, version: Version, tag: str) -> None:
        """Set the tag to this version."""
        with catalogue_writes(self._cassandra) as writes:
            Tags(self._catalogue, CatalogueWriter(self._cassandra, writes)).set(version, tag)

    def untag(self, latest: Version, tag: str) -> None:
        """Remove a tag of the dataset whose latest version this is."""
        with catalogue_writes(self._cassandra) as writes:
            Tags(self._catalogue, CatalogueWriter(self._cassandra, writes)).remove(latest, tag)

    def require_all_up(self) -> None:
        """Raise ``StoreUnavailableError`` while a node is down, because no copy can be written to it."""
        self._repairs.require_all_up("repairing")

    def repair(self, names: Sequence[str] | None, task: ProgressTask) -> RepairReport:
        """Write the missing replicas of these datasets, or of all, and merge appends that did not see each other."""
        names = self._catalogue.names() if names is None else list(names)
        report = self._repairs.repair(names, RepairReport(), task=task)
        for name in names:
            try:
                report.merged += self._merge(name)
            except StoreError as error:
                if error.retriable:
                    raise
                report.problems.append({"dataset": name, "error": type(error).__name__, "message": str(error)})
        task.message(report.words)
        return report

    def _merge(self, name: str) -> list[str]:
        """Merge appends that did not see each other; return the reference of the merge if one was made."""
        graph = VersionGraph(self._catalogue.versions(name))
        if graph.latest is None or graph.latest.mode == "replace":
            return []
        with catalogue_writes(self._cassandra) as writes:
            merged = merge_siblings(self._catalogue, CatalogueWriter(self._cassandra, writes), graph.latest)
        return [] if merged.label in {version.label for version in graph.versions} else [merged.reference]

    def record(self, keys: Iterable[tuple[str, UUID, int]]) -> None:
        """Record under-replicated data that a check has found by dataset, attempt and bucket, each key once."""
        if unique := dict.fromkeys(keys):
            with catalogue_writes(self._cassandra) as writes:
                catalogue_writer = CatalogueWriter(self._cassandra, writes)
                for key in unique:
                    catalogue_writer.record_under_replicated(*key, 0)
