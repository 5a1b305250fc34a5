"""Check a version before and after it is published: no split missing, no attempt swept, no load published twice."""

from __future__ import annotations

from collections.abc import Sequence, Set
from dataclasses import replace
from uuid import UUID

from millrace.errors import ChunkMissingError, StoreError, VersionNotFoundError
from millrace.load.plan import LoadPlan
from millrace.load.split import SplitResult
from millrace.store import Catalogue, PageRef, Version, holder, obstacle, require_known

__all__ = ["check_complete", "check_attempts", "promised_pages", "published"]


def check_complete(plan: LoadPlan, ordered: Sequence[SplitResult]) -> None:
    """Raise ``StoreError`` unless the results are those of every split, once.

    Otherwise the version would lack the rows of a task whose result is missing.
    """
    have = [result.split for result in ordered]
    if have in ([-1], list(range(len(plan.source.splits)))):
        return
    raise StoreError(
        f"{plan.dataset}@{plan.label} has {len(plan.source.splits)} splits, the results are of splits {have}",
        hint="publish needs the result of every split, once",
        dataset=plan.dataset,
        expected=len(plan.source.splits),
        actual=have,
    )


def published(catalogue: Catalogue, plan: LoadPlan, every: Sequence[Version]) -> Version | None:
    """Return the visible version that holds the rows of an earlier attempt at this plan; they are not written again.

    Raises ``VersionNotFoundError`` if that version was deleted or withdrawn since the plan was made. Raises
    ``StoreUnavailableError`` if another version references it and its row is on an unresponsive node.
    """
    require_known(every, plan.hex)
    same = [version for version in every if version.hex == plan.hex and version.run == plan.run]
    for version in same:
        if (found := holder(every, version.label)) is not None:
            return found
    if any(version.number >= plan.number for version in same):
        raise _gone(catalogue, same)
    return None


def _gone(catalogue: Catalogue, same: Sequence[Version]) -> VersionNotFoundError:
    """Return the error for a load that earlier attempts have published and that is not visible any more.

    Its hint names the command that restores the version, if one can.
    """
    rows = catalogue.attempts(same[0].dataset)
    obstacles = [obstacle(catalogue, version, rows) for version in same]
    which = obstacles.index(None) if None in obstacles else 0
    version, found = same[which], obstacles[which]
    again = "load it again as another run (--run-id)"
    return VersionNotFoundError(
        f"{version.reference} was published by an earlier attempt at this load, "
        + ("and then deleted" if found is None else f"and is not visible any more, {found.why}"),
        hint=f"millrace undelete {version.reference} takes that back; or {again}" if found is None else again,
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
    found = (sum(page.chunks for page in pages), sum(page.rows for page in pages))
    promised = (result.chunks, result.rows)
    if found != promised:
        raise ChunkMissingError(
            f"split {result.split} of {plan.dataset} promised {promised} chunks and rows; {found} are there",
            hint="a node may be down: millrace doctor; run the load again",
            dataset=plan.dataset,
            expected=promised,
            actual=found,
        )
    return [replace(page, added_by=plan.label) for page in pages]


def check_attempts(catalogue: Catalogue, what: LoadPlan | Version, own: Set[UUID], bases: Sequence[Version]) -> None:
    """Raise ``ChunkMissingError`` if a sweep may remove data that ``what`` (a plan or a version) will reference.

    ``own`` are attempts of its own run. ``bases`` are the versions, with their pages, whose pages it references too. An
    attempt of a visible base may be fenced: the deletion of the base was undone between two reads of a sweep. After
    fencing, a sweep reads the versions again and removes nothing that a visible one references. So only the attempts of
    other bases are checked.
    """
    visible = {v.label for number in {base.number for base in bases} for v in catalogue.numbered(what.dataset, number)}
    named = set(own)
    for base in bases:
        if base.label not in visible:
            named |= {base.attempt_id, *(page.attempt_id for page in catalogue.pages.refs(base))}
    rows = {row.attempt_id: row for row in catalogue.attempts(what.dataset)}
    swept = {attempt_id for attempt_id in own if attempt_id not in rows or rows[attempt_id].run != what.run}
    swept |= {attempt_id for attempt_id in named if attempt_id in rows and rows[attempt_id].fenced}
    if swept:
        raise ChunkMissingError(
            f"what {what.dataset}@{what.label} would name was taken for dead and swept, or went with its parent",
            hint="run the load again",
            dataset=what.dataset,
            attempt_id=min(swept).hex,
            node=", ".join(catalogue.reader.cassandra.down()) or None,
        )
