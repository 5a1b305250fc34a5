"""Mark versions as deleted, each before the versions that it was made from.

A publisher writes the row of its version and then looks for marks of its inputs. A deletion marks a version and then
looks for versions made from it. Of the two, at least one sees the other. The deletion then takes its mark back.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Final

from millrace.errors import UsageError
from millrace.store.catalogue.version import DELETED, Version
from millrace.store.deletion.all_replicas import AllReplicas
from millrace.store.deletion.sweep import SweepReport
from millrace.store.deletion.undelete import Undelete

_NAMED: Final = 3


class Marking:
    """Marks of versions at ``ALL``; ``undeletes`` takes marks back."""

    def __init__(self, replicas: AllReplicas, undeletes: Undelete) -> None:
        self._replicas = replicas
        self._undeletes = undeletes

    def check(self, versions: Sequence[Version], *, untag: bool) -> None:
        """Raise ``UsageError`` for the first version that has a lease, or a tag unless ``untag`` is set.

        Raises ``StoreError`` while catalogue rows of one of the datasets are under-replicated.
        """
        self._replicas.require_all_up()
        for name in dict.fromkeys(version.dataset for version in versions):
            self._replicas.require_replicated_catalogue(name)
        for version in versions:
            if untag:
                self._replicas.require_unread(version)
            else:
                self._replicas.require_unprotected(version)

    def mark(self, versions: Sequence[Version], *, untag: bool) -> list[Version]:
        """Mark the versions, with ``untag`` without their tags, and return those that have become inputs meanwhile.

        Those stay visible with their tags. Readers no longer see the others; their data stays for the grace time.
        """
        needed: list[Version] = []
        for layer in self._replicas.lineage().layers(versions):
            lineage = self._replicas.lineage() if needed else None  # those that stay have inputs in later layers
            staying = [version for version in layer if lineage is not None and lineage.made_into(version.reference)]
            needed += staying
            needed += self._mark_layer([version for version in layer if version not in staying], untag=untag)
        return needed

    def _mark_layer(self, layer: Sequence[Version], *, untag: bool) -> list[Version]:
        tags: dict[str, list[str]] = {}
        marked: list[Version] = []
        try:
            for version in layer:
                # A tag that is removed last would keep the data of a deleted version after an interruption.
                # The first check may be seconds old.
                tags[version.reference] = self._untag(version) if untag else []
                if not untag:
                    self._replicas.require_unprotected(version)
                marked.append(version)
                self._replicas.write_mark(version, DELETED, datetime.now(UTC))
        finally:
            lineage = self._replicas.lineage()
            needed = [version for version in marked if lineage.made_into(version.reference)]
            for version in needed:
                self._undeletes.restore(version)
                self._write_tags(version, tags[version.reference], removed=False)
        return needed

    def _untag(self, version: Version) -> list[str]:
        """Remove the tags of a version and return them.

        Raises ``UsageError`` and keeps them if the version is being read, or has got another tag meanwhile.
        """
        self._replicas.require_unread(version)
        tags = self._replicas.tags(version)
        self._write_tags(version, tags, removed=True)
        try:
            self._replicas.require_unprotected(version)
        except UsageError:
            self._write_tags(version, tags, removed=False)
            raise
        return tags

    def _write_tags(self, version: Version, tags: Iterable[str], *, removed: bool) -> None:
        for tag in tags:
            self._replicas.write_tag(version, tag, removed=removed)


def require_inputs_of_none(versions: Sequence[Version], derived: Sequence[Version]) -> None:
    """Raise ``UsageError`` if there are versions that were made from those to be deleted; the first are named."""
    if not derived:
        return
    name = versions[0].reference if len(versions) == 1 else versions[0].dataset
    raise UsageError(
        f"{name} is not deleted, because {named(derived)} {'was' if len(derived) == 1 else 'were'} made from it",
        hint=f"delete {'that' if len(derived) == 1 else 'those'} first, or all together: "
        f"millrace delete {name} --with-derived",
        dataset=versions[0].dataset,
        versions=len(derived),
    )


def published_meanwhile(needed: Sequence[Version]) -> UsageError:
    """Return the error for versions that became inputs while they were deleted."""
    return UsageError(
        f"{named(needed)} stayed, because a version made from {'it' if len(needed) == 1 else 'them'} was published at "
        "the same moment",
        hint="run it again",
        dataset=needed[0].dataset,
    )


def require_shown(versions: Iterable[Version], tags: dict[str, list[str]], shown: SweepReport) -> None:
    """Raise ``UsageError`` if a version or a tag would be removed that ``shown``, an earlier dry run, does not have."""
    found = [(version.reference, tag) for version in versions for tag in ("", *tags.get(version.reference, ()))]
    known = {(key, tag) for key in shown.marked for tag in ("", *shown.tags.get(key, ()))}
    if new := next((pair for pair in found if pair not in known), None):
        reference, tag = new
        raise UsageError(
            f"{reference} {f'has got the tag {tag}' if tag else 'was published'} since the versions were listed, so "
            "nothing was deleted",
            hint="run it again",
            dataset=reference.partition("@")[0],
        )


def named(versions: Sequence[Version]) -> str:
    """Return the references of the first versions, and the number of the others."""
    text = ", ".join(version.reference for version in versions[:_NAMED])
    others = len(versions) - _NAMED
    return f"{text} and {others} {'other' if others == 1 else 'others'}" if others > 0 else text
