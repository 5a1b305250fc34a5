"""Select the version that a selector names, or raise an error that lists all versions that match."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from millrace.errors import UsageError
from millrace.names import VersionSelector
from millrace.store.catalogue.version import Version


def select(versions: Iterable[Version], selector: VersionSelector) -> Version | None:
    """Return the version of that name, number or time among ``versions`` (newest first), or None.

    A time names the version committed at it, as listings show it; where there is none, the newest one before it.
    Raises ``UsageError`` with the full names where the number or the time is that of several versions.
    """
    if selector.full is not None:
        return next((v for v in versions if (v.number, v.hex) == selector.full), None)
    if selector.number is not None:
        return _only([v for v in versions if v.number == selector.number], selector)
    known = list(versions)
    shown = _only([v for v in known if selector.is_shown_as(v.committed_at)], selector)
    return shown or next((v for v in known if selector.reaches(v.committed_at)), None)


def _only(found: Sequence[Version], selector: VersionSelector) -> Version | None:
    if len(found) > 1:
        names = [version.reference for version in found]
        raise UsageError(
            f"{found[0].dataset}@{selector} names {len(found)} versions",
            hint=f"give one of them in full: {', '.join(names)}",
            dataset=found[0].dataset,
            versions=names,
        )
    return found[0] if found else None
