"""Old versions are deleted by the form, else by ``keep`` of the declared sources."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import pytest
from airflow.sdk.exceptions import AirflowSkipException

from millrace.airflow import maintain
from millrace.api import Store
from millrace.progress import ProgressTask, null_task
from tests.derived import made_from
from tests.unit.store.in_memory import cassandra, csv, settings, store

__all__ = ["cassandra", "csv", "settings", "store"]

DECLARED = """
sources:
  a: {uri: a.csv, keep: 1}
  more: {uri: b.csv, dataset: a, keep: 2}
  b: {uri: b.csv}
"""


@pytest.fixture
def declare(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[str], None]:
    path = tmp_path / "sources.yaml"
    monkeypatch.setenv("MILLRACE_SOURCES__FILE", str(path))
    monkeypatch.setenv("MILLRACE_TRAINING__FILE", str(tmp_path / "training.yaml"))

    def write(text: str) -> None:
        path.write_text(text)

    return write


@pytest.fixture(autouse=True)
def in_a_task(monkeypatch: pytest.MonkeyPatch, store: Store, csv: Callable[..., str]) -> None:
    """Make tasks use the store, which has three versions of the datasets a and b."""

    @contextmanager
    def step(*_names: str, **_facts: object) -> Iterator[tuple[Store, ProgressTask]]:
        yield store, null_task()

    monkeypatch.setattr(maintain, "step", step)
    for rows in (1, 2, 3):
        for name in ("a", "b"):
            store.load(name, csv(rows))


def rows(store: Store, name: str) -> list[int]:
    return [version.rows for version in store.versions(name)]


def test_keep_of_the_declared_sources_counts_and_the_largest_of_one_dataset(
    declare: Callable[[str], None], store: Store
) -> None:
    declare(DECLARED)
    assert maintain.prune({})["versions"] == 1
    assert (rows(store, "a"), rows(store, "b")) == ([3, 2], [3, 2, 1])


def test_the_form_counts_more_than_the_declared_sources(declare: Callable[[str], None], store: Store) -> None:
    declare(DECLARED)
    assert maintain.prune({"prune_keep": 1, "dataset": "b"})["versions"] == 2
    assert (rows(store, "a"), rows(store, "b")) == ([3, 2, 1], [3])


def test_models_are_pruned_before_their_training_data_and_that_before_its_inputs(
    declare: Callable[[str], None], store: Store, csv: Callable[..., str], tmp_path: Path
) -> None:
    declare("sources: {}")
    for night in range(4):
        store.load("zones", csv(night + 1))
        made_from(store, "late", tmp_path, "zones", run=f"late-{night}")
        made_from(store, "a_late_model", tmp_path, "late", run=f"model-{night}")
        maintain.prune({"prune_keep": 2})
        counts = [len(store.versions(name)) for name in ("zones", "late", "a_late_model")]
        assert counts == [min(2, night + 1)] * 3


def test_without_a_number_for_the_dataset_of_the_form_the_task_is_skipped(
    declare: Callable[[str], None], store: Store
) -> None:
    declare(DECLARED)
    with pytest.raises(AirflowSkipException, match="neither the form nor a declared source"):
        maintain.prune({"dataset": "b"})
    assert rows(store, "b") == [3, 2, 1]


def test_rejects_of_failed_loads_are_removed_also_without_a_number(
    declare: Callable[[str], None], store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    declare("sources: {b: {uri: b.csv}}")
    monkeypatch.setattr(store, "prune_rejects", lambda: SimpleNamespace(marked=["a__rejects@1-aaaaaa"]))
    assert maintain.prune({}) == {"marked": ["a__rejects@1-aaaaaa"], "versions": 1}
    assert (rows(store, "a"), rows(store, "b")) == ([3, 2, 1], [3, 2, 1])


def test_a_broken_declaration_deletes_nothing(
    declare: Callable[[str], None], store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    declare("sources: {a: {uri: a.csv, keep: 0}}")
    with caplog.at_level(logging.WARNING):
        assert maintain.prune({})["versions"] == 0
    assert "keep does not count until the declared sources are correct" in caplog.text
    assert rows(store, "a") == [3, 2, 1]


def test_a_smaller_keep_does_not_count_while_the_entry_with_the_larger_one_is_broken(
    declare: Callable[[str], None], store: Store
) -> None:
    declare(DECLARED.replace("uri: b.csv, dataset: a", "url: b.csv, dataset: a"))
    assert maintain.prune({})["versions"] == 0
    assert rows(store, "a") == [3, 2, 1]


def entry(**fields: object) -> dict[str, object]:
    splits = {"train": 0.5, "val": 0.5}
    return {"inputs": {"a": "a"}, "query": "SELECT n FROM a", "key": "n", "target": "n > 1", "splits": splits, **fields}


def test_keep_of_training_data_counts_for_its_versions_and_for_its_models(
    declare: Callable[[str], None], tmp_path: Path
) -> None:
    declare(DECLARED)
    entries = {"late": entry(keep=7, train="m:f"), "plain": entry(keep=3), "all": entry(train="m:f")}
    (tmp_path / "training.yaml").write_text(json.dumps({"training": entries}))
    assert maintain.declared_keeps() == {"late": 7, "late_model": 7, "plain": 3, "a": 2}


def test_broken_training_data_does_not_count_and_sources_do(
    declare: Callable[[str], None], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    declare(DECLARED)
    (tmp_path / "training.yaml").write_text(json.dumps({"training": {"late": entry(keep=7), "broken": entry(keep=0)}}))
    with caplog.at_level(logging.WARNING):
        assert maintain.declared_keeps() == {"a": 2}
    assert "keep does not count until the declared training data are correct" in caplog.text
