"""Decide which of several concurrent incremental loads of the same files stays.

Two incremental loads that do not see each other may load the same file. Their versions are **rivals**: neither contains
the other, and both have added the file. Rivals are never merged. One of them is withdrawn, and its load fails.

An incremental version is first written, and then **confirmed**. Its load confirms it after a read of the versions in
which no rival prevails, and has succeeded after a further read in which no rival prevails. Of two rivals therefore at
most one succeeds, and a version whose load has succeeded is never withdrawn (docs/decisions/concurrent-publishing.md).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass
from enum import Enum
from typing import Protocol

from millrace.errors import LoadSupersededError, StoreTimeoutError
from millrace.store import RESTORED, Version, VersionGraph

_ROUNDS = 200
_WAIT_S = 0.05
"""200 rounds are at least 10 s. A load decides within a few reads and writes of small rows."""


class Stage(Enum):
    """The stage of a version."""

    WRITTEN = "written"
    CONFIRMED = "confirmed"
    """Also the stage of every version that is not incremental."""
    ABANDONED = "abandoned"
    """Its load was killed before it confirmed the version."""


class Outcome(Enum):
    """The outcome of one version against a rival."""

    STAYS = "stays"
    YIELDS = "yields"
    OPEN = "open"
    """The load of the rival decides it."""
    APART = "apart"
    """Its deletion was undone, so it stays visible and is not merged with the rival."""


LoadKey = tuple[str, str]
"""Hex and run of a load, which are equal in all versions that it publishes."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A version, its stage, and the files of its list: for each URI the loads that added it (hex and run).

    ``by_hand`` are those loads that are not incremental.
    """

    version: Version
    stage: Stage
    files: Mapping[str, Set[LoadKey]]
    by_hand: Set[LoadKey] = frozenset()

    @property
    def order(self) -> tuple[int, str]:
        """Number and hex."""
        return self.version.number, self.version.hex


class ConfirmSteps(Protocol):
    """Reads and writes of a load that confirms its version."""

    def graph(self) -> VersionGraph:
        """Read the versions of the dataset."""

    def candidates(self, versions: Sequence[Version], graph: VersionGraph) -> list[Candidate]:
        """Read the stages and the files of these versions."""

    def begin_again(self, version: Version) -> None:
        """Record that the load of an abandoned version runs again."""

    def confirm(self, version: Version) -> None:
        """Record that the version is confirmed."""

    def withdraw(self, version: Version) -> None:
        """Hide a version from readers for good."""


def outcome(own: Candidate, rival: Candidate) -> Outcome | None:
    """Return the outcome of ``own`` against another version; None if they are no rivals.

    A confirmed version prevails over one that is only written. Of two of the same stage the lower (number, hex)
    prevails. A lower one that is only written may have been read before ``own`` was confirmed, so its load decides. A
    load by hand was asked to load the file, so ``own`` stays beside it only if it was confirmed before. A version whose
    deletion was undone never prevails: its files were loaded again while it was deleted. It is not withdrawn either.
    """
    shared = _added_apart(own, rival)
    if own.version.mode != "incremental" or not shared:
        return None
    if own.version.mark == RESTORED:
        return Outcome.APART
    if rival.version.mark == RESTORED:
        return Outcome.STAYS
    if rival.version.mode != "incremental":
        is_by_hand = all(rival.files[uri] - own.files[uri] <= rival.by_hand for uri in shared)
        return Outcome.STAYS if is_by_hand and own.stage is Stage.CONFIRMED else Outcome.YIELDS
    if own.stage is rival.stage:
        return Outcome.STAYS if own.order < rival.order else Outcome.YIELDS
    if rival.stage is Stage.ABANDONED:
        return Outcome.STAYS
    if own.stage is not Stage.CONFIRMED:
        return Outcome.YIELDS
    return Outcome.STAYS if own.order < rival.order else Outcome.OPEN


def _added_apart(one: Candidate, other: Candidate) -> list[str]:
    """Return the files that each of the two has from a load from which the other does not have them."""
    return [
        uri
        for uri in one.files.keys() & other.files.keys()
        if one.files[uri] - other.files[uri] and other.files[uri] - one.files[uri]
    ]


def confirm(
    steps: ConfirmSteps,
    version: Version,
    *,
    rounds: int = _ROUNDS,
    sleep: Callable[[float], None] = time.sleep,
) -> None:
    """Confirm an incremental version that was just written.

    Raises ``LoadSupersededError`` if a rival prevails; the version is withdrawn then. Raises ``StoreTimeoutError``
    (retriable) if the load of a rival does not decide within ``rounds`` reads.
    """
    for _ in range(rounds):
        graph = steps.graph().including(version)
        if graph.is_withdrawn(version.label):
            raise superseded(version.dataset, version.label, "another load")
        own, *others = steps.candidates([version, *graph.rivals(version)], graph)
        if own.stage is Stage.ABANDONED:
            steps.begin_again(version)
            continue
        outcomes = [(other, outcome(own, other)) for other in others]
        if prevailing := [other.version.reference for other, result in outcomes if result is Outcome.YIELDS]:
            steps.withdraw(version)
            raise superseded(version.dataset, version.label, prevailing[0])
        if abandoned := [other for other, result in outcomes if result and other.stage is Stage.ABANDONED]:
            steps.withdraw(abandoned[0].version)
        elif any(result is Outcome.OPEN for _, result in outcomes):
            sleep(_WAIT_S)
        elif own.stage is Stage.CONFIRMED:
            return
        else:
            steps.confirm(version)
    raise StoreTimeoutError(
        f"another incremental load of {version.dataset} has written the same files and does not continue",
        hint="run the load again",
        dataset=version.dataset,
        version=version.label,
    )


def heads_to_merge(heads: Sequence[Candidate]) -> tuple[list[Version], list[Version]]:
    """Return which heads of a line are merged, oldest first, and which are withdrawn.

    An incremental head that is not confirmed is in neither list, because its load may yet withdraw it. Nor is one whose
    deletion was undone, if its files were loaded again.
    """
    merged: list[Version] = []
    withdrawn: list[Version] = []
    for one in heads:
        outcomes = {outcome(one, other) for other in heads if other is not one}
        if one.stage is Stage.WRITTEN or not outcomes.isdisjoint({Outcome.OPEN, Outcome.APART}):
            continue
        (withdrawn if Outcome.YIELDS in outcomes else merged).append(one.version)
    return merged, withdrawn


def superseded(dataset: str, label: str, by: str) -> LoadSupersededError:
    """Return the error of the load of this version, because another load has changed what it has to load."""
    return LoadSupersededError(
        f"{dataset}@{label} is superseded by {by}; the next run loads the rest", dataset=dataset, version=label
    )
