"""Order of the steps by which concurrent loads publish versions and merge appends.

The steps read and write; this module only orders them, by the rules of ``VersionGraph``. A test runs these functions in
every interleaving of two publishers with a crash after each step (docs/decisions/concurrent-publishing.md).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple, Protocol

from millrace.errors import MillraceError, StoreTimeoutError
from millrace.load.incremental_protocol import Candidate, heads_to_merge
from millrace.load.plan import LoadPlan
from millrace.store import Base, Version, VersionGraph


class Published(NamedTuple):
    """A published version, its plan, and the number of nodes on which its row is proven."""

    plan: LoadPlan
    version: Version
    replicas: int


class VersionSteps(Protocol):
    """Reads and writes that publishing and merging share."""

    def graph(self) -> VersionGraph:
        """Read the versions of the dataset."""

    def withdraw(self, version: Version) -> None:
        """Hide a version from readers for good."""


class PublishSteps(VersionSteps, Protocol):
    """Reads and writes of a load that publishes its version."""

    def check_others(self, others: VersionGraph) -> None:
        """Raise ``MillraceError`` if the version must not be published beside these versions of other loads."""

    def check_append(self, parent: str) -> None:
        """Raise ``SourceTypeError`` unless the rows can be appended to this version.

        Raises ``LoadSupersededError`` if the load is incremental, because its files were selected for another parent.
        """

    def write(self, plan: LoadPlan) -> Published:
        """Write the version's row, with the rows of the plan's parent if the load appends."""


class MergeSteps(VersionSteps, Protocol):
    """Reads and writes of a process that merges appends."""

    def candidates(self, versions: Sequence[Version], graph: VersionGraph) -> list[Candidate]:
        """Read the stages and the files of these versions."""

    def merge(self, siblings: Sequence[Version], graph: VersionGraph) -> Version | None:
        """Write the row of their merge and return it, or the version of its name if that exists, perhaps deleted.

        Returns None if a sibling was deleted meanwhile, or if a sweep may remove data that the merge references.
        """


def publish_with_retry(steps: PublishSteps, plan: LoadPlan, graph: VersionGraph, *, rounds: int = 10) -> Published:
    """Publish the version of a plan, and publish it again under a higher number while it is superseded.

    After writing its version row, a publisher reads the version list again. Of two concurrent publishers at least one
    sees the other; it publishes again. Only then is its first row withdrawn, so a load that fails in between is still
    published. Raises ``StoreTimeoutError`` (retriable) if other loads supersede it through all ``rounds``.

    Of two concurrent publishers that exclude each other at least one sees the other, too. It withdraws its row and
    raises the error of ``PublishSteps.check_others``. A retriable error, such as that of a read, withdraws nothing: the
    next attempt finds its version published.
    """
    superseded: Version | None = None
    for _ in range(rounds):
        plan = _rebase(steps, plan, graph)
        if superseded is not None:
            plan = replace(plan, number=max(plan.number, superseded.number + 1))
        published = steps.write(plan)
        if superseded is not None:
            steps.withdraw(superseded)
        graph = steps.graph().without(published.version)
        try:
            steps.check_others(graph)
        except MillraceError as error:
            if not error.retriable:
                steps.withdraw(published.version)
            raise
        if not graph.is_superseded(published.version):
            return published
        superseded = published.version
    raise StoreTimeoutError(
        f"concurrent loads superseded {plan.dataset}@{plan.label} through {rounds} rounds of publishing",
        hint="run the load again: it reuses the chunks that are written",
        dataset=plan.dataset,
        version=plan.label,
    )


def _rebase(steps: PublishSteps, plan: LoadPlan, graph: VersionGraph) -> LoadPlan:
    """Return the plan with the base that ``VersionGraph.base`` gives it.

    Raises as ``PublishSteps.check_append`` does if its rows cannot be appended to the new parent.
    """
    base = graph.base(plan.mode, Base(plan.parent, plan.number))
    if plan.appends and base.parent is not None and base.parent != plan.parent:
        steps.check_append(base.parent)
    return replace(plan, parent=base.parent, number=base.number)


def merge_heads(steps: MergeSteps, version: Version, *, siblings_max: int, rounds: int = 50) -> Version:
    """Return the version that holds all appends to the line of ``version``, merging the heads of the line if necessary.

    Returns ``version`` itself if its line was replaced. A merge during which a ``replace`` was published is withdrawn,
    so that replaced rows do not become the latest again. A merge that a user deleted is not made again. Incremental
    versions that have loaded the same file are not merged (``incremental_protocol``). Raises ``StoreTimeoutError`` if
    new appends arrive through all ``rounds``.
    """
    siblings: list[Version] = []
    for _ in range(rounds):
        graph = steps.graph().including(version)
        if siblings and graph.is_passed_over(version):
            steps.withdraw(version)
            return siblings[-1]
        heads = graph.heads(version.root)
        if not heads or graph.is_passed_over(heads[-1]):
            return version
        if len(heads) == 1:
            return heads[0]
        siblings, withdrawn = _to_merge(steps, heads[:siblings_max], graph)
        for loser in withdrawn:
            steps.withdraw(loser)
        if withdrawn:
            siblings = []
            continue
        if len(siblings) < 2:
            return version
        merged = steps.merge(siblings, graph)
        if merged is None:
            siblings = []
        elif merged.deleted_at is not None:
            return heads[-1]
        else:
            version = merged
    raise StoreTimeoutError(
        f"{version.dataset}: other appends or deletions were published during each of {rounds} merges",
        hint="nothing is lost: the next append merges them",
        dataset=version.dataset,
    )


def _to_merge(steps: MergeSteps, heads: list[Version], graph: VersionGraph) -> tuple[list[Version], list[Version]]:
    """Return the heads that are merged, and those that are withdrawn because they have loaded the same files."""
    if all(head.mode != "incremental" for head in heads):
        return heads, []
    return heads_to_merge(steps.candidates(heads, graph))
