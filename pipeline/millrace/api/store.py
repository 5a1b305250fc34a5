"""``Store``, which ``connect()`` returns: the one object that commands, DAGs and notebooks use."""

from __future__ import annotations

import fnmatch
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any
from uuid import UUID

from millrace.api.loading import Loading
from millrace.api.maintenance import Maintenance
from millrace.dataset import Dataset, DiffReport, VerifyReport, WarmReport, diff, verify_chunks, warm
from millrace.errors import StoreTimeoutError, StoreUnavailableError
from millrace.load import (
    LoadOptions,
    LoadPlan,
    LoadReport,
    SplitResult,
    unfinished_run,
)
from millrace.names import check_dataset_name, parse_reference
from millrace.progress import ProgressTask, null_task
from millrace.settings import Settings
from millrace.sources import Paths, SourceLike, as_paths
from millrace.store import (
    CassandraSession,
    Catalogue,
    ChunkReader,
    Lease,
    RepairReport,
    ReplicaCheck,
    SweepReport,
    UndeleteReport,
    UnderReplicated,
    Version,
    VersionDeletion,
    VersionGraph,
    check_schema,
    create_schema,
    not_found,
    recoverable_versions,
    repairable,
    translate_driver_errors,
)

if TYPE_CHECKING:
    from millrace.cache import ChunkCache


@dataclass(frozen=True, slots=True)
class DatasetInfo:
    """One line of ``millrace ls``: the latest version of a dataset and how many versions are visible."""

    name: str
    latest: str
    versions: int
    rows: int
    chunks: int
    raw_bytes: int
    stored_bytes: int
    committed_at: datetime


_SCHEMA_ROUNDS = 2


class Store:
    """Datasets in Cassandra, with Redis as their cache.

    Use it as a context manager, and only in the process that created it.
    """

    def __init__(self, cassandra: CassandraSession, settings: Settings) -> None:
        self.settings = settings
        self.cassandra = cassandra
        self.catalogue = Catalogue(cassandra)
        self.chunk_reader = ChunkReader(cassandra)
        self._cache: ChunkCache | None = None

    @classmethod
    def connect(cls, settings: Settings) -> Store:
        """Connect and check keyspace, tables and replication factor.

        Raises ``StoreError`` with the reason if one of them is wrong.
        """
        cassandra = CassandraSession.connect(settings.cassandra)
        try:
            # Node by node: a node that shuts down refuses, and round robin could send it every second query.
            hosts: list[Any] = cassandra.hosts() * _SCHEMA_ROUNDS or [None]
            for left, host in zip(range(len(hosts) - 1, -1, -1), hosts, strict=True):
                try:
                    with translate_driver_errors(host):
                        check_schema(cassandra.session, settings.cassandra, host)
                    break
                except (StoreUnavailableError, StoreTimeoutError):
                    if not left:
                        raise
        except BaseException:
            cassandra.close()
            raise
        return cls(cassandra, settings)

    @staticmethod
    def init(settings: Settings) -> None:
        """Create keyspace and tables, which needs every node up; a repetition changes nothing."""
        cassandra = CassandraSession.connect(settings.cassandra)
        try:
            with translate_driver_errors():
                create_schema(cassandra.session, settings.cassandra)
        finally:
            cassandra.close()

    def close(self) -> None:
        """Close the connections to Cassandra and Redis."""
        if self._cache is not None:
            self._cache.close()
        self.cassandra.close()

    def __enter__(self) -> Store:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.close()

    @property
    def cache(self) -> ChunkCache | None:
        """The Redis cache, created on first use; None if it is switched off."""
        if self._cache is None and not self.settings.redis.switched_off:
            from millrace.cache import ChunkCache

            self._cache = ChunkCache(
                self.settings.redis,
                cluster=self.cassandra.cluster_name,
                keyspace=self.settings.cassandra.keyspace,
            )
        return self._cache

    # --- catalogue

    def datasets(self, pattern: str = "*") -> list[DatasetInfo]:
        """Return every dataset with a visible version whose name matches ``pattern``, sorted by name.

        A pattern may hold ``*``, ``?`` and ``[a-z]``.
        """
        infos = []
        for name in fnmatch.filter(self.catalogue.names(), pattern):
            versions = self.catalogue.versions(name)
            if (v := VersionGraph(versions).latest) is not None:
                infos.append(
                    DatasetInfo(
                        name, v.label, len(versions), v.rows, v.chunks, v.raw_bytes, v.stored_bytes, v.committed_at
                    )
                )
        return infos

    def versions(self, name: str, *, deleted: bool = False) -> list[Version]:
        """Return the visible versions, newest first; raise ``DatasetNotFoundError`` if there are none.

        With ``deleted``, return the versions whose deletion ``undelete`` can undo; that list may be empty.
        """
        every = self.catalogue.read_versions(check_dataset_name(name))
        if deleted and every.items:
            return recoverable_versions(self.catalogue, every)
        visible = [version for version in every if version.deleted_at is None]
        if not visible:
            raise not_found(self.cassandra, name, degraded=every.degraded)
        return visible

    def version(self, reference: str) -> Version:
        """Return the version that ``NAME[@VERSION]`` names."""
        return self.catalogue.resolve(*parse_reference(reference))

    def dataset(self, reference: str) -> Dataset:
        """Return the dataset for reading: ``flights``, ``flights@12``, ``flights@2026-11-22T10:00``."""
        version = self.version(reference)
        return Dataset(
            version,
            self.catalogue,
            self.chunk_reader,
            self.cache,
            self.settings.read,
            lease=lambda: Lease(self.cassandra, version),
        )

    def under_replicated(self, version: Version) -> list[UnderReplicated]:
        """Return the records of data of the version that is on one node only."""
        return self.catalogue.under_replicated_of(version)

    def under_replicated_of(self, name: str | None = None) -> list[UnderReplicated]:
        """Return all records of data that is on one node only, of one dataset or of all."""
        names = self.catalogue.names() if name is None else [self.versions(name)[0].dataset]
        return [
            record
            for each in names
            for record in self.catalogue.under_replicated(
                each, {row.attempt_id for row in self.catalogue.attempts(each)}
            )
        ]

    def tags(self, name: str) -> dict[str, str]:
        """Return the tags of a dataset and the labels of the versions that they name."""
        return {tag: f"{number}-{hexpart}" for tag, number, hexpart in self.catalogue.tags(check_dataset_name(name))}

    def tag(self, reference: str, tag: str) -> Version:
        """Tag a version and return it; an existing tag moves to this version."""
        version = self.version(reference)
        self._maintenance.tag(version, tag)
        return version

    def untag(self, name: str, tag: str) -> None:
        """Remove a tag; the version stays."""
        self._maintenance.untag(self.versions(name)[0], tag)

    def diff(self, a: str, b: str) -> DiffReport:
        """Compare two versions by their manifests alone."""
        return diff(self.dataset(a), self.dataset(b))

    # --- loading

    def plan(
        self,
        name: str,
        source: Paths,
        options: LoadOptions | None = None,
        *,
        run: str | None = None,
        one_stream: bool = False,
    ) -> LoadPlan:
        """Return the plan of a load; nothing is written.

        ``one_stream`` skips the search for splits if they are not needed. ``source`` is a path or a list of paths. The
        files must still exist when the splits are loaded.
        """
        return self._loading.plan(name, as_paths(source), options, run=run, one_stream=one_stream)

    def unfinished(self, name: str, source: Paths, options: LoadOptions, *, run: str | None = None) -> str:
        """Return the run that a load with these arguments resumes; raise ``PlanChangedError`` or ``UsageError``."""
        plan = self.plan(name, source, options, run=run)
        return unfinished_run(self.catalogue, plan, run)

    def load_split(
        self, plan: LoadPlan, split: int | None, *, task: ProgressTask | None = None, attempt: int = 1
    ) -> SplitResult:
        """Write one split of a plan, or the whole source as one stream; nothing becomes visible yet."""
        return self._loading.load_split(plan, split, task=task, attempt=attempt)

    def publish(self, plan: LoadPlan, results: Sequence[SplitResult], *, seconds: float = 0.0) -> LoadReport:
        """Make the version visible, as a whole or not at all, and return the report of the load."""
        return self._loading.publish(plan, results, seconds=seconds)

    def load(
        self,
        name: str,
        source: SourceLike,
        options: LoadOptions | None = None,
        *,
        run: str | None = None,
        task: ProgressTask | None = None,
        **reading: Any,
    ) -> LoadReport:
        """Load ``source`` as a new version of ``name``, which becomes visible as a whole or not at all.

        ``reading`` are fields of ``SourceOptions`` (``columns=["id", "price"]``, ``rename={"preis": "price"}``,
        ``decimal=","``) that replace those of ``options``.

        ``source`` is a path, as text or as a path object; a list of paths; or Arrow data: a pyarrow Table, RecordBatch
        or RecordBatchReader, a pandas or polars DataFrame, a relation of DuckDB, a ``Dataset``, or anything else with
        ``__arrow_c_stream__``. Arrow data is copied into a temporary file first, in bounded memory.

        Raises ``UsageError``, ``SourceError``, ``ChunkError`` or ``StoreError``. The same ``run`` with the same source
        and settings is the same load. If it was published before, nothing is written and its report is returned.
        """
        return self._loading.load(name, source, options, run=run, task=task, reading=reading)

    def report_outcome(self, report: LoadReport, task: ProgressTask) -> None:
        """Report the version, its rows, bytes and columns to ``task``.

        Nothing is reported if the schema of the version cannot be read.
        """
        self._loading.report_outcome(report, task)

    def published(self, plan: LoadPlan) -> LoadReport:
        """Return the report of a load that was published before.

        It describes the load's own version, or the version that holds its rows now.
        """
        return self._loading.published(plan)

    def report(self, version: Version, *, added_by: str = "") -> LoadReport:
        """Return the load report of a published version, as far as its row and pages provide it (no durations).

        Rows and sizes cover the pages that the version added, or that the version of label ``added_by`` added. For a
        merge without ``added_by`` they cover all pages.
        """
        return self._loading.report(version, added_by=added_by)

    @property
    def _loading(self) -> Loading:
        return Loading(self.cassandra, self.catalogue, self.settings)

    # --- repair and removal

    def repair(self, name: str | None = None, *, task: ProgressTask | None = None) -> RepairReport:
        """Write the missing replicas that are on record, and merge appends that did not see each other.

        Raises ``StoreUnavailableError`` while a node is down.
        """
        maintenance = self._maintenance
        maintenance.require_all_up()
        names = None if name is None else [self.versions(name)[0].dataset]
        return maintenance.repair(names, task or null_task())

    def delete(self, reference: str, *, whole: bool = False, now: bool = False, dry_run: bool = False) -> SweepReport:
        """Mark a version (``whole``: every version of the dataset) as deleted; its data is removed after a grace time.

        ``now`` skips the grace time. Tagged and leased versions are refused by name, and everything is refused while a
        node is down; then nothing was deleted.
        """
        return self._deletion.delete(reference, whole=whole, now=now, dry_run=dry_run)

    def undelete(self, reference: str, *, dry_run: bool = False) -> UndeleteReport:
        """Undo a ``delete`` or ``prune`` before a sweep begins to remove the data.

        ``reference`` has a number, a full version or a time. Raises ``VersionNotFoundError`` for a version that is
        removed or was withdrawn, ``UsageError`` for one that is not deleted, and ``StoreUnavailableError`` while a node
        is down.
        """
        return self._deletion.undelete(reference, dry_run=dry_run)

    def prune(self, name: str, keep: int, *, now: bool = False, dry_run: bool = False) -> SweepReport:
        """Mark all but the newest ``keep`` versions as deleted; older tagged and leased versions are kept as well."""
        return self._deletion.prune(name, keep, now=now, dry_run=dry_run)

    def fsck(self, *, delete: bool = False, now: bool = False) -> SweepReport:
        """Report data of failed attempts and deleted versions, and data that manifests reference but nodes lack.

        Data past its grace time is removed only with ``delete``. Missing replicas are recorded for ``repair``.
        """
        report, missing = self._deletion.fsck(delete=delete, now=now)
        self._maintenance.record((each.dataset, each.attempt_id, each.bucket) for each in repairable(missing))
        return report

    @property
    def _deletion(self) -> VersionDeletion:
        return VersionDeletion(self.cassandra, self.catalogue)

    @property
    def _maintenance(self) -> Maintenance:
        return Maintenance(self.cassandra, self.catalogue, self.chunk_reader)

    # --- checking and warming

    def verify(self, reference: str, *, each_replica: bool = False, task: ProgressTask | None = None) -> VerifyReport:
        """Read and verify every chunk of a version; with ``each_replica`` also its pages and rows on each node.

        With ``each_replica``, data that a node lacks or holds damaged is recorded for ``repair``.
        """
        dataset = self.dataset(reference)
        report = VerifyReport(dataset.version.reference)
        if each_replica:
            report.add_missing_replicas(ReplicaCheck(self.cassandra, self.catalogue), dataset.version)
        task = task or null_task()
        verify_chunks(self.chunk_reader, dataset.refs(), report, task=task, each_replica=each_replica)
        task.message(report.summary)
        self._maintenance.record((dataset.name, UUID(hex=attempt_id), bucket) for attempt_id, bucket in report.recorded)
        return report

    def verify_split(self, plan: LoadPlan, result: SplitResult, *, task: ProgressTask | None = None) -> VerifyReport:
        """Read and verify every chunk that one split wrote, before the version is published."""
        report = VerifyReport(f"{plan.dataset}@{plan.label} split {result.split}")
        pages = self.catalogue.pages.finished(plan.dataset, result.attempt_id)
        refs = (ref for page in pages for ref in self.catalogue.pages.page(plan.dataset, page).refs())
        return verify_chunks(self.chunk_reader, refs, report, task=task or null_task())

    def warm(self, reference: str, *, task: ProgressTask | None = None) -> WarmReport:
        """Put a whole version into Redis, except the chunks that are there already.

        Never raises because of Redis. The report then gives the reason why the version was not admitted, and reads use
        Cassandra.
        """
        return warm(
            self.dataset(reference),
            self.chunk_reader,
            self.cache,
            switched_off=self.settings.redis.switched_off,
            task=task or null_task(),
        )
