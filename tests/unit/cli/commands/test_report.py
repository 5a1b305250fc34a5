"""``millrace report`` and ``millrace sources --status``, on an in-memory cluster."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from millrace.api import Store
from millrace.cli.app import run
from millrace.errors import StoreUnavailableError
from millrace.load import LoadOptions, LoadReport, RunRecord
from millrace.settings import Settings
from tests.unit.store.in_memory import cassandra, csv, settings, store

__all__ = ["cassandra", "csv", "settings", "store"]

Csv = Callable[..., str]
DECLARED = """
sources:
  flights: {uri: flights.csv, schedule: "5 2 * * *", timezone: America/New_York}
  weather: {uri: weather.csv, after: flights}
  trips: {uri: trips.csv, every: 1h}
  planes: {uri: planes.csv}
"""


@pytest.fixture(autouse=True)
def connected(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every command connect to the in-memory store, in a folder with declared sources."""

    def connect(_settings: Settings) -> Store:
        return store

    monkeypatch.setattr(Store, "connect", connect)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "sources.yaml").write_text(DECLARED)


def lines_of(text: str) -> list[str]:
    return [" ".join(line.split()) for line in text.splitlines()]


def failed_load(store: Store, dataset: str, run_id: str) -> LoadReport:
    record = RunRecord(dataset, run_id, "replace")
    with pytest.raises(StoreUnavailableError), store.recorded(record):
        raise StoreUnavailableError("no node responds", hint="see millrace doctor")
    return store.run_report(run_id)


def test_the_report_of_a_run_is_shown_and_printed_as_the_document(
    store: Store, csv: Csv, capsys: pytest.CaptureFixture[str]
) -> None:
    source = csv(10)
    report = store.load("flights", source, run="night")
    assert run(["report", "night", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == json.loads(json.dumps(report.to_json()))
    assert run(["report", "night"]) == 0
    lines = lines_of(capsys.readouterr().out)
    assert lines[0] == f"flights@{report.version}"
    assert "rows 10" in lines
    assert "run night" in lines
    assert any(line.startswith("seconds ") and "(plan " in line and "load " in line for line in lines)
    assert f"source {source} (csv, 1 file, {Path(source).stat().st_size} B)" in lines


def test_the_report_of_a_failed_run_has_its_error(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    failed_load(store, "flights", "night")
    assert run(["report", "night"]) == 0
    lines = lines_of(capsys.readouterr().out)
    assert lines[:2] == ["flights", "state failed with StoreUnavailableError: no node responds: see millrace doctor"]
    assert run(["report", "night", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert (document["state"], document["error"]["retriable"], document["degraded"]) == ("failed", True, False)


def test_the_facts_that_others_set_aside_are_shown(store: Store, csv: Csv, capsys: pytest.CaptureFixture[str]) -> None:
    report = store.load("flights", csv(10), run="night")
    rich = replace(
        report, rejected=3, discarded_values=2, rejects="flights__rejects@1-abcdef", schema_changes=("b is new",)
    )
    store.keep_report(rich)
    assert run(["report", "night"]) == 0
    lines = lines_of(capsys.readouterr().out)
    for line in (
        "rejected rows 3", "discarded values 2", "rejects flights__rejects@1-abcdef", "schema change b is new"
    ):  # fmt: skip
        assert line in lines
    html = rich._repr_html_()
    assert "rejected rows" in html
    assert "b is new" in html


def test_an_unknown_run_is_one_line(store: Store, csv: Csv, capsys: pytest.CaptureFixture[str]) -> None:
    store.load("flights", csv(10), run="flights-abc123")
    assert run(["report", "flights-abc124"]) == 1
    output = capsys.readouterr()
    assert output.out == ""
    assert output.err == ("millrace: there is no report of the run 'flights-abc124': did you mean flights-abc123?\n")


def test_the_status_has_the_last_and_the_next_run_of_each_source(
    store: Store, csv: Csv, capsys: pytest.CaptureFixture[str]
) -> None:
    report = store.load("flights", csv(10), run="night")
    more = store.load("flights", csv(5, first=10, name="b.csv"), LoadOptions(mode="append"), run="day")
    hour_ago = datetime.now(UTC) - timedelta(hours=1, minutes=10)
    store.keep_report(replace(report, run="old", dataset="trips", started=hour_ago.isoformat(), rejected=2))
    failed_load(store, "weather", "bad")
    assert run(["sources", "sources.yaml", "--status"]) == 0
    output = capsys.readouterr()
    lines = lines_of(output.out)
    assert lines[0] == "name last run version rows rejects age next run"
    assert any(line.startswith(f"flights succeeded {more.version} 15 0 ") and " 02:05 " in line for line in lines)
    assert any(line.startswith("weather failed 0 ") and line.endswith(" s after flights") for line in lines)
    assert any(line.startswith(f"trips succeeded {report.version} 10 2 1 h ") for line in lines)
    assert "planes none by hand" in lines
    assert output.err == ""
    assert run(["sources", "sources.yaml", "--status", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    flights, weather, trips, planes = document["sources"]
    assert document["status_error"] == ""
    assert flights["state"] == "ok"
    assert {**flights["last_run"], "age_s": 0} == {
        "run": "day",
        "state": "succeeded",
        "started": more.started,
        "age_s": 0,
        "version": more.version,
        "rows": 15,
        "rejects": 0,
    }
    assert datetime.fromisoformat(flights["next_run"]) > datetime.now(UTC)
    assert (weather["last_run"]["version"], weather["next_run"]) == (None, None)
    # The interval is over, so the run is due now.
    assert abs(datetime.fromisoformat(trips["next_run"]) - datetime.now(UTC)) < timedelta(minutes=1)
    assert (planes["last_run"], planes["next_run"]) == (None, None)


def test_without_the_store_the_list_is_shown_with_one_line_of_error(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(_settings: Settings) -> Store:
        raise StoreUnavailableError("no Cassandra node responds at 10.0.0.1:9042", hint="start the nodes")

    monkeypatch.setattr(Store, "connect", refuse)
    assert run(["sources", "sources.yaml", "--status"]) == 1
    output = capsys.readouterr()
    assert output.err == (
        "millrace: the last runs are not known: no Cassandra node responds at 10.0.0.1:9042: start the nodes\n"
    )
    lines = lines_of(output.out)
    assert any(line.startswith("flights not known ") and " 02:05 " in line for line in lines)
    assert "trips not known every hour" in lines
    assert run(["sources", "sources.yaml", "--status", "--json"]) == 1
    document = json.loads(capsys.readouterr().out)
    assert document["status_error"].startswith("no Cassandra node responds")
    assert [source["last_run"] for source in document["sources"]] == [None] * 4
