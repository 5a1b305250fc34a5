"""Select the version that a selector names, or raise an error that lists all versions that match."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from millrace.errors import UsageError
from millrace.names import VersionSelector
from millrace.store.catalogue.version import Version
from millrace.store.catalogue.version_graph import VersionGraph


def select(versions: Iterable[Version], selector: VersionSelector) -> Version | None:
    """Return the version of that name, number or time among ``versions`` (newest first), or None.

    A time names the version committed at it, as listings show it. Where there is none, it names the version that is the
    latest of those committed before (``VersionGraph.latest``). So it never names an append of a killed load that a
    ``replace`` has won against.

    Raises ``UsageError`` with the full names where the number or the time is that of several versions.
    """
    if selector.full is not None:
        return next((v for v in versions if (v.number, v.hex) == selector.full), None)
    if selector.number is not None:
        return _only([v for v in versions if v.number == selector.number], selector)
    committed = [v for v in versions if selector.reaches(v.committed_at)]
    listed = _only([v for v in committed if selector.is_shown_as(v.committed_at)], selector)
    return listed or VersionGraph(committed).latest


def _only(matches: Sequence[Version], selector: VersionSelector) -> Version | None:
    if len(matches) > 1:
        names = [version.reference for version in matches]
        raise UsageError(
            f"{matches[0].dataset}@{selector} names {len(matches)} versions",
            hint=f"give one of them in full: {', '.join(names)}",
            dataset=matches[0].dataset,
            versions=names,
        )
    return matches[0] if matches else None
