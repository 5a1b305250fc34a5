"""Which version holds the rows of which, told by their rows in the catalogue alone.

A version holds its parent's rows, and a merge those of what it merged; a ``replace`` holds its own alone. Rows of
versions are never removed, so the line does not break where a version was deleted.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from millrace.errors import StoreUnavailableError
from millrace.store.version import Version

__all__ = ["heads", "holder", "order", "require_known", "root_of", "root_order"]


def root_of(version: Version) -> str:
    """The label of the ``replace`` that began this line, or ``empty``: appends merge only with appends of their own."""
    return str(version.settings.get("root", version.label))


def heads(every: Sequence[Version], version: Version) -> list[Version]:
    """The visible appends and merges of the same data whose rows no other visible version holds, by number and hex."""
    root = version.settings.get("root")
    family = {v.label: v for v in every if v.mode != "replace" and v.settings.get("root") == root}
    visible = {label: v for label, v in family.items() if v.deleted_at is None}
    if version.mode != "replace" and version.label not in family:
        family[version.label] = visible[version.label] = version  # written a moment ago, to a node not asked now
    held = _held(visible.values(), family)
    return sorted((v for label, v in visible.items() if label not in held), key=order)


def holder(every: Iterable[Version], label: str) -> Version | None:
    """The first visible version that holds what the version of this label added: itself, or one appended to it."""
    holding = {label}
    # What a version holds has a lower number, so one pass in order meets it before.
    for version in sorted(every, key=order):
        if version.label != label and (version.mode == "replace" or holding.isdisjoint(_parts(version))):
            continue
        if version.deleted_at is None:
            return version
        holding.add(version.label)
    return None


def require_known(every: Iterable[Version], hexpart: str) -> None:
    """Raises ``StoreUnavailableError`` where a version holds one of this hex whose row nobody who answers has.

    Rows of versions are never removed: it is on a node that is down, and what this load added may be there already.
    """
    known = {v.label: v for v in every}
    missing = [label for label in _held(known.values(), known) if label not in known and label.endswith(f"-{hexpart}")]
    if missing:
        dataset = next(iter(known.values())).dataset
        raise StoreUnavailableError(
            f"{dataset}@{missing[0]}, which may be this very load, is named and not known to the nodes that answer",
            hint="see ./run status; give the same command again when every node is up",
            dataset=dataset,
            version=missing[0],
        )


def root_order(version: Version) -> tuple[int, str]:
    """Where the ``replace`` stands that began this line: number and hex."""
    number, _, hexpart = root_of(version).partition("-")
    return (int(number), hexpart) if number.isdigit() else (0, "")


def _held(versions: Iterable[Version], known: Mapping[str, Version]) -> set[str]:
    """The labels of all that these versions hold beside themselves; ``known`` says how the line goes on."""
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
    """The clustering order of versions."""
    return version.number, version.hex
