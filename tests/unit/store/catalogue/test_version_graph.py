"""Which versions of a dataset have to be merged, derived from their rows alone."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime

import pytest

from millrace.store.catalogue.version_graph import Base, VersionGraph


@dataclass(frozen=True)
class V:
    """The fields of a version that ``VersionGraph`` reads."""

    label: str
    parent: str | None = None
    merged: tuple[str, ...] = ()
    root: str = "1-a"
    mode: str = "append"
    deleted: bool = False
    mark: str = ""
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


NEW = V("2-r", "1-a", root="2-r", mode="replace")


@pytest.mark.parametrize(
    ("every", "latest"),
    [
        ([], None),
        ([REPLACE, TWO_A, TWO_B], "2-b"),
        ([REPLACE, TWO_A, V("2-b", "1-a", deleted=True)], "2-a"),
        # A replace wins against an append of the same number, whichever hex is higher.
        ([REPLACE, TWO_A, NEW], "2-r"),
        ([REPLACE, V("2-z", "1-a"), NEW], "2-r"),
        # An append that was planned before the replace and is published after it.
        ([REPLACE, V("2-z", "1-a"), NEW, V("3-c", "2-z")], "2-r"),
        # The parent of an append was published with a higher number, so the append wins.
        ([REPLACE, TWO_A, NEW, V("3-c", "2-a"), V("4-d", "3-c")], "4-d"),
        # A merge of appends that were replaced meanwhile.
        ([REPLACE, TWO_A, TWO_B, NEW, MERGE], "2-r"),
        # An append to the replace.
        ([REPLACE, NEW, V("3-c", "2-r", root="2-r")], "3-c"),
        # A deleted replace has no effect. One whose deletion was undone leaves a later append the latest.
        ([REPLACE, V("2-r", "1-a", root="2-r", mode="replace", deleted=True), V("3-c", "1-a")], "3-c"),
        ([REPLACE, V("2-r", "1-a", root="2-r", mode="replace", mark="restored"), V("3-c", "1-a")], "3-c"),
    ],
)
def test_the_latest_version_is_the_newest_one_whose_line_was_not_replaced(every: list[V], latest: str | None) -> None:
    graph = VersionGraph(every)  # type: ignore[arg-type]
    assert (graph.latest and graph.latest.label) == latest


def test_the_first_rows_decide_the_latest_version_only_if_they_reach_back_to_its_parent() -> None:
    versions = [V("9-z", "3-a"), *(V(f"{number}-a", "2-a", deleted=True) for number in range(4, 9))]
    assert not VersionGraph(versions[:4]).decides_latest  # type: ignore[arg-type]
    assert VersionGraph([*versions, V("3-a", "2-a"), V("2-a", "1-a")]).decides_latest  # type: ignore[list-item]
    assert not VersionGraph([V("9-z", "3-a", deleted=True)]).decides_latest  # type: ignore[list-item]


@pytest.mark.parametrize(
    ("mode", "planned", "every", "base"),
    [
        ("append", Base(None, 1), [], Base(None, 1)),
        ("append", Base("1-a", 2), [REPLACE, TWO_A], Base("1-a", 2)),
        ("append", Base("1-a", 2), [REPLACE, NEW], Base("2-r", 3)),
        ("append", Base("2-a", 3), [REPLACE, V("2-a", "1-a", deleted=True)], Base("1-a", 3)),
        ("replace", Base("1-a", 2), [REPLACE, TWO_A], Base("2-a", 3)),
        ("replace", Base("1-a", 2), [V("1-a", mode="replace", deleted=True)], Base(None, 2)),
    ],
)
def test_a_load_follows_the_latest_version_unless_it_appends_to_its_line(
    mode: str, planned: Base, every: list[V], base: Base
) -> None:
    assert VersionGraph(every).base(mode, planned) == base  # type: ignore[arg-type]
