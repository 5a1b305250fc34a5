"""Repair under-replicated data: copy everything on record to its second replica, catalogue first, and verify it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence, Set
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from millrace.errors import ChunkError, StoreError
from millrace.progress import ProgressTask
from millrace.store.catalogue.attempt import AttemptRole, MetadataBucket, UnderReplicated
from millrace.store.catalogue.catalogue import Catalogue
from millrace.store.catalogue.manifest import ChunkRef
from millrace.store.catalogue.page_repair import repair_pages
from millrace.store.chunks.chunk_reader import ChunkReader
from millrace.store.cluster.driver import TWO
from millrace.store.cluster.session import CassandraSession
from millrace.store.cluster.write_times import future_tombstone_timestamp
from millrace.store.repair.chunk_repair import repair_chunk
from millrace.store.repair.report_repair import repair_reports
from millrace.store.repair.row_repair import repair_rows

ALIVE = timedelta(hours=3)
"""A load attempt without a version counts as active this long after it was last seen. It writes a heartbeat every
minute by its own clock, and an attempt whose clock is an hour behind must not look dead."""


@dataclass(slots=True)
class RepairReport:
    """The result of a repair.

    ``records`` counts the records found, ``cleared`` the records removed, ``copies`` the copies written. A record whose
    copies all exist (hinted handoff delivered them) is cleared without writing a copy. ``pending`` records belong to
    loads that may still be writing. The data written so far is on every node. The record stays for the data still to
    come, which the load itself or the next call repairs.
    """

    datasets: int = 0
    records: int = 0
    cleared: int = 0
    pending: int = 0
    chunks: int = 0
    copies: int = 0
    merged: list[str] = field(default_factory=list)
    """Versions that merge concurrent appends whose loads did not see each other."""
    problems: list[dict[str, Any]] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """Whether no data is under-replicated any more."""
        return not self.problems and self.cleared + self.pending == self.records

    @property
    def summary(self) -> str:
        """The outcome as one line for users."""
        copies = f"{self.copies:,} copies written"
        if not self.ok:
            left = max(self.records - self.cleared - self.pending, len(self.problems))
            return f"{left:,} parts are still on one node only, {copies}"
        is_repaired = self.records or self.copies
        return f"everything is on two nodes again, {copies}" if is_repaired else "nothing to repair"

    def to_json(self) -> dict[str, Any]:
        """Return every field and ``ok`` as JSON-compatible values."""
        return {**asdict(self), "ok": self.ok}


class ReplicaRepair:
    """Repair of the data that ``under_replicated`` lists; idempotent, and safe beside loads and reads."""

    def __init__(self, cassandra: CassandraSession, reader: ChunkReader) -> None:
        self._cassandra = cassandra
        # Strict, because one node alone may not have every record.
        self._catalogue = Catalogue(cassandra, strict=True)
        self._reader = reader

    def repair(self, names: Sequence[str], *, task: ProgressTask) -> RepairReport:
        """Repair the named datasets, and the reports of their newest 1,000 runs.

        A record that cannot be repaired is a problem in the report, not an exception.

        Raises ``StoreUnavailableError`` while a node is down, because no copy can be written to it.
        """
        self._cassandra.require_all_up("repairing")
        report = RepairReport(datasets=len(names))
        for dataset in names:
            rows = self._catalogue.attempts(dataset)
            now = datetime.now(UTC)
            published = {version.run for version in self._catalogue.all_versions(dataset)}
            writing = {
                row.attempt_id
                for row in rows
                if not row.finished and row.run not in published and now - (row.last_seen or now) < ALIVE
            }
            publishers = {row.attempt_id for row in rows if row.role == AttemptRole.PUBLISHER}
            self.repair_attempts(
                dataset, {row.attempt_id for row in rows}, report, task=task, writing=writing, publishers=publishers
            )
            report.copies += repair_reports(self._cassandra, dataset)
        return report

    def repair_attempts(
        self,
        dataset: str,
        attempts: set[UUID],
        report: RepairReport,
        *,
        task: ProgressTask,
        writing: Set[UUID] = frozenset(),
        publishers: Set[UUID] = frozenset(),
    ) -> None:
        """Repair the records of these load attempts.

        The record of an attempt that is ``writing`` stays where the attempt may not be done with the bucket yet. Of
        catalogue rows, only those of ``publishers`` may still be incomplete.
        """
        records = self._catalogue.under_replicated(dataset, attempts)
        # Catalogue rows first (-2), then pages (-1), then chunks: references are repaired before the data they name.
        for record in sorted(records, key=lambda record: record.bucket):
            report.records += 1
            try:
                # Check before the repair: a page that is written during it is not repaired by it.
                done = record.attempt_id not in writing or self._is_closed(record)
                done = done or (record.bucket == MetadataBucket.CATALOGUE and record.attempt_id not in publishers)
                self._repair_record(record, report, task)
            except (StoreError, ChunkError) as error:
                key = {"dataset": dataset, "attempt_id": record.attempt_id.hex, "bucket": record.bucket}
                report.problems.append({**key, "error": type(error).__name__, "message": str(error)})
                continue
            if not done:
                report.pending += 1
            else:
                self._clear(record)
                report.cleared += 1

    def _repair_record(self, record: UnderReplicated, report: RepairReport, task: ProgressTask) -> None:
        if record.bucket == MetadataBucket.CATALOGUE:
            report.copies += repair_rows(self._cassandra, record.dataset)
            return
        if record.bucket == MetadataBucket.PAGES:
            for attempt_id in self._page_attempts(record):
                report.copies += repair_pages(self._cassandra, record.dataset, attempt_id)
            return
        # The pages list the chunks of the bucket, so they are repaired first.
        report.copies += repair_pages(self._cassandra, record.dataset, record.attempt_id)
        for ref in self._chunks(record):
            report.chunks += 1
            report.copies += repair_chunk(self._reader, ref)
            task.advance(ref.rows)
            task.count(chunks=1, bytes_stored=ref.stored_bytes)

    def _is_closed(self, record: UnderReplicated) -> bool:
        """Return whether an attempt that is still writing is done with the bucket: its pages name a later one."""
        return record.bucket >= 0 and any(ref.bucket > record.bucket for ref in self._refs(record))

    def _page_attempts(self, record: UnderReplicated) -> list[UUID]:
        """Return the attempts of the attempt's own pages and of its version's out-of-line pages."""
        out_of_line = []
        for version in self._catalogue.versions(record.dataset):
            if version.attempt_id == record.attempt_id:
                out_of_line = self._catalogue.pages.stored_out_of_line(self._catalogue.with_content(version))
        return [record.attempt_id, *out_of_line]

    def _chunks(self, record: UnderReplicated) -> Iterator[ChunkRef]:
        seen: set[int] = set()
        for ref in self._refs(record):
            if ref.bucket == record.bucket and ref.chunk not in seen:
                seen.add(ref.chunk)
                yield ref

    def _refs(self, record: UnderReplicated) -> Iterator[ChunkRef]:
        for read in (self._catalogue.pages.finished, self._catalogue.pages.journal):
            for page in read(record.dataset, record.attempt_id):
                yield from self._catalogue.pages.page(record.dataset, page).refs()

    def _clear(self, record: UnderReplicated) -> None:
        """Remove the record at ``TWO``, so that both of its replicas drop it.

        A record that reappeared would only cause another repair.
        """
        query = (
            "DELETE FROM {ks}.under_replicated USING TIMESTAMP ? "
            "WHERE dataset = ? AND attempt_id = ? AND bucket = ? AND record_id = ?"
        )
        values = (future_tombstone_timestamp(), record.dataset, record.attempt_id, record.bucket, record.record_id)
        bound = self._cassandra.prepare(query).bind(values)
        bound.consistency_level = TWO
        self._cassandra.execute(bound)
