"""Rows that do not fit are set aside: accepted and rejected lines together are the lines of the file, each once."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from millrace.sources import (
    BadRowBudget,
    RowRules,
    SourceOptions,
    SourcePlan,
    open_source,
    open_split,
    plan_source,
)
from millrace.sources.text import blocks

MANY = RowRules(BadRowBudget(rows=1_000_000))


def outcome(plan: SourcePlan, *, by_split: bool = False) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Return the accepted rows and the rejects of a plan, read as one stream or split by split."""
    readers = [open_split(plan, split) for split in plan.splits] if by_split else [open_source(plan)]
    rows: list[dict[str, Any]] = []
    rejects: list[dict[str, Any]] = []
    for reader in readers:
        with reader:
            rows += [row for batch in reader for row in batch.to_pylist()]
        rejects += [reject for batch in reader.rejects.take() for reject in batch.to_pylist()]
    return rows, rejects


def source(folder: Path, name: str, content: bytes, rules: RowRules = MANY, **options: Any) -> SourcePlan:
    (folder / name).write_bytes(content)
    return plan_source(str(folder / name), SourceOptions(**options), rules=rules)


GOOD_CSV = st.builds(lambda number, text: f"{number},{text}", st.integers(-(2**40), 2**40), st.sampled_from("abc"))
BAD_CSV = st.sampled_from(
    ["x,a", "1.5,b", "1,a,b", "7", '"1",a,"c', "2,\udcff", "99999999999999999999,a", ",a,", "0x1G,c", "+-1,b"]
)
CSV_LINES = st.lists(st.tuples(st.one_of(GOOD_CSV, GOOD_CSV, BAD_CSV), st.sampled_from(["\n", "\r\n", "\n\n"])))


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(lines=CSV_LINES, block_bytes=st.integers(8, 400), split_bytes=st.integers(1, 500), by_split=st.booleans())
def test_the_lines_of_a_csv_are_accepted_or_rejected_once_for_any_block_and_split(
    tmp_path: Path, lines: list[tuple[str, str]], block_bytes: int, split_bytes: int, by_split: bool
) -> None:
    lines = [(line, end) for line, end in lines if '"c' not in line]  # an open quote is refused
    tagged = [(f"{line},{number}", end) for number, (line, end) in enumerate(lines)]
    content = "key,text,number\n" + "".join(line + end for line, end in tagged)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(blocks, "BLOCK_BYTES", block_bytes)
        plan = source(
            tmp_path,
            "a.csv",
            content.encode("utf-8", "surrogateescape"),
            column_types=(("key", "int64"), ("text", "string"), ("number", "int64")),
            split_bytes=split_bytes,
        )
        rows, rejects = outcome(plan, by_split=by_split)
    accepted = [row["number"] for row in rows]
    rejected = [int(reject["raw"].rpartition(",")[2]) for reject in rejects]
    assert accepted == sorted(accepted)
    assert rejected == sorted(rejected)
    assert sorted(accepted + rejected) == list(range(len(lines)))
    by_number = {number: line.partition("\n")[0] for number, (line, _) in enumerate(tagged)}
    file_lines = content.replace("\r\n", "\n").split("\n")
    for reject in rejects:
        number = int(reject["raw"].rpartition(",")[2])
        assert file_lines[reject["line"] - 1] == by_number[number]
    good = [number for number, (line, _) in enumerate(lines) if _fits_csv(line)]
    assert accepted == good


def _fits_csv(line: str) -> bool:
    fields = line.split(",")
    try:
        value = int(fields[0]) if fields[0] else 0
    except ValueError:
        return False
    return len(fields) == 2 and abs(value) < 2**63 and not fields[0].startswith("+-") and "\udcff" not in line


GOOD_LINE = st.builds(
    lambda key, text: {"key": key, "text": text}, st.integers(-(2**60), 2**60), st.text("aé", max_size=3)
)
BAD_LINE = st.sampled_from(
    ['{"key":"x"}', '{"key":1.5}', '{"key":1', "[1]", "7", '{"key":{"a":1}}', '{"text":5}', '{"other":1}', "nonsense"]
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    lines=st.lists(st.one_of(GOOD_LINE, GOOD_LINE, BAD_LINE)),
    block_bytes=st.integers(8, 400),
    split_bytes=st.integers(1, 500),
    by_split=st.booleans(),
)
def test_json_lines_are_accepted_or_rejected_once_for_any_block_and_split(
    tmp_path: Path, lines: list[Any], block_bytes: int, split_bytes: int, by_split: bool
) -> None:
    first = '{"key":0,"text":"a","number":-1}'
    tagged = [
        json.dumps({**line, "number": number}, ensure_ascii=False) if isinstance(line, dict) else f"{line} "
        for number, line in enumerate(lines)
    ]
    content = "\n".join([first, *tagged])
    types = (("key", "int64"), ("text", "string"), ("number", "int64"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(blocks, "BLOCK_BYTES", block_bytes)
        plan = source(tmp_path, "a.jsonl", content.encode(), infer_bytes=1, split_bytes=split_bytes, rules=MANY)
        expected = [pa.int64(), pa.string(), pa.int64()]
        assert plan.schema == pa.schema(list(zip(["key", "text", "number"], expected, strict=True)))
        rows, rejects = outcome(plan, by_split=by_split)
    assert types
    accepted = [row["number"] for row in rows if row["number"] is not None]
    assert accepted == sorted(accepted)
    file_lines = content.split("\n")
    assert [file_lines[reject["line"] - 1] for reject in rejects] == [reject["raw"] for reject in rejects]
    untagged = sum(row["number"] is None for row in rows)  # a double may widen the type of the column
    assert len(accepted) + len(rejects) + untagged == len(lines) + 1
    assert len({reject["line"] for reject in rejects}) == len(rejects)
