"""``millrace init`` upgrades a keyspace of schema 3 on the real nodes, and its data reads the same afterwards."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import uuid4

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from local_stack.stack import Stack
from millrace.api import Store
from millrace.errors import StoreSchemaError
from millrace.load import LoadOptions
from millrace.settings import Settings, load_settings
from millrace.store import TABLES, CassandraSession, Version

_SCHEMA_3 = Path(__file__).parents[2] / "data" / "schema_3.cql"
_NEW_TABLES = {"reports", "dataset_runs"}


@pytest.fixture
def old_settings(stack: Stack) -> Iterator[Settings]:
    """Return settings of a new keyspace with the tables of schema 3, exactly as that program created them."""
    made = load_settings(cassandra={"keyspace": f"test_{uuid4().hex[:12]}"})
    cassandra = CassandraSession.connect(made.cassandra)
    names = {"{keyspace}": made.cassandra.keyspace, "{local_dc}": made.cassandra.local_dc}
    try:
        for statement in _SCHEMA_3.read_text().splitlines():
            for name, value in names.items():
                statement = statement.replace(name, value)
            cassandra.session.execute(statement, timeout=60)
        yield made
        cassandra.session.execute(f"DROP KEYSPACE IF EXISTS {made.cassandra.keyspace}", timeout=120)
    finally:
        cassandra.close()


def copy_rows(store: Store, settings: Settings) -> None:
    """Copy the rows of every table of schema 3 from the store's keyspace into that of ``settings``."""
    session, source, target = store.cassandra.session, store.settings.cassandra.keyspace, settings.cassandra.keyspace
    for table in TABLES.keys() - _NEW_TABLES:
        described = store.cassandra.cluster.metadata.keyspaces[source].tables[table]
        columns = [name for name in described.columns if (table, name) != ("versions", "files")]
        marks = ", ".join("?" for _ in columns)
        insert = session.prepare(f"INSERT INTO {target}.{table} ({', '.join(columns)}) VALUES ({marks})")
        for row in session.execute(f"SELECT {', '.join(columns)} FROM {source}.{table}"):
            values = row._asdict() if table != "versions" else row._asdict() | without_files(row)
            session.execute(insert.bind([values[name] for name in columns]))


def without_files(row: Any) -> dict[str, Any]:
    """Return the columns of a version's row that differ without a list of loaded files, as in schema 3."""
    version = Version.from_row(row.dataset, row)
    settings = {name: value for name, value in version.settings.items() if name not in ("format", "parsing")}
    old = replace(version, settings=settings, schema_blob=row.arrow_schema, pages_blob=row.pages)
    return {"settings": json.dumps(settings, sort_keys=True), "checksum": old.compute_checksum()}


def test_init_upgrades_a_store_of_schema_3_which_then_reads_the_same(
    stack: Stack, old_settings: Settings, tmp_path: Path
) -> None:
    table = pa.table({"n": pa.array(range(5_000)), "text": pa.array([f"text {n}" for n in range(5_000)])})
    pq.write_table(table, tmp_path / "t.parquet")
    new = load_settings(cassandra={"keyspace": f"test_{uuid4().hex[:12]}"})
    Store.init(new)
    with Store.connect(new) as store:
        first = store.load("t", str(tmp_path / "t.parquet"))
        second = store.load("t", str(tmp_path / "t.parquet"), LoadOptions(mode="append"))
        store.tag(f"t@{first.version}", "kept")
        copy_rows(store, old_settings)
        with pytest.raises(StoreSchemaError, match="has schema 3, this Millrace has 4: millrace init upgrades it"):
            Store.connect(old_settings)
        # Two calls at the same moment create each new table once.
        with ThreadPoolExecutor(2) as pool:
            upgraded = list(pool.map(Store.init, [old_settings, old_settings]))
        assert 3 in upgraded
        assert Store.init(old_settings) is None
        with Store.connect(old_settings) as old:
            assert [version.label for version in old.versions("t")] == [second.version, first.version]
            assert old.dataset("t").to_table().equals(pa.concat_tables([table, table]))
            assert old.dataset("t@kept").to_table().equals(table)
            assert old.verify("t", each_replica=True).ok
            third = old.load("t", str(tmp_path / "t.parquet"), LoadOptions(mode="append"))
            assert (third.total_rows, third.parent) == (15_000, second.version)
        store.cassandra.session.execute(f"DROP KEYSPACE {new.cassandra.keyspace}", timeout=120)
