"""Differences of two versions, from their manifests alone."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from millrace.api import Store
from millrace.load import LoadOptions
from tests.unit.store.fakes import FakeCassandra
from tests.unit.store.in_memory import cassandra, csv, settings, store

__all__ = ["cassandra", "csv", "settings", "store"]
Csv = Callable[..., str]


def test_added_removed_and_retyped_columns_are_named(store: Store, tmp_path: Path) -> None:
    for number, text in enumerate(("a,b,gone\n1,2,3\n", "b,a,new\n2.5,1,x\n")):
        path = tmp_path / f"{number}.csv"
        path.write_text(text)
        store.load("d", str(path))
    report = store.diff("d@1", "d@2")
    assert (report.added_columns, report.removed_columns) == (("new",), ("gone",))
    assert report.retyped_columns == (("b", "int64", "double"),)
    assert not report.is_identical
    assert report.to_json()["retyped_columns"] == (("b", "int64", "double"),)


def test_a_version_equals_itself_and_a_version_of_the_same_bytes(store: Store, csv: Csv) -> None:
    source = csv(100)
    one = store.load("d", source, run="one")
    store.load("d", source, run="two")
    for other in ("d@1", "d@2"):
        report = store.diff("d@1", other)
        assert report.is_identical
        assert (report.common_chunks, report.common_bytes) == (one.chunks, one.stored_bytes)
        assert (report.only_a_chunks, report.only_b_chunks, report.only_a_bytes, report.only_b_bytes) == (0, 0, 0, 0)


def test_an_append_differs_by_its_rows_and_no_chunk_is_read(store: Store, cassandra: FakeCassandra, csv: Csv) -> None:
    first = store.load("d", csv(100))
    second = store.load("d", csv(50, first=100, name="b.csv"), LoadOptions(mode="append"))
    cassandra.reads.clear()
    report = store.diff("d@1", "d@2")
    assert (report.rows_a, report.rows_b) == (100, 150)
    assert (report.common_chunks, report.only_a_chunks, report.only_b_chunks) == (first.chunks, 0, second.chunks)
    assert (report.common_bytes, report.only_b_bytes) == (first.stored_bytes, second.stored_bytes)
    assert not [query for query, _, _ in cassandra.reads if ".chunks" in query]
