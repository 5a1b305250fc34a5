"""``millrace ingest``: the options of the entry reach the load, and a name that cannot be loaded is one clear line."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from millrace.api import Store
from millrace.cli.app import run
from tests.unit.store.in_memory import cassandra, csv, settings, store

__all__ = ["cassandra", "csv", "settings", "store"]

DECLARED = """
sources:
  trips: {uri: data.csv, dataset: journeys, columns: [n]}
  daily: {uri: "{date:%Y-%m-%d}.csv", mode: replace, timezone: Asia/Tokyo}
  broken: {uri: data.csv, keep: 0}
"""


@pytest.fixture(autouse=True)
def declared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, store: Store) -> None:
    """Declare sources in a folder that may be loaded from, and make commands use the store in memory."""
    (tmp_path / "sources.yaml").write_text(DECLARED)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MILLRACE_SOURCES__FILE", "sources.yaml")
    monkeypatch.setenv("MILLRACE_SOURCES__ROOTS", str(tmp_path))
    monkeypatch.setenv("MILLRACE_KAFKA__BOOTSTRAP_SERVERS", "")
    sources = store.settings.sources.model_copy(update={"roots": (str(tmp_path),)})
    kafka = store.settings.kafka.model_copy(update={"bootstrap_servers": ""})
    store.settings = store.settings.model_copy(update={"sources": sources, "kafka": kafka})

    @contextmanager
    def open_store(invocation: Any) -> Iterator[Store]:
        invocation.opened_store = store
        yield store

    monkeypatch.setattr("millrace.cli.commands.load.open_store", open_store)


def test_an_entry_is_loaded_with_its_options(
    store: Store, csv: Callable[..., str], capsys: pytest.CaptureFixture[str]
) -> None:
    csv(10)
    assert run(["ingest", "trips", "--json", "--run-id", "by hand"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert (report["dataset"], report["rows"], report["run"], report["skipped"]) == ("journeys", 10, "by hand", "")
    assert store.dataset("journeys").schema.names == ["n"]


def test_an_unchanged_source_is_reported_as_skipped(
    store: Store, csv: Callable[..., str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    csv(10)
    assert run(["ingest", "trips"]) == 0
    outcomes: list[str] = []
    monkeypatch.setattr(Store, "report_outcome", lambda _store, report, _task: outcomes.append(report.skipped))
    capsys.readouterr()
    assert run(["ingest", "trips", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["skipped"] == "unchanged"
    assert outcomes == ["unchanged"]


def test_errors_and_warnings_name_the_fields_of_the_entry(
    store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "data.csv").write_text("n,m\n01,1\n2\n")
    assert run(["ingest", "trips", "--run-id", "r"]) == 1
    assert 'correct that line, or check "delimiter"' in capsys.readouterr().err
    error = store.run_report("r").error
    assert error is not None
    assert error["hint"].endswith('check "delimiter"')
    (tmp_path / "data.csv").write_text("n,m\n01,1\n2,3\n")
    assert run(["ingest", "trips"]) == 0
    assert '"column_types" n=string' in capsys.readouterr().err


def test_a_dry_run_writes_nothing(store: Store, csv: Callable[..., str], capsys: pytest.CaptureFixture[str]) -> None:
    csv(10)
    assert run(["ingest", "trips", "--json", "--dry-run"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert (report["rows"], report["dry_run"]) == (10, True)
    assert store.datasets() == []


def test_a_date_is_that_day_in_the_timezone_of_the_entry(store: Store, csv: Callable[..., str]) -> None:
    csv(5, name="2026-11-28.csv")
    assert run(["ingest", "daily", "--date", "2026-11-28"]) == 0
    assert store.version("daily").rows == 5


@pytest.mark.parametrize(
    ("arguments", "code", "line"),
    [
        (["trip"], 2, "no source 'trip' is declared in sources.yaml: did you mean trips?"),
        (["broken"], 1, "sources.yaml:5: sources.broken.keep is 0: give a number of at least 1"),
        (["trips"], 1, "there is no 'data.csv' in "),
        (["daily", "--date", "yesterday"], 2, "'yesterday' does not match the formats"),
    ],
)
def test_a_source_that_cannot_be_loaded_is_one_line(
    store: Store, capsys: pytest.CaptureFixture[str], arguments: list[str], code: int, line: str
) -> None:
    assert run(["ingest", *arguments]) == code
    output = capsys.readouterr()
    (error,) = output.err.splitlines()
    assert line in error
    assert output.out == ""
    assert store.datasets() == []
