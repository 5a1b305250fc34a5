"""Damage in the tables of the real nodes: reported with its place, and never returned as rows."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from cassandra import ConsistencyLevel

from millrace.api import Store
from millrace.errors import ChecksumMismatchError, ChunkMissingError, MillraceError
from millrace.load import LoadOptions
from millrace.store.catalogue.manifest import ChunkRef


@pytest.fixture
def loaded(store: Store, tmp_path: Path) -> tuple[str, pa.Table]:
    """Load a dataset of several chunks; return its name and table."""
    rng = np.random.default_rng(3)
    table = pa.table({"n": pa.array(range(50_000)), "key": pa.array(rng.integers(-(2**62), 2**62, 50_000))})
    pq.write_table(table, tmp_path / "t.parquet")
    name = f"d_{uuid4().hex[:10]}"
    store.load(name, str(tmp_path / "t.parquet"), LoadOptions(chunk_bytes=100_000))
    assert store.version(name).chunks > 3
    return name, table


def run(store: Store, query: str, *values: Any) -> list[Any]:
    statement = store.cassandra.prepare(query).bind(values)
    statement.consistency_level = ConsistencyLevel.ALL
    return store.cassandra.execute(statement)


def tile_of(store: Store, ref: ChunkRef, tile: int) -> bytes:
    query = (
        "SELECT data FROM {ks}.chunks WHERE dataset = ? AND attempt_id = ? AND bucket = ? AND chunk = ? AND tile = ?"
    )
    (row,) = run(store, query, ref.dataset, ref.attempt_id, ref.bucket, ref.chunk, tile)
    return bytes(row.data)


def put(store: Store, ref: ChunkRef, tile: int, data: bytes) -> None:
    query = "INSERT INTO {ks}.chunks (dataset, attempt_id, bucket, chunk, tile, data) VALUES (?, ?, ?, ?, ?, ?)"
    run(store, query, ref.dataset, ref.attempt_id, ref.bucket, ref.chunk, tile, data)


@pytest.mark.parametrize("damage", ["flipped", "cut", "swapped", "of another chunk", "gone"])
def test_damage_on_both_nodes_is_an_error_with_its_place_and_never_rows(
    store: Store, loaded: tuple[str, pa.Table], damage: str
) -> None:
    name, table = loaded
    refs = list(store.dataset(name).refs())
    ref, data = refs[1], tile_of(store, refs[1], 1)
    if damage == "gone":
        query = "DELETE FROM {ks}.chunks WHERE dataset = ? AND attempt_id = ? AND bucket = ? AND chunk = ? AND tile = ?"
        run(store, query, ref.dataset, ref.attempt_id, ref.bucket, ref.chunk, 1)
    else:
        wrong = {
            "flipped": data[:100] + bytes([data[100] ^ 1]) + data[101:],
            "cut": data[:-1],
            "swapped": tile_of(store, ref, 0),
            "of another chunk": tile_of(store, refs[2], 1),
        }[damage]
        put(store, ref, 1, wrong)
    report = store.verify(name)
    assert report.bad_copies == 1
    kind = ChunkMissingError if damage == "gone" else ChecksumMismatchError
    (problem,) = report.problems
    assert (problem["error"], problem["chunk"], problem["tile"]) == (kind.__name__, str(ref.chunk), "1")
    assert store.verify(name, each_replica=True).bad_copies == 2
    with pytest.raises(kind, match=f"tile 1 of chunk {ref}"):
        store.dataset(name).to_table()
    # Reads that do not need the tile return the right rows.
    assert store.dataset(name).to_table(columns=["n"]).equals(table.select(["n"]))
    before = sum(r.rows for r in refs[:1])
    assert store.dataset(name).head(before).equals(table.slice(0, before))


def test_a_page_that_is_damaged_on_both_nodes_is_an_error_and_never_rows(
    store: Store, loaded: tuple[str, pa.Table]
) -> None:
    name, _ = loaded
    (page, *_) = store.catalogue.pages.refs(store.version(name))
    query = "SELECT data FROM {ks}.pages WHERE dataset = ? AND attempt_id = ? AND page = ?"
    (row,) = run(store, query, name, page.attempt_id, page.page)
    wrong = row.data[:50] + bytes([row.data[50] ^ 1]) + row.data[51:]
    run(
        store,
        "INSERT INTO {ks}.pages (dataset, attempt_id, page, data) VALUES (?, ?, ?, ?)",
        *(name, page.attempt_id, page.page, wrong),
    )
    with pytest.raises(ChecksumMismatchError, match=f"page {page.page} of {name}"):
        store.dataset(name).to_table()
    with pytest.raises(MillraceError):
        store.verify(name)


@pytest.mark.parametrize("column", ["rows", "pages", "parent"])
def test_a_version_row_that_was_changed_is_refused(store: Store, loaded: tuple[str, pa.Table], column: str) -> None:
    name, _ = loaded
    version = store.version(name)
    value: Any = {"rows": version.rows + 1, "pages": b"{}", "parent": "1-abcdef"}[column]
    query = f"INSERT INTO {{ks}}.versions (dataset, number, hex, {column}) VALUES (?, ?, ?, ?)"
    run(store, query, name, version.number, version.hex, value)
    another = Store(store.cassandra, store.settings)  # a store that has not cached the row
    with pytest.raises(ChecksumMismatchError, match=f"the row of {version.reference} has a wrong checksum"):
        another.dataset(name)
    if column == "pages":
        assert store.dataset(name).version.pages_blob == version.pages_blob  # the row read before stays right
    else:
        with pytest.raises(ChecksumMismatchError):
            store.dataset(name)


def test_wrong_bytes_on_both_nodes_are_not_changed_by_reading(store: Store, loaded: tuple[str, pa.Table]) -> None:
    """The tables disable read repair: a second read still finds the same wrong bytes."""
    name, _ = loaded
    ref = next(iter(store.dataset(name).refs()))
    good = tile_of(store, ref, 0)
    put(store, ref, 0, b"wrong")
    for _ in range(2):
        with pytest.raises(ChecksumMismatchError):
            store.chunk_reader.fetch(ref)
    put(store, ref, 0, good)
    assert store.verify(name, each_replica=True).ok
