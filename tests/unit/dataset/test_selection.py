"""Columns by name, and the first or the passing rows of batches."""

from __future__ import annotations

from collections.abc import Generator
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pytest

from millrace.dataset.selection import column_indices, filtered_batches, first_rows
from millrace.errors import UsageError

VERSION: Any = SimpleNamespace(reference="d@1-aaaaaa", dataset="d")
SCHEMA = pa.schema([("a", pa.int64()), ("twice", pa.int64()), ("b", pa.int64()), ("twice", pa.int64())])


def batch(*values: int) -> pa.RecordBatch:
    return pa.record_batch({"a": values, "b": [-value for value in values]})


def test_columns_are_returned_in_the_given_order() -> None:
    assert column_indices(["b", "a"], SCHEMA, VERSION) == [2, 0]
    assert column_indices([], SCHEMA, VERSION) == []


@pytest.mark.parametrize(("column", "problem"), [("c", "no column"), ("twice", "more than one column")])
def test_a_missing_or_repeated_name_is_refused_with_the_names_of_all_columns(column: str, problem: str) -> None:
    with pytest.raises(UsageError, match=f"d@1-aaaaaa has {problem} '{column}'") as refused:
        column_indices(["a", column], SCHEMA, VERSION)
    assert refused.value.hint.startswith("its columns are a, twice, b, twice")
    assert refused.value.context["dataset"] == "d"


@pytest.mark.parametrize(
    ("num_rows", "expected"), [(0, []), (1, [[1]]), (2, [[1, 2]]), (3, [[1, 2], [3]]), (9, [[1, 2], [3, 4]])]
)
def test_the_first_rows_end_the_read_before_the_last_of_them_is_used(num_rows: int, expected: list[list[int]]) -> None:
    closed: list[bool] = []

    def batches() -> Generator[pa.RecordBatch, None, None]:
        try:
            yield batch(1, 2)
            yield batch(3, 4)
        finally:
            closed.append(True)

    rows = first_rows(batches(), num_rows)
    values = []
    for number, part in enumerate(rows, start=1):
        values.append(part["a"].to_pylist())
        is_last = sum(map(len, expected[:number])) == num_rows
        assert bool(closed) == is_last
    assert values == expected


def test_batches_without_a_passing_row_are_left_out() -> None:
    batches = [batch(1, 2), batch(3, 4), batch(5, 6)]
    passing = list(filtered_batches(iter(batches), (pc.field("a") == 2) | (pc.field("a") > 4), ["b"]))
    assert [part.to_pydict() for part in passing] == [{"b": [-2]}, {"b": [-5, -6]}]
    assert [part.to_pydict() for part in filtered_batches(iter(batches), pc.field("a") == 2, None)] == [
        {"a": [2], "b": [-2]}
    ]
