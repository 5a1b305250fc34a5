"""Datasets, versions and load reports as shown at a Python prompt and in a notebook."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from typing import Any

import pyarrow as pa
import pytest

from millrace.api import Store
from millrace.display.notebook import html_table
from millrace.errors import StoreUnavailableError
from tests.unit.store.in_memory import cassandra, settings, store

__all__ = ["cassandra", "settings", "store"]


class Cells(HTMLParser):
    """The text of each table cell; fails on a tag that does not belong to a table."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.cells: list[str] = []
        self.open: list[str] = []
        self.feed(html)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        assert tag in ("table", "tr", "th", "td"), tag
        self.open.append(tag)
        if tag in ("th", "td"):
            self.cells.append("")

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.cells[-1] += data


def test_each_repr_is_one_short_line(store: Store) -> None:
    report = store.load("flights", pa.table({"n": list(range(12_345))}), run="nightly")
    dataset, version = store.dataset("flights"), store.version("flights")
    for shown, kind in ((report, "LoadReport"), (dataset, "Dataset"), (version, "Version")):
        description = repr(shown)
        assert description.startswith(f"<{kind} flights@{version.label}: 12,345 rows")
        assert description.endswith(">")
        assert len(description) < 160
        assert "\n" not in description
    assert re.search(r", 20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d[+]00:00>$", repr(version))


def test_a_notebook_shows_facts_and_columns(store: Store) -> None:
    report = store.load("flights", pa.table({"n": list(range(12_345)), "text": ["x"] * 12_345}), run="nightly")
    shown = Cells(store.dataset("flights")._repr_html_()).cells
    assert shown[0] == f"Dataset flights@{report.version}"
    assert dict(zip(shown[1::2], shown[2::2], strict=True))["rows"] == "12,345"
    assert shown[-4:] == ["n", "int64", "text", "string"]
    for html in (report._repr_html_(), store.version("flights")._repr_html_()):
        assert "python:pyarrow.Table" in Cells(html).cells
        assert "nightly" in Cells(html).cells


def test_names_with_html_are_shown_as_text(store: Store) -> None:
    evil = "<script>alert(1)</script>&\"'"
    report = store.load("t", pa.table({evil: [1], "</table>": [2]}), run=evil)
    for html in (store.dataset("t")._repr_html_(), store.version("t")._repr_html_(), report._repr_html_()):
        assert evil in Cells(html).cells
    assert "</table>" in Cells(store.dataset("t")._repr_html_()).cells


def test_a_wide_dataset_shows_its_first_columns_and_the_number_of_the_others(store: Store) -> None:
    store.load("t", pa.table({f"c{n}": [n] for n in range(130)}))
    shown = Cells(store.dataset("t")._repr_html_()).cells
    assert shown[-1] == "and 30 more columns"
    assert "c99" in shown
    assert "c100" not in shown


def test_a_dataset_whose_columns_cannot_be_read_is_shown_with_the_error(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.load("t", pa.table({"n": [1]}))
    dataset = store.dataset("t")

    def down(_version: Any) -> Any:
        raise StoreUnavailableError("no node answers")

    monkeypatch.setattr(store.catalogue.pages, "schema", down)
    assert "no node answers" in Cells(dataset._repr_html_()).cells


def test_a_long_text_is_cut() -> None:
    assert Cells(html_table("t", [("source", "x" * 1000)])).cells[2] == "x" * 300 + "..."
