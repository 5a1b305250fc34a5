from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from millrace.errors import SourceTypeError
from millrace.sources import SourceOptions, SourceWarning, plan_source

Read = Callable[..., pa.Table]
Write = Callable[[str, bytes], Path]


def warnings(path: Path, **options: Any) -> list[SourceWarning]:
    return list(plan_source(str(path), SourceOptions(**options)).warnings)


@pytest.mark.parametrize(
    ("text", "line", "value"),
    [
        (b"id,zip\n1,1234\n2,01234\n", 3, "01234"),
        (b'id,zip\n1,"1234"\n2,"01234"\n', 3, "01234"),
        (b"zip,id\r\n007,1\r\n", 2, "007"),
        (b"id,zip\n1,-007\n", 2, "-007"),
        (b'x,zip\n"a,01\n02",5\n"b ""03",06\n', 4, "06"),
        (b"id,zip\n1,00", 2, "00"),
        (b"zip\n01\n", 2, "01"),
        (b"zip,id\n007,1\n1.5,2\n", 2, "007"),
    ],
)
def test_integers_with_leading_zeros_are_named_with_the_first_of_them(
    write: Write, text: bytes, line: int, value: str
) -> None:
    surprises = warnings(write("z.csv", text))
    assert [(warning.code, warning.column, warning.line, warning.file) for warning in surprises] == [
        ("leading_zeros", "zip", line, "z.csv")
    ]
    assert f"({value!r})" in surprises[0].message
    assert surprises[0].message.endswith("--column-type zip=string keeps them")


def test_the_option_for_a_name_with_a_blank_is_quoted_for_the_shell(write: Write) -> None:
    assert warnings(write("z.csv", b"zip code\n01\n"))[0].message.endswith("--column-type 'zip code=string' keeps them")


@pytest.mark.parametrize(
    "text",
    [
        b"a,b\n0,10\n100,0\n",
        b"a,b\n0.5,-0.5\n-0,0\n",
        b"a,b\n2026-01-02,01:02:03\n",
        b"a,b\n01x,y01\n02,z\n",
        b"a,b\n1 02,x 03\n",
        b"a\n",
    ],
)
def test_there_is_no_warning_if_no_zero_is_lost(write: Write, text: bytes) -> None:
    assert [warning for warning in warnings(write("z.csv", text)) if warning.code == "leading_zeros"] == []


def test_there_is_no_warning_of_leading_zeros_if_the_type_is_given(write: Write, read: Read) -> None:
    path = write("z.csv", b"zip\n01234\n")
    for kind in ("string", "int64"):
        assert warnings(path, column_types=(("zip", kind),)) == []
    assert read(path, column_types=(("zip", "string"),))["zip"].to_pylist() == ["01234"]


def test_leading_zeros_are_found_in_later_blocks_and_other_files(
    write: Write, small_blocks: None, tmp_path: Path
) -> None:
    write("d/1.csv", b"a,zip,c\n" + b"1,2,3\n" * 50)
    write("d/2.csv", b"c,zip,a\n" + b"1,2,3\n" * 50 + b"1,09,3\n")
    surprises = warnings(tmp_path / "d")
    assert [(warning.column, warning.file, warning.line) for warning in surprises] == [("zip", "2.csv", 52)]


@pytest.mark.parametrize(
    ("text", "options", "value", "line"),
    [
        (b"id,price\n1,1.5\n2,n.a.\n3,2\n4,n.a.\n", {}, "n.a.", 3),
        (b"id,price\n1,-\n2,2.5\n", {}, "-", 2),
        (b"id,price\n1,NA\n2,2.5\n3,\n4,oops\n", {}, "oops", 5),
        (b"id;price\n1;1,5\n2;1.5\n", {"delimiter": ";", "decimal": ","}, "1.5", 3),
        (b"id,price\n1,2026-01-01\n2,2026-01-02 10:00:00\n3,soon\n", {}, "soon", 4),
        (b"skip\nid,price\n1,2\n2,two\n", {"skip_rows": 1}, "two", 4),
    ],
)
def test_a_column_that_is_text_because_of_one_value_is_named_with_it(
    write: Write, text: bytes, options: dict[str, Any], value: str, line: int
) -> None:
    surprises = warnings(write("p.csv", text), **options)
    assert [(warning.code, warning.column, warning.line, warning.file) for warning in surprises] == [
        ("text_for_one_value", "price", line, "p.csv")
    ]
    assert f"one value, {value!r}," in surprises[0].message


def test_one_value_among_many_blocks_and_files_is_found(write: Write, small_blocks: None, tmp_path: Path) -> None:
    write("d/1.csv", b"a,b\n" + b"1,2\n" * 50)
    write("d/2.csv", b"a,b\n" + b"1,2\n" * 50 + b"?,2\n" + b"1,2\n" * 50)
    assert [(warning.column, warning.file, warning.line) for warning in warnings(tmp_path / "d")] == [
        ("a", "2.csv", 52)
    ]


@pytest.mark.parametrize(
    "text", [b"a\nx\ny\n", b"a\n1\nx\ny\n", b"a\nx\n", b"a,b\n1,x\n2,y\n", b"a\nNA\nx\n", b'a\n"1,5"\n"2,5"\n']
)
def test_there_is_no_warning_of_text_with_more_than_one_such_value(write: Write, text: bytes) -> None:
    assert warnings(write("p.csv", text)) == []


@pytest.mark.parametrize(
    ("text", "options", "option"),
    [
        (b"id;price\n1;2\n", {}, "--delimiter ';'"),
        (b"id\tprice\n1\t2\n", {}, r"--delimiter '\t'"),
        (b"id|price\n1|2\n", {}, "--delimiter '|'"),
        (b"id,price\n1,2\n", {"delimiter": ";"}, "--delimiter ,"),
        (b"id;price\n", {}, "--delimiter ';'"),
    ],
)
def test_a_single_text_column_whose_name_holds_a_delimiter_is_named(
    write: Write, text: bytes, options: dict[str, Any], option: str
) -> None:
    surprises = warnings(write("p.csv", text), **options)
    assert [warning.code for warning in surprises] == ["one_column"]
    assert surprises[0].message.endswith(option)


@pytest.mark.parametrize("text", [b"price;eur,id\n1,2\n", b"name\nx;y\n"])
def test_there_is_no_warning_if_the_delimiter_splits_the_name_or_the_name_has_none(write: Write, text: bytes) -> None:
    assert warnings(write("p.csv", text)) == []


@pytest.mark.parametrize(
    ("value", "first"),
    [
        (b"1.234,56", "1.234,56"),
        (b"1 234,5", "1 234,5"),
        ("1\u202f234,5".encode(), "1\u202f234,5"),
        (b"-12.345", "-12.345"),
    ],
)
def test_thousands_separators_beside_a_decimal_comma_are_refused_with_their_line(
    write: Write, read: Read, value: bytes, first: str
) -> None:
    path = write("p.csv", b"id;price\n1;1,5\n2;" + value + b"\n3;2.345.678,5\n")
    with pytest.raises(SourceTypeError) as raised:
        read(path, delimiter=";", decimal=",")
    assert f"p.csv, line 3: column 'price' has {first!r}, a number with thousands separators" in str(raised.value)
    assert raised.value.context["line"] == 3
    kept = read(path, delimiter=";", decimal=",", column_types=(("price", "string"),))
    assert kept["price"].to_pylist() == ["1,5", value.decode(), "2.345.678,5"]


def test_text_beside_a_decimal_comma_that_only_looks_like_thousands_stays_text(write: Write, read: Read) -> None:
    path = write("p.csv", b"a;b;c\n1.234;1.234,5;1,5\n10.100;x;2\n")
    assert read(path, delimiter=";", decimal=",").schema.types == [pa.string(), pa.string(), pa.float64()]


def test_thousands_separators_after_the_first_bytes_are_refused_with_their_line(write: Write, read: Read) -> None:
    path = write("p.csv", b"id;price\n" + b"1;1,5\n" * 50 + b"2;1.234,5\n")
    with pytest.raises(SourceTypeError, match=r"line 52: column 'price' was double and is '1.234,5'"):
        read(path, delimiter=";", decimal=",", infer_bytes=100)


@pytest.mark.parametrize(
    ("text", "line", "value"),
    [
        (b"d\n28.02.1900\n29.02.1900\n01.03.1900\n", 3, "29.02.1900"),
        (b"d\n28.02.1900\n01.03.1900\n2026-02-03\n", 4, "2026-02-03"),
        (b"d\n28.02.1900\n01.03.1900\nsoon\nNA\n", 4, "soon"),
    ],
)
def test_a_value_that_keeps_a_column_from_a_date_format_is_named(
    write: Write, read: Read, text: bytes, line: int, value: str
) -> None:
    path = write("d.csv", text)
    surprises = warnings(path, date_format="%d.%m.%Y")
    assert [(warning.code, warning.column, warning.line, warning.file) for warning in surprises] == [
        ("no_date", "d", line, "d.csv")
    ]
    assert f"{value!r} does not have the --date-format" in surprises[0].message
    assert read(path, date_format="%d.%m.%Y").schema.types == [pa.string()]


def test_there_is_no_warning_of_text_with_a_few_dates(write: Write) -> None:
    assert warnings(write("d.csv", b"d\nx\ny\n28.02.1900\n"), date_format="%d.%m.%Y") == []


def test_numbers_that_an_option_makes_dates_or_booleans_are_named(write: Write) -> None:
    path = write("n.csv", b"day,flag,ok\n20260203,1,y\n")
    surprises = warnings(path, date_format="%Y%m%d", true_value=["1", "y"], false_value=["0", "n"])
    assert [(warning.code, warning.column) for warning in surprises] == [
        ("numbers_taken", "day"),
        ("numbers_taken", "flag"),
    ]
    assert "--column-type day=int64" in surprises[0].message
