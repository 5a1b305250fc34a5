"""Merge concurrent appends to the same data.

An append that finds other versions beside its own publishes a merge that holds the rows of all of them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from uuid import NAMESPACE_OID, uuid5

from millrace.errors import ChunkMissingError, SourceError, StoreError
from millrace.load.append import check_kept
from millrace.load.checks import check_attempts
from millrace.load.lists import Listing, sums, write_lists
from millrace.load.repeats import check_added_paths
from millrace.sources import merge_schemas
from millrace.store import (
    DELETED,
    WITHDRAWN,
    AttemptRole,
    Catalogue,
    CatalogueWriter,
    ListRef,
    LoadAttempt,
    MetadataBucket,
    PageRef,
    Version,
    heads,
)

__all__ = ["merge_siblings"]

_ROUNDS = 50
_MERGED_AT_ONCE = 256
"""Versions in one merge.

The row of a merge names its parts and stays below 16 KB. 600 appends that did not see each other take three merges.
"""


def merge_siblings(catalogue: Catalogue, catalogue_writer: CatalogueWriter, version: Version) -> Version:
    """Return the version that holds all appends to the same data as ``version``, merging them if necessary.

    Returns ``version`` itself if there is no other append beside it. Concurrent appends write their rows before they
    read, so of two at least one sees the other. If neither did, because each reached a different node only, the next
    append or ``repair`` merges them.

    The identity and content of a merge are a function of the set of versions in it. The identity depends also on the
    number of times that merge was withdrawn before. Two processes that merge the same set therefore write the same
    version. Raises ``StoreError`` if the appends cannot be merged, or if new ones arrive through ``_ROUNDS`` merges.
    """
    asked: list[Version] = []
    for _ in range(_ROUNDS):
        every = catalogue.all_versions(version.dataset)
        found = heads(every, version)
        replaced = {v.number for v in every if v.mode == "replace" and v.deleted_at is None}
        if asked and any(asked[-1].number <= number <= version.number for number in replaced):
            # A ``replace`` was published during the merge: the replaced rows must not become the latest again.
            catalogue_writer.withdraw(version)
            return asked[-1]
        if found and any(number >= found[-1].number for number in replaced):
            return version
        if len(found) < 2:
            return found[0] if found else version
        asked = found[:_MERGED_AT_ONCE]
        merged = _merge(catalogue, catalogue_writer, asked, every)
        if merged is None:
            asked = []
            continue
        if merged.deleted_at is not None:
            return found[-1]  # this merge was deleted: it is not made again
        version = merged
    raise StoreError(
        f"{version.dataset}: appends or deletions kept arriving through {_ROUNDS} merges",
        hint="nothing is lost: the next append merges them",
        dataset=version.dataset,
    )


def _merge(
    catalogue: Catalogue, catalogue_writer: CatalogueWriter, siblings: Sequence[Version], every: Sequence[Version]
) -> Version | None:
    """Publish the merge of the siblings, or return the version that published it before.

    The earlier version may be deleted. Returns None if a sibling was deleted meanwhile, or if a sweep may remove data
    that the merge references.
    """
    labels = [sibling.label for sibling in siblings]
    dataset, number = siblings[0].dataset, siblings[-1].number + 1
    identity, there = _identity(siblings, every)
    if there is not None:
        return there
    label = f"{number}-{identity}"
    publisher = uuid5(NAMESPACE_OID, f"{dataset}@{label}")
    run = f"merge of {len(labels)} versions: {labels[0]} to {labels[-1]}"
    row = LoadAttempt(dataset, publisher, run, "", AttemptRole.PUBLISHER, 1, label, "", datetime.now(UTC))
    catalogue_writer.begin_attempt(row)
    # A deletion looks for active attempts after it has marked a version, and this looks for marks after its own row
    # is written. Of the two, at least one sees the other.
    if not _are_visible(catalogue, dataset, labels):
        return None
    whole = [catalogue.with_content(sibling) for sibling in siblings]
    pages = _union([catalogue.pages.refs(sibling) for sibling in whole], {v.label: v.run for v in every})
    try:
        schema = merge_schemas([catalogue.pages.schema(sibling) for sibling in whole])
        for sibling in whole:
            check_kept(catalogue, sibling, schema, sibling.reference)
        if siblings[0].kind == "bytes":
            check_added_paths(catalogue, whole, pages)
    except SourceError as error:
        raise StoreError(
            f"{dataset}: {', '.join(labels[:5])} were appended at the same moment and cannot be brought together, for "
            f"{error.message}",
            hint=f"each is a version of its own; delete one (millrace delete {dataset}@{labels[-1]}) and load it again",
            dataset=dataset,
        ) from error
    listing = _shared(catalogue, [Listing.of(catalogue, sibling) for sibling in whole], pages)
    schema_blob, pages_blob, replicas = write_lists(catalogue, catalogue_writer, dataset, label, schema, listing)
    if replicas < 2:
        catalogue_writer.record_under_replicated(dataset, publisher, MetadataBucket.PAGES, 0)
    merged = Version(
        dataset=dataset,
        number=number,
        hex=identity,
        parent=labels[-1],
        mode="merge",
        kind=siblings[0].kind,
        attempt_id=publisher,
        attempts=len({page.attempt_id for page in pages}),
        run=run,
        code=max(sibling.code for sibling in siblings),
        source={"merged": labels},
        settings={**siblings[0].settings, "largest_chunk_bytes": max(map(catalogue.pages.largest_chunk_bytes, whole))},
        committed_at=max(sibling.committed_at for sibling in siblings),
        schema_blob=schema_blob,
        pages_blob=pages_blob,
        **sums(pages),
    )
    catalogue_writer.publish(merged)
    try:
        check_attempts(catalogue, merged, {publisher}, whole)
    except ChunkMissingError:
        catalogue_writer.withdraw(merged)
        return None
    catalogue_writer.heartbeat(row, buckets=0, finished=True)
    return merged


def _identity(siblings: Sequence[Version], every: Sequence[Version]) -> tuple[str, Version | None]:
    """Return the hex of the merge, and the version of that name if it was published before.

    That version is visible or deleted. A withdrawal is final, so a merge that was withdrawn gets another name the next
    time. So does one that an older Millrace marked, which did not record whether it was withdrawn.
    """
    known = {version.label: version for version in every}
    parts = [siblings[0].dataset, *(sibling.label for sibling in siblings)]
    while True:
        identity = hashlib.sha256("\n".join(parts).encode()).hexdigest()[:6]
        there = known.get(f"{siblings[-1].number + 1}-{identity}")
        if there is None or there.deleted_at is None or there.mark == DELETED:
            return identity, there
        parts.append(WITHDRAWN)


def _are_visible(catalogue: Catalogue, dataset: str, labels: Sequence[str]) -> bool:
    visible = {version.label for version in catalogue.versions(dataset)}
    return all(label in visible for label in labels)


def _union(lists: Sequence[Sequence[PageRef]], runs: Mapping[str, str]) -> list[PageRef]:
    """Return every page once, in the order of the versions that added them.

    If several versions added pages of one run, only the pages of the first version are kept, because the others hold
    the same rows again. A run is published under two numbers if its attempts reached different nodes. It is published
    twice under one number if a stalled attempt continues while the next one publishes.
    """
    loads: dict[tuple[str, str], tuple[int, int]] = {}
    named = []
    for which, pages in enumerate(lists):
        for position, page in enumerate(pages):
            digits, _, hexpart = page.added_by.partition("-")
            load, source = (hexpart, runs.get(page.added_by, page.added_by)), (int(digits), which)
            loads[load] = min(source, loads.get(load, source))
            named.append((load, source, position, page))
    kept = [((source[0], load[0], position), page) for load, source, position, page in named if loads[load] == source]
    return [page for _, page in sorted(kept, key=lambda item: item[0])]


def _shared(catalogue: Catalogue, each: Sequence[Listing], pages: Sequence[PageRef]) -> Listing:
    """Return the listing of the merged pages.

    Full lists with which all siblings and the merge begin are reused unchanged.
    """
    known = {page: row for listing in each for page, row in listing.known.items()}
    shared: list[ListRef] = []
    start = 0
    for same in zip(*(listing.lists for listing in each), strict=False):
        named = catalogue.pages.page_list(each[0].dataset, same[0]).refs
        if any(one != same[0] for one in same) or tuple(pages[start : start + len(named)]) != named:
            break
        shared.append(same[0])
        start += len(named)
    return Listing(each[0].dataset, tuple(shared), tuple(pages[start:]), known)
