"""Merge concurrent appends to the same data.

An append that finds concurrent appends publishes a merge that holds the rows of all of them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Final, Protocol, TypeVar
from uuid import NAMESPACE_OID, uuid5

import pyarrow as pa

from millrace.errors import ChunkMissingError, SourceError, StoreError
from millrace.load.append import check_kept, common_schema
from millrace.load.checks import check_attempts
from millrace.load.evolution import common_layout, format_setting
from millrace.load.incremental_steps import IncrementalSteps
from millrace.load.lists import Listing, page_totals, write_lists
from millrace.load.loaded_files import FileListing
from millrace.load.publish_protocol import merge_heads
from millrace.load.repeats import check_added_paths
from millrace.load.version_row import common_parsing
from millrace.store import (
    AttemptRole,
    Catalogue,
    CatalogueWriter,
    ListRef,
    LoadAttempt,
    MetadataBucket,
    PageRef,
    Version,
    VersionGraph,
    layout_setting,
)

_SIBLINGS_MAX = 256
"""Versions in one merge.

The row of a merge names its parts and stays below 16 KB. 600 appends that did not see each other take three merges.
"""


def merge_siblings(
    catalogue: Catalogue, catalogue_writer: CatalogueWriter, version: Version, *, siblings_max: int = _SIBLINGS_MAX
) -> Version:
    """Return the version that holds all appends to the same data as ``version``, merging them if necessary.

    Returns ``version`` itself if there is no other append beside it. Concurrent appends write their rows before they
    read, so of two at least one sees the other. If neither did, because each reached a different node only, the next
    append or ``repair`` merges them.

    Raises ``StoreError`` if the appends cannot be merged, or if new ones arrive through all rounds of ``merge_heads``.
    """
    return merge_heads(Merger(catalogue, catalogue_writer, version.dataset), version, siblings_max=siblings_max)


_OF_ONE_LOAD: Final = frozenset({"rejects", "replays"})
"""Settings of a version that belong to its own load, and not to a merge with others."""


class _HasAdder(Protocol):
    @property
    def added_by(self) -> str:
        """The label of the version that added this."""


Added = TypeVar("Added", bound=_HasAdder)


class Merger(IncrementalSteps):
    """Steps of ``merge_heads`` on the catalogue of one dataset."""

    def merge(self, siblings: Sequence[Version], graph: VersionGraph) -> Version | None:
        """Write the merge of the siblings, or return the version of that name if it exists, perhaps deleted.

        Returns None if a sibling was deleted meanwhile, or if a sweep may remove data that the merge references.
        """
        number, hexpart, existing = graph.merge_name(siblings)
        if existing is not None:
            return existing
        label = f"{number}-{hexpart}"
        publisher = uuid5(NAMESPACE_OID, f"{self.dataset}@{label}")
        run = f"merge of {len(siblings)} versions: {siblings[0].label} to {siblings[-1].label}"
        row = LoadAttempt(self.dataset, publisher, run, "", AttemptRole.PUBLISHER, 1, label, "", datetime.now(UTC))
        self.catalogue_writer.begin_attempt(row)
        # A deletion looks for active attempts after it has marked a version, and this looks for marks after its own row
        # is written. Of the two, at least one sees the other.
        if not {sibling.label for sibling in siblings} <= {v.label for v in self.catalogue.versions(self.dataset)}:
            return None
        siblings = [self.catalogue.with_content(sibling) for sibling in siblings]
        merged = self._version(siblings, graph, row)
        self.catalogue_writer.publish(merged)
        try:
            check_attempts(self.catalogue, merged, {publisher}, siblings)
        except ChunkMissingError:
            self.withdraw(merged)
            return None
        self.catalogue_writer.heartbeat(row, buckets=0, finished=True)
        return merged

    def _version(self, siblings: Sequence[Version], graph: VersionGraph, row: LoadAttempt) -> Version:
        """Write schema and page list of the merge and return the version, whose row is not written yet."""
        catalogue, labels = self.catalogue, [sibling.label for sibling in siblings]
        runs = {v.label: v.run for v in graph.versions}
        pages = union_of_added([catalogue.pages.refs(sibling) for sibling in siblings], runs)
        files = union_of_added([catalogue.pages.files(sibling) for sibling in siblings], runs)
        schema = self._schema(siblings, pages)
        listing = _shared(catalogue, [Listing.of(catalogue, sibling) for sibling in siblings], pages)
        schema_blob, pages_blob, replicas = write_lists(
            catalogue, self.catalogue_writer, self.dataset, row.version, schema, listing
        )
        file_lists = [catalogue.pages.file_lists(sibling) for sibling in siblings]
        files_blob, file_replicas = FileListing.shared(catalogue, self.dataset, file_lists, files).write(
            self.catalogue_writer, self.dataset, row.version
        )
        if min(replicas, file_replicas) < 2:
            self.catalogue_writer.record_under_replicated(self.dataset, row.attempt_id, MetadataBucket.PAGES, 0)
        layout = common_layout([sibling.layout for sibling in siblings])
        number, _, hexpart = row.version.partition("-")
        largest_chunk_bytes = max(sibling.largest_chunk_bytes for sibling in siblings)
        return Version(
            dataset=self.dataset,
            number=int(number),
            hex=hexpart,
            parent=labels[-1],
            mode="merge",
            kind=siblings[0].kind,
            attempt_id=row.attempt_id,
            attempts=len({page.attempt_id for page in pages}),
            run=row.run,
            code=max(sibling.code for sibling in siblings),
            source={"merged": labels},
            settings={
                **{name: value for name, value in siblings[0].settings.items() if name not in _OF_ONE_LOAD},
                "largest_chunk_bytes": largest_chunk_bytes,
                "layout": layout_setting(layout),
                **format_setting(layout, *siblings, has_files=files_blob is not None),
                "parsing": common_parsing([str(sibling.settings.get("parsing", "")) for sibling in siblings]),
            },
            committed_at=max(sibling.committed_at for sibling in siblings),
            schema_blob=schema_blob,
            pages_blob=pages_blob,
            files_blob=files_blob,
            **page_totals(pages),
        )

    def _schema(self, siblings: Sequence[Version], pages: Sequence[PageRef]) -> pa.Schema:
        """Return the schema of all siblings; raise ``StoreError`` if their rows cannot be in one version."""
        labels = [sibling.label for sibling in siblings]
        try:
            schema = common_schema([self.catalogue.pages.schema(sibling) for sibling in siblings])
            common_layout([sibling.layout for sibling in siblings])
            for sibling in siblings:
                check_kept(self.catalogue, sibling, schema, sibling.reference)
            if siblings[0].kind == "bytes":
                check_added_paths(self.catalogue, siblings, pages)
        except SourceError as error:
            raise StoreError(
                f"{self.dataset}: {', '.join(labels[:5])} were appended concurrently and cannot be merged: "
                f"{error.message}",
                hint="each of them remains a version; "
                f"delete one (millrace delete {self.dataset}@{labels[-1]}) and load it again",
                dataset=self.dataset,
            ) from error
        return schema


def union_of_added(lists: Sequence[Sequence[Added]], runs: Mapping[str, str]) -> list[Added]:
    """Return every page or file once, in the order of the versions that added them.

    If several versions added those of one run, only those of the first version are kept, because the others hold the
    same rows again. A run is published under two numbers if its attempts reached different nodes. It is published
    twice under one number if a stalled attempt continues while the next one publishes.
    """
    loads: dict[tuple[str, str], tuple[int, int]] = {}
    entries = []
    for which, added in enumerate(lists):
        for position, item in enumerate(added):
            digits, _, hexpart = item.added_by.partition("-")
            load, source = (hexpart, runs.get(item.added_by, item.added_by)), (int(digits), which)
            loads[load] = min(source, loads.get(load, source))
            entries.append((load, source, position, item))
    kept = [((source[0], load[0], position), item) for load, source, position, item in entries if loads[load] == source]
    return [item for _, item in sorted(kept, key=lambda pair: pair[0])]


def _shared(catalogue: Catalogue, listings: Sequence[Listing], pages: Sequence[PageRef]) -> Listing:
    """Return the listing of the merged pages.

    Full lists with which all siblings and the merge begin are reused unchanged.
    """
    known_stats = {page: row for listing in listings for page, row in listing.known_stats.items()}
    shared: list[ListRef] = []
    start = 0
    for first, *others in zip(*(listing.lists for listing in listings), strict=False):
        refs = catalogue.pages.page_list(listings[0].dataset, first).refs
        if any(other != first for other in others) or tuple(pages[start : start + len(refs)]) != refs:
            break
        shared.append(first)
        start += len(refs)
    return Listing(listings[0].dataset, tuple(shared), tuple(pages[start:]), known_stats)
