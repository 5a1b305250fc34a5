"""Appends that know nothing of each other: whoever sees both publishes the merge, and nothing is lost."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from uuid import NAMESPACE_OID, uuid5

from pipeline.errors import StoreError
from pipeline.load.lists import Listing, sums, write_lists
from pipeline.sources import merge_schemas
from pipeline.store.catalogue import Catalogue
from pipeline.store.ledger import Ledger
from pipeline.store.manifest import PageRef
from pipeline.store.page_list import ListRef
from pipeline.store.version import PAGES_BUCKET, Version, WriterRow

__all__ = ["merge_siblings"]

_ROUNDS = 50


def merge_siblings(catalogue: Catalogue, ledger: Ledger, version: Version) -> Version:
    """The version that holds everything appended to the same data as ``version``; itself when nothing is beside it.

    Both of two who append at once have written their rows before they read, so at least one sees the other. Where
    neither could (each knew another node only), whoever comes next does: the next append, or ``heal``. Identity and
    content of a merge are a function of the set of what it merges: two who both see it write the same version.
    """
    for _ in range(_ROUNDS):
        every = catalogue.every_version(version.dataset)
        heads = _heads(every, version)
        if heads and any(v.mode == "replace" and v.number > heads[-1].number and v.deleted_at is None for v in every):
            return version  # what was replaced meanwhile must not come back as the latest
        if len(heads) < 2:
            return heads[0] if heads else version
        version = _merge(catalogue, ledger, heads)
        if version.deleted_at is not None:
            return heads[-1]  # somebody has deleted this very merge: it is not made again
    raise StoreError(
        f"{version.dataset}: appends kept arriving through {_ROUNDS} merges",
        hint="nothing is lost: the next append merges them",
        dataset=version.dataset,
    )


def _heads(every: Sequence[Version], version: Version) -> list[Version]:
    """The visible appends and merges of the same data whose rows no other visible version holds, by number and hex.

    A version holds its parent's rows, and a merge those of what it merged, so the labels in their rows tell; rows of
    versions are never removed, so the line does not break where one was deleted.
    """
    root = version.settings.get("root")
    family = {v.label: v for v in every if v.mode != "replace" and v.settings.get("root") == root}
    visible = {label: v for label, v in family.items() if v.deleted_at is None}
    if version.mode != "replace" and version.label not in family:
        family[version.label] = visible[version.label] = version  # written a moment ago, to a node not asked now
    held: set[str] = set()
    waiting = [label for v in visible.values() for label in _holds(v)]
    while waiting:
        label = waiting.pop()
        if label not in held and label in family:
            held.add(label)
            waiting += _holds(family[label])
    return sorted((v for label, v in visible.items() if label not in held), key=lambda v: (v.number, v.hex))


def _holds(version: Version) -> list[str]:
    merged = version.source.get("merged", ())
    return [*merged, *([version.parent] if version.parent else [])]


def _merge(catalogue: Catalogue, ledger: Ledger, siblings: Sequence[Version]) -> Version:
    labels = [sibling.label for sibling in siblings]
    number = siblings[-1].number + 1
    identity = hashlib.sha256("\n".join([siblings[0].dataset, *labels]).encode()).hexdigest()[:6]
    dataset = siblings[0].dataset
    for other in catalogue.every_version(dataset):
        if (other.number, other.hex) == (number, identity):
            return other
    whole = [catalogue.whole(sibling) for sibling in siblings]
    pages = _union([catalogue.page_refs(sibling) for sibling in whole])
    schema = merge_schemas([catalogue.schema(sibling) for sibling in whole])
    label = f"{number}-{identity}"
    publisher = uuid5(NAMESPACE_OID, f"{dataset}@{label}")
    committed = max(sibling.committed_at for sibling in siblings)
    run = f"merge of {', '.join(labels)}"
    ledger.begin_writer(WriterRow(dataset, publisher, run, "", -2, 1, label, "", committed))
    listing = _shared(catalogue, [Listing.of(catalogue, sibling) for sibling in whole], pages)
    schema_blob, pages_blob, replicas = write_lists(catalogue, ledger, dataset, label, schema, listing)
    if replicas < 2:
        ledger.note_debt(dataset, publisher, PAGES_BUCKET, 0)
    merged = Version(
        dataset=dataset,
        number=number,
        hex=identity,
        parent=labels[-1],
        mode="merge",
        kind=siblings[0].kind,
        writer=publisher,
        writers=len({page.writer for page in pages}),
        run=run,
        code=max(sibling.code for sibling in siblings),
        source={"merged": labels},
        settings={**siblings[0].settings, "largest_chunk_bytes": max(map(catalogue.largest_chunk_bytes, whole))},
        committed_at=committed,
        schema_blob=schema_blob,
        pages_blob=pages_blob,
        **sums(pages),
    )
    ledger.publish(merged)
    ledger.seen_writer(dataset, publisher, buckets=0, finished=True)
    return merged


def _union(lists: Sequence[Sequence[PageRef]]) -> list[PageRef]:
    """Every page once, in the order of the versions that brought them in."""
    seen: dict[tuple[str, int], tuple[tuple[int, str, int], PageRef]] = {}
    for pages in lists:
        for position, page in enumerate(pages):
            number, _, hexpart = page.added_by.partition("-")
            order = (int(number), hexpart, position)
            key = (page.writer.hex, page.page)
            if key not in seen or order < seen[key][0]:
                seen[key] = (order, page)
    return [page for _, page in sorted(seen.values(), key=lambda item: item[0])]


def _shared(catalogue: Catalogue, each: Sequence[Listing], pages: Sequence[PageRef]) -> Listing:
    """The merged pages, with the full lists that all siblings and the merge begin with left as they are."""
    known = {page: row for listing in each for page, row in listing.known.items()}
    shared: list[ListRef] = []
    start = 0
    for same in zip(*(listing.lists for listing in each), strict=False):
        named = catalogue.page_list(each[0].dataset, same[0]).refs
        if any(one != same[0] for one in same) or tuple(pages[start : start + len(named)]) != named:
            break
        shared.append(same[0])
        start += len(named)
    return Listing(each[0].dataset, tuple(shared), tuple(pages[start:]), known)
