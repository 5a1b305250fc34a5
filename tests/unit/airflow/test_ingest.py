"""Labels of mapped ingestion tasks in Airflow, and their logs."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pytest
from airflow.sdk.exceptions import AirflowSkipException

from millrace.airflow import ingest
from millrace.airflow.ingest import LABEL_MAX, map_label
from millrace.api import Store
from millrace.load import LoadOptions, LoadPlan, loader_memory
from millrace.progress import ProgressTask, null_task
from tests.unit.store.in_memory import cassandra, settings, store

__all__ = ["cassandra", "settings", "store"]


@pytest.mark.parametrize("length", [1, 249, 250])
def test_a_label_that_fits_airflow_s_column_is_unchanged(length: int) -> None:
    assert map_label("x" * length) == "x" * length


@pytest.mark.parametrize("length", [251, 512, 9000])
def test_a_long_label_is_cut_in_its_middle_to_250_characters(length: int) -> None:
    label = "first" + "ä" * (length - 15) + " (17 files)"
    cut = map_label(label)
    assert len(cut) == LABEL_MAX == 250
    assert cut.startswith("firstä")
    assert cut.endswith("ä (17 files)")


def test_the_label_limit_is_the_length_of_airflow_s_column() -> None:
    from airflow.models.taskinstance import TaskInstance

    assert TaskInstance.__table__.c.rendered_map_index.type.length == LABEL_MAX


def test_the_tasks_that_read_the_source_use_the_allocator_of_loaders(
    monkeypatch: pytest.MonkeyPatch, store: Store, tmp_path: Path
) -> None:
    (tmp_path / "a.csv").write_text("n\n1\n")
    plan = store.plan("t", str(tmp_path / "a.csv"), run="r")
    expected, backends = allocator(loader_memory()), []

    @contextmanager
    def step(*_names: str, **_facts: object) -> Iterator[tuple[Store, ProgressTask]]:
        yield store, null_task()

    def planned(*_given: object, **_options: object) -> LoadPlan:
        backends.append(allocator())
        return plan

    def loaded(*_given: object, **_options: object) -> SimpleNamespace:
        backends.append(allocator())
        return SimpleNamespace(to_json=dict)

    context = {
        "ti": SimpleNamespace(xcom_push=lambda **_value: None, try_number=1),
        "dag_run": SimpleNamespace(dag_id="ingest_dataset", run_id="r"),
    }
    monkeypatch.setattr(ingest, "step", step)
    monkeypatch.setattr(ingest, "get_current_context", lambda: context)
    monkeypatch.setattr(store, "plan", planned)
    monkeypatch.setattr(store, "load_split", loaded)
    ingest.plan(
        SimpleNamespace(dataset="t", mode="replace", warm=False, load=lambda _settings: ("a.csv", LoadOptions()))
    )
    ingest.load(plan.to_json(), 0)
    assert backends == [expected, expected]


def allocator(memory: AbstractContextManager[None] | None = None) -> str:
    with memory or nullcontext():
        return str(pa.default_memory_pool().backend_name)


def test_publish_logs_the_report_as_a_table_and_every_warning(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, store: Store, tmp_path: Path
) -> None:
    (tmp_path / "a.csv").write_text("zip,price\n01,1.5\n2,?\n")
    plan = store.plan("t", str(tmp_path / "a.csv"), run="r")
    results = [store.load_split(plan, index).to_json() for index in range(len(plan.source.splits))]

    @contextmanager
    def step(*_names: str, **_facts: object) -> Iterator[tuple[Store, ProgressTask]]:
        yield store, null_task()

    context = {"dag_run": SimpleNamespace(start_date=None), "outlet_events": None}
    monkeypatch.setattr(ingest, "step", step)
    monkeypatch.setattr(ingest, "get_current_context", lambda: context)
    monkeypatch.setattr(ingest, "field_titles", lambda _context: {})
    monkeypatch.setattr(ingest, "emit_loaded", lambda *_report, **_where: None)
    with caplog.at_level(logging.INFO, logger="millrace.airflow.ingest"):
        report = ingest.publish(plan.to_json(), results)
    lines = [record.getMessage() for record in caplog.records]
    assert lines[0] == f"t@{report['version']}"
    assert "  columns       zip int64, price string" in lines
    assert "  rows          2" in lines
    warned = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert [line.partition(":")[0] for line in warned] == ["leading_zeros", "text_for_one_value"]
    assert [each["code"] for each in report["warnings"]] == ["leading_zeros", "text_for_one_value"]
    assert report["columns"] == [{"name": "zip", "type": "int64"}, {"name": "price", "type": "string"}]


def test_a_run_without_anything_to_load_skips_its_tasks_and_reports_the_version(
    monkeypatch: pytest.MonkeyPatch, store: Store, tmp_path: Path
) -> None:
    (tmp_path / "a.csv").write_text("n\n1\n")
    first = store.load("t", str(tmp_path / "a.csv"))
    plan = replace(store.plan("t", str(tmp_path / "a.csv"), run="r"), holder=first.version, unchanged=True)
    pushed: dict[str, Any] = {}

    @contextmanager
    def step(*_names: str, **_facts: object) -> Iterator[tuple[Store, ProgressTask]]:
        yield store, null_task()

    context = {
        "ti": SimpleNamespace(xcom_push=lambda key, value: pushed.update({key: value})),
        "dag_run": SimpleNamespace(dag_id="ingest_t", run_id="r", start_date=None),
        "outlet_events": None,
    }
    monkeypatch.setattr(ingest, "step", step)
    monkeypatch.setattr(ingest, "get_current_context", lambda: context)
    monkeypatch.setattr(ingest, "field_titles", lambda _context: {})
    monkeypatch.setattr(ingest, "emit_loaded", lambda *_report, **_where: pytest.fail("no event"))
    monkeypatch.setattr(store, "plan", lambda *_given, **_options: plan)
    assert (
        ingest.plan(
            SimpleNamespace(dataset="t", mode="replace", warm=True, load=lambda _settings: ("a.csv", LoadOptions()))
        )
        == []
    )
    with pytest.raises(AirflowSkipException, match="the source is unchanged"):
        ingest.verify(pushed["plan"], [])
    report = ingest.publish(pushed["plan"], [])
    assert (report["skipped"], report["version"], report["rows"]) == ("unchanged", first.version, 0)
    with pytest.raises(AirflowSkipException, match="the source is unchanged"):
        ingest.warm(report, requested=True)
