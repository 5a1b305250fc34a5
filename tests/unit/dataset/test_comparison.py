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
    found = store.diff("d@1", "d@2")
    assert (found.added_columns, found.removed_columns) == (("new",), ("gone",))
    assert found.retyped == (("b", "int64", "double"),)
    assert not found.same
    assert found.to_json()["retyped"] == (("b", "int64", "double"),)


def test_a_version_equals_itself_and_a_version_of_the_same_bytes(store: Store, csv: Csv) -> None:
    source = csv(100)
    one = store.load("d", source, run="one")
    store.load("d", source, run="two")
    for other in ("d@1", "d@2"):
        found = store.diff("d@1", other)
        assert found.same
        assert (found.same_chunks, found.same_bytes) == (one.chunks, one.stored_bytes)
        assert (found.only_a_chunks, found.only_b_chunks, found.only_a_bytes, found.only_b_bytes) == (0, 0, 0, 0)


def test_an_append_differs_by_its_rows_and_no_chunk_is_read(store: Store, cassandra: FakeCassandra, csv: Csv) -> None:
    first = store.load("d", csv(100))
    second = store.load("d", csv(50, first=100, name="b.csv"), LoadOptions(mode="append"))
    cassandra.reads.clear()
    found = store.diff("d@1", "d@2")
    assert (found.rows_a, found.rows_b) == (100, 150)
    assert (found.same_chunks, found.only_a_chunks, found.only_b_chunks) == (first.chunks, 0, second.chunks)
    assert (found.same_bytes, found.only_b_bytes) == (first.stored_bytes, second.stored_bytes)
    assert not [query for query, _, _ in cassandra.reads if ".chunks" in query]
