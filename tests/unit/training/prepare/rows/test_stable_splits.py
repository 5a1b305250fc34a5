"""A row keeps its split and its place among its neighbours, whatever is appended and however the input is ordered."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from millrace.training.prepare import HashSplits
from tests.unit.training.prepare.rows.preparing import Prepared, preparation, prepare

ROWS = 4000


def facts(rows: int = ROWS, kind: pa.DataType | None = None) -> pa.Table:
    ids = np.random.default_rng(3).permutation(2 * ROWS)[:rows]
    return pa.table({
        "id": pa.array(ids * 3).cast(kind or pa.int64()),
        "carrier": [f"C{i % 17}" for i in ids],
        "y": ids % 3 == 0,
        "a": ids / 7,
    })  # fmt: skip


ENTRIES = {
    "by the key": preparation("SELECT id, a FROM facts"),
    "by a group": preparation(
        "SELECT id, carrier, a FROM facts", splits=HashSplits({"train": 0.6, "val": 0.2, "test": 0.2}, ("carrier",))
    ),
}


def order_of(made: Prepared) -> list[int]:
    return [int(value) for value in made.table["id"].to_pylist()]


@pytest.mark.parametrize("use", ENTRIES)
def test_appended_rows_move_no_row(tmp_path: Path, use: str) -> None:
    before = prepare(tmp_path, ENTRIES[use], facts(ROWS))
    after = prepare(tmp_path, ENTRIES[use], facts(2 * ROWS))
    earlier, later = before.split_of("id"), after.split_of("id")
    assert len(later) == 2 * len(earlier)
    assert {key: later[key] for key in earlier} == earlier
    kept = {key[0] for key in earlier}
    assert [value for value in order_of(after) if value in kept] == order_of(before)


@pytest.mark.parametrize("use", ENTRIES)
def test_the_order_of_the_input_changes_nothing(tmp_path: Path, use: str) -> None:
    table = facts()
    shuffled = table.take(np.random.default_rng(8).permutation(ROWS))
    first, second = (prepare(tmp_path, ENTRIES[use], each) for each in (table, shuffled))
    assert first.table.equals(second.table)
    assert first.recipe == second.recipe


@pytest.mark.parametrize("kind", [pa.int32(), pa.uint16(), pa.decimal128(23, 2)])
def test_a_key_that_widens_moves_no_row(tmp_path: Path, kind: pa.DataType) -> None:
    made = [prepare(tmp_path, ENTRIES["by the key"], facts(ROWS, each)) for each in (kind, pa.int64())]
    assert made[0].split_of("id") == made[1].split_of("id")
    assert order_of(made[0]) == order_of(made[1])


def test_another_seed_makes_other_splits(tmp_path: Path) -> None:
    entry = ENTRIES["by the key"]
    other = preparation(entry.query, seed=1)
    assert prepare(tmp_path, entry, facts()).split_of("id") != prepare(tmp_path, other, facts()).split_of("id")


def test_all_rows_of_a_group_have_one_split(tmp_path: Path) -> None:
    made = prepare(tmp_path, ENTRIES["by a group"], facts())
    groups = [set(table["carrier"].to_pylist()) for table in made.splits.values()]
    assert set.union(*groups) == {f"C{i}" for i in range(17)}
    assert sum(map(len, groups)) == 17


def test_a_null_in_by_is_a_group_of_its_own(tmp_path: Path) -> None:
    table = facts()
    carriers = pa.array([None if i % 5 == 0 else value for i, value in enumerate(table["carrier"].to_pylist())])
    made = prepare(tmp_path, ENTRIES["by a group"], table.set_column(1, "carrier", carriers))
    assert sum(None in each["carrier"].to_pylist() for each in made.splits.values()) == 1
    assert made.table["carrier"].null_count == carriers.null_count


def test_the_shares_are_close_to_the_weights(tmp_path: Path) -> None:
    made = prepare(tmp_path, ENTRIES["by the key"], facts())
    shares = [rows / ROWS for rows in made.rows.split_rows.values()]
    assert shares == pytest.approx([0.6, 0.2, 0.2], abs=0.03)
