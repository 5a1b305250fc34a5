"""The estimate of the disk: an upper bound of what a preparation takes, from schemas and rows alone."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa

from millrace.training.prepare.engine import Engine, Scratch, estimate_scratch
from millrace.training.prepare.query import CheckedQuery, InputNeed

SCHEMA = pa.schema([("a", pa.int64()), ("b", pa.string()), ("v", pa.list_(pa.float32(), 4)), ("unused", pa.int64())])
QUERY = CheckedQuery("select a, b from rows", {"rows": InputNeed(("a", "b", "v"))}, one_thread=False)


def test_the_needed_columns_count_with_their_rows() -> None:
    estimate = estimate_scratch(QUERY, {"rows": SCHEMA}, {"rows": 1000})
    assert estimate.rows == 1000
    assert estimate.input_bytes == 1000 * (8 + 24 + 16)
    narrower = estimate_scratch(QUERY, {"rows": SCHEMA}, {"rows": 1000}, pa.schema([("a", pa.int64())]))
    assert narrower.scratch_bytes < estimate.scratch_bytes


def test_the_estimate_is_above_what_a_sorted_preparation_takes(tmp_path: Path) -> None:
    rows = 150_000
    table = pa.table({"a": range(rows), "b": [f"row {n * 7919}" for n in range(rows)]})
    query = CheckedQuery("select *, md5(b) as m from rows", {"rows": InputNeed(("a", "b"))}, one_thread=False)
    with Scratch(tmp_path, name="late") as scratch:
        estimate = estimate_scratch(query, {"rows": table.schema}, {"rows": rows})
        scratch.require_room(estimate.scratch_bytes)
        with Engine(scratch, memory_bytes=30_000_000, threads=1) as engine:
            engine.add_input("rows", table.to_reader(10_000))
            engine.run_query(query)
            engine.create("sorted", "select * from millrace_work.result order by m")
            assert 0 < engine.spilled_bytes < estimate.scratch_bytes
