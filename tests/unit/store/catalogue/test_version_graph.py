"""Which versions of a dataset have to be merged, derived from their rows alone."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime

import pytest

from millrace.store.catalogue.version_graph import VersionGraph


@dataclass(frozen=True)
class V:
    """The fields of a version that ``VersionGraph`` reads."""

    label: str
    parent: str | None = None
    merged: tuple[str, ...] = ()
    root: str = "1-a"
    mode: str = "append"
    deleted: bool = False
    dataset: str = field(default="d", repr=False)

    @property
    def number(self) -> int:
        return int(self.label.partition("-")[0])

    @property
    def hex(self) -> str:
        return self.label.partition("-")[2]

    @property
    def deleted_at(self) -> datetime | None:
        return datetime(2026, 11, 25, tzinfo=UTC) if self.deleted else None


REPLACE = V("1-a", mode="replace")
TWO_A, TWO_B = V("2-a", "1-a"), V("2-b", "1-a")
MERGE = V("3-m", "2-b", ("2-a", "2-b"), mode="merge")


@pytest.mark.parametrize(
    ("every", "version", "expected"),
    [
        ([REPLACE, TWO_A], TWO_A, ["2-a"]),
        ([REPLACE, TWO_A, TWO_B], TWO_A, ["2-a", "2-b"]),
        ([REPLACE, TWO_A, TWO_B, MERGE], TWO_A, ["3-m"]),
        # An append that began before the merge and is published after it.
        ([REPLACE, TWO_A, TWO_B, MERGE, V("3-c", "2-a")], V("3-c", "2-a"), ["3-c", "3-m"]),
        # An append on a node that was down, missed by the next two versions.
        ([REPLACE, TWO_A, TWO_B, V("3-c", "2-b"), V("4-d", "3-c")], V("4-d", "3-c"), ["2-a", "4-d"]),
        # Versions in between were pruned: the chain of parents does not break.
        ([REPLACE, V("2-a", "1-a", deleted=True), V("3-c", "2-a", deleted=True), V("4-d", "3-c")], V("4-d"), ["4-d"]),
        ([REPLACE, TWO_A, V("3-c", "2-a", deleted=True), V("4-d", "3-c")], V("4-d"), ["4-d"]),
        # The new version is not in the list yet: its row was written to a node that is not read now.
        ([REPLACE, TWO_A], TWO_B, ["2-a", "2-b"]),
        # A version with another root.
        ([REPLACE, TWO_A, V("2-x", "1-z", root="1-z")], TWO_A, ["2-a"]),
        # Two concurrent first versions.
        ([V("1-a", root="empty"), V("1-b", root="empty")], V("1-a", root="empty"), ["1-a", "1-b"]),
    ],
)
def test_the_heads_are_the_versions_that_no_other_visible_version_contains(
    every: list[V], version: V, expected: list[str]
) -> None:
    for order in (every, every[::-1]):
        graph = VersionGraph(order).including(version)  # type: ignore[arg-type]
        assert [head.label for head in graph.heads(version.root)] == expected
