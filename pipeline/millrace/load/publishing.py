"""Publish a version by writing the one row that makes it visible, and report the load."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any
from uuid import UUID, uuid4

import pyarrow as pa

import millrace
from millrace.display import html_table
from millrace.errors import ChunkMissingError, StoreError
from millrace.load.append import check_append, check_kept, selector_of
from millrace.load.checks import check_attempts, check_complete, promised_pages, published
from millrace.load.columns import ReportedColumns, reported_columns
from millrace.load.exact import check_exact
from millrace.load.lists import Listing, sums, write_lists
from millrace.load.merge import merge_siblings
from millrace.load.plan import LoadPlan
from millrace.load.split import SplitResult
from millrace.sources import STANDARD_INPUT, SourceChecksum, SourceWarning, distinct, merge_schemas
from millrace.store import (
    CATALOGUE_BUCKET,
    PAGES_BUCKET,
    PUBLISHER,
    Catalogue,
    CatalogueWriter,
    LoadAttempt,
    PageRef,
    ReplicatedWriter,
    Version,
    bounded_facts,
    layout_setting,
    order,
    root_of,
    root_order,
)

__all__ = ["LoadReport", "publish"]

_ROUNDS = 10
_LAST_BUCKETS = 2
"""Buckets of an attempt that may have been written within the last seconds: 64 MB each."""


@dataclass(frozen=True, slots=True, repr=False)
class LoadReport:
    """Result of a load.

    ``replicas`` is 2 if every chunk and row is proven on two nodes, else 1 (``degraded``). ``rows``, ``chunks`` and the
    sizes in bytes count the data that this load added. ``total_rows`` counts the rows of the version.
    """

    dataset: str
    version: str
    run: str
    mode: str
    kind: str
    parent: str | None
    rows: int
    total_rows: int
    raw_bytes: int
    stored_bytes: int
    chunks: int
    replicas: int
    under_replicated: int
    retries: int
    splits: int
    source: str
    seconds: float = 0.0
    rows_per_s: float = 0.0
    missing: tuple[str, ...] = field(default=())
    """Optional services that were unreachable and that the load did without: ``progress``, ``cache``."""
    warnings: tuple[SourceWarning, ...] = field(default=())
    """Everything surprising about the source, from its plan and its splits, and about the load itself."""
    columns: ReportedColumns = field(default=())
    """Name and Arrow type of the version's first columns, as many as ``reported_columns`` gives."""
    columns_total: int = 0

    def __repr__(self) -> str:
        return (
            f"<LoadReport {self.dataset}@{self.version}: {self.rows:,} rows added, {self.total_rows:,} in the version, "
            f"{self.stored_bytes:,} stored bytes, {self.replicas} replicas, {len(self.warnings)} warnings>"
        )

    def _repr_html_(self) -> str:
        facts: list[tuple[str, object]] = [
            ("rows added", self.rows),
            ("rows in the version", self.total_rows),
            ("raw bytes", self.raw_bytes),
            ("stored bytes", self.stored_bytes),
            ("chunks", self.chunks),
            ("replicas", self.replicas),
            ("seconds", self.seconds),
            ("source", self.source),
            ("run", self.run),
        ]
        facts += [("warning", warning.message) for warning in self.warnings]
        return html_table(f"Load of {self.dataset}@{self.version}", facts)

    @property
    def degraded(self) -> bool:
        """Whether a chunk or row is on one node only; ``millrace repair`` writes the missing replica."""
        return self.replicas < 2

    @property
    def ratio(self) -> float:
        """Raw bytes for each stored byte."""
        return self.raw_bytes / self.stored_bytes if self.stored_bytes else 1.0

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON: every field, and ``degraded`` and ``ratio``.

        Each column is an object with name and type.
        """
        columns = [{"name": name, "type": kind} for name, kind in self.columns]
        return {**asdict(self), "columns": columns, "degraded": self.degraded, "ratio": round(self.ratio, 3)}


def publish(
    catalogue: Catalogue,
    catalogue_writer: CatalogueWriter,
    writes: ReplicatedWriter,
    plan: LoadPlan,
    results: Sequence[SplitResult],
    *,
    seconds: float = 0.0,
) -> LoadReport:
    """Publish the version of a plan and return the report of the load.

    Readers see either the whole version or none of it. Publishing the same plan again returns the same version.
    Versions that were published since the plan was made are never discarded: see ``_rebase``.

    Raises ``StoreError`` unless there is exactly one result for every split, ``ChunkMissingError`` if a manifest page
    of a result is missing, ``SourceTypeError`` if the data to append to was replaced by other columns, and
    ``VersionNotFoundError`` if the version was deleted meanwhile. After such an error the version is not visible,
    except if the data was replaced while the version's row was written.

    Raises ``StoreError`` also if concurrent appends cannot be merged. Then each of them stays a visible version.
    """
    ordered = sorted(results, key=lambda result: result.split)
    check_complete(plan, ordered)
    written = {result.attempt_id for result in ordered} | {w for result in ordered for w, _, _ in result.inherited}
    every = catalogue.every_version(plan.dataset)
    # Before the pages: the error for a deleted version is more useful than the one for its missing pages.
    version, replicas = published(catalogue, plan, every), 2
    own = [page for result in ordered for page in promised_pages(catalogue, plan, result)]
    if version is None:
        plan, version, replicas = _publish_with_retry(catalogue, catalogue_writer, plan, every, ordered, own)
    if plan.mode == "append":
        version = merge_siblings(catalogue, catalogue_writer, version)
    # ``replica_loss_times`` lacks a node that was down before the load began. ``stats.degraded`` counts the writes that
    # it missed.
    if writes.replica_loss_times or writes.stats.degraded:
        _note_the_end(
            catalogue_writer,
            version,
            written,
            {row.attempt_id: row.buckets for row in catalogue.attempts(plan.dataset)},
        )
        replicas = 1
    # The stored records include missing replicas of a resumed attempt and exclude data repaired meanwhile.
    records = catalogue.under_replicated(plan.dataset, {page.attempt_id for page in own} | {version.attempt_id})
    under_replicated = sum(max(1, record.chunks) for record in records)
    rows = sum(page.rows for page in own)
    warnings = distinct(plan.source.warnings)
    report = LoadReport(
        dataset=plan.dataset,
        version=version.label,
        run=plan.run,
        mode=plan.mode,
        kind=version.kind,
        parent=plan.parent,
        rows=rows,
        total_rows=version.rows,
        raw_bytes=sum(page.raw_bytes for page in own),
        stored_bytes=sum(page.stored_bytes for page in own),
        chunks=sum(page.chunks for page in own),
        replicas=1 if under_replicated or replicas < 2 else 2,
        under_replicated=under_replicated,
        retries=sum(result.retries for result in ordered) + writes.stats.retries,
        splits=len(ordered),
        source=plan.source.uri,
        seconds=round(seconds, 3),
        rows_per_s=round(rows / seconds, 1) if seconds else 0.0,
        warnings=warnings,
    )
    return with_columns(catalogue, version, with_state(catalogue, report))


def with_columns(catalogue: Catalogue, version: Version, report: LoadReport) -> LoadReport:
    """Return the report with the columns of the version; without them if they cannot be read."""
    try:
        # A version from a list of versions comes without its schema.
        whole = version if version.schema_blob else catalogue.resolve(version.dataset, selector_of(version.label))
        schema = catalogue.schema(whole)
    except StoreError:
        return report
    return replace(report, columns=reported_columns(schema), columns_total=len(schema))


def with_state(catalogue: Catalogue, report: LoadReport) -> LoadReport:
    """Return the report with a warning for data on one node only, and for a node that did not respond."""
    found = []
    if report.degraded:
        said = f"{report.dataset}@{report.version} has {report.under_replicated} chunks or rows on one node only"
        found.append(SourceWarning("degraded", said))
    if catalogue.was_degraded:
        found.append(SourceWarning("node_down", catalogue.degraded_words))
    return replace(report, warnings=(*found, *report.warnings))


def _note_the_end(
    catalogue_writer: CatalogueWriter, version: Version, written: set[UUID], buckets: dict[UUID, int]
) -> None:
    """Record the last writes as under-replicated because a node was lost while the version was published.

    The node may lack the rows that it acknowledged last.
    """
    catalogue_writer.record_under_replicated(version.dataset, version.attempt_id, CATALOGUE_BUCKET, 0)
    catalogue_writer.record_under_replicated(version.dataset, version.attempt_id, PAGES_BUCKET, 0)
    for attempt_id in written:
        last = buckets.get(attempt_id, 0)
        for bucket in (CATALOGUE_BUCKET, PAGES_BUCKET, *range(max(0, last - _LAST_BUCKETS), last)):
            catalogue_writer.record_under_replicated(version.dataset, attempt_id, bucket, 0)


def _publish_with_retry(
    catalogue: Catalogue,
    catalogue_writer: CatalogueWriter,
    plan: LoadPlan,
    every: Sequence[Version],
    ordered: Sequence[SplitResult],
    own: Sequence[PageRef],
) -> tuple[LoadPlan, Version, int]:
    """Return the plan as it was published, its version, and the number of nodes on which its row is proven.

    After writing its version row, a publisher reads the version list again. Of two concurrent publishers at least one
    sees the other; it publishes again under a higher number. Only then is its first row withdrawn, so a load that fails
    in between is still published.
    """
    before: Version | None = None
    for _ in range(_ROUNDS):
        plan = _rebase(catalogue, plan, every)
        if before is not None:
            plan = replace(plan, number=max(plan.number, before.number + 1))
        version, replicas = _written(catalogue, catalogue_writer, plan, ordered, own)
        if before is not None:
            catalogue_writer.withdraw(before)
        every = [other for other in catalogue.every_version(plan.dataset) if other.label != version.label]
        if not _is_superseded(version, every):
            break
        before = version
    return plan, version, replicas


def _is_superseded(version: Version, others: Sequence[Version]) -> bool:
    """Return whether the version must be published again under a higher number.

    A ``replace`` must if the latest version is an append to older data. An append must if a visible ``replace`` of the
    same or a higher number was published after its data.
    """
    visible = [other for other in others if other.deleted_at is None]
    if version.mode == "replace":
        latest = next((other for other in visible if order(other) > order(version)), None)
        return latest is not None and latest.mode != "replace" and root_order(latest) < order(version)
    return any(
        other.mode == "replace" and other.number >= version.number and order(other) > root_order(version)
        for other in visible
    )


def _written(
    catalogue: Catalogue,
    catalogue_writer: CatalogueWriter,
    plan: LoadPlan,
    ordered: Sequence[SplitResult],
    own: Sequence[PageRef],
) -> tuple[Version, int]:
    """Write the version's row and return the version and the number of nodes on which the row is proven.

    Withdraws the row and raises ``ChunkMissingError`` if a sweep may remove data that the version references.
    """
    written = {result.attempt_id for result in ordered} | {w for result in ordered for w, _, _ in result.inherited}
    base = None
    if plan.parent is not None and plan.mode == "append":
        base = catalogue.resolve(plan.dataset, selector_of(plan.parent))
    schema = merge_schemas([plan.schema, *(result.arrow_schema() for result in ordered)])
    _check_splits(catalogue, plan, ordered, schema)
    if base is not None:
        schema = _shared_schema(catalogue, plan, base, own, schema)
    bases = [] if base is None else [base]
    check_attempts(catalogue, plan, written, bases)
    added = [replace(page, added_by=plan.label) for page in own]
    version = _version(catalogue, catalogue_writer, plan, base, added, schema, _content(plan, ordered))
    replicas = catalogue_writer.publish(version)
    # A sweep fences attempts before it reads the versions, and this check runs after the version row is written. Of a
    # concurrent sweep and load, at least one sees the other.
    try:
        check_attempts(catalogue, plan, written, bases)
    except ChunkMissingError:
        catalogue_writer.withdraw(version)
        raise
    catalogue_writer.seen_writer(_publisher_row(plan, version), buckets=0, finished=True)
    return version, replicas


def _check_splits(catalogue: Catalogue, plan: LoadPlan, ordered: Sequence[SplitResult], schema: pa.Schema) -> None:
    """Raise ``SourceTypeError`` if integers of a split would change as doubles of another split."""
    for result in ordered if len(ordered) > 1 else ():
        pages = partial(promised_pages, catalogue, plan, result)
        what = plan.source.splits[result.split].label
        check_exact(catalogue, plan.dataset, pages, plan.layout, result.arrow_schema(), schema, what)


def _shared_schema(
    catalogue: Catalogue, plan: LoadPlan, base: Version, own: Sequence[PageRef], new: pa.Schema
) -> pa.Schema:
    """Return the schema of ``base`` and the appended rows together.

    Raises ``SourceTypeError`` if it would change a value.
    """
    wide = merge_schemas([catalogue.schema(base), new])
    what = f"{plan.source.uri} cannot be appended to {base.reference}"
    check_kept(catalogue, base, wide, what)
    check_exact(catalogue, plan.dataset, lambda: own, plan.layout, new, wide, what)
    return wide


def _rebase(catalogue: Catalogue, plan: LoadPlan, every: Sequence[Version]) -> LoadPlan:
    """Rebase the plan onto the latest version if another load published after the plan was made.

    A ``replace`` always gets the current latest version as its parent. An append to the data of the latest version
    keeps its parent and is merged with the other appends later. If that data was replaced, or the parent was deleted,
    the append gets the latest version as its parent. A plan whose version would be the latest anyway is returned
    unchanged.
    """
    visible = [version for version in every if version.deleted_at is None]
    if not visible:
        return replace(plan, parent=None) if plan.mode == "replace" else plan
    latest = visible[0]
    if latest.label == plan.parent:
        return plan
    if plan.mode == "append":
        parent = next((version for version in visible if version.label == plan.parent), None)
        root = "empty" if plan.parent is None else parent and root_of(parent)
        if root_of(latest) == root:
            return plan
        check_append(catalogue, plan.dataset, latest.label, plan.source)
    return replace(plan, parent=latest.label, number=max(plan.number, every[0].number + 1))


def _publisher_row(plan: LoadPlan, version: Version) -> LoadAttempt:
    return LoadAttempt(
        plan.dataset,
        version.attempt_id,
        plan.run,
        plan.fingerprint,
        PUBLISHER,
        1,
        version.label,
        "",
        version.committed_at,
    )


def _content(plan: LoadPlan, ordered: Sequence[SplitResult]) -> dict[str, str]:
    """Return the checksum of the source's bytes, file after file; nothing unless every split has its own."""
    whole = SourceChecksum()
    for result in ordered:
        if result.content is None:
            return {}
        whole = whole.followed_by(result.content)
    known = plan.source.uri == STANDARD_INPUT or whole.size_bytes == sum(file.size_bytes for file in plan.source.files)
    return {"crc32": f"{whole.crc32:08x}"} if known else {}


def _version(
    catalogue: Catalogue,
    catalogue_writer: CatalogueWriter,
    plan: LoadPlan,
    base: Version | None,
    own: Sequence[PageRef],
    schema: pa.Schema,
    content: dict[str, str],
) -> Version:
    publisher = uuid4()
    now = datetime.now(UTC)
    now -= timedelta(microseconds=now.microsecond % 1000)
    # Appends merge only with appends to the same data: that of the last replace, or of the empty dataset.
    root = plan.label if plan.mode == "replace" else "empty"
    if plan.parent is not None:
        parent = catalogue.resolve(plan.dataset, selector_of(plan.parent))
        now = max(now, parent.committed_at)  # a commit time is never earlier than the parent's
        root = root_of(parent) if plan.mode == "append" else root
    row = LoadAttempt(
        plan.dataset, publisher, plan.run, plan.fingerprint, PUBLISHER, 1, plan.label, "", datetime.now(UTC)
    )
    catalogue_writer.begin_attempt(row)
    # The pages are read before a row references them, so a version never begins with a damaged page.
    largest = max((catalogue.page(plan.dataset, page).largest_chunk_bytes for page in own), default=0)
    listing = Listing(plan.dataset) if base is None else Listing.of(catalogue, base)
    total = sums(own)
    if base is not None:
        largest = max(largest, catalogue.largest_chunk_bytes(base))
        total = {name: value + getattr(base, name) for name, value in total.items()}
    listing = listing.followed_by(own)
    schema_blob, pages_blob, replicas = write_lists(
        catalogue, catalogue_writer, plan.dataset, plan.label, schema, listing
    )
    if replicas < 2:
        catalogue_writer.record_under_replicated(plan.dataset, publisher, PAGES_BUCKET, 0)
    return Version(
        dataset=plan.dataset,
        number=plan.number,
        hex=plan.hex,
        parent=plan.parent,
        mode=plan.mode,
        kind=plan.source.kind,
        attempt_id=publisher,
        attempts=len({page.attempt_id for page in own}) + (base.attempts if base is not None else 0),
        run=plan.run,
        code=millrace.__version__,
        source=bounded_facts({**plan.source.facts(), **content}),
        settings={
            "root": root,
            "chunks": plan.chunks.to_json(),
            "layout": layout_setting(plan.layout),
            "fingerprint": plan.fingerprint,
            "largest_chunk_bytes": largest,
            "source_options": bounded_facts(plan.source.options.to_json()),
        },
        committed_at=now,
        schema_blob=schema_blob,
        pages_blob=pages_blob,
        **total,
    )
