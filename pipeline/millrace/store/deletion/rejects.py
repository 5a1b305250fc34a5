"""Find the versions of rejects that no visible version names any more, so that they are deleted with the last one.

A version names its rejects in its setting ``rejects``. The rejects are published before it, so rejects that no version
has named yet may belong to a running load. They are found only when they are old.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import Final

from millrace.store.catalogue.version import DELETED, Version

REJECTS_ENDING: Final = "__rejects"
UNNAMED_REJECTS_KEPT: Final = timedelta(days=90)
"""The time for which the rejects of a failed load are kept."""


def reject_label(version: Version) -> str | None:
    """Return the label of the version of rejects that a version names, or None."""
    facts = version.settings.get("rejects") or {}
    label: str | None = facts.get("version")
    return label


def abandoned_rejects(versions: Iterable[Version], rejects: Sequence[Version]) -> list[Version]:
    """Return the visible versions of rejects that only deleted versions of the dataset name."""
    versions = list(versions)
    named = {reject_label(version) for version in versions if version.deleted_at is None}
    before = {reject_label(version) for version in versions if version.mark == DELETED and version.deleted_at}
    return [reject for reject in rejects if reject.deleted_at is None and reject.label in before - named]


def expired_rejects(versions: Iterable[Version], rejects: Sequence[Version], now: datetime) -> list[Version]:
    """Return the visible versions of rejects that no visible version names, and that are older than 90 days."""
    named = {reject_label(version) for version in versions if version.deleted_at is None}
    return [
        reject
        for reject in rejects
        if reject.deleted_at is None and reject.label not in named and now - reject.committed_at > UNNAMED_REJECTS_KEPT
    ]
