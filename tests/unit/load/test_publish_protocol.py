"""Concurrent loads in every order of their steps, with a crash after each step.

``interleavings`` has the model. docs/decisions/concurrent-publishing.md has the invariants and the argument.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from millrace.errors import LoadSupersededError
from millrace.load import incremental_protocol, publish_protocol
from millrace.load.incremental_protocol import Candidate, ConfirmSteps, Outcome, outcome
from millrace.store import Version, VersionGraph
from tests.unit.load import interleavings
from tests.unit.load.interleavings import Load, Model, seeded

FIRST, SECOND, THIRD = "0000a0", "0000b0", "0000c0"
"""Two versions of one number are ordered by their hex, so each mode is tried in each place."""
MODES = ("append", "replace")
DELETION = Load(THIRD, "delete", "2-000002")


@pytest.mark.parametrize("retries", [0, 1])
@pytest.mark.parametrize("first", MODES)
@pytest.mark.parametrize("second", MODES)
def test_two_loads_lose_no_row_in_any_order_with_a_crash_after_any_step(first: str, second: str, retries: int) -> None:
    states = Model(seeded(), [Load(FIRST, first), Load(SECOND, second)], retries=retries).check_all()
    assert states > 100


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("retries", [0, 1])
def test_a_load_and_a_deletion_of_its_parent_lose_no_row_in_any_order(mode: str, retries: int) -> None:
    assert Model(seeded(appended=True), [Load(FIRST, mode), DELETION], retries=retries).check_all() > 50


@pytest.mark.parametrize("first", MODES)
@pytest.mark.parametrize("second", MODES)
@pytest.mark.parametrize("third", [*MODES, "delete"])
def test_three_loads_lose_no_row_in_random_orders(first: str, second: str, third: str) -> None:
    last = DELETION if third == "delete" else Load(THIRD, third)
    model = Model(seeded(appended=True), [Load(FIRST, first), Load(SECOND, second), last], retries=1)
    assert model.check_random(150) > 150


FIRST_FILES, SECOND_FILES = (10, 11), (11, 12)
"""The files of two incremental loads. Both load file 11."""


def incremental(hexpart: str, *files: int) -> Load:
    return Load(hexpart, "incremental", files=files)


@pytest.mark.parametrize("second_files", [SECOND_FILES, FIRST_FILES, (12,)], ids=["shared", "equal", "different"])
def test_two_incremental_loads_have_each_file_once_in_any_order(second_files: tuple[int, ...]) -> None:
    loads = [incremental(FIRST, *FIRST_FILES), incremental(SECOND, *second_files)]
    assert Model(seeded(), loads, retries=1).check_all() > 100


@pytest.mark.parametrize("hexparts", [(FIRST, SECOND), (SECOND, FIRST)])
@pytest.mark.parametrize("mode", MODES)
def test_an_incremental_load_beside_a_load_by_hand_of_the_same_file_loses_no_row_in_any_order(
    mode: str, hexparts: tuple[str, str]
) -> None:
    loads = [incremental(hexparts[0], *FIRST_FILES), Load(hexparts[1], mode, files=SECOND_FILES)]
    assert Model(seeded(), loads, retries=1).check_all() > 100


def test_an_incremental_load_and_a_deletion_of_its_parent_lose_no_row_in_any_order() -> None:
    loads = [incremental(FIRST, 2, 10), DELETION]
    assert Model(seeded(appended=True), loads, retries=1).check_all() > 50


@pytest.mark.parametrize("third", [incremental(THIRD, 12, 13), Load(THIRD, "append"), Load(THIRD, "replace")])
def test_two_incremental_loads_and_a_third_load_lose_no_row_in_random_orders(third: Load) -> None:
    loads = [incremental(FIRST, *FIRST_FILES), incremental(SECOND, *SECOND_FILES), third]
    assert Model(seeded(), loads, retries=1).check_random(150) > 150


# --- the same check finds each rule that is broken


class OneHeadSkipped(VersionGraph):
    """Leaves one head out of each merge."""

    def heads(self, root: str) -> list[Version]:
        return super().heads(root)[:1]


class NeverPassedOver(VersionGraph):
    """Takes the newest version for the latest, and lets no publisher publish again."""

    def is_passed_over(self, version: Version) -> bool:
        return False


class NewestIsLatest(VersionGraph):
    """Takes the newest version for the latest."""

    @property
    def latest(self) -> Version | None:
        return next(iter(self.visible), None)


class ReplaceNeverAgain(VersionGraph):
    """Lets no ``replace`` publish again."""

    def is_superseded(self, version: Version) -> bool:
        return version.mode != "replace" and super().is_superseded(version)


class MergeNeverPassedOver(VersionGraph):
    """Keeps a merge during which a ``replace`` was published."""

    def is_passed_over(self, version: Version) -> bool:
        return version.mode != "merge" and super().is_passed_over(version)


class RunForgotten(VersionGraph):
    """Does not find the version that an earlier attempt of a run has published."""

    def of_load(self, hexpart: str, run: str) -> list[Version]:
        return []


@pytest.mark.parametrize(
    ("broken", "loads", "retries"),
    [
        (OneHeadSkipped, ("append", "append"), 0),
        (NeverPassedOver, ("replace", "append"), 0),
        (NewestIsLatest, ("replace", "append"), 0),
        (RunForgotten, ("append", "append"), 1),
        (RunForgotten, ("append", "replace"), 1),
    ],
)
def test_the_check_finds_a_broken_rule(broken: type[VersionGraph], loads: Sequence[str], retries: int) -> None:
    model = Model(seeded(broken), [Load(FIRST, loads[0]), Load(SECOND, loads[1])], retries=retries)
    with pytest.raises(AssertionError, match="the rows are"):
        model.check_all()


def _no_rivals(_own: Candidate, _rival: Candidate) -> None:
    return None


def _lower_stays(own: Candidate, rival: Candidate) -> Outcome | None:
    """Let the lower version stay, also beside one whose load has succeeded."""
    if outcome(own, rival) is None:
        return None
    return Outcome.STAYS if own.order < rival.order else Outcome.YIELDS


def _confirmed_at_once(steps: ConfirmSteps, version: Version, **_limits: Any) -> None:
    """Confirm without a second read."""
    own, *others = steps.candidates([version, *steps.graph().rivals(version)], steps.graph())
    if any(outcome(own, other) is Outcome.YIELDS for other in others):
        steps.withdraw(version)
        raise LoadSupersededError("superseded")
    steps.confirm(version)


@pytest.mark.parametrize(
    ("name", "broken"),
    [("outcome", _no_rivals), ("outcome", _lower_stays), ("confirm", _confirmed_at_once)],
    ids=["no rivals", "the lower stays", "one read"],
)
def test_the_check_finds_a_broken_rule_of_incremental_loads(
    name: str, broken: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(incremental_protocol if name == "outcome" else interleavings, name, broken)
    model = Model(seeded(), [incremental(FIRST, *FIRST_FILES), incremental(SECOND, *SECOND_FILES)])
    with pytest.raises(AssertionError, match=r"the rows are|heads after"):
        model.check_all()


def test_the_check_finds_a_merge_of_versions_that_are_not_confirmed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(publish_protocol, "heads_to_merge", lambda heads: ([head.version for head in heads], []))
    loads = [incremental(FIRST, *FIRST_FILES), incremental(SECOND, *SECOND_FILES), Load(THIRD, "append")]
    with pytest.raises(AssertionError, match="the rows are"):
        Model(seeded(), loads).check_random(3000)


def test_the_check_finds_a_merge_that_brings_replaced_rows_back() -> None:
    loads = [Load(FIRST, "append"), Load(SECOND, "append"), Load(THIRD, "replace")]
    model = Model(seeded(MergeNeverPassedOver), loads)
    with pytest.raises(AssertionError, match="the rows are"):
        model.check_random(3000)


LATE_REPLACE = [3] * 2 + [0] * 9 + [1] * 9 + [2] * 2 + [3] * 4 + [2] * 12 + [3] * 12
"""The ``replace`` reads the versions before two appends and writes after them. A third append has read in between."""


def test_a_late_replace_publishes_again_above_the_appends_that_it_did_not_see() -> None:
    loads = [*(Load(hexpart, "append") for hexpart in (FIRST, SECOND, THIRD)), Load("0000d0", "replace")]
    Model(seeded(), loads).check_order(LATE_REPLACE)
    with pytest.raises(AssertionError, match="the rows are"):
        Model(seeded(ReplaceNeverAgain), loads).check_order(LATE_REPLACE)
