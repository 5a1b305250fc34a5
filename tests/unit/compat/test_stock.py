"""With the stock behaviour of each dependency a load, a read and a filter return the same rows."""

from __future__ import annotations

from collections.abc import Callable

import pyarrow as pa
import pyarrow.compute as pc
import pytest

from millrace.api import Store
from millrace.compat.versions import RANGES, VersionRange, stock_behaviour
from tests.unit.store.in_memory import cassandra, csv, settings, store

__all__ = ["cassandra", "csv", "settings", "store"]

ROWS = 3000


def names(ranges: tuple[VersionRange, ...]) -> str:
    return "+".join(each.distribution for each in ranges)


@pytest.mark.parametrize("forced", [*((each,) for each in RANGES), RANGES], ids=names)
def test_a_load_a_read_and_a_filter_return_the_same_rows(
    store: Store, csv: Callable[..., str], forced: tuple[VersionRange, ...]
) -> None:
    store.load("private", csv(ROWS))
    with stock_behaviour(*forced):
        store.load("stock", csv(ROWS))
        for name in ("private", "stock"):
            dataset = store.dataset(name)
            assert dataset.to_table() == expected(range(ROWS))
            assert dataset.to_table(filter="n >= 2990 and text is not null") == expected(range(2990, ROWS))
            assert dataset.to_table(columns=["text"], filter=pc.field("n") < 10) == expected(range(10)).select(["text"])
            assert dataset.to_table(filter=pc.field(0) < 10) == expected(range(10))
            assert dataset.to_table(columns=[], filter="n = 7").num_rows == 1
            assert dataset.to_table(filter="n = 2 and n = 3") == expected(range(0))
    assert store.dataset("stock").to_table() == store.dataset("private").to_table()


def expected(numbers: range) -> pa.Table:
    return pa.table({"n": pa.array(numbers, pa.int64()), "text": pa.array([f"text {n}" for n in numbers], pa.string())})
