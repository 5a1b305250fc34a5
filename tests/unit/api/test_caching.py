"""Warm versions that jobs use, and remove deleted ones from Redis; the cluster and Redis are in memory."""

from __future__ import annotations

from collections.abc import Callable, Collection
from contextlib import AbstractContextManager, nullcontext
from types import SimpleNamespace
from typing import Any

import pytest

from millrace.api import Store
from millrace.cache import CachedPart
from millrace.errors import CacheError, InvalidSettingError
from millrace.load import LoadOptions
from tests.unit.dataset.redis_double import RedisDouble
from tests.unit.store.in_memory import cassandra, csv, settings, store

__all__ = ["cassandra", "csv", "settings", "store"]
Csv = Callable[..., str]


class LedgerDouble(RedisDouble):
    """A cache with uses and parts; notes the pins, and the labels of each dataset that were kept."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.used: dict[str, dict[str, float]] = {}
        self.pinned: list[str] = []
        self.kept_labels: dict[str, set[str]] = {}

    def uses(self) -> dict[str, dict[str, float]]:
        if not self.responds:
            raise CacheError("the cache at redis:6379 does not respond")
        return self.used

    def parts(self) -> list[CachedPart]:
        if not self.responds:
            raise CacheError("the cache at redis:6379 does not respond")
        return [part for part, _, _ in self.completed]

    def pin(self, dataset: str, version: str) -> AbstractContextManager[None]:
        self.pinned.append(f"{dataset}@{version}")
        return nullcontext()

    def remove_deleted(self, dataset: str, labels: Collection[str], *, unlisted: bool) -> bool:
        self.kept_labels[dataset] = set(labels)
        return self.responds

    def close(self) -> None:
        pass


@pytest.fixture
def redis(store: Store) -> LedgerDouble:
    made = LedgerDouble()
    store._cache = made  # type: ignore[assignment]
    return made


@pytest.fixture
def names(store: Store, csv: Csv) -> list[str]:
    """Load three datasets of growing size; return the references of their versions."""
    for name, rows in (("a", 1000), ("b", 2000), ("c", 4000)):
        store.load(name, csv(rows), LoadOptions(codec="none"))
    return [store.version(name).reference for name in "abc"]


def used(redis: LedgerDouble, jobs: dict[str, int]) -> None:
    redis.used = {name: {f"job{i}": 0.0 for i in range(count)} for name, count in jobs.items()}


def test_versions_that_two_jobs_opened_are_warmed_those_of_most_jobs_first(
    store: Store, redis: LedgerDouble, names: list[str]
) -> None:
    used(redis, {names[0]: 2, names[1]: 1, names[2]: 3})
    result = store.warm_opened(10**9)
    assert [report.reference for report in result.warmed] == [names[2], names[0]] == redis.pinned
    assert result.summary == "2 versions are in Redis"
    assert all(report.complete for report in result.warmed)


def test_a_version_over_the_budget_is_left_out_and_named(store: Store, redis: LedgerDouble, names: list[str]) -> None:
    used(redis, dict.fromkeys(names, 2))
    a, b = store.version("a"), store.version("b")
    result = store.warm_opened(max(a.raw_bytes, a.stored_bytes) + max(b.raw_bytes, b.stored_bytes))
    assert [report.reference for report in result.warmed] == names[:2]
    assert result.over_budget == names[2:]
    assert result.summary == "2 versions are in Redis, 1 exceed the budget"
    assert store.warm_opened(0).warmed == []


def test_versions_that_are_cached_already_count_in_the_budget(
    store: Store, redis: LedgerDouble, names: list[str]
) -> None:
    used(redis, {names[0]: 2, names[1]: 2})
    a = store.version("a")
    budget_bytes = max(a.raw_bytes, a.stored_bytes)
    for _ in range(2):
        result = store.warm_opened(budget_bytes)
        assert ([report.reference for report in result.warmed], result.over_budget) == (names[:1], names[1:2])


def test_a_deleted_version_is_passed_over(store: Store, redis: LedgerDouble, names: list[str]) -> None:
    used(redis, {names[0]: 2, names[1]: 2, "gone@1-aaaaaa": 2})
    store.delete(names[0], whole=False)
    assert [report.reference for report in store.warm_opened(10**9).warmed] == names[1:2]


def test_without_redis_nothing_is_warmed_and_the_reason_is_given(store: Store, redis: LedgerDouble) -> None:
    redis.responds = False
    assert store.warm_opened(10**9).reason == "the cache at redis:6379 does not respond"
    store._cache = None
    assert "no cache is configured" in store.warm_opened(10**9).summary


def test_delete_and_prune_remove_from_redis_what_no_visible_version_names(
    store: Store, redis: LedgerDouble, names: list[str], csv: Csv
) -> None:
    store.load("a", csv(10))
    latest = store.version("a").label
    assert store.delete(names[0]).still_cached == ""
    assert redis.kept_labels == {"a": {latest}}
    store.load("b", csv(10))
    store.prune("b", 1)
    assert redis.kept_labels["b"] == {store.version("b").label}


def test_a_dry_run_removes_nothing_from_redis(store: Store, redis: LedgerDouble, names: list[str]) -> None:
    store.delete(names[0], dry_run=True)
    assert redis.kept_labels == {}


def test_with_redis_down_delete_succeeds_and_says_so(store: Store, redis: LedgerDouble, names: list[str]) -> None:
    redis.responds = False
    report = store.delete(names[0])
    assert report.marked == names[:1]
    assert report.still_cached == report.to_json()["still_cached"] == "the cache at redis:6379 does not respond"


def test_the_next_warming_removes_deleted_versions_of_every_cached_dataset(
    store: Store, redis: LedgerDouble, names: list[str]
) -> None:
    store.warm("a", form="stored")
    store.warm("b", form="stored")
    redis.responds = False
    store.delete("a", whole=True)
    redis.responds, redis.kept_labels = True, {}
    store.warm("c", form="stored")
    assert redis.kept_labels == {"a": set(), "b": {store.version("b").label}}


def test_versions_read_while_a_node_is_down_remove_nothing_from_redis(
    store: Store, redis: LedgerDouble, names: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    store.warm("a", form="stored")
    degraded = SimpleNamespace(degraded=True)
    monkeypatch.setattr(
        store.catalogue, "all_versions", lambda _name: type("Rows", (list,), vars(degraded))([store.version("a")])
    )
    store.warm("a", form="stored")
    assert redis.kept_labels == {}


def test_an_unknown_form_is_refused(store: Store, redis: LedgerDouble, names: list[str]) -> None:
    with pytest.raises(InvalidSettingError, match="'zip' is not a form: use stored or raw"):
        store.warm("a", form="zip")
