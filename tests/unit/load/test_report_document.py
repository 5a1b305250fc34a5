"""The JSON document of load reports, by its schema, and the reports that the store keeps."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from millrace.api import Store
from millrace.errors import RunNotFoundError, SourceTypeError, StoreUnavailableError, UsageError
from millrace.load import LoadOptions, LoadReport, RunRecord, measure, report_facts, report_schema, skipped_report
from millrace.progress import null_task
from millrace.sources import SourceOptions
from tests.unit.load.test_report import file
from tests.unit.store.fakes import FakeCassandra, reset

Csv = Callable[..., str]
SCHEMA = json.loads((Path(report_schema.__file__).parents[3] / report_schema.FILE).read_text())


def checked(report: LoadReport) -> dict[str, Any]:
    """Return the document of a report, as JSON that fits the schema and from which the same report is made again."""
    document: dict[str, Any] = json.loads(json.dumps(report.to_json()))
    Draft202012Validator(SCHEMA).validate(document)
    assert document.keys() == set(SCHEMA["required"])
    assert LoadReport.from_json(document) == report
    return document


def test_the_schema_in_the_documentation_is_current() -> None:
    Draft202012Validator.check_schema(SCHEMA)
    assert report_schema.rendered() == json.dumps(SCHEMA, indent=2) + "\n"


def test_the_schema_is_written_and_compared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(report_schema, "FILE", tmp_path / "s.json")
    assert report_schema.main(["--check"]) == 1
    assert capsys.readouterr().err == f"{tmp_path / 's.json'} is not current; run: {report_schema.COMMAND}\n"
    assert report_schema.main([]) == 0
    assert report_schema.main(["--check"]) == 0


def test_the_document_of_a_load_has_source_stages_and_rates(store: Store, csv: Csv) -> None:
    source = csv(1000)
    before = datetime.now(UTC) - timedelta(seconds=1)
    document = checked(store.load("t", source, run="night"))
    assert (document["state"], document["error"], document["skipped"]) == ("succeeded", None, "")
    assert (document["rows"], document["rows_read"], document["rejected"]) == (1000, 1000, 0)
    size = Path(source).stat().st_size
    facts = document["source_facts"]
    assert (facts["uri"], facts["format"], facts["files"], facts["bytes"]) == (source, "csv", 1, size)
    assert facts["first_files"] == ["data.csv"]
    assert facts["crc32"] == store.version("t").source["crc32"]
    assert list(document["stages"]) == ["plan", "load", "publish"]
    assert 0 < sum(document["stages"].values()) <= document["seconds"] + 0.01
    assert before < datetime.fromisoformat(document["started"]) < datetime.now(UTC)
    assert document["source_bytes_per_s"] == pytest.approx(size / document["seconds"], rel=0.01)


def test_the_source_facts_name_what_changed_since_the_parent(store: Store, csv: Csv) -> None:
    assert store.load("t", csv(1000)).source_facts.changed == ()
    assert store.load("t", csv(1000)).source_facts.changed == ("digest",)
    assert store.load("t", csv(1001)).source_facts.changed == ("bytes", "digest", "crc32")
    assert "uri" in store.load("t", csv(1001, name="b.csv")).source_facts.changed


def test_a_merge_a_degraded_load_and_a_dry_run_fit_the_schema(store: Store, cassandra: FakeCassandra, csv: Csv) -> None:
    options = LoadOptions(mode="append")
    plans = [store.plan("t", csv(10, first=10 * n, name=f"{n}.csv"), options, run=f"r{n}") for n in range(2)]
    results = [store.load_split(plan, None) for plan in plans]
    reports = [store.publish(plan, [result]) for plan, result in zip(plans, results, strict=True)]
    assert [checked(report)["total_rows"] for report in reports] == [10, 20]
    checked(store.report(store.version("t")))
    assert checked(measure(store.settings, plans[0], task=null_task()))["state"] == "succeeded"
    cassandra.behave = lambda attempt: reset() if attempt.host is cassandra.b or attempt.level != 10 else "ok"
    cassandra.b.is_up = False
    document = checked(store.load("t", csv(10)))
    assert (document["degraded"], document["replicas"]) == (True, 1)
    assert document["under_replicated"] >= 1


def test_a_skipped_run_describes_the_version_and_adds_nothing(store: Store, csv: Csv) -> None:
    first = store.load("t", csv(10), run="r0")
    plan = store.plan("t", csv(10), run="r1")
    report = skipped_report(store.catalogue, store.version("t"), plan)
    document = checked(report)
    assert (document["state"], document["skipped"], document["version"]) == ("skipped", "unchanged", first.version)
    assert (document["rows"], document["rows_read"], document["total_rows"]) == (0, 0, 10)
    assert (document["run"], document["chunks"], document["stages"]) == ("r1", 0, {})
    assert report_facts(report)[:2] == [("state", "skipped (unchanged)"), ("rows", "0 (10 in all)")]
    store.keep_report(report)
    row = store.last_run("t")
    assert row is not None
    assert (row.run, row.state, row.version, row.rows) == ("r1", "skipped", first.version, 10)


def test_the_report_of_a_run_is_kept_as_it_was_returned(store: Store, csv: Csv) -> None:
    report = store.load("t", csv(10), run="night")
    assert store.run_report("night") == report
    row = store.last_run("t")
    assert row is not None
    assert (row.run, row.state, row.version, row.rows, row.rejects) == ("night", "succeeded", report.version, 10, 0)
    assert row.started == datetime.fromisoformat(report.started)


def test_a_repeated_load_leaves_the_report_of_its_first_attempt(store: Store, csv: Csv) -> None:
    source = csv(10)
    first = store.load("t", source, run="night")
    again = store.load("t", source, run="night")
    assert [warning.code for warning in again.warnings] == ["already_loaded"]
    assert store.run_report("night") == first


def test_a_repeated_load_whose_rows_are_in_a_merge_has_the_name_of_its_own_run(store: Store, csv: Csv) -> None:
    options, source = LoadOptions(mode="append"), csv(10, name="0.csv")
    plans = [
        store.plan("t", source, options, run="r0", one_stream=True),
        store.plan("t", csv(10, first=10, name="1.csv"), options, run="r1", one_stream=True),
    ]
    results = [store.load_split(plan, None) for plan in plans]
    own, merge = [store.publish(plan, [result]) for plan, result in zip(plans, results, strict=True)]
    store.delete(f"t@{own.version}")
    again = store.load("t", source, options, run="r0")
    assert (again.version, again.run) == (merge.version, "r0")
    assert store.run_report("r0") == again


def test_a_repeated_load_keeps_a_report_if_the_first_attempt_could_not(
    store: Store, cassandra: FakeCassandra, csv: Csv
) -> None:
    source = csv(10)
    store.load("t", source, run="night")
    for host in (cassandra.a, cassandra.b):
        host.rows["reports"].clear()
    again = store.load("t", source, run="night")
    assert store.run_report("night") == again


def test_a_failed_load_keeps_its_error_until_a_later_attempt_succeeds(
    store: Store, cassandra: FakeCassandra, csv: Csv, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_given: object, **_options: object) -> None:
        raise SourceTypeError("b changes its type in line 7", hint="--column-type b=string")

    source = csv(10)
    with monkeypatch.context() as patched:
        patched.setattr(store, "load_split", fail)
        with pytest.raises(SourceTypeError) as raised:
            store.load("t", source, run="night")
    assert raised.value.context["run"] == "night"
    document = checked(store.run_report("night"))
    assert (document["state"], document["version"], document["rows"]) == ("failed", "", 0)
    assert document["error"] == {
        "class": "SourceTypeError",
        "message": raised.value.message,
        "hint": raised.value.hint,
        "retriable": False,
    }
    assert (document["source"], document["source_facts"]["files"]) == (source, 1)
    assert "plan" in document["stages"]
    [attempt] = [each for each in cassandra.writes() if each.rows[0][0] == "reports"]
    assert attempt.statement.values[-1] == (90 * 86_400).to_bytes(4, "big")
    row = store.last_run("t")
    assert row is not None
    assert (row.state, row.version, row.rows) == ("failed", None, 0)
    facts = dict(report_facts(store.run_report("night")))
    assert facts["state"].startswith("failed with SourceTypeError: ")
    assert facts["run"] == "night"
    report = store.load("t", source, run="night")
    assert store.run_report("night").version == report.version
    assert store.last_run("t").state == "succeeded"  # type: ignore[union-attr]


def test_a_wrong_call_is_no_run(store: Store, csv: Csv) -> None:
    with pytest.raises(UsageError):
        store.load("t", csv(10), run="night", columns=["x"])
    assert store.last_run("t") is None


def test_a_failed_run_shows_no_credentials_of_its_source(store: Store) -> None:
    record = RunRecord("t", "night", "replace")
    error = OSError("https://me:secret@host/a.csv?token=abc is gone")
    assert checked(record.failed(error))["error"]["message"] == "https://***@host/a.csv?token=*** is gone"


def test_a_report_that_cannot_be_kept_is_a_warning_of_a_load_that_succeeded(
    store: Store, csv: Csv, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_given: object) -> None:
        raise StoreUnavailableError("no node responds")

    monkeypatch.setattr(store, "_write_report", fail)
    report = store.load("t", csv(10), run="night")
    assert [warning.code for warning in report.warnings] == ["report_not_kept"]
    assert report.warnings[0].message == "the report of the run night was not kept in the store (no node responds)"
    assert store.version("t").label == report.version


def test_the_error_of_a_load_is_raised_also_if_its_report_cannot_be_kept(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []

    def fail(*given: object) -> None:
        calls.append(given)
        raise StoreUnavailableError("no node responds")

    monkeypatch.setattr(store, "_write_report", fail)
    options = LoadOptions(source=SourceOptions(column_types=(("a", "int64"),)))
    with pytest.raises(SourceTypeError):
        store.load("t", file(tmp_path, "a\nx\n"), options)
    assert len(calls) == 1
    monkeypatch.setattr(store.cassandra, "missing", lambda: ["10.0.0.1", "10.0.0.2"])
    with pytest.raises(SourceTypeError):
        store.load("t", file(tmp_path, "a\nx\n"), options)
    assert len(calls) == 1


def test_an_unknown_run_is_one_line_with_the_nearest_runs(store: Store, csv: Csv) -> None:
    store.load("sales", csv(10), run="ingest_sales/scheduled__2026-11-22")
    with pytest.raises(RunNotFoundError) as raised:
        store.run_report("ingest_sales/scheduled__2026-11-23")
    assert str(raised.value) == (
        "there is no report of the run 'ingest_sales/scheduled__2026-11-23': "
        "did you mean ingest_sales/scheduled__2026-11-22?"
    )
    with pytest.raises(RunNotFoundError, match="millrace show NAME names the run of a version"):
        store.run_report("x")


def test_a_report_of_a_later_version_is_read_without_its_unknown_keys(store: Store, csv: Csv) -> None:
    report = store.load("t", csv(10))
    document = report.to_json()
    newer = {**document, "later": 1, "source_facts": {**document["source_facts"], "later": 1}}
    assert LoadReport.from_json(newer) == report
