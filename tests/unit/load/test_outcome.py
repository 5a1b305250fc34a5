"""The result in the last event of a load: enough for a table on a page, never above the size limit of an event."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

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


TRAINING: dict[str, Any] = {
    "inputs": {"flights": "flights@12-3fa9c1", "weather": "weather@3-3fa9c1"},
    "rows_in": 336_776,
    "dropped": {"no target": 9_430},
    "classes": [False, True],
    "splits": {"train": {"rows": 300, "classes": [200, 100]}, "test": {"rows": 30, "classes": [20, 10]}},
    "spilled_bytes": 0,
    "changes": None,
}


def test_the_result_of_a_preparation_has_inputs_splits_classes_and_dropped_rows() -> None:
    result = outcome(replace(REPORT, training=TRAINING), pa.schema([("a", pa.int64())]))
    assert {name: result[name] for name in ("inputs", "rows_in", "dropped", "split_rows", "class_rows")} == {
        "inputs": TRAINING["inputs"],
        "rows_in": 336_776,
        "dropped": {"no target": 9_430},
        "split_rows": {"train": 300, "test": 30},
        "class_rows": {"train": {"false": 200, "true": 100}, "test": {"false": 20, "true": 10}},
    }
    assert result["columns"] == [["a", "int64"]]


def test_the_result_of_a_preparation_without_classes_or_with_many_has_no_rows_of_classes() -> None:
    splits = {"train": {"rows": 300, "classes": None}}
    for classes in (None, list(range(9))):
        report = replace(REPORT, training={**TRAINING, "classes": classes, "splits": splits})
        assert outcome(report, pa.schema([]))["class_rows"] == {}


@pytest.mark.parametrize("text", ["c{}", "\N{GRINNING FACE}" * 200 + "{}", '"\\\n{}'])
def test_the_result_of_any_preparation_has_room_in_an_event(text: str) -> None:
    names = [text.format(number) for number in range(3_000)]
    report = replace(
        REPORT,
        training={
            **TRAINING,
            "inputs": dict.fromkeys(names, f"{'d' * 48}@1-3fa9c1"),
            "dropped": dict.fromkeys(names, 2**53),
            "classes": names[:8],
            "splits": {f"{'s' * 48}{name}": {"rows": 2**53, "classes": [2**53] * 8} for name in range(3_000)},
        },
    )
    result = outcome(report, pa.schema([(name, pa.float32()) for name in names]))
    assert len(json.dumps(result)) <= RESULT_BYTES_MAX
    assert result["inputs"]
    assert result["dropped"]
    assert len(result["split_rows"]) > 3
