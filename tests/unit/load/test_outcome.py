"""The result in the last event of a load: enough for a table on a page, never above the size limit of an event."""

from __future__ import annotations

import json

import pyarrow as pa
import pytest

from millrace.load import LoadReport
from millrace.load.version_reports import outcome
from millrace.progress.reporter import RESULT_BYTES_MAX

REPORT = LoadReport(
    dataset="flights",
    version="2-3fa9c1",
    run="r",
    mode="append",
    kind="table",
    parent="1-3fa9c0",
    rows=400_000,
    total_rows=800_000,
    raw_bytes=12_000_000,
    stored_bytes=3_000_000,
    chunks=4,
    replicas=2,
    under_replicated=0,
    retries=0,
    splits=1,
    source="flights.csv",
)


def test_the_result_has_version_rows_bytes_and_columns_with_their_types() -> None:
    result = outcome(REPORT, pa.schema([("a", pa.int64()), ("b", pa.list_(pa.string()))]))
    assert result == {
        "dataset": "flights",
        "version": "2-3fa9c1",
        "kind": "table",
        "mode": "append",
        "rows": 400_000,
        "total_rows": 800_000,
        "raw_bytes": 12_000_000,
        "stored_bytes": 3_000_000,
        "rejected": 0,
        "skipped": "",
        "columns": [["a", "int64"], ["b", "list<item: string>"]],
        "columns_total": 2,
    }


@pytest.mark.parametrize("name", ["c{}", "a long name, " * 50 + "{}", "\N{GRINNING FACE}" * 90 + "{}", '"\\\n{}'])
def test_the_result_has_the_first_of_many_columns_and_their_number(name: str) -> None:
    deep = pa.struct([(f"field_{n}", pa.list_(pa.string())) for n in range(200)])
    schema = pa.schema([(name.format(n), deep if n % 2 else pa.int8()) for n in range(5_000)])
    result = outcome(REPORT, schema)
    assert result["columns_total"] == 5_000
    assert 5 < len(result["columns"]) < 5_000
    assert len(json.dumps(result)) <= RESULT_BYTES_MAX
    assert all(len(text) <= 100 for pair in result["columns"] for text in pair)
