"""Write the row of a loaded version, which makes it visible."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any
from uuid import UUID, uuid4

import pyarrow as pa

import millrace
from millrace.errors import ChunkMissingError, SourceTypeError, VersionNotFoundError
from millrace.load.append import check_append, check_kept, common_schema, selector_of
from millrace.load.checks import check_attempts, check_inputs, promised_pages
from millrace.load.evolution import common_layout, format_setting
from millrace.load.exact import check_exact
from millrace.load.incremental_protocol import superseded
from millrace.load.lists import Listing, page_totals, write_lists
from millrace.load.loaded_files import FileListing, has_file_list
from millrace.load.plan import LoadPlan
from millrace.load.publish_protocol import Published
from millrace.load.split_result import SplitResult
from millrace.sources import SourceChecksum, SourcePlan, merge_schemas
from millrace.store import (
    AttemptRole,
    Catalogue,
    CatalogueWriter,
    LoadAttempt,
    LoadedFile,
    MetadataBucket,
    PageRef,
    Version,
    VersionGraph,
    bounded_facts,
    layout_setting,
)


def no_check(others: VersionGraph) -> None:
    """Let the version be published beside all others."""


def attempts_of(results: Sequence[SplitResult]) -> set[UUID]:
    """Return the attempts that wrote the chunks of these results."""
    inherited = {attempt_id for result in results for attempt_id, _, _ in result.inherited}
    return inherited | {result.attempt_id for result in results}


@dataclass(frozen=True)
class CatalogueSteps:
    """The reads and writes of ``VersionSteps`` in the catalogue of one dataset."""

    catalogue: Catalogue
    catalogue_writer: CatalogueWriter
    dataset: str

    def graph(self) -> VersionGraph:
        """Read the versions of the dataset."""
        return VersionGraph(self.catalogue.all_versions(self.dataset))

    def withdraw(self, version: Version) -> None:
        """Hide a version from readers for good."""
        self.catalogue_writer.withdraw(version)


@dataclass(frozen=True)
class VersionRowWriter(CatalogueSteps):
    """Steps of ``publish_with_retry`` on the catalogue: one load, with the results and the pages of all its splits."""

    plan: LoadPlan
    results: Sequence[SplitResult]
    pages: Sequence[PageRef]
    files: Sequence[LoadedFile]
    """The files that the load adds to the list of loaded files."""
    settings: Mapping[str, Any] = field(default_factory=dict)
    """Further settings of the version, besides those of its chunks."""
    check_others: Callable[[VersionGraph], None] = no_check
    """Raises ``MillraceError`` if the version must not be published beside versions of others."""

    @property
    def inputs(self) -> Mapping[str, str]:
        """The versions that the version is made from, by alias."""
        return dict(self.settings.get("inputs", {}))

    def check_append(self, parent: str) -> None:
        """Raise ``SourceTypeError`` unless the rows can be appended to this version.

        Raises ``LoadSupersededError`` if the load is incremental, because its files were selected for another parent.
        A replay is appended only to versions that hold the rows of the version that it replays.
        """
        if self.plan.mode == "incremental":
            raise superseded(self.dataset, self.plan.label, f"{self.dataset}@{parent}")
        if replays := self.plan.replays:
            graph = self.graph()
            if not any(graph.contains(version, replays) for version in graph.visible if version.label == parent):
                raise SourceTypeError(
                    f"{self.dataset}@{parent} was published meanwhile and does not have the rows of "
                    f"{self.dataset}@{replays}, so its rejects are not replayed",
                    hint="load the source again with other types instead",
                    dataset=self.dataset,
                    version=parent,
                )
        check_append(self.catalogue, self.dataset, parent, self.plan.source)

    def write(self, plan: LoadPlan) -> Published:
        """Write the version's row.

        Withdraws the row and raises ``ChunkMissingError`` if a sweep may remove data that the version references, and
        ``VersionNotFoundError`` if a version that it is made from was deleted.
        """
        catalogue, written = self.catalogue, attempts_of(self.results)
        parent = None if plan.parent is None else catalogue.resolve(plan.dataset, selector_of(plan.parent))
        base = parent if plan.appends else None
        bases = [] if base is None else [base]
        schema = self._schema(plan, base)
        check_attempts(catalogue, plan, written, bases)
        check_inputs(catalogue, plan, self.inputs)
        version = self._version(plan, parent, base, schema)
        replicas = self.catalogue_writer.publish(version)
        # A sweep fences attempts before it reads the versions, and this check runs after the version row is written. Of
        # a concurrent sweep and load, at least one sees the other. So it is with a deletion, which marks an input
        # before it reads the versions that were made from it.
        try:
            check_attempts(catalogue, plan, written, bases)
            check_inputs(catalogue, plan, self.inputs)
        except (ChunkMissingError, VersionNotFoundError):
            self.withdraw(version)
            raise
        if plan.mode != "incremental":  # an incremental version is finished when it is confirmed
            row = _publisher_row(plan, version.attempt_id, version.committed_at)
            self.catalogue_writer.heartbeat(row, buckets=0, finished=True)
        return Published(plan, version, replicas)

    def _schema(self, plan: LoadPlan, base: Version | None) -> pa.Schema:
        """Return the schema of the rows of all splits and of ``base``.

        Raises ``SourceTypeError`` if a value of one of them would change in it.
        """
        catalogue, results = self.catalogue, self.results
        own = merge_schemas([plan.schema, *(result.arrow_schema() for result in results)])
        for result in results if len(results) > 1 else ():
            pages = partial(promised_pages, catalogue, plan, result)
            label = plan.source.splits[result.split].label
            check_exact(catalogue, plan.dataset, pages, plan.layout, result.arrow_schema(), own, label)
        if base is None:
            return own
        schema = common_schema([catalogue.pages.schema(base), own])
        subject = f"{plan.source.uri} cannot be appended to {base.reference}"
        check_kept(catalogue, base, schema, subject)
        check_exact(catalogue, plan.dataset, lambda: self.pages, plan.layout, own, schema, subject)
        return schema

    def _version(self, plan: LoadPlan, parent: Version | None, base: Version | None, schema: pa.Schema) -> Version:
        """Write schema and page list and return the version, whose row is not written yet."""
        publisher = uuid4()
        self.catalogue_writer.begin_attempt(_publisher_row(plan, publisher, datetime.now(UTC)))
        if self.inputs:
            self.catalogue_writer.register_derived(plan.dataset, publisher)
        added = [replace(page, added_by=plan.label) for page in self.pages]
        totals, largest_chunk_bytes, listing = self._contents(base, added)
        layout = plan.layout if base is None else common_layout([plan.layout, base.layout])
        schema_blob, pages_blob, replicas = write_lists(
            self.catalogue, self.catalogue_writer, plan.dataset, plan.label, schema, listing
        )
        files_blob, file_replicas = (
            FileListing.of(self.catalogue, base)
            .followed_by(LoadedFile(*file[:-1], added_by=plan.label) for file in self.files)
            .write(self.catalogue_writer, plan.dataset, plan.label)
        )
        if min(replicas, file_replicas) < 2:
            self.catalogue_writer.record_under_replicated(plan.dataset, publisher, MetadataBucket.PAGES, 0)
        # A replay adds no file. Rows of a source without files are in no list, so no list of files equals the version.
        parsing = [] if plan.replays else [plan.parsing if has_file_list(plan.source) else ""]
        parsing += [] if base is None else [str(base.settings.get("parsing", ""))]
        return Version(
            dataset=plan.dataset,
            number=plan.number,
            hex=plan.hex,
            parent=plan.parent,
            mode=plan.mode,
            kind=plan.source.kind,
            attempt_id=publisher,
            attempts=len({page.attempt_id for page in added}) + (base.attempts if base is not None else 0),
            run=plan.run,
            code=millrace.__version__,
            source=bounded_facts({**plan.source.facts(), **content_facts(plan.source, self.results)}),
            settings={
                "root": root_of(plan, parent),
                "chunks": plan.chunks.to_json(),
                "layout": layout_setting(layout),
                **format_setting(layout, base, has_files=files_blob is not None),
                "fingerprint": plan.fingerprint,
                "largest_chunk_bytes": largest_chunk_bytes,
                "source_options": bounded_facts(plan.source.options.to_json()),
                "parsing": common_parsing(parsing),
                **self.settings,
            },
            committed_at=_commit_time(parent),
            schema_blob=schema_blob,
            pages_blob=pages_blob,
            files_blob=files_blob,
            **totals,
        )

    def _contents(self, base: Version | None, added: Sequence[PageRef]) -> tuple[dict[str, Any], int, Listing]:
        """Return the totals of the version, the stored bytes of its largest chunk, and its listing.

        The pages are read before a row references them, so a version never begins with a damaged page.
        """
        catalogue, totals = self.catalogue, page_totals(added)
        largest = max((catalogue.pages.page(self.dataset, page).largest_chunk_bytes for page in added), default=0)
        if base is None:
            return totals, largest, Listing(self.dataset).followed_by(added)
        totals = {name: value + getattr(base, name) for name, value in totals.items()}
        largest = max(largest, base.largest_chunk_bytes)
        return totals, largest, Listing.of(catalogue, base).followed_by(added)


def common_parsing(parsing: Sequence[str]) -> str:
    """Return the digest of the parsing settings if it is equal in these loads of the line, else an empty text."""
    return parsing[0] if len(set(parsing)) == 1 else ""


def root_of(plan: LoadPlan, parent: Version | None) -> str:
    """Return the root of the line that the version of a plan belongs to."""
    if plan.mode == "replace":
        return plan.label
    return "empty" if parent is None else parent.root


def _publisher_row(plan: LoadPlan, attempt_id: UUID, started: datetime) -> LoadAttempt:
    return LoadAttempt(
        plan.dataset, attempt_id, plan.run, plan.fingerprint, AttemptRole.PUBLISHER, 1, plan.label, "", started
    )


def _commit_time(parent: Version | None) -> datetime:
    """Return the time now in milliseconds; a commit time is never earlier than the parent's."""
    now = datetime.now(UTC)
    now -= timedelta(microseconds=now.microsecond % 1000)
    return now if parent is None else max(now, parent.committed_at)


def content_facts(source: SourcePlan, results: Sequence[SplitResult]) -> dict[str, str]:
    """Return the CRC-32 of the source's bytes, file after file; nothing unless every split has its own."""
    checksum = SourceChecksum()
    for result in results:
        if result.contents is None:
            return {}
        checksum = checksum.followed_by(SourceChecksum.of(result.contents))
    size_bytes = sum(file.size_bytes for file in source.files)
    covers_source = any(file.has_unknown_size for file in source.files) or checksum.size_bytes == size_bytes
    return {"crc32": f"{checksum.crc32:08x}"} if covers_source else {}
