"""Derive from the rows of a dataset's versions the versions that each contains, the latest, and those to be merged.

A version contains its parent, and a merge the versions that it merged. A ``replace`` contains only its own rows. A
**line** is a ``replace``, its root, with the appends and merges that followed it. Appends merge only within one line.

Version rows are never removed, so the graph is complete even if a version in it was deleted.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple, Self

from millrace.errors import StoreUnavailableError
from millrace.store.catalogue.version import DELETED, RESTORED, WITHDRAWN, Version


class Base(NamedTuple):
    """Parent and number of a version that is to be published."""

    parent: str | None
    number: int


class VersionGraph:
    """Versions of one dataset, deleted ones too, as one read of the catalogue returned them. Immutable.

    Versions are ordered by number and hex, like the rows in Cassandra. ``versions`` has the newest first.
    """

    def __init__(self, versions: Iterable[Version]) -> None:
        self.versions = tuple(sorted(versions, key=_order, reverse=True))
        self._by_label = {version.label: version for version in self.versions}

    @property
    def visible(self) -> list[Version]:
        """Return the versions that readers see, newest first."""
        return [version for version in self.versions if version.deleted_at is None]

    @property
    def latest(self) -> Version | None:
        """Return the version that readers get by default: the newest visible one that is not passed over."""
        return next((version for version in self.visible if not self.is_passed_over(version)), None)

    @property
    def decides_latest(self) -> bool:
        """Return whether older versions than those of this graph cannot change ``latest``."""
        for version in self.visible:
            if version.mode != "replace" and _parent_number(version) <= self.versions[-1].number:
                return False
            if not self.is_passed_over(version):
                return True
        return False

    @property
    def next_number(self) -> int:
        """Return the number after the highest one. The number of a deleted version is not used again."""
        return self.versions[0].number + 1 if self.versions else 1

    def including(self, version: Version) -> Self:
        """Return the graph with a version whose row was just written, perhaps to a node that was not read now."""
        return self if version.label in self._by_label else type(self)([version, *self.versions])

    def without(self, version: Version) -> Self:
        """Return the graph of the other versions."""
        return type(self)(other for other in self.versions if other.label != version.label)

    # --- which version contains the rows of which

    def heads(self, root: str) -> list[Version]:
        """Return the visible appends and merges of this line that no other visible one contains, oldest first."""
        line = VersionGraph(v for v in self.versions if v.mode != "replace" and v.root == root)
        contained = line._contained_in(line.visible)
        return [version for version in reversed(line.visible) if version.label not in contained]

    def rivals(self, version: Version) -> list[Version]:
        """Return the visible appends and merges of the version's line that neither contain it nor are contained in it.

        Oldest first.
        """
        contained = self._contained_in([version]) | {version.label}
        line = (v for v in reversed(self.visible) if v.mode != "replace" and v.root == version.root)
        others = (other for other in line if other.label not in contained)
        return [other for other in others if version.label not in self._contained_in([other])]

    def is_withdrawn(self, label: str) -> bool:
        """Return whether the version of this label was withdrawn or deleted."""
        version = self._by_label.get(label)
        return version is not None and version.deleted_at is not None

    def holder(self, label: str) -> Version | None:
        """Return the oldest visible version that contains the rows added by the version of this label, or None.

        That is the version itself or one that was appended to it.
        """
        containing = {label}
        # A version has a higher number than the versions that it contains, so one pass in order sees those first.
        for version in reversed(self.versions):
            if version.label != label and (version.mode == "replace" or containing.isdisjoint(_parts(version))):
                continue
            if version.deleted_at is None:
                return version
            containing.add(version.label)
        return None

    def contains(self, version: Version, label: str) -> bool:
        """Return whether a version has the rows of the version of this label: itself, or only appends since then."""
        if version.label == label:
            return True
        return version.mode != "replace" and label in self._contained_in([version])

    def of_load(self, hexpart: str, run: str) -> list[Version]:
        """Return the versions that one load has published: more than one if it published again.

        Raises ``StoreUnavailableError`` if a version of this hex is referenced and no responding node has its row.
        The row is then on a node that is down, and the rows of this load may be visible already.
        """
        referenced = self._contained_in(self.versions) - set(self._by_label)
        missing = [label for label in referenced if label.endswith(f"-{hexpart}")]
        if missing:
            dataset = self.versions[0].dataset
            raise StoreUnavailableError(
                f"another version references {dataset}@{missing[0]}, which this load may have published; "
                "no node that responds has it",
                hint="see millrace doctor; give the same command again when every node is up",
                dataset=dataset,
                version=missing[0],
            )
        return [version for version in self.versions if version.hex == hexpart and version.run == run]

    def published(self, hexpart: str, run: str) -> tuple[Version, Version] | None:
        """Return the version that a load has published, and the visible version that holds its rows now.

        A ``replace`` that was passed over is not published: its load was killed before it could publish again. Raises
        as ``of_load`` does.
        """
        versions = self.of_load(hexpart, run)
        holders = (
            (version, self.holder(version.label))
            for version in versions
            if version.mode != "replace" or not self.is_passed_over(version)
        )
        return next(((version, holder) for version, holder in holders if holder is not None), None)

    def _contained_in(self, versions: Iterable[Version]) -> set[str]:
        """Return the labels of all versions that these versions contain besides themselves."""
        contained: set[str] = set()
        waiting = [label for version in versions for label in _parts(version)]
        while waiting:
            label = waiting.pop()
            version = self._by_label.get(label)
            if label not in contained and version is not None and version.mode != "replace":
                waiting += _parts(version)
            contained.add(label)
        return contained

    # --- where a load publishes

    def base(self, mode: str, planned: Base) -> Base:
        """Return the base of a load in place of the one that its plan has.

        A ``replace`` follows the latest version. An append to the line of the latest version keeps its base and is
        merged with the other appends later. If its line was replaced, or its parent was deleted, it follows the latest
        version. A load whose version would be the latest anyway keeps its base.
        """
        latest = self.latest
        if latest is None:
            return Base(None, planned.number) if mode == "replace" else planned
        if latest.label == planned.parent or (mode != "replace" and self._visible_root(planned.parent) == latest.root):
            return planned
        return Base(latest.label, max(planned.number, self.next_number))

    def is_passed_over(self, version: Version) -> bool:
        """Return whether the version cannot be the latest, because another line has won against its line.

        A ``replace`` wins against an append or merge of an earlier line, unless the parent of that has a higher number.
        A ``replace`` whose deletion was undone does not win against versions with a higher number. An append that was
        published while it was deleted therefore stays the latest.
        """
        if version.mode == "replace":
            return any(_parent_number(other) > version.number for other in self._appends_to_earlier_lines(version))
        return any(
            _order(other) > _label_order(version.root)
            and other.number >= (version.number if other.mark == RESTORED else _parent_number(version))
            and not self.is_passed_over(other)
            for other in self.visible
            if other.mode == "replace"
        )

    def is_superseded(self, version: Version) -> bool:
        """Return whether a version that was just written must be published again under a higher number.

        An append must be published again if it is passed over. A ``replace`` must be published again if an append to an
        earlier line has a higher number. Another append may follow this append, by a load that has not read the row of
        the ``replace``.
        """
        if version.mode == "replace":
            return any(other.number > version.number for other in self._appends_to_earlier_lines(version))
        return self.is_passed_over(version)

    def _appends_to_earlier_lines(self, replacing: Version) -> Iterator[Version]:
        for version in self.visible:
            if version.mode != "replace" and _label_order(version.root) < _order(replacing):
                yield version

    def _visible_root(self, label: str | None) -> str | None:
        """Return the root of the visible version of this label; ``empty`` for an append to no version."""
        version = None if label is None else self._by_label.get(label)
        if label is None:
            return "empty"
        return version.root if version is not None and version.deleted_at is None else None

    # --- which appends are merged

    def merge_name(self, siblings: Sequence[Version]) -> tuple[int, str, Version | None]:
        """Return number and hex of the merge of these versions, and the version of that name if it exists.

        They depend on the set of versions alone, so two processes that merge the same set write the same version. The
        existing version is visible, or a user deleted it. A withdrawal is final: a merge that was withdrawn gets
        another hex the next time. So does one that an older Millrace marked without recording whether it was withdrawn.
        """
        number = siblings[-1].number + 1
        parts = [siblings[0].dataset, *(sibling.label for sibling in siblings)]
        while True:
            hexpart = hashlib.sha256("\n".join(parts).encode()).hexdigest()[:6]
            existing = self._by_label.get(f"{number}-{hexpart}")
            if existing is None or existing.deleted_at is None or existing.mark == DELETED:
                return number, hexpart, existing
            parts.append(WITHDRAWN)


def _order(version: Version) -> tuple[int, str]:
    return version.number, version.hex


def _label_order(label: str) -> tuple[int, str]:
    """Return number and hex of a label; the root ``empty`` comes before every version."""
    number, _, hexpart = label.partition("-")
    return (int(number), hexpart) if number.isdigit() else (0, "")


def _parent_number(version: Version) -> int:
    return 0 if version.parent is None else _label_order(version.parent)[0]


def _parts(version: Version) -> list[str]:
    return [*version.merged, *([version.parent] if version.parent else [])]
