"""Check a version before and after it is published: no split missing, no attempt swept, no load published twice."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from dataclasses import replace
from uuid import UUID

from millrace.errors import ChunkMissingError, StoreError, UsageError, VersionNotFoundError
from millrace.load.plan import LoadPlan
from millrace.load.split_result import SplitResult
from millrace.names import parse_reference
from millrace.store import Catalogue, PageRef, Version, VersionGraph, not_found, unrecoverable_reason


def check_complete(plan: LoadPlan, ordered: Sequence[SplitResult]) -> None:
    """Raise ``StoreError`` unless the results are those of every split, once.

    Otherwise the version would lack the rows of a task whose result is missing.
    """
    splits = [result.split for result in ordered]
    if splits in ([-1], list(range(len(plan.source.splits)))):
        return
    raise StoreError(
        f"{plan.dataset}@{plan.label} has {len(plan.source.splits)} splits, the results are of splits {splits}",
        hint="publish needs the result of every split, once",
        dataset=plan.dataset,
        expected=len(plan.source.splits),
        actual=splits,
    )


def published_before(catalogue: Catalogue, plan: LoadPlan, graph: VersionGraph) -> Version | None:
    """Return the visible version that holds the rows of an earlier attempt at this plan; they are not written again.

    Raises ``VersionNotFoundError`` if that version was deleted or withdrawn since the plan was made. Raises
    ``StoreUnavailableError`` if another version references it and its row is on an unresponsive node.
    """
    if (published := graph.published(plan.hex, plan.run)) is not None:
        return published[1]
    earlier = graph.of_load(plan.hex, plan.run)
    if any(version.number >= plan.number and version.deleted_at is not None for version in earlier):
        raise _not_visible(catalogue, earlier)
    return None


def _not_visible(catalogue: Catalogue, versions: Sequence[Version]) -> VersionNotFoundError:
    """Return the error for a load that earlier attempts have published and that is not visible any more.

    Its hint names the command that restores the version, if one can.
    """
    rows = catalogue.attempts(versions[0].dataset)
    reasons = [unrecoverable_reason(catalogue, version, rows) for version in versions]
    index = reasons.index(None) if None in reasons else 0
    version, reason = versions[index], reasons[index]
    again = "load it again as another run (--run-id)"
    return VersionNotFoundError(
        f"{version.reference} was published by an earlier attempt at this load, "
        + ("and then deleted" if reason is None else f"and is not visible any more, {reason.text}"),
        hint=f"millrace undelete {version.reference} restores it; or {again}" if reason is None else again,
        dataset=version.dataset,
        version=version.label,
    )


def promised_pages(catalogue: Catalogue, plan: LoadPlan, result: SplitResult) -> list[PageRef]:
    """Return the pages of a split's result, marked as added by the plan's version.

    Raises ``ChunkMissingError`` unless all of them are present.
    """
    pages = []
    for attempt_id, first, last in result.inherited:
        written = catalogue.pages.finished if first >= 0 else catalogue.pages.journal
        by_number = {page.page: page for page in written(plan.dataset, attempt_id)}
        step = 1 if first >= 0 else -1
        pages += [by_number[n] for n in range(first, last + step, step) if n in by_number]
    pages += catalogue.pages.finished(plan.dataset, result.attempt_id)
    present = (sum(page.chunks for page in pages), sum(page.rows for page in pages))
    promised = (result.chunks, result.rows)
    if present != promised:
        raise ChunkMissingError(
            f"split {result.split} of {plan.dataset} wrote {result.chunks:,} chunks with {result.rows:,} rows, but the "
            f"pages that can be read have {present[0]:,} chunks with {present[1]:,} rows",
            hint="a node may be down: millrace doctor; run the load again",
            dataset=plan.dataset,
            expected=promised,
            actual=present,
        )
    return [replace(page, added_by=plan.label) for page in pages]


def check_attempts(
    catalogue: Catalogue, referrer: LoadPlan | Version, own: Set[UUID], bases: Sequence[Version]
) -> None:
    """Raise ``ChunkMissingError`` if a sweep may remove data that ``referrer`` (a plan or a version) will reference.

    ``own`` are attempts of its own run. ``bases`` are the versions, with their pages, whose pages it references too. An
    attempt of a visible base may be fenced: the deletion of the base was undone between two reads of a sweep. After
    fencing, a sweep reads the versions again and removes nothing that a visible one references. So only the attempts of
    other bases are checked.
    """
    visible = {
        v.label for number in {base.number for base in bases} for v in catalogue.numbered(referrer.dataset, number)
    }
    referenced = set(own)
    for base in bases:
        if base.label not in visible:
            referenced |= {base.attempt_id, *(page.attempt_id for page in catalogue.pages.refs(base))}
    rows = {row.attempt_id: row for row in catalogue.attempts(referrer.dataset)}
    swept = {attempt_id for attempt_id in own if attempt_id not in rows or rows[attempt_id].run != referrer.run}
    swept |= {attempt_id for attempt_id in referenced if attempt_id in rows and rows[attempt_id].fenced}
    if swept:
        raise ChunkMissingError(
            f"{referrer.dataset}@{referrer.label} would reference data that a sweep regards as abandoned and removes",
            hint="run the load again",
            dataset=referrer.dataset,
            attempt_id=min(swept).hex,
            node=", ".join(catalogue.reader.cassandra.down()) or None,
        )


def check_not_derived(graph: VersionGraph) -> None:
    """Raise ``UsageError`` if the dataset is made from others, because a load would replace its splits and recipe."""
    latest = graph.latest
    if latest is not None and latest.settings.get("inputs"):
        raise UsageError(
            f"{latest.reference} was made from {', '.join(latest.settings['inputs'].values())}, so nothing is loaded "
            f"into {latest.dataset}",
            hint="choose another name, or delete the dataset",
            dataset=latest.dataset,
        )


def check_inputs(catalogue: Catalogue, plan: LoadPlan, inputs: Mapping[str, str]) -> None:
    """Raise ``VersionNotFoundError`` if a version that the plan's version is made from is not visible.

    ``inputs`` has full references by alias. Raises ``StoreUnavailableError`` where a node that is down may have one.
    Raises ``UsageError`` for an append, because a later merge would not name them.
    """
    if inputs and plan.appends:
        raise UsageError(
            f"{plan.dataset}@{plan.label} appends, and is made from other versions",
            hint="a version that is made from others replaces the one before it",
            dataset=plan.dataset,
        )
    for alias, reference in inputs.items():
        name, selector = parse_reference(reference)
        if selector.full is None or reference != f"{name}@{selector}":
            raise UsageError(
                f"the input {alias} of {plan.dataset} is {reference!r}, which is not a full version",
                hint="give it like flights@12-3fa9c1",
                dataset=plan.dataset,
            )
        number, hexpart = selector.full
        found = catalogue.numbered(name, number)
        if any(version.hex == hexpart for version in found):
            continue
        if found.degraded:
            raise not_found(catalogue.reader.cassandra, name, str(selector), degraded=True)
        raise VersionNotFoundError(
            f"{plan.dataset}@{plan.label} is made from {reference}, which is deleted",
            hint="make it again from versions that exist",
            dataset=plan.dataset,
            version=plan.label,
            input=reference,
        )
