"""Whether the deletion of a version can be undone: one rule for ``undelete``, its listing and hints.

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

_AGAIN = "load its source again"


class Obstacle(NamedTuple):
    """The reason why the deletion of a version cannot be undone, and the hint for its error."""

    why: str
    hint: str


def obstacle(catalogue: Catalogue, version: Version, rows: Iterable[LoadAttempt]) -> Obstacle | None:
    """Return why the deletion cannot be undone, or None where it can.

    For a visible version the result is that of a deletion now. ``rows`` are the rows of ``attempts`` of the dataset. A
    caller that decides by the result reads them at ``ALL``.
    """
    if version.mark == WITHDRAWN:
        hint = f"its rows are in another version, if they were all there: millrace versions {version.dataset}"
        return Obstacle("the load that published it withdrew it", hint)
    if version.purged_at is not None:
        return Obstacle("its data was removed", _AGAIN)
    if version.deleted_at is not None and version.mark != DELETED:
        return Obstacle("an older Millrace marked it, and did not record whether its load had withdrawn it", _AGAIN)
    there = {row.attempt_id for row in rows if not row.fenced}
    fenced = Obstacle("a sweep has marked its data for removal", _AGAIN)
    if version.attempt_id not in there:
        return fenced
    try:
        pages = catalogue.pages.refs(catalogue.with_content(version))
    except VersionNotFoundError:  # a sweep has emptied it since its row was read
        return Obstacle("its data was removed", _AGAIN)
    except (ChunkError, ChunkMissingError):
        return Obstacle("its list of pages is missing or damaged", _AGAIN)
    return None if {page.attempt_id for page in pages} <= there else fenced


def recoverable_versions(catalogue: Catalogue, versions: Iterable[Version]) -> list[Version]:
    """Return those of a dataset's versions whose deletion can be undone, in the same order."""
    marked = [version for version in versions if version.mark == DELETED and version.purged_at is None]
    attempts = catalogue.attempts(marked[0].dataset) if marked else []
    return [version for version in marked if obstacle(catalogue, version, attempts) is None]
