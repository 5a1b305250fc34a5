"""Look up datasets and versions, and read and verify them."""

from __future__ import annotations

import fnmatch
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from millrace.api.connection import StoreConnection
from millrace.api.maintenance import record_under_replicated
from millrace.api.store_dataset import Dataset
from millrace.dataset import DiffReport, VerifyReport, diff, verify_chunks
from millrace.load import LoadPlan, SplitResult
from millrace.names import check_dataset_name
from millrace.progress import ProgressTask, null_task
from millrace.store import ReplicaCheck, UnderReplicated, Version, VersionGraph


@dataclass(frozen=True, slots=True)
class DatasetInfo:
    """One line of ``millrace ls``: the latest version of a dataset and the number of its visible versions."""

    name: str
    latest: str
    versions: int
    rows: int
    chunks: int
    raw_bytes: int
    stored_bytes: int
    committed_at: datetime


class Reading(StoreConnection):
    """The part of ``Store`` that looks up, reads and verifies versions."""

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

    def dataset(self, reference: str) -> Dataset:
        """Return the dataset for reading: ``flights``, ``flights@12``, ``flights@2026-11-22T10:00``."""
        return Dataset(self, self.version(reference))

    def under_replicated(self, version: Version) -> list[UnderReplicated]:
        """Return the records of under-replicated data of the version: data that is on one node only."""
        return self.catalogue.under_replicated_of(version)

    def under_replicated_of(self, name: str | None = None) -> list[UnderReplicated]:
        """Return the records of under-replicated data of one dataset, or of all datasets if ``name`` is None."""
        names = self.catalogue.names() if name is None else [self.versions(name)[0].dataset]
        return [
            record
            for dataset in names
            for record in self.catalogue.under_replicated(
                dataset, {row.attempt_id for row in self.catalogue.attempts(dataset)}
            )
        ]

    def tags(self, name: str) -> dict[str, str]:
        """Return the tags of a dataset and the labels of the versions that they name."""
        return {tag: f"{number}-{hexpart}" for tag, number, hexpart in self.catalogue.tags(check_dataset_name(name))}

    def diff(self, a: str, b: str) -> DiffReport:
        """Compare two versions by their manifests alone."""
        return diff(self.dataset(a), self.dataset(b))

    def verify(self, reference: str, *, each_replica: bool = False, task: ProgressTask | None = None) -> VerifyReport:
        """Read every chunk of a version and its list of loaded files, and verify their checksums.

        With ``each_replica``, read and verify the chunks, pages and rows on each node. Data that is missing or damaged
        on a node is then recorded for ``repair``.
        """
        dataset = self.dataset(reference)
        report = VerifyReport(dataset.version.reference)
        if each_replica:
            report.add_missing_replicas(ReplicaCheck(self.cassandra, self.catalogue), dataset.version)
        task = task or null_task()
        self.catalogue.pages.files(dataset.version)
        verify_chunks(self.chunk_reader, dataset.refs(), report, task=task, each_replica=each_replica)
        task.message(report.summary)
        keys = [(dataset.name, UUID(hex=attempt_id), bucket) for attempt_id, bucket in report.recorded]
        record_under_replicated(self.cassandra, keys)
        return report

    def verify_split(self, plan: LoadPlan, result: SplitResult, *, task: ProgressTask | None = None) -> VerifyReport:
        """Read and verify every chunk that one split wrote, before the version is published."""
        report = VerifyReport(f"{plan.dataset}@{plan.label} split {result.split}")
        pages = self.catalogue.pages.finished(plan.dataset, result.attempt_id)
        refs = (ref for page in pages for ref in self.catalogue.pages.page(plan.dataset, page).refs())
        return verify_chunks(self.chunk_reader, refs, report, task=task or null_task())
