"""The task of the DAG ``warm_cache``: its budget, its result and its log."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import pytest

from millrace.airflow import warm_cache
from millrace.api.caching import WarmedVersions
from millrace.dataset import WarmReport
from millrace.progress import null_task

REPORT = WarmReport("a@1-aaaaaa", False, "it is too large", 3, 0, 100, 0.1, "raw", share=0.25)


@pytest.fixture
def budgets(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Make the task use a store with a budget of 7 bytes; return the budgets that it was called with."""
    budgets: list[int] = []

    def warm_opened(budget_bytes: int, **_options: Any) -> WarmedVersions:
        budgets.append(budget_bytes)
        return WarmedVersions([REPORT], ["b@1-bbbbbb"])

    @contextmanager
    def step(*_names: str, **_facts: object) -> Iterator[Any]:
        redis = SimpleNamespace(warm_budget_bytes=7)
        yield SimpleNamespace(settings=SimpleNamespace(redis=redis), warm_opened=warm_opened), null_task()

    monkeypatch.setattr(warm_cache, "step", step)
    return budgets


def test_the_budget_of_the_form_counts_more_than_that_of_the_settings(budgets: list[int]) -> None:
    for params in ({}, {"budget_bytes": None}, {"budget_bytes": 0}, {"budget_bytes": 9}):
        warm_cache.warm_opened(params)
    assert budgets == [7, 7, 0, 9]


def test_the_result_is_json_and_the_log_names_each_version(
    budgets: list[int], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        result = warm_cache.warm_opened({})
    assert json.loads(json.dumps(result)) == result
    assert (result["warmed"][0]["share"], result["over_budget"], result["reason"]) == (0.25, ["b@1-bbbbbb"], "")
    assert [record.getMessage() for record in caplog.records] == [
        "a@1-aaaaaa: 25 % is in Redis: it is too large",
        "b@1-bbbbbb is not warmed, because it exceeds the budget",
    ]
