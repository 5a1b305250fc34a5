"""Round trips on the real nodes: the rows read back equal those of the source, for every kind of source."""

from __future__ import annotations

import gzip
import itertools
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv
import pyarrow.json as pajson
import pyarrow.parquet as pq
import pytest

from millrace.api import Store
from millrace.errors import DatasetNotFoundError
from millrace.load import LoadOptions, LoadPlan, SplitResult
from millrace.sources import SourceOptions

ROWS = 60_000


@pytest.fixture(scope="module")
def table() -> pa.Table:
    """Return a table of incompressible numbers, text, nulls and times: about 4 MB."""
    rng = np.random.default_rng(7)
    delay = rng.normal(0, 30, ROWS).round(2)
    return pa.table(
        {
            "n": pa.array(np.arange(ROWS)),
            "key": pa.array(rng.integers(-(2**62), 2**62, ROWS)),
            "delay": pa.array(delay, mask=rng.random(ROWS) < 0.05),
            "carrier": pa.array([("UA", "B6", "AA", None)[k] for k in rng.integers(0, 4, ROWS)]),
            "at": pa.array(rng.integers(0, 2_000_000_000, ROWS), pa.timestamp("s")),
            "note": pa.array([f'row {n}, "quoted"\nline' if n % 100 == 0 else f"row {n}" for n in range(ROWS)]),
        }
    )


def csv(table: pa.Table, folder: Path) -> tuple[str, pa.Table]:
    path = folder / "t.csv"
    pacsv.write_csv(table, path)
    return str(path), pacsv.read_csv(path, parse_options=pacsv.ParseOptions(newlines_in_values=True))


def csv_gz(table: pa.Table, folder: Path) -> tuple[str, pa.Table]:
    source, expected = csv(table, folder)
    packed = folder / "t.csv.gz"
    packed.write_bytes(gzip.compress(Path(source).read_bytes(), 1))
    return str(packed), expected


def parquet(table: pa.Table, folder: Path) -> tuple[str, pa.Table]:
    path = folder / "t.parquet"
    pq.write_table(table, path, row_group_size=10_000)
    return str(path), pq.read_table(path)


def parquet_folder(table: pa.Table, folder: Path) -> tuple[str, pa.Table]:
    (folder / "many").mkdir()
    for part in range(3):
        pq.write_table(table.slice(part * 20_000, 20_000), folder / "many" / f"{part}.parquet")
    return str(folder / "many"), table.set_column(4, "at", table["at"].cast(pa.timestamp("ms")))


def json_lines(table: pa.Table, folder: Path) -> tuple[str, pa.Table]:
    path = folder / "t.jsonl"
    import json

    some = table.slice(0, 5000).drop_columns(["at"])
    path.write_text("".join(json.dumps(row) + "\n" for row in some.to_pylist()))
    return str(path), pajson.read_json(path)


def arrow(table: pa.Table, folder: Path) -> tuple[str, pa.Table]:
    path = folder / "t.arrow"
    rich = table.append_column("price", pa.array([Decimal(n) / 100 for n in range(ROWS)], pa.decimal128(12, 2)))
    rich = rich.append_column("list", pa.array([[n, None] if n % 3 else None for n in range(ROWS)]))
    rich = rich.append_column("coded", rich["carrier"].combine_chunks().dictionary_encode())
    with pa.ipc.new_file(path, rich.schema) as file:
        file.write_table(rich, max_chunksize=7_000)
    return str(path), rich


@pytest.fixture
def name() -> str:
    """Return a dataset name that no other test uses."""
    return f"d_{uuid4().hex[:10]}"


SOURCES = [csv, csv_gz, parquet, parquet_folder, json_lines, arrow]


@pytest.mark.parametrize("make", SOURCES, ids=lambda make: make.__name__)
def test_every_kind_of_source_comes_back_equal(
    store: Store, table: pa.Table, tmp_path: Path, name: str, make: Callable[..., tuple[str, pa.Table]]
) -> None:
    source, expected = make(table, tmp_path)
    report = store.load(name, source)
    found = store.dataset(name).to_table()
    assert found.schema.equals(expected.schema)
    assert found.equals(expected)
    assert (report.rows, report.replicas, report.under_replicated) == (expected.num_rows, 2, 0)
    assert all(ref.stored_bytes <= 5_000_000 for ref in store.dataset(name).refs())


@pytest.mark.parametrize("make", [csv, parquet, arrow], ids=lambda make: make.__name__)
def test_a_load_by_splits_through_json_gives_the_same_table(
    store: Store, table: pa.Table, tmp_path: Path, name: str, make: Callable[..., tuple[str, pa.Table]]
) -> None:
    source, expected = make(table, tmp_path)
    options = LoadOptions(source=SourceOptions(split_bytes=1_000_000))
    plan = LoadPlan.from_json(store.plan(name, source, options).to_json())
    assert len(plan.source.splits) > 1
    results = []
    for index in reversed(range(len(plan.source.splits))):
        results.append(SplitResult.from_json(store.load_split(plan, index).to_json()))
        with pytest.raises(DatasetNotFoundError):
            store.version(name)
    store.publish(plan, results)
    assert store.dataset(name).to_table().equals(expected)


def test_a_folder_of_bytes_comes_back_as_the_same_tree(store: Store, tmp_path: Path, name: str) -> None:
    rng = np.random.default_rng(1)
    files = {"a.bin": rng.bytes(3_000_000), "deep/er/b.bin": bytes(2_500_000), "deep/empty": b"", "z": b"z"}
    for path, data in files.items():
        (tmp_path / "in" / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "in" / path).write_bytes(data)
    store.load(name, str(tmp_path / "in"), LoadOptions(source=SourceOptions(format="bytes")))
    found: dict[str, bytes] = {}
    for batch in store.dataset(name).to_batches():
        for row in batch.to_pylist():
            assert row["offset"] == len(found.get(row["path"], b""))
            found[row["path"]] = found.get(row["path"], b"") + (row["data"] or b"")
    assert found == files


def test_columns_heads_and_filters_return_the_same_rows_as_the_table(
    store: Store, table: pa.Table, tmp_path: Path, name: str
) -> None:
    source, expected = parquet(table, tmp_path)
    store.load(name, source, LoadOptions(chunk_bytes=100_000))
    dataset = store.dataset(name)
    assert dataset.version.chunks > 10
    assert dataset.to_table(columns=["note", "n"]).equals(expected.select(["note", "n"]))
    assert dataset.head(7).equals(expected.slice(0, 7))
    assert dataset.count_rows() == ROWS
    condition = (pc.field("n") >= 30_000) & (pc.field("n") < 30_500)
    kept = dataset.to_table(columns=["key"], filter=condition)
    assert kept.equals(expected.filter(condition).select(["key"]))
    assert dataset.stats.cassandra + dataset.stats.redis < 4
    assert pa.RecordBatchReader.from_stream(dataset).read_all().equals(expected)


@pytest.mark.parametrize("num_rows", [0, 1, 2_000, ROWS - 1, ROWS, ROWS + 1])
def test_a_head_reads_only_the_chunks_with_the_first_rows(
    store: Store, table: pa.Table, tmp_path: Path, name: str, num_rows: int
) -> None:
    source, expected = parquet(table, tmp_path)
    store.load(name, source, LoadOptions(chunk_bytes=100_000))
    dataset = store.dataset(name)
    edges = list(itertools.accumulate(ref.rows for ref in dataset.refs()))
    needed = min(sum(edge < num_rows for edge in edges) + (num_rows > 0), len(edges))
    for columns in (None, ["note", "n"]):
        wanted = expected if columns is None else expected.select(columns)
        found = dataset.head(num_rows, columns)
        assert found.equals(wanted.slice(0, num_rows))
        assert dataset.stats.cassandra + dataset.stats.redis == needed
        batches = dataset.to_batches(columns, num_rows=num_rows)
        assert pa.Table.from_batches(batches, schema=wanted.schema).equals(found)
        assert dataset.stats.cassandra + dataset.stats.redis == needed
    condition = pc.field("n") >= 100
    passing = pa.Table.from_batches(dataset.to_batches(None, condition, num_rows=num_rows), schema=expected.schema)
    assert passing.equals(expected.filter(condition).slice(0, num_rows))


def test_appends_inherit_pages_and_leave_older_versions_unchanged(
    store: Store, table: pa.Table, tmp_path: Path, name: str
) -> None:
    parts = [table.slice(0, 1000), table.slice(1000, 500), table.slice(1500, 10)]
    for number, part in enumerate(parts):
        path = tmp_path / f"{number}.parquet"
        pq.write_table(part, path)
        store.load(name, str(path), LoadOptions(mode="append"))
    for number, rows in ((1, 1000), (2, 1500), (3, 1510)):
        found = store.dataset(f"{name}@{number}").to_table()
        assert found["n"].to_pylist() == list(range(rows))
    first, second, third = (store.version(f"{name}@{number}") for number in (1, 2, 3))
    pages = [store.catalogue.pages.refs(version) for version in (first, second, third)]
    assert pages[1][: len(pages[0])] == pages[0]
    assert pages[2][: len(pages[1])] == pages[1]
    assert (second.parent, third.parent) == (first.label, second.label)


def test_the_same_run_twice_is_one_version(store: Store, table: pa.Table, tmp_path: Path, name: str) -> None:
    source, _ = parquet(table.slice(0, 2000), tmp_path)
    first = store.load(name, source, run="night")
    second = store.load(name, source, run="night")
    other = store.load(name, source, LoadOptions(codec="none"), run="night")
    assert first.version == second.version != other.version
    assert [version.label for version in store.versions(name)] == [other.version, first.version]


def test_5000_columns_and_many_pages_stay_in_a_small_row(store: Store, tmp_path: Path, name: str) -> None:
    names = [f"column_number_{n * 7919}" for n in range(5000)]
    wide = pa.table({column: pa.array([n, n + 1]) for n, column in enumerate(names)})
    path = tmp_path / "wide.arrow"
    with pa.ipc.new_file(path, wide.schema) as file:
        file.write_table(wide)
    store.load(name, str(path))
    assert store.dataset(name).to_table(columns=names[4990:]).equals(wide.select(names[4990:]))
    assert store.dataset(name).to_table().equals(wide)
    query = f"SELECT * FROM {store.settings.cassandra.keyspace}.versions WHERE dataset = %s"
    (row,) = store.cassandra.session.execute(query, (name,))
    assert sum(len(value) if isinstance(value, str | bytes) else 16 for value in row) < 16_000


def test_versions_are_found_by_number_label_latest_and_time(
    store: Store, table: pa.Table, tmp_path: Path, name: str
) -> None:
    labels = []
    for rows in (10, 20):
        source, _ = parquet(table.slice(0, rows), tmp_path)
        labels.append(store.load(name, source).version)
    first, second = store.version(f"{name}@1"), store.version(f"{name}@2")
    assert [first.label, second.label] == labels
    assert store.version(name).label == store.version(f"{name}@latest").label == labels[1]
    assert store.version(f"{name}@{labels[0]}").rows == 10
    at: Any = first.committed_at.isoformat()
    assert store.version(f"{name}@{at}").label in labels
    assert store.version(f"{name}@{second.committed_at.isoformat()}").label == labels[1]
    assert not first.degraded
