from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from millrace.api import Store
from millrace.arrow.check import check_column
from millrace.load import LoadOptions
from tests.unit.arrow.arrays import same
from tests.unit.store.in_memory import cassandra, settings, store

__all__ = ["cassandra", "settings", "store"]

DAY_US = 86_400_000_000
VALUES = {
    "time64[us]": pa.array([DAY_US, None, 0], pa.int64()).view(pa.time64("us")),
    "time64[ns]": pa.array([-1, None, DAY_US * 1000], pa.int64()).view(pa.time64("ns")),
    "time32[s]": pa.array([86_400, None, 0], pa.int32()).view(pa.time32("s")),
}
ENDS = pa.array([0, 2, 3], pa.int32())
SHAPES: dict[str, Callable[[pa.Array], pa.Array]] = {
    "plain": lambda a: a,
    "slice": lambda a: pa.concat_arrays([a.slice(1), a]).slice(2),
    "list": lambda a: pa.ListArray.from_arrays(ENDS, a),
    "large list": lambda a: pa.LargeListArray.from_arrays(ENDS.cast(pa.int64()), a),
    "list view": lambda a: pa.ListViewArray.from_arrays([0, 1], [2, 2], a),
    "fixed list": lambda a: pa.FixedSizeListArray.from_arrays(a, 3),
    "struct": lambda a: pa.StructArray.from_arrays([a, pa.array(["x", "y", "z"])], ["t", "s"]),
    "map": lambda a: pa.MapArray.from_arrays(ENDS, pa.array(["k", "l", "m"]), a),
    "dictionary": lambda a: pa.DictionaryArray.from_arrays(pa.array([0, 2, None], pa.int8()), a.slice(0)),
    "union": lambda a: pa.UnionArray.from_sparse(pa.array([0, 0, 0], pa.int8()), [a]),
    "extension": lambda a: pa.ExtensionArray.from_storage(pa.opaque(a.type, "kind", "maker"), a),
}


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("kind", VALUES)
def test_an_out_of_range_time_is_accepted_in_every_type_that_holds_it(kind: str, shape: str) -> None:
    column = SHAPES[shape](VALUES[kind])
    with pytest.raises(pa.ArrowInvalid):
        column.validate(full=True)
    check_column(column)


def test_damage_beside_an_out_of_range_time_is_found() -> None:
    torn = pa.Array.from_buffers(pa.string(), 1, pa.array([b"\xff"]).buffers())
    for shape in ("plain", "list", "dictionary"):
        column = SHAPES[shape](VALUES["time64[us]"]).slice(0, 1)
        with pytest.raises(pa.ArrowInvalid, match="UTF8"):
            check_column(pa.StructArray.from_arrays([column, torn], ["x", "s"]))


def test_a_date64_that_is_not_a_whole_day_is_damage() -> None:
    with pytest.raises(pa.ArrowInvalid, match="whole number of days"):
        check_column(pa.array([1], pa.int64()).view(pa.date64()))


@pytest.mark.parametrize("kind", VALUES)
def test_out_of_range_times_load_equally_from_arrow_and_parquet(store: Store, tmp_path: Path, kind: str) -> None:
    table = pa.table({"id": [1, 2, 3], "clock": VALUES[kind]})
    with pa.ipc.new_file(tmp_path / "t.arrow", table.schema) as file:
        file.write_table(table)
    store.load("clocks", str(tmp_path / "t.arrow"))
    [loaded_rows] = store.dataset("clocks").to_table().to_batches()
    assert same(loaded_rows, table.to_batches()[0])
    if kind.startswith("time64"):  # Parquet has no times in seconds
        pq.write_table(table, tmp_path / "t.parquet")
        store.load("clocks", str(tmp_path / "t.parquet"), LoadOptions(mode="append"))
        twice = store.dataset("clocks").to_table()
        assert (
            twice["clock"].combine_chunks().view(pa.int64()).to_pylist() == 2 * VALUES[kind].view("int64").to_pylist()
        )
