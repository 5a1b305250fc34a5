"""The choice of the versions that a warming evicts."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from millrace.cache.eviction import Candidate, victims

DAY_S = 86_400.0


def version(name: str, values: str, *ages_s: float, size: int = 10) -> Candidate:
    """Return a version whose values are letters of equal size."""
    return Candidate(name, dict.fromkeys(values, size), ages_s)


def test_the_least_used_version_for_its_size_is_evicted_first() -> None:
    used = version("used", "a", 0.0, 0.0)
    large = version("large", "bcd", 0.0, 0.0)
    assert victims([used, large], [], [], 10) == ["large"]
    assert victims([version("once", "a", 0.0), version("twice", "b", 0.0, 0.0)], [], [], 10) == ["once"]
    assert victims([version("today", "a", 0.0), version("last_week", "b", 7 * DAY_S)], [], [], 10) == ["last_week"]


def test_no_more_versions_are_evicted_than_necessary() -> None:
    small, large = version("small", "a", 3 * DAY_S), version("large", "bcd", 0.0)
    assert victims([small, large], [], [], 30) == ["large"]
    assert victims([small, large], [], [], 10) == ["small"]
    assert sorted(victims([small, large], [], [], 40)) == ["large", "small"]


def test_none_is_evicted_where_all_are_not_enough_unless_a_share_is_wanted() -> None:
    candidates = [version("a", "a"), version("b", "b")]
    assert victims(candidates, [], [], 21) == []
    assert victims(candidates, [], [], 21, or_all=True) == ["a", "b"]


def test_values_of_pinned_versions_and_of_the_warming_itself_free_nothing() -> None:
    candidates = [version("child", "abc")]
    assert victims(candidates, [{"a"}], {"b"}, 10) == ["child"]
    assert victims(candidates, [{"a"}], {"b"}, 11) == []


def test_versions_that_share_all_values_are_evicted_together() -> None:
    candidates = [version("parent", "ab", 0.0), version("child", "ab", 0.0)]
    assert sorted(victims(candidates, [], [], 20)) == ["child", "parent"]


@given(
    contents=st.lists(st.sets(st.sampled_from("abcdefgh"), min_size=1), max_size=5),
    pinned=st.sets(st.sampled_from("abcdefgh")),
    missing=st.integers(1, 90),
)
def test_what_is_evicted_is_enough_and_each_of_it_is_necessary(
    contents: list[set[str]], pinned: set[str], missing: int
) -> None:
    candidates = [Candidate(str(i), dict.fromkeys(values, 10), [0.0]) for i, values in enumerate(contents)]

    def freed(names: list[str]) -> int:
        stay = pinned.union(*(each.values for each in candidates if each.name not in names))
        return 10 * len(set().union(*(each.values for each in candidates if each.name in names)) - stay)

    names = victims(candidates, [pinned], [], missing)
    every_name = [each.name for each in candidates]
    assert bool(names) is (freed(every_name) >= missing)
    if names:
        assert freed(names) >= missing
        assert all(freed([name for name in names if name != other]) < missing for other in names)
