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
_NAME_CHARACTERS_MAX: Final = 48
UNNAMED_REJECTS_KEPT: Final = timedelta(days=90)
"""The time for which the rejects of a failed load are kept."""


def may_have_rejects(name: str) -> bool:
    """Return whether a dataset of this name can have a dataset of rejects."""
    return not name.endswith(REJECTS_ENDING) and len(name) + len(REJECTS_ENDING) <= _NAME_CHARACTERS_MAX


def reject_label(version: Version) -> str | None:
    """Return the label of the version of rejects that a version names, or None."""
    facts = version.settings.get("rejects") or {}
    label: str | None = facts.get("version")
    return label


def unneeded_rejects(versions: Sequence[Version], rejects: Iterable[Version], now: datetime) -> list[Version]:
    """Return the visible versions of rejects that no visible version of the dataset names.

    Rejects that no deleted version names either are those of a failed or a running load. They are unneeded after 90
    days.
    """
    named = {reject_label(version) for version in versions if version.deleted_at is None}
    deleted = {reject_label(version) for version in versions if version.mark == DELETED}
    return [
        reject
        for reject in rejects
        if reject.deleted_at is None
        and reject.label not in named
        and (reject.label in deleted or now - reject.committed_at > UNNAMED_REJECTS_KEPT)
    ]
