"""Resume a failed attempt, reusing the chunks that it completed.

Complete chunks are located through the attempt's row and pages, and checked twice. First they must be present and
undamaged. Then their rows are compared with the rows that the source has now. Without the comparison, a source that
changed but kept its size and time would be mixed with its former content.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import takewhile
from uuid import UUID

import pyarrow as pa

from millrace.arrow import same_values, wider_schema
from millrace.chunks import assemble_as_stored, cast_batch, cast_stored_numbers
from millrace.dataset import VerifyReport, verify_chunks
from millrace.errors import ChunkError, PlanChangedError, SourceChangedError, SourceTypeError, StoreError, UsageError
from millrace.load.plan import LoadPlan
from millrace.progress import ProgressTask, null_task
from millrace.store import CassandraSession, Catalogue, ChunkReader, ChunkRef, LoadAttempt, PageRef, journal_number


@dataclass(frozen=True, slots=True)
class ResumePoint:
    """Pages of earlier attempts that hold the first ``rows`` rows of a split, every chunk present and intact."""

    pages: tuple[PageRef, ...] = field(default=())

    @property
    def rows(self) -> int:
        """Rows that need not be written again."""
        return sum(page.rows for page in self.pages)

    @property
    def ranges(self) -> tuple[tuple[UUID, int, int], ...]:
        """The pages as ranges: attempt, first, last; the numbers are consecutive in either direction."""
        ranges: list[tuple[UUID, int, int]] = []
        for page in self.pages:
            if ranges and ranges[-1][0] == page.attempt_id and abs(page.page - ranges[-1][2]) == 1:
                ranges[-1] = (page.attempt_id, ranges[-1][1], page.page)
            else:
                ranges.append((page.attempt_id, page.page, page.page))
        return tuple(ranges)


def find_resume_point(cassandra: CassandraSession, row: LoadAttempt, *, task: ProgressTask) -> ResumePoint:
    """Return the pages of earlier attempts of the same run, plan and split, from the first row to the first gap.

    Where pages of several attempts overlap, the sequence that reaches furthest counts. Every chunk of it is read back
    and verified. The first page with a missing or wrong chunk ends the resume point.
    """
    catalogue = Catalogue(cassandra)
    pages: dict[int, list[tuple[int, PageRef]]] = {}
    for earlier in catalogue.attempts(row.dataset, run=row.run):
        same = (earlier.fingerprint, earlier.role, earlier.split) == (row.fingerprint, row.role, row.split)
        if not same or earlier.attempt_id == row.attempt_id or earlier.fenced:
            continue
        for written in (catalogue.pages.finished, catalogue.pages.journal):
            start = earlier.first_row
            for position, page in enumerate(written(row.dataset, earlier.attempt_id)):
                if page.page != (journal_number(position) if page.is_journal else position):
                    break  # the page before is on an unresponsive node, so the first row of this one is unknown
                if page.rows:
                    pages.setdefault(start, []).append((start + page.rows, page))
                start += page.rows
    path = _furthest(pages)
    if not path:
        return ResumePoint()
    task.phase("check written chunks")
    reader = ChunkReader(cassandra)
    return ResumePoint(tuple(takewhile(lambda page: _intact(catalogue, reader, row.dataset, page), path)))


def skip_written_rows(
    cassandra: CassandraSession, plan: LoadPlan, kept: ResumePoint, batches: Iterable[pa.RecordBatch]
) -> Iterator[pa.RecordBatch]:
    """Yield the batches without the kept rows; raise ``SourceChangedError`` if those differ from the stored rows.

    Values are compared chunk by chunk. One stored chunk and as many rows of the source are held at a time.
    """
    source = iter(batches)
    unread: pa.RecordBatch | None = None
    row = 0
    catalogue, reader = Catalogue(cassandra), ChunkReader(cassandra)
    for page in kept.pages:
        for ref in catalogue.pages.page(plan.dataset, page).refs():
            stored = _stored(reader, plan, ref)
            compared = 0
            while compared < ref.rows:
                batch = next(source, None) if unread is None else unread
                if batch is None:
                    raise _changed(plan, row + compared, ref)
                part = batch.slice(0, ref.rows - compared)
                unread = batch.slice(part.num_rows) if part.num_rows < batch.num_rows else None
                if not _same(part, stored.slice(compared, part.num_rows)):
                    raise _changed(plan, row + compared, ref)
                compared += part.num_rows
            row += ref.rows
    if unread is not None:
        yield unread
    yield from source


def _stored(reader: ChunkReader, plan: LoadPlan, ref: ChunkRef) -> pa.RecordBatch:
    context = {"dataset": ref.dataset, "chunk": str(ref)}
    pairs = zip(ref.tiles, reader.fetch(ref), strict=True)
    tiles = [tile.decode(data, {**context, "tile": index}) for index, (tile, data) in enumerate(pairs)]
    schema = plan.source.schema
    return cast_stored_numbers(assemble_as_stored(tiles, plan.layout, schema), schema)


def _same(one: pa.RecordBatch, other: pa.RecordBatch) -> bool:
    """Return whether two batches have the same values.

    The width of their types and the order of their dictionaries do not matter. NaN equals NaN.
    """
    try:
        schema = wider_schema(one.schema, other.schema)
    except SourceTypeError:
        return False
    pair = (cast_batch(batch, schema).columns for batch in (one, other))
    return one.num_rows == other.num_rows and all(map(same_values, *pair))


def _changed(plan: LoadPlan, row: int, ref: ChunkRef) -> SourceChangedError:
    return SourceChangedError(
        f"{plan.source.uri} differs from the source that an earlier attempt at this run read, "
        f"at row {row:,} or soon after",
        hint="load it as another run (--run-id)",
        file=plan.source.uri,
        dataset=plan.dataset,
        run=plan.run,
        chunk=str(ref),
    )


def unfinished_run(catalogue: Catalogue, plan: LoadPlan, run: str | None) -> str:
    """Return the run to resume: ``run``, or the unpublished run of this plan that was seen last.

    Returns the plan's own run if the plan is published already or has nothing to load. Raises ``PlanChangedError`` if
    ``run`` began with another source, schema or settings, and ``UsageError`` if there is no run to resume.
    """
    if plan.published or plan.unchanged:
        return plan.run
    published = {version.run for version in catalogue.all_versions(plan.dataset)}  # deleted ones were finished, too
    rows = [row for row in catalogue.attempts(plan.dataset, run=run) if not row.fenced and row.run not in published]
    begun = [row for row in rows if row.fingerprint == plan.fingerprint]
    if begun:
        return max(begun, key=lambda row: row.last_seen or row.started).run
    if run is not None and rows:
        raise PlanChangedError(
            f"the run {run!r} began with another source, schema or settings",
            hint="give the same source and settings, or leave --resume out to load a new version",
            dataset=plan.dataset,
            run=run,
        )
    raise UsageError(
        f"{plan.dataset} has no unfinished load of this source with these settings",
        hint="leave --resume out",
        dataset=plan.dataset,
    )


def _furthest(pages: dict[int, list[tuple[int, PageRef]]]) -> list[PageRef]:
    """Return the pages that follow each other without a gap from row 0 and reach the highest row."""
    reach: dict[int, tuple[int, PageRef, int]] = {}
    for start in sorted(pages, reverse=True):
        choices = [(reach[end][0] if end in reach else end, page, end) for end, page in pages[start]]
        reach[start] = max(choices, key=lambda choice: (choice[0], choice[2]))
    path: list[PageRef] = []
    position = 0
    while position in reach:
        _, page, position = reach[position]
        path.append(page)
    return path


def _intact(catalogue: Catalogue, reader: ChunkReader, dataset: str, page: PageRef) -> bool:
    try:
        refs = catalogue.pages.page(dataset, page).refs()
    except (ChunkError, StoreError):
        return False
    return verify_chunks(reader, refs, VerifyReport(dataset), task=null_task()).ok
