"""Comparing the rows read with a source that was loaded repeatedly."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest

import bench.compare
from bench.compare import Whole, repeats, table_of
from millrace.api import Store
from millrace.errors import StackError
from millrace.settings import Settings
from tests.unit.store.fakes import FakeCassandra
from tests.unit.store.in_memory import cassandra, settings, store

__all__ = ["cassandra", "settings", "store"]

SOURCE = pa.table({"n": [1, 2, 3]})


def batch(*values: int) -> pa.RecordBatch:
    return pa.RecordBatch.from_pydict({"n": list(values)}, schema=SOURCE.schema)


def test_rows_repeat_the_source_wherever_a_batch_begins_and_ends() -> None:
    assert repeats(SOURCE, batch(1, 2, 3), 0)
    assert repeats(SOURCE, batch(3, 1, 2, 3, 1, 2, 3, 1), 5)
    assert repeats(SOURCE, batch(), 7)


def test_one_wrong_row_or_a_wrong_position_is_detected() -> None:
    assert not repeats(SOURCE, batch(1, 2, 3, 1, 2, 2), 0)
    assert not repeats(SOURCE, batch(1, 2, 3), 1)
    assert not repeats(SOURCE, batch(4), 0)


def arrow(path: Path, table: pa.Table) -> str:
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, table.schema) as file:
        file.write_table(table)
    return str(path)


def test_a_whole_dataset_is_compared_with_its_source(
    cassandra: FakeCassandra,
    settings: Settings,
    store: Store,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(bench.compare, "connect", lambda: Store(cassandra, settings))
    source = arrow(tmp_path / "source.arrow", SOURCE)
    twice = arrow(tmp_path / "twice.arrow", pa.concat_tables([SOURCE, SOURCE, SOURCE.slice(0, 1)]))
    label = store.load("rows", twice).version
    assert table_of(source).equals(SOURCE)
    assert Whole("rows", source).run() == {"rows": 7, "version": label}
    other = arrow(tmp_path / "other.arrow", pa.table({"n": [1, 2, 4]}))
    with pytest.raises(StackError, match="rows 0 and on of rows differ from the loaded rows"):
        Whole("rows", other).run()
