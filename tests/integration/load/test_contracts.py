"""Contracts on the real nodes: evolving versions are read, filtered, verified, repaired and cached as any other."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from uuid import uuid4

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv
import pyarrow.parquet as pq
import pytest

from millrace.api import Store
from millrace.errors import SourceTypeError
from millrace.load import LoadOptions
from millrace.sources import BadRowBudget, Contract, Reaction
from tests.integration.test_format import Read, read

__all__ = ["read"]

ROWS = 30_000
EVOLVE = LoadOptions(mode="append", contract=Contract.of("evolve"), chunk_bytes=100_000)


@pytest.fixture
def name() -> str:
    return f"d_{uuid4().hex[:10]}"


@pytest.fixture
def parts() -> list[pa.Table]:
    """Return three tables, of which each one has a column more than the one before, in another order."""
    rng = np.random.default_rng(3)
    n = np.arange(ROWS)
    first = pa.table({"n": n, "key": rng.integers(-(2**62), 2**62, ROWS)})
    second = pa.table({"delay": rng.normal(0, 30, ROWS).round(2), "key": rng.integers(0, 9, ROWS), "n": n + ROWS})
    third = pa.table({"n": n + 2 * ROWS, "carrier": pa.array(["UA", None, "B6"] * (ROWS // 3)), "delay": n / 4})
    return [first, second, third]


@pytest.fixture
def load(store: Store, name: str, tmp_path: Path) -> Callable[[list[pa.Table]], pa.Table]:
    """Return a function that appends the tables, as Parquet and as CSV in turn, and returns the expected rows."""

    def append(tables: list[pa.Table]) -> pa.Table:
        for number, table in enumerate(tables):
            path = tmp_path / f"{number}"
            if number % 2:
                pacsv.write_csv(table, path)
            else:
                pq.write_table(table, path)
            store.load(name, str(path), EVOLVE)
        return pa.concat_tables(tables, promote_options="default").cast(store.dataset(name).schema)

    return append


def test_evolving_versions_read_and_filter_like_the_concatenated_tables(
    store: Store, name: str, parts: list[pa.Table], load: Callable[[list[pa.Table]], pa.Table]
) -> None:
    expected = load(parts)
    dataset = store.dataset(name)
    assert dataset.to_table().equals(expected)
    assert dataset.to_table(["carrier", "n"]).equals(expected.select(["carrier", "n"]))
    for text, expression in (
        ("carrier is null", pc.field("carrier").is_null()),
        ("carrier = 'UA' and delay > 100", (pc.field("carrier") == "UA") & (pc.field("delay") > 100)),
        ("delay is null or key = 3", pc.field("delay").is_null() | (pc.field("key") == 3)),
    ):
        assert dataset.to_table(filter=text).equals(expected.filter(expression))
        assert dataset.count_rows(text) == expected.filter(expression).num_rows
    assert dataset.head(10, ["carrier"])["carrier"].null_count == 10
    assert store.verify(name, each_replica=True).ok
    assert store.version(name).format_number == 2


@pytest.mark.parametrize("node", [0, 1])
def test_the_documented_program_reads_an_evolving_version(
    name: str, parts: list[pa.Table], load: Callable[[list[pa.Table]], pa.Table], read: Read, node: int
) -> None:
    expected = load(parts)
    assert read(name, node).equals(expected)


def test_an_evolving_version_is_put_into_the_cache_and_read_from_it(
    store: Store, name: str, parts: list[pa.Table], load: Callable[[list[pa.Table]], pa.Table]
) -> None:
    expected = load(parts)
    if not store.warm(name).complete:
        pytest.skip("no Redis")
    dataset = store.dataset(name)
    assert dataset.to_table().equals(expected)
    assert dataset.stats.to_json()["cassandra"] == 0
    assert dataset.to_table(["carrier", "delay"]).equals(expected.select(["carrier", "delay"]))
    assert dataset.stats.to_json()["cassandra"] == 0


def test_rows_that_break_a_contract_are_counted_in_the_report(store: Store, name: str, tmp_path: Path) -> None:
    (tmp_path / "old.csv").write_text("n,t\n1,x\n")
    (tmp_path / "new.csv").write_text("t,n,u\nz,3,\nw,x,\nv,5,7\n")
    store.load(name, str(tmp_path / "old.csv"), EVOLVE)
    frozen = LoadOptions(mode="append", contract=Contract.of("freeze"), bad_rows=BadRowBudget(rows=1))
    with pytest.raises(SourceTypeError, match="freezes its columns"):
        store.load(name, str(tmp_path / "new.csv"), frozen)
    contract = Contract(columns=Reaction.DISCARD_ROW, types=Reaction.FREEZE)
    options = LoadOptions(mode="append", contract=contract, bad_rows=BadRowBudget(rows=1))
    report = store.load(name, str(tmp_path / "new.csv"), options)
    assert (report.rejected, report.discarded_rows, report.rows) == (1, 1, 1)
    assert store.dataset(name).to_table().to_pylist() == [{"n": 1, "t": "x"}, {"n": 3, "t": "z"}]
