"""Rows that do not fit are set aside: accepted and rejected lines together are the lines of the file, each once."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from millrace.errors import BadRowsError, SourceFormatError, SourceTypeError
from millrace.sources import (
    BadRowBudget,
    Reaction,
    RowRules,
    SourceOptions,
    SourcePlan,
    open_source,
    open_split,
    plan_source,
)
from millrace.sources.csv.misfits import CsvRecordParser
from millrace.sources.csv.parser import CsvParser
from millrace.sources.text import blocks
from millrace.sources.text.blocks import Block

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
    [
        "x,a",
        "1.5,b",
        "1,a,b",
        "7",
        "3,\udcff,b",
        '"1",a,"c',
        "2,\udcff",
        "99999999999999999999,a",
        ",a,",
        "0x1G,c",
        "+-1,b",
    ]
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
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(blocks, "BLOCK_BYTES", block_bytes)
        plan = source(tmp_path, "a.jsonl", content.encode(), infer_bytes=1, split_bytes=split_bytes, rules=MANY)
        assert plan.schema == pa.schema([("key", pa.int64()), ("text", pa.string()), ("number", pa.int64())])
        rows, rejects = outcome(plan, by_split=by_split)
    accepted = [row["number"] for row in rows if row["number"] is not None]
    assert accepted == sorted(accepted)
    file_lines = content.split("\n")
    assert [file_lines[reject["line"] - 1] for reject in rejects] == [reject["raw"] for reject in rejects]
    untagged = sum(row["number"] is None for row in rows)  # a double may widen the type of the column
    assert len(accepted) + len(rejects) + untagged == len(lines) + 1
    assert len({reject["line"] for reject in rejects}) == len(rejects)


CONTRACT_CSV = b"a,b,c\n1,x,1.5\n2,y\nz,w,oops\n3,v,9007199254740993\n4,u,2\n"
CONTRACT_TYPES = (("a", "int64"), ("b", "string"))


def test_a_value_that_does_not_fit_is_made_null_and_set_aside_where_the_rules_say_so(tmp_path: Path) -> None:
    rules = RowRules(BadRowBudget(rows=1), types=Reaction.DISCARD_VALUE)
    plan = source(tmp_path, "a.csv", CONTRACT_CSV, rules, column_types=(*CONTRACT_TYPES, ("c", "float32")))
    rows, rejects = outcome(plan)
    assert [tuple(row.values()) for row in rows] == [
        (1, "x", 1.5),
        (None, "w", None),
        (3, "v", pa.scalar(9007199254740993.0, pa.float32()).as_py()),
        (4, "u", 2.0),
    ]
    assert [(r["line"], r["column"], r["kind"]) for r in rejects] == [
        (3, "", "bad"),
        (4, "a", "discarded_value"),
        (4, "c", "discarded_value"),
    ]


@pytest.mark.parametrize("name", ["a.csv", "a.jsonl"])
def test_large_integers_stay_in_rows_in_which_another_value_is_made_null(tmp_path: Path, name: str) -> None:
    rules = RowRules(types=Reaction.DISCARD_VALUE)
    for large in ([0], [0, 2], [1]):
        numbers = [2**53 + 1 if row in large else row for row in range(3)]
        ages = ["x" if row in large else row for row in range(3)]
        lines = ["n,age", *(f"{n},{age}" for n, age in zip(numbers, ages, strict=True))]
        if name == "a.jsonl":
            lines = [json.dumps({"n": n, "age": age}) for n, age in zip(numbers, ages, strict=True)]
        types = (("n", "int64"), ("age", "int64"))
        plan = replace(source(tmp_path, name, "\n".join(lines).encode(), rules), agreed=2)
        plan = replace(plan, schema=pa.schema([(column, pa.int64()) for column, _ in types]))
        rows, rejects = outcome(plan)
        assert [row["n"] for row in rows] == numbers
        assert [row["age"] for row in rows] == [None if age == "x" else age for age in ages]
        assert len(rejects) == len(large)


def test_a_row_that_does_not_fit_is_dropped_without_counting_where_the_rules_say_so(tmp_path: Path) -> None:
    rules = RowRules(types=Reaction.DISCARD_ROW)
    plan = source(tmp_path, "a.csv", b"a\n1\nx\n3\n", rules, column_types=(("a", "int64"),))
    rows, rejects = outcome(plan)
    assert [row["a"] for row in rows] == [1, 3]
    assert [(r["line"], r["kind"]) for r in rejects] == [(3, "discarded_row")]


def test_types_that_are_frozen_do_not_widen(tmp_path: Path) -> None:
    content = b"a,b\n" + b"1,\n" * 20 + b"2.5,\n3,7\n"
    for types, expected in ((Reaction.EVOLVE, []), (Reaction.FREEZE, ["2.5,", "3,7"])):
        rules = RowRules(BadRowBudget(rows=9), types=types)
        plan = replace(source(tmp_path, "a.csv", content, rules, infer_bytes=20), agreed=2)
        _, rejects = outcome(plan)
        assert [reject["raw"] for reject in rejects] == expected


@pytest.mark.parametrize("kind", ["decimal128(5, 2)", "decimal256(5, 2)"])
def test_a_decimal_with_more_digits_than_its_type_is_set_aside(tmp_path: Path, kind: str) -> None:
    numbers = ["999.99", "1000", "-1000.5", "-999.99", "99999", "1"]
    csv = "\n".join(["a", *numbers]).encode()
    jsonl = "\n".join(f'{{"a":"{number}"}}' for number in numbers).encode()
    for name, content in (("a.csv", csv), ("a.jsonl", jsonl)):
        rows, rejects = outcome(source(tmp_path, name, content, column_types=(("a", kind),)))
        assert [str(row["a"]) for row in rows] == ["999.99", "-999.99", "1.00"]
        assert [reject["column"] for reject in rejects] == ["a"] * 3
    with pytest.raises(SourceTypeError, match=r"line 3: column 'a' was .* and is '1000'"):
        outcome(source(tmp_path, "a.csv", csv, RowRules(), column_types=(("a", kind),)))


def test_a_bad_row_does_not_widen_a_column_of_integers(tmp_path: Path) -> None:
    content = b"a\n" + b"1\n" * 20 + b"18446744073709551617\nx\n"
    rows, rejects = outcome(source(tmp_path, "a.csv", content, infer_bytes=10))
    assert ({type(row["a"]) for row in rows}, len(rejects)) == ({int}, 2)


def test_a_column_whose_integers_no_double_represents_does_not_become_one_of_doubles(tmp_path: Path) -> None:
    content = b"a\n9007199254740993\n" + b"1\n" * 20 + b"2.5\n"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(blocks, "BLOCK_BYTES", 30)
        rows, rejects = outcome(source(tmp_path, "a.csv", content, infer_bytes=10))
    assert rows[0]["a"] == 9007199254740993
    assert [reject["raw"] for reject in rejects] == ["2.5"]


def test_rows_with_line_ends_in_quotes_keep_their_lines(tmp_path: Path) -> None:
    content = b'a,b\n1,"x\ny"\nz,"p\n\nq"\n3,c\nw,d\n'
    _, rejects = outcome(source(tmp_path, "a.csv", content, column_types=(("a", "int64"),)))
    assert [(reject["line"], reject["raw"]) for reject in rejects] == [(4, 'z,"p\n\nq"'), (8, "w,d")]


def test_ragged_rows_within_the_inferred_bytes_are_set_aside(tmp_path: Path) -> None:
    plan = source(tmp_path, "a.csv", b"a,b\n1,x\n2\n3,y,z\n4,w\n")
    assert plan.schema == pa.schema([("a", pa.int64()), ("b", pa.string())])
    rows, rejects = outcome(plan)
    assert ([row["a"] for row in rows], [reject["line"] for reject in rejects]) == ([1, 4], [3, 4])


def test_a_ragged_row_that_is_not_utf_8_is_set_aside(tmp_path: Path) -> None:
    rows, rejects = outcome(source(tmp_path, "a.csv", b"a,b\n1,x\n2,\xff,y\n3\n4,\xff\n5,z\n"))
    assert ([row["a"] for row in rows], [reject["line"] for reject in rejects]) == ([1, 5], [3, 4, 5])


def test_invalid_lines_within_the_inferred_bytes_are_set_aside(tmp_path: Path) -> None:
    plan = source(tmp_path, "a.jsonl", b'{"a":1}\n{"a":\n{"a":"x"}\n{"a":2,"b":3}\n')
    rows, rejects = outcome(plan)
    assert rows == [{"a": 1, "b": None}, {"a": 2, "b": 3}]
    assert [reject["line"] for reject in rejects] == [2, 3]


def test_without_a_budget_the_first_bad_row_is_an_error(tmp_path: Path) -> None:
    for content, error in ((b"a,b\n1\n", SourceFormatError), (b"a,b\nx,1\n", SourceTypeError)):
        with pytest.raises(error):
            outcome(source(tmp_path, "a.csv", content, RowRules(), column_types=(("a", "int64"),)))


def test_a_read_ends_at_the_first_bad_row_beyond_a_number_of_rows(tmp_path: Path) -> None:
    plan = source(
        tmp_path, "a.csv", b"a\n" + b"x\n" * 9, RowRules(BadRowBudget(rows=3)), column_types=(("a", "int64"),)
    )
    with pytest.raises(BadRowsError, match="more than 3 bad rows") as caught:
        outcome(plan)
    assert len(caught.value.context["reasons"]) == 4
    with open_split(plan, plan.splits[0], preview=True) as reader:
        assert sum(batch.num_rows for batch in reader) == 0


def test_the_text_of_a_row_is_cut_and_all_rejects_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from millrace.sources import read

    monkeypatch.setattr(read, "REJECTS_BYTES_MAX", 200_000)
    plan = source(tmp_path, "a.csv", b"a\n" + (b"x" * 70_000 + b"\n") * 5, column_types=(("a", "int64"),))
    with open_source(plan) as reader:
        list(reader)
    rows = [row for batch in reader.rejects.take() for row in batch.to_pylist()]
    assert [(len(row["raw"]), row["is_complete"]) for row in rows] == [(65_536, False)] * 3
    assert (sum(reader.rejects.counts.values()), reader.rejects.unstored) == (5, 2)


VALUES = st.one_of(st.text("0123456789+-.eExXnaifNA \t", max_size=8), st.floats().map(repr), st.integers().map(hex))


@settings(max_examples=300, deadline=None)
@given(value=VALUES, kind=st.sampled_from([pa.int64(), pa.int8(), pa.float64(), pa.float32(), pa.date32()]))
def test_the_patterns_match_every_value_that_pyarrow_reads(value: str, kind: pa.DataType) -> None:
    options = SourceOptions()
    parser = CsvRecordParser(CsvParser(options), options, ["a"], {"a": kind}, {"a"})
    block = Block(0, f'"{value}"\n'.encode(), 0, 0, 0, columns=("a",))
    _, misfits, _, batch = parser.misfits(block, {"a": kind}, ())
    try:
        expected = CsvParser(options).parse(block, {"a": kind})
    except pa.ArrowInvalid:
        assert [misfit.row for misfit in misfits] == [0]
    else:
        assert misfits == []
        assert batch is not None
        assert batch.equals(expected)
        pattern = parser._patterns.of(kind)
        assert expected.column(0).null_count or not parser._patterns.rows_unlike(
            pa.array([value.encode()]), str(pattern)
        )
