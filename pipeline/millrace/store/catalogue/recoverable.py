"""Decide whether the deletion of a version can be undone, for ``undelete``, ``versions --deleted`` and hints.

An attempt that a sweep has fenced stays fenced, even where the sweep has removed none of its data. Another sweep may
have read the versions earlier and may be removing that data now.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from millrace.errors import ChunkError, ChunkMissingError, VersionNotFoundError
from millrace.store.catalogue.attempt import LoadAttempt
from millrace.store.catalogue.catalogue import Catalogue
from millrace.store.catalogue.version import DELETED, WITHDRAWN, Version


class UnrecoverableReason(NamedTuple):
    """The reason why the deletion of a version cannot be undone, and the hint for its error."""

    text: str
    hint: str = "load its source again"


def unrecoverable_reason(
    catalogue: Catalogue, version: Version, attempts: Iterable[LoadAttempt]
) -> UnrecoverableReason | None:
    """Return the reason why the deletion cannot be undone, or None if it can.

    For a visible version the result is the one that a deletion now would have. ``attempts`` are the load attempts of
    the dataset. If the caller undoes the deletion because of the result, it must read the attempts at ``ALL``.
    """
    if version.mark == WITHDRAWN:
        hint = f"another version may have its rows: millrace versions {version.dataset} shows them all"
        return UnrecoverableReason("the load that published it withdrew it", hint)
    if version.purged_at is not None:
        return UnrecoverableReason("its data was removed")
    if version.deleted_at is not None and version.mark != DELETED:
        return UnrecoverableReason("an older Millrace marked it, and did not record whether its load had withdrawn it")
    unfenced = {row.attempt_id for row in attempts if not row.fenced}
    fenced = UnrecoverableReason("a sweep has marked its data for removal")
    if version.attempt_id not in unfenced:
        return fenced
    try:
        content = catalogue.with_content(version)
        pages = catalogue.pages.refs(content)
        catalogue.pages.files(content)
    except VersionNotFoundError:  # a sweep has emptied it since its row was read
        return UnrecoverableReason("its data was removed")
    except (ChunkError, ChunkMissingError):
        return UnrecoverableReason("its list of pages or files is missing or damaged")
    return None if {page.attempt_id for page in pages} <= unfenced else fenced


def recoverable_versions(catalogue: Catalogue, versions: Iterable[Version]) -> list[Version]:
    """Return those of a dataset's versions whose deletion can be undone, in the same order."""
    marked = [version for version in versions if version.mark == DELETED and version.purged_at is None]
    attempts = catalogue.attempts(marked[0].dataset) if marked else []
    return [version for version in marked if unrecoverable_reason(catalogue, version, attempts) is None]
