"""Find out which versions hold the rows of which others, from their catalogue rows alone.

A version holds its parent's rows, and a merge those of the versions that it merged. A ``replace`` holds only its own.
Version rows are never removed, so the line is complete even if a version in it was deleted.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from millrace.errors import StoreUnavailableError
from millrace.store.catalogue.version import Version

__all__ = ["heads", "holder", "order", "require_known", "root_of", "root_order"]


def root_of(version: Version) -> str:
    """Return the label of the ``replace`` that began this line, or ``empty``.

    Appends merge only with appends of the same line.
    """
    return str(version.settings.get("root", version.label))


def heads(every: Sequence[Version], version: Version) -> list[Version]:
    """Return the visible appends and merges of the same line that no other visible version holds.

    They are sorted by number and hex.
    """
    root = version.settings.get("root")
    family = {v.label: v for v in every if v.mode != "replace" and v.settings.get("root") == root}
    visible = {label: v for label, v in family.items() if v.deleted_at is None}
    if version.mode != "replace" and version.label not in family:
        family[version.label] = visible[version.label] = version  # just written, to a node that was not read now
    held = _held(visible.values(), family)
    return sorted((v for label, v in visible.items() if label not in held), key=order)


def holder(every: Iterable[Version], label: str) -> Version | None:
    """Return the first visible version that holds the rows added by the version of this label, or None.

    That is the version itself or one that was appended to it.
    """
    holding = {label}
    # A version has a higher number than the versions that it holds, so one pass in order sees those first.
    for version in sorted(every, key=order):
        if version.label != label and (version.mode == "replace" or holding.isdisjoint(_parts(version))):
            continue
        if version.deleted_at is None:
            return version
        holding.add(version.label)
    return None


def require_known(every: Iterable[Version], hexpart: str) -> None:
    """Raise ``StoreUnavailableError`` if a version of this hex is referenced and no responding node has its row.

    Version rows are never removed, so the row is on a node that is down. The rows of this load may be visible already.
    """
    known = {v.label: v for v in every}
    missing = [label for label in _held(known.values(), known) if label not in known and label.endswith(f"-{hexpart}")]
    if missing:
        dataset = next(iter(known.values())).dataset
        raise StoreUnavailableError(
            f"{dataset}@{missing[0]}, which may be this very load, is named and not known to the nodes that answer",
            hint="see millrace doctor; give the same command again when every node is up",
            dataset=dataset,
            version=missing[0],
        )


def root_order(version: Version) -> tuple[int, str]:
    """Return number and hex of the ``replace`` that began this line."""
    number, _, hexpart = root_of(version).partition("-")
    return (int(number), hexpart) if number.isdigit() else (0, "")


def _held(versions: Iterable[Version], known: Mapping[str, Version]) -> set[str]:
    """Return the labels of all versions that these versions hold besides themselves.

    ``known`` maps labels to the versions through which the line continues.
    """
    held: set[str] = set()
    waiting = [label for version in versions for label in _parts(version)]
    while waiting:
        label = waiting.pop()
        if label in held:
            continue
        held.add(label)
        version = known.get(label)
        if version is not None and version.mode != "replace":
            waiting += _parts(version)
    return held


def _parts(version: Version) -> list[str]:
    merged = version.source.get("merged", ())
    return [*merged, *([version.parent] if version.parent else [])]


def order(version: Version) -> tuple[int, str]:
    """Return the clustering key of versions."""
    return version.number, version.hex
