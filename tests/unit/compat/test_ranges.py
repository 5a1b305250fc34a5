"""The installed dependencies are in the ranges that their private interfaces were tested with."""

from __future__ import annotations

import threading
from importlib import metadata

import pytest

from millrace.compat.versions import ISAL, RANGES, REDIS, VersionRange, stock_behaviour


@pytest.mark.parametrize("tested", RANGES, ids=lambda each: each.distribution)
def test_the_installed_version_is_in_its_tested_range(tested: VersionRange) -> None:
    installed = metadata.version(tested.distribution)
    assert tested.contains(installed), (
        f"{tested.distribution} {installed} is outside {tested.first} to {tested.before}, so its slower "
        "stock behaviour is used. Run the tests of tests/unit/compat, then raise the range in "
        "pipeline/millrace/compat/versions.py as CONTRIBUTING.md says"
    )


@pytest.mark.parametrize(
    ("version", "inside"),
    [
        ("1.8", True),
        ("1.8.0", True),
        ("1.8.9", True),
        ("1.8rc1", True),
        ("1.8.3.post1", True),
        ("1.7.99", False),
        ("1.9", False),
        ("1.9.0rc1", False),
        ("1.10", False),
        ("2", False),
        ("", False),
    ],
)
def test_a_range_holds_its_first_version_and_not_its_last(version: str, inside: bool) -> None:
    assert VersionRange("x", "1.8", "1.9").contains(version) is inside


def test_stock_behaviour_is_forced_for_one_dependency_in_all_threads_and_ends_with_its_block() -> None:
    seen: list[bool] = []
    with stock_behaviour(ISAL), stock_behaviour(ISAL):
        thread = threading.Thread(target=lambda: seen.append(ISAL.is_installed()))
        thread.start()
        thread.join(10)
        assert REDIS.is_installed()
    assert seen == [False]
    assert ISAL.is_installed()
