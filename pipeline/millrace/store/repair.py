"""Paying debts: everything on record as being on one node is brought to two, catalogue first, and checked."""

from __future__ import annotations

from collections.abc import Iterator, Set
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from millrace.errors import ChunkError, MillraceError, StoreError, StoreUnavailableError
from millrace.progress import Task
from millrace.store.catalogue import Catalogue
from millrace.store.chunk_reader import ChunkReader
from millrace.store.chunk_repair import ChunkRepair, mend_pages
from millrace.store.manifest import ChunkRef
from millrace.store.row_repair import RowRepair
from millrace.store.session import TWO, CassandraSession
from millrace.store.version import (
    CATALOGUE_BUCKET,
    PAGES_BUCKET,
    PUBLISHER,
    UnderReplicated,
    future_tombstone_timestamp,
)

__all__ = ["ALIVE", "RepairReport", "ReplicaRepair"]

ALIVE = timedelta(hours=3)
"""A writer whose version is not there is taken for alive this long after it was last seen. It says so every minute, by
its own clock: one that is an hour behind must not look dead."""


@dataclass(slots=True)
class RepairReport:
    """What repairing did. ``debts`` were on record, ``cleared`` are not any more, ``copies`` had to be written.

    A debt whose copies were all there (hints brought them) is cleared with no copy written. ``pending`` debts belong
    to loads that may still be writing: what is there is on every node, and the note stays for what is to come, which
    they repair themselves, or the next call does.
    """

    datasets: int = 0
    debts: int = 0
    cleared: int = 0
    pending: int = 0
    chunks: int = 0
    copies: int = 0
    merged: list[str] = field(default_factory=list)
    """Versions that were made of appends whose loads could not see each other."""
    problems: list[dict[str, Any]] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """Nothing is owed any more."""
        return not self.problems and self.cleared + self.pending == self.debts

    @property
    def words(self) -> str:
        """The outcome as one line for people."""
        copies = f"{self.copies:,} copies written"
        if not self.ok:
            left = max(self.debts - self.cleared - self.pending, len(self.problems))
            return f"{left:,} parts are still on one node only, {copies}"
        return f"everything is on two nodes again, {copies}" if self.debts else "nothing to repair"

    def to_json(self) -> dict[str, Any]:
        """Plain JSON: every field, and ``ok``."""
        return {**asdict(self), "ok": self.ok}


class ReplicaRepair:
    """Brings what ``under_replicated`` lists back to every replica; idempotent, and safe beside loads and reads."""

    def __init__(self, cassandra: CassandraSession, reader: ChunkReader) -> None:
        self._cassandra = cassandra
        # What one node alone says of debts is not all of them.
        self._catalogue = Catalogue(cassandra, strict=True)
        self._reader = reader
        self._mender = ChunkRepair(reader)
        self._row_mender = RowRepair(cassandra)

    def repair(self, names: list[str] | None, report: RepairReport, *, task: Task) -> RepairReport:
        """Repairs the datasets named, or all; a debt that cannot be paid is a problem in the report, not an exception.

        Raises ``StoreUnavailableError`` while a node is down: a copy cannot be brought to it.
        """
        self.require_all_up("repairing")
        for dataset in self._catalogue.names() if names is None else names:
            report.datasets += 1
            rows = self._catalogue.writers(dataset)
            now = datetime.now(UTC)
            over = {version.run for version in self._catalogue.every_version(dataset)}
            writing = {
                row.writer
                for row in rows
                if not row.finished and row.run not in over and now - (row.last_seen or now) < ALIVE
            }
            publishers = {row.writer for row in rows if row.split == PUBLISHER}
            self.writers(
                dataset, {row.writer for row in rows}, report, task=task, writing=writing, publishers=publishers
            )
        return report

    def writers(
        self,
        dataset: str,
        writers: set[UUID],
        report: RepairReport,
        *,
        task: Task,
        writing: Set[UUID] = frozenset(),
        publishers: Set[UUID] = frozenset(),
    ) -> None:
        """Pays the debts of these writers; the note stays where a writer that is ``writing`` may not be done yet.

        Of rows of the catalogue only ``publishers`` may owe more than is there.
        """
        debts = self._catalogue.debts(dataset, writers)
        # Catalogue rows first (-2), then pages (-1), then chunks: what names comes before what is named.
        for debt in sorted(debts, key=lambda debt: debt.bucket):
            report.debts += 1
            try:
                # Asked before it is paid: a page that comes in between is not paid for.
                done = debt.writer not in writing or self._is_behind(debt)
                done = done or (debt.bucket == CATALOGUE_BUCKET and debt.writer not in publishers)
                self._pay(debt, report, task)
            except (StoreError, ChunkError) as error:
                report.problems.append(_problem(debt, error))
                continue
            if not done:
                report.pending += 1
            else:
                self._clear(debt)
                report.cleared += 1

    def require_all_up(self, what: str) -> None:
        """Raises ``StoreUnavailableError`` with one line while any node is down."""
        down = self._cassandra.missing()
        if down:
            raise StoreUnavailableError(
                f"{what} needs every node, {', '.join(down)} is down",
                hint="start it (./run up cassandra) and give the command again",
                node=", ".join(down),
            )

    def _pay(self, debt: UnderReplicated, report: RepairReport, task: Task) -> None:
        if debt.bucket == CATALOGUE_BUCKET:
            report.copies += self._row_mender.rows(debt.dataset)
            return
        if debt.bucket == PAGES_BUCKET:
            for writer in self._page_writers(debt):
                report.copies += mend_pages(self._cassandra, debt.dataset, writer)
            return
        # The pages tell what should be in the bucket, so they are made whole first.
        report.copies += mend_pages(self._cassandra, debt.dataset, debt.writer)
        for ref in self._bucket(debt):
            report.chunks += 1
            report.copies += self._mender.chunk(ref)
            task.advance(ref.rows)
            task.count(chunks=1, bytes_stored=ref.stored_bytes)

    def _is_behind(self, debt: UnderReplicated) -> bool:
        """Whether a writer that goes on writing is done with the bucket: its pages name a later one."""
        return debt.bucket >= 0 and any(ref.bucket > debt.bucket for ref in self._refs(debt))

    def _page_writers(self, debt: UnderReplicated) -> list[UUID]:
        """The writer's own pages, and those into which its version's row has spilled."""
        spilled = []
        for version in self._catalogue.versions(debt.dataset):
            if version.writer == debt.writer:
                spilled = self._catalogue.spilled(self._catalogue.whole(version))
        return [debt.writer, *spilled]

    def _bucket(self, debt: UnderReplicated) -> Iterator[ChunkRef]:
        seen: set[int] = set()
        for ref in self._refs(debt):
            if ref.bucket == debt.bucket and ref.chunk not in seen:
                seen.add(ref.chunk)
                yield ref

    def _refs(self, debt: UnderReplicated) -> Iterator[ChunkRef]:
        for written in (self._catalogue.finished_pages, self._catalogue.journal_pages):
            for page in written(debt.dataset, debt.writer):
                yield from self._catalogue.page(debt.dataset, page).refs()

    def _clear(self, debt: UnderReplicated) -> None:
        """The note goes only when both replicas of it are told: a note that came back would only be paid again."""
        query = (
            "DELETE FROM {ks}.under_replicated USING TIMESTAMP ? "
            "WHERE dataset = ? AND writer = ? AND bucket = ? AND note = ?"
        )
        values = (future_tombstone_timestamp(), debt.dataset, debt.writer, debt.bucket, debt.note)
        bound = self._cassandra.prepare(query).bind(values)
        bound.consistency_level = TWO
        self._cassandra.execute(bound)


def _problem(debt: UnderReplicated, error: MillraceError) -> dict[str, Any]:
    return {
        "dataset": debt.dataset,
        "writer": debt.writer.hex,
        "bucket": debt.bucket,
        "error": type(error).__name__,
        "message": str(error),
    }
