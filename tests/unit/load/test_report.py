"""Columns and warnings in load reports, on an in-memory cluster."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pytest

from millrace.api import Store
from millrace.errors import SourceTypeError, StoreUnavailableError, UsageError
from millrace.load import LoadOptions
from millrace.load.columns import columns_line, reported_columns
from millrace.load.measurement import measure
from millrace.load.report_text import report_facts, report_table
from millrace.progress import null_task
from millrace.sources import SourceOptions

Csv = Callable[..., str]


def file(tmp_path: Path, text: str, name: str = "a.csv") -> str:
    (tmp_path / name).write_text(text)
    return str(tmp_path / name)


def test_a_report_names_the_columns_of_the_version_with_their_types(store: Store, tmp_path: Path) -> None:
    report = store.load("t", file(tmp_path, "a,b\n1,x\n"))
    assert report.columns == (("a", "int64"), ("b", "string"))
    said = json.loads(json.dumps(report.to_json()))
    assert said["columns"] == [{"name": "a", "type": "int64"}, {"name": "b", "type": "string"}]
    assert said["columns_total"] == 2
    assert ("columns", "a int64, b string") in report_facts(report)


def test_the_report_of_an_append_has_the_columns_of_the_whole_version(store: Store, tmp_path: Path) -> None:
    store.load("t", file(tmp_path, "a,b\n1,\n"))
    report = store.load("t", file(tmp_path, "a,b\n2,y\n", "b.csv"), LoadOptions(mode="append"))
    assert report.columns == (("a", "int64"), ("b", "string"))
    assert store.report(store.version("t")).columns == report.columns


def test_a_repeated_load_has_a_warning_that_it_was_already_loaded(store: Store, tmp_path: Path) -> None:
    source = file(tmp_path, "zip\n01\n")
    first, again = store.load("t", source, run="r"), store.load("t", source, run="r")
    assert [each.code for each in first.warnings] == ["leading_zeros"]
    assert [each.code for each in again.warnings] == ["already_loaded", "leading_zeros"]
    assert again.columns == first.columns
    assert (first.warnings[0].column, first.warnings[0].line) == ("zip", 2)


def test_a_dry_run_reports_columns_and_warnings(store: Store, tmp_path: Path) -> None:
    plan = store.plan("t", file(tmp_path, "zip,price\n01,1.5\n2,?\n"))
    report = measure(store.settings, plan, task=null_task())
    assert report.columns == (("zip", "int64"), ("price", "string"))
    assert [each.code for each in report.warnings] == ["leading_zeros", "text_for_one_value"]


def test_a_long_list_of_columns_is_shortened_with_a_count(store: Store, tmp_path: Path) -> None:
    names = [f"column_{number}" for number in range(12_000)]
    schema = pa.schema([(name, pa.int64()) for name in names])
    columns = reported_columns(schema)
    assert 1_000 < len(columns) < 12_000
    assert len(json.dumps(columns)) < 200_000
    line = columns_line(columns, 12_000)
    assert line.startswith("column_0 int64, column_1 int64, ")
    assert line.endswith("column_19 int64, ... and 11,980 more")
    assert columns_line([("last, first", "string"), ("s", "x" * 100)], 2) == f'"last, first" string, s {"x" * 57}...'
    assert columns_line([], 0) == ""


def test_a_log_shows_the_report_as_a_table(store: Store, csv: Csv) -> None:
    report = replace(store.load("t", csv(1000), run="night"), seconds=2.0, rows_per_s=500.0, missing=("cache",))
    lines = report_table(report)
    assert lines[0] == f"t@{report.version}"
    assert "  rows          1,000" in lines
    assert "  columns       n int64, text string" in lines
    assert "  did without   cache" in lines
    assert "  replicas      2 each" in lines
    assert len({line.index(line[16:]) for line in lines[1:]}) == 1


def test_a_log_shows_a_dry_run_and_a_repeated_load_as_not_written(store: Store, csv: Csv) -> None:
    report = replace(store.load("t", csv(1000), run="night"), replicas=1, under_replicated=2)
    assert ("replicas", "1 each (2 under-replicated)") in report_facts(report)
    assert report_facts(report, repeated=True)[-1] == ("written", "nothing: this load was published already")
    dry_run = report_facts(report, dry_run=True)
    assert dry_run[-1] == ("written", "nothing (dry run)")
    assert "replicas" not in dict(dry_run)


def test_a_report_is_shown_in_one_line_and_as_a_table_of_html(store: Store, csv: Csv) -> None:
    report = store.load("t", csv(1000), run="<night>")
    assert repr(report).startswith(f"<LoadReport t@{report.version}: 1,000 rows added, 1,000 in the version, ")
    html = report._repr_html_()
    assert f"Load of t@{report.version}" in html
    assert "&lt;night&gt;" in html


def test_a_report_without_readable_columns_has_none(store: Store, csv: Csv, monkeypatch: pytest.MonkeyPatch) -> None:
    store.load("t", csv(1000))

    def unreadable(_version: object) -> pa.Schema:
        raise StoreUnavailableError("a node does not respond")

    version = store.version("t")
    monkeypatch.setattr(store.catalogue.pages, "schema", unreadable)
    report = store.report(version)
    assert (report.columns, report.columns_total, report.rows) == ((), 0, 1000)


def test_columns_are_selected_and_renamed_with_keyword_arguments(store: Store, tmp_path: Path) -> None:
    source = file(tmp_path, "id;preis;ab\n1;1,5;03.02.2026\n")
    report = store.load(
        "t", source, delimiter=";", decimal=",", columns=["preis", "id"], rename={"preis": "price"}, run="r"
    )
    assert report.columns == (("price", "double"), ("id", "int64"))
    assert store.dataset("t").to_table().to_pylist() == [{"price": 1.5, "id": 1}]
    options = LoadOptions(mode="append", source=SourceOptions(delimiter=";", decimal=","))
    more = store.load("t", source, options, columns=["preis", "id"], rename={"preis": "price"})
    assert (more.mode, more.total_rows) == ("append", 2)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"colums": ["a"]}, "no option 'colums' of a source: did you mean columns"),
        ({"columns": "a"}, "columns is 'a': give a list of texts"),
        ({"columns": ["x"]}, "has no column 'x', which --columns names"),
        ({"rename": "a=b"}, "rename is 'a=b'"),
        ({"rename": {"a": 1}}, "rename is"),
        ({"skip_rows": 1.5}, "skip_rows is 1.5"),
        ({"delimiter": 5}, "delimiter is 5"),
        ({"decimal": 5}, "the decimal point is 5"),
        ({"encoding": 5}, "encoding is 5"),
        ({"null_values": "NA"}, "null_values is 'NA'"),
        ({"column_types": "a=string"}, "column_types is 'a=string'"),
        ({"header": "no"}, "header is 'no'"),
    ],
    ids=str,
)
def test_keyword_arguments_of_wrong_name_or_type_are_refused(
    store: Store, tmp_path: Path, wrong: dict[str, object], said: str
) -> None:
    with pytest.raises(UsageError, match=said):
        store.load("t", file(tmp_path, "a,b\n1,2\n"), **wrong)


def test_other_columns_of_the_same_source_are_another_version_and_cannot_be_appended(
    store: Store, tmp_path: Path
) -> None:
    source = file(tmp_path, "a,b\n1,2\n")
    first = store.load("t", source, run="r", columns=["a"])
    assert store.load("t", source, run="r", columns=["a"]).version == first.version
    assert store.load("t", source, run="r", rename={"a": "c"}).version != first.version
    with pytest.raises(SourceTypeError, match="its columns are a, those of the dataset c, b"):
        store.load("t", source, LoadOptions(mode="append"), columns=["a"])
