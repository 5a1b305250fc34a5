"""The parts of ``Store`` that tasks of a DAG call one after the other."""

from __future__ import annotations

from collections.abc import Callable
from unittest.mock import Mock

import pytest

from millrace.api import Store
from millrace.errors import ChunkMissingError, StoreUnavailableError
from millrace.progress import ProgressTask
from tests.unit.store.fakes import FakeCassandra
from tests.unit.store.in_memory import cassandra, csv, settings, store

__all__ = ["cassandra", "csv", "settings", "store"]
Csv = Callable[..., str]


def test_a_split_is_verified_before_its_version_is_published(store: Store, cassandra: FakeCassandra, csv: Csv) -> None:
    plan = store.plan("flights", csv(100))
    result = store.load_split(plan, None)
    verified = store.verify_split(plan, result)
    assert (verified.ok, verified.chunks, verified.rows) == (True, result.chunks, 100)
    for host in (cassandra.a, cassandra.b):
        host.rows["chunks"].clear()
    assert store.verify_split(plan, result).problems[0]["error"] == ChunkMissingError.__name__
    assert store.catalogue.versions("flights") == []


def test_a_load_reports_its_phases_and_its_result_to_the_task(store: Store, csv: Csv) -> None:
    task = Mock(spec=ProgressTask)
    report = store.load("flights", csv(100), task=task)
    assert [call.args[0] for call in task.phase.call_args_list] == ["write", "publish"]
    assert task.result.call_args.kwargs["version"] == report.version


def test_no_result_is_reported_if_the_schema_cannot_be_read(
    store: Store, csv: Csv, monkeypatch: pytest.MonkeyPatch
) -> None:
    def down(_version: object) -> None:
        raise StoreUnavailableError("no node responds")

    report = store.load("flights", csv(100))
    monkeypatch.setattr(store.catalogue.pages, "schema", down)
    task = Mock(spec=ProgressTask)
    store.report_outcome(report, task)
    assert not task.result.called
