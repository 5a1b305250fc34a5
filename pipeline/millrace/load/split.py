"""Write one split: read, group, encode on all cores and write. The steps overlap and their memory is bounded."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

from millrace.errors import BadRowsError, StoreError
from millrace.load.encoding import encoded_chunks
from millrace.load.plan import LoadPlan
from millrace.load.rejects import RejectWriter, SplitOverBudgetError
from millrace.load.resume import ResumePoint, find_resume_point, skip_written_rows
from millrace.load.split_result import SplitResult
from millrace.progress import ProgressTask, null_task
from millrace.settings import Settings
from millrace.sources import RejectOrigins, open_source, open_split
from millrace.store import (
    AttemptRole,
    CassandraSession,
    Catalogue,
    ChunkReader,
    ChunkWriter,
    LoadAttempt,
    RepairReport,
    ReplicaRepair,
    ReplicatedWriter,
)

_SEEN_WITHIN = timedelta(seconds=150)
"""Age of ``last_seen`` below which an attempt counts as running; it is updated every minute."""


def load_split(
    cassandra: CassandraSession,
    settings: Settings,
    plan: LoadPlan,
    split: int | None,
    *,
    task: ProgressTask,
    attempt: int = 1,
    resume: bool = True,
    origins: RejectOrigins | None = None,
) -> SplitResult:
    """Write one split (None: the whole source as one stream) as a new attempt; nothing becomes visible yet.

    With ``resume``, chunks of an earlier attempt of the same run and plan that are present and intact are not written
    again. Their pages are inherited, and their rows are only compared with the source. ``origins`` gives the rejects of
    a replay their first file and line.

    On return every chunk is acknowledged and its manifest page is written. Memory in addition to the process's own: at
    most ``ENCODE_BYTES_MAX`` of raw row groups, ``window_bytes`` of stored chunks, and the source's blocks. Raises
    ``SourceError``, ``ChunkError`` or ``StoreError``; the data written until then is an orphan without a version.
    Raises ``SplitOverBudgetError`` as soon as this split alone has more bad rows than the load may have.
    """
    start_s = time.time()
    row = LoadAttempt(
        dataset=plan.dataset,
        attempt_id=uuid4(),
        run=plan.run,
        fingerprint=plan.fingerprint,
        role=AttemptRole.SOURCE if split is None else AttemptRole.SPLIT,
        split=split or 0,
        try_number=attempt,
        version=plan.label,
        host=socket.gethostname(),
        started=datetime.now(UTC),
    )
    kept = find_resume_point(cassandra, row, task=task) if resume else ResumePoint()
    row = replace(row, first_row=kept.rows)
    reader = open_source(plan.source) if split is None else open_split(plan.source, plan.source.splits[split])
    reader.rejects.origins = origins
    limits = settings.load
    writes = ReplicatedWriter(
        cassandra,
        window_bytes=limits.window_bytes,
        chunks_in_flight=limits.chunks_in_flight,
        bytes_per_s=limits.bytes_per_s,
    )
    with reader, writes:
        chunk_writer = ChunkWriter(cassandra, writes, row, bucket_bytes=limits.bucket_bytes)
        by_rows = task_unit(plan, split)[0] == "rows"
        reporter = _Reporter(
            task, chunk_writer, lambda: kept.rows + chunk_writer.acknowledged_rows if by_rows else reader.bytes_read
        )
        reject_writer = RejectWriter(cassandra, writes, row, bucket_bytes=limits.bucket_bytes)
        task.phase("write")
        rows = skip_written_rows(cassandra, plan, kept, reader)
        try:
            for chunk in encoded_chunks(plan, rows, threads=limits.encode_threads):
                chunk_writer.write(chunk)
                reporter.report(raw_bytes=chunk.raw_bytes, stored_bytes=chunk.stored_bytes)
                reject_writer.write(reader.rejects.take())
        except BadRowsError as error:
            raise SplitOverBudgetError(error, reject_writer.finish(reader.rejects)) from error
        report = chunk_writer.finish()
        reporter.report()
        rejects = reject_writer.finish(reader.rejects)
        earlier = {page.attempt_id for page in kept.pages}
        under_replicated = _repair_own(cassandra, row, earlier, report.under_replicated, task)
        _repair_own(cassandra, reject_writer.row, set(), rejects.under_replicated, task)
        # A node may have gone down meanwhile and lost its last writes.
        under_replicated += chunk_writer.record_lost_writes()
    pages = [*kept.pages, *report.pages]
    return SplitResult(
        split=-1 if split is None else split,
        attempt_id=row.attempt_id,
        inherited=kept.ranges,
        pages=len(report.pages),
        chunks=sum(page.chunks for page in pages),
        rows=sum(page.rows for page in pages),
        raw_bytes=sum(page.raw_bytes for page in pages),
        stored_bytes=sum(page.stored_bytes for page in pages),
        under_replicated=under_replicated,
        retries=report.retries,
        schema=reader.schema.serialize().to_pybytes(),
        contents=reader.contents,
        rejects=rejects if rejects.is_any else None,
        span_s=(start_s, time.time()),
    )


def _repair_own(
    cassandra: CassandraSession, row: LoadAttempt, inherited: set[UUID], under_replicated: int, task: ProgressTask
) -> int:
    """Repair this attempt and the attempts that it resumes, if the node is back before the load ends.

    Returns the number of chunks that are still under-replicated.
    """
    if not (under_replicated or inherited) or cassandra.down():
        return under_replicated
    task.phase("repair")
    report = RepairReport()
    repairer = ReplicaRepair(cassandra, ChunkReader(cassandra))
    try:
        now = datetime.now(UTC)
        others = [other for other in Catalogue(cassandra).attempts(row.dataset, run=row.run) if not other.finished]
        alive = {other.attempt_id for other in others if now - (other.last_seen or other.started) < _SEEN_WITHIN}
        repairer.repair_attempts(
            row.dataset, {row.attempt_id, *inherited}, report, task=null_task(), writing=alive - {row.attempt_id}
        )
    except StoreError:
        return under_replicated  # the node is down again; millrace repair finds the records
    return 0 if report.ok else under_replicated


def task_unit(plan: LoadPlan, split: int | None) -> tuple[str, int]:
    """Return the unit of progress and its total: rows if the source knows their number, else bytes."""
    splits = plan.source.splits if split is None else (plan.source.splits[split],)
    rows = [s.rows for s in splits]
    if plan.source.kind == "table" and all(r is not None for r in rows):
        return "rows", sum(r or 0 for r in rows)
    return "bytes", sum(s.bytes for s in splits)


@dataclass
class _Reporter:
    """Reports to the task the progress since the previous report. ``done`` returns the rows or bytes done so far."""

    task: ProgressTask
    chunk_writer: ChunkWriter
    done: Callable[[], int]
    reported: tuple[int, int, int, int] = (0, 0, 0, 0)

    def report(self, *, raw_bytes: int = 0, stored_bytes: int = 0) -> None:
        before, writer = self.reported, self.chunk_writer
        done = max(before[0], self.done())
        self.reported = (done, writer.acknowledged_chunks, writer.retries, writer.under_replicated)
        amount, chunks, retries, under_replicated = (new - old for new, old in zip(self.reported, before, strict=True))
        self.task.advance(amount)
        self.task.count(
            chunks=chunks,
            retries=retries,
            under_replicated=under_replicated,
            bytes_raw=raw_bytes,
            bytes_stored=stored_bytes,
        )
