"""Whole numbers that a double changes are refused with their column. Those that it holds are loaded unchanged."""

from __future__ import annotations

import gzip
import math
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from millrace.errors import SourceTypeError
from millrace.sources import SourceOptions, open_split, plan_source
from millrace.sources.text.whole_numbers import rounded

BIG = "9007199254740993"
"""2^53 + 1, which no double represents."""
Write = Callable[[str, bytes], Path]
Read = Callable[..., pa.Table]


def refused(read: Read, path: Path | str, **options: Any) -> SourceTypeError:
    with pytest.raises(SourceTypeError) as caught:
        read(path, **options)
    return caught.value


@pytest.mark.parametrize(
    ("text", "line", "value", "decimal"),
    [
        (f"{BIG}\n0.5", 2, BIG, "decimal128(38,1)"),
        (f"0.25\n\n-{BIG}", 4, f"-{BIG}", "decimal128(38,2)"),
        ("1\n18446744073709551615", 3, "18446744073709551615", "decimal128(38,0)"),
        ("18446744073709551615\n18446744073709551614", 2, "18446744073709551615", "decimal128(38,0)"),
        ("123456789012345678901234567890", 2, "123456789012345678901234567890", "decimal128(38,0)"),
        ('"9007199254740993"\n0.5', 2, BIG, "decimal128(38,1)"),
        ("0.5\n1e400", 3, "1e400", None),
        ("0.5\n-" + "9" * 400, 3, "-" + "9" * 39 + "...", None),
        (f"{BIG}\ninf\n0.5", 2, BIG, None),
    ],
)
def test_a_csv_names_the_first_number_that_a_double_changes(
    write: Write, read: Read, text: str, line: int, value: str, decimal: str | None
) -> None:
    path = write(
        "a.csv", f"a,b\n{text}\n".replace("\n", ",1\n").replace("a,b,1", "a,b").replace("\n,1\n", "\n\n").encode()
    )
    error = refused(read, path)
    assert error.message == (
        f"a.csv, line {line}: column 'a' has {value}, which a double cannot represent, and its "
        "column becomes one of doubles"
    )
    assert (error.context["column"], error.context["line"]) == ("a", line)
    assert "--column-type a=string" in error.hint
    assert (decimal is None) == ("decimal" not in error.hint)
    assert read(path, column_types=(("a", "string"),)).column("a").to_pylist()[-1] == text.split("\n")[-1].strip('"')
    if decimal is not None:
        assert f"'a={decimal}'" in error.hint
        assert str(int(value)) in map(str, map(int, read(path, column_types=(("a", decimal),)).column("a").to_pylist()))


@pytest.mark.parametrize(
    ("lines", "line", "value"),
    [
        (['{"a":9007199254740993}', '{"a":0.5}'], 1, BIG),
        (['{"a":0.5}', '{"a":18446744073709551615}'], 2, "18446744073709551615"),
        (['{"a":123456789012345678901234567890}'], 1, "123456789012345678901234567890"),
        (['{"a":{"x":[1.5, 9007199254740993]}}'], 1, BIG),
        (['{"a":[{"id":9007199254740993,"x":1}]}', '{"a":[{"id":9007199254740993,"x":1.5},{"id":0.5}]}'], 1, BIG),
        (['{"b":9007199254740993,"a":9007199254740994}', '{"b":1,"a":-9007199254740993}', '{"a":0.5}'], 2, f"-{BIG}"),
    ],
)
def test_json_lines_name_the_first_number_that_a_double_changes_also_in_nested_values(
    write: Write, read: Read, lines: list[str], line: int, value: str
) -> None:
    path = write("a.jsonl", "\n".join(lines).encode())
    error = refused(read, path)
    assert error.message.startswith(f"a.jsonl, line {line}: column 'a' has {value}, which a double cannot represent")
    assert "--column-type a=string" in error.hint
    assert read(path, column_types=(("a", "string"),)).num_rows == len(lines)


def test_the_decimal_type_named_in_the_refusal_of_json_lines_keeps_every_digit(write: Write, read: Read) -> None:
    path = write("a.jsonl", b'{"a":9007199254740993}\n{"a":0.25}\n')
    assert "'a=decimal128(38,2)'" in refused(read, path).hint
    values = read(path, column_types=(("a", "decimal128(38,2)"),)).column("a").to_pylist()
    assert list(map(str, values)) == ["9007199254740993.00", "0.25"]


@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("a.csv", "a\n7\n" + f"{BIG}\n" * 2 + "1\n" * 40 + "0.5\n"),
        ("a.jsonl", '{"a":7}\n' + f'{{"a":{BIG}}}\n' * 2 + '{"a":1}\n' * 40 + '{"a":0.5}\n'),
        ("b.jsonl", '{"a":[7]}\n' + f'{{"a":[{BIG}]}}\n' * 2 + '{"a":[1]}\n' * 40 + '{"a":[0.5]}\n'),
        ("c.jsonl", '{"a":{"x":7}}\n' + f'{{"a":{{"x":{BIG}}}}}\n' * 2 + '{"a":{"x":1}}\n' * 40 + '{"a":{"x":0.5}}\n'),
    ],
)
@pytest.mark.parametrize("packed", [False, True])
def test_doubles_that_come_late_are_refused_with_the_line_of_the_whole_number(
    write: Write, read: Read, name: str, data: str, packed: bool
) -> None:
    content = gzip.compress(data.encode()) if packed else data.encode()
    name = f"{name}.gz" if packed else name
    error = refused(read, write(name, content), infer_bytes=20)
    line = 3 if ".csv" in name else 2
    assert error.message.startswith(f"{name}, line {line}: column 'a' has {BIG}, which a double cannot represent")
    assert error.hint == "keep every digit with --column-type a=string"


def test_a_whole_number_of_another_file_is_named_with_its_file(write: Write, read: Read, tmp_path: Path) -> None:
    write("d/1.csv", b"a\n0.5\n")
    write("d/2.csv", b"a\n1\n9007199254740993\n")
    assert refused(read, tmp_path / "d").message.startswith(f"2.csv, line 3: column 'a' has {BIG}")


def test_standard_input_is_refused_as_a_file_is(write: Write, monkeypatch: pytest.MonkeyPatch, read: Read) -> None:
    with write("a.csv", b"a\n0.5\n9007199254740993\n").open() as stream:
        monkeypatch.setattr(sys, "stdin", stream)
        assert f"line 3: column 'a' has {BIG}" in refused(read, "-", format="csv").message


def test_a_split_of_doubles_names_its_line(write: Write) -> None:
    path = write("a.csv", b"a\n" + b"0.5\n" * 40 + b"9007199254740993\n")
    plan = plan_source(str(path), SourceOptions(split_bytes=60, max_splits=4))
    assert len(plan.splits) > 1
    with open_split(plan, plan.splits[-1]) as reader, pytest.raises(SourceTypeError, match="line 42: column 'a'"):
        list(reader)


EXACT = ["9007199254740992", "9007199254740994", "1152921504606846976", "1000000000000000019884624838656", "-0", "1e22"]


def test_whole_numbers_that_a_double_holds_are_read_as_doubles(write: Write, read: Read) -> None:
    expected = [*map(float, EXACT), 0.5, 12345678901234567.0]
    texts = [*EXACT, "0.5", "12345678901234567.5"]
    assert read(write("a.csv", "\n".join(["a", *texts]).encode())).column("a").to_pylist() == [
        *expected[:-1],
        12345678901234567.5,
    ]
    lines = "\n".join(f'{{"a":{text}}}' for text in texts)
    assert read(write("a.jsonl", lines.encode())).column("a").to_pylist() == [*expected[:-1], 12345678901234567.5]


def test_infinity_and_nan_are_read_as_doubles(write: Write, read: Read) -> None:
    values = read(write("a.csv", b"a\ninf\n-inf\nnan\n0.5\n"), null_values=("",)).column("a").to_pylist()
    assert values[:2] == [math.inf, -math.inf]
    assert math.isnan(values[2])
    lines = write("a.jsonl", b'{"a":Infinity}\n{"a":-Infinity}\n{"a":0.5}\n')
    assert read(lines).column("a").to_pylist() == [math.inf, -math.inf, 0.5]


@pytest.mark.parametrize("name", ["a.csv", "a.jsonl"])
def test_a_given_double_type_rounds_to_the_nearest_double(write: Write, read: Read, name: str) -> None:
    data = b"a\n9007199254740993\n0.5\n" if name == "a.csv" else b'{"a":9007199254740993}\n{"a":0.5}\n'
    values = read(write(name, data), column_types=(("a", "float64"),)).column("a").to_pylist()
    assert values == [9007199254740992.0, 0.5]


def test_large_whole_numbers_alone_stay_integers_of_64_bits(write: Write, read: Read) -> None:
    numbers = [2**53 + 1, -(2**63), 2**63 - 1]
    values = read(write("a.csv", "\n".join(["a", *map(str, numbers)]).encode())).column("a")
    assert (values.type, values.to_pylist()) == (pa.int64(), numbers)
    lines = "\n".join(f'{{"a":{{"id":{number},"x":0.5}}}}' for number in numbers)
    assert read(write("a.jsonl", lines.encode())).column("a").to_pylist() == [{"id": n, "x": 0.5} for n in numbers]


@given(st.lists(st.integers(-(2**63), 2**63 - 1) | st.integers(0, 63).map(lambda bit: -(1 << bit)) | st.none()))
def test_the_first_integer_that_a_double_does_not_hold_is_found(numbers: list[int | None]) -> None:
    expected = next((n for n in numbers if n is not None and int(np.float64(n)) != n), None)
    assert rounded(pa.array(numbers, pa.int64())) == expected


def test_the_last_unsigned_integer_is_checked_too(read: Read) -> None:
    assert rounded(pa.array([2**63, 2**64 - 2**11, None], pa.uint64())) is None
    assert rounded(pa.array([1, 2**64 - 1], pa.uint64())) == 2**64 - 1


@pytest.mark.parametrize("name", ["a.csv", "a.jsonl"])
def test_a_number_beyond_a_given_type_does_not_become_infinity(write: Write, read: Read, name: str) -> None:
    data = b"a\n0.5\n1e39\n" if name == "a.csv" else b'{"a":0.5}\n{"a":1e39}\n'
    path, line = write(name, data), 3 if name == "a.csv" else 2
    error = refused(read, path, column_types=(("a", "float32"),))
    shown = "1e39" if name == "a.csv" else "1E+39"
    assert error.message == f"{name}, line {line}: column 'a' has {shown}, which is beyond float"
    assert error.hint == "keep every digit with --column-type a=float64 or --column-type a=string"
    assert read(path, column_types=(("a", "float64"),)).column("a").to_pylist() == [0.5, 1e39]


def test_infinity_is_accepted_for_a_given_type(write: Write, read: Read) -> None:
    given_type = (("a", "float32"),)
    assert read(write("a.csv", b"a\ninf\n0.5\n"), column_types=given_type).column("a").to_pylist() == [math.inf, 0.5]
    lines = write("a.jsonl", b'{"a":Infinity}\n{"a":0.5}\n')
    assert read(lines, column_types=given_type).column("a").to_pylist() == [math.inf, 0.5]
    beyond = refused(read, write("b.csv", b"a\n1e400\n"), column_types=(("a", "float64"),))
    assert "column 'a' has 1e400" in beyond.message
