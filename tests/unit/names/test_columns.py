from __future__ import annotations

import shlex

import pytest
from hypothesis import given
from hypothesis import strategies as st

from millrace.errors import UsageError
from millrace.names.columns import (
    column_type_option,
    first_duplicate,
    listed_columns,
    parse_columns,
    parse_rename,
    quoted_column,
)
from millrace.sources.types import parse_column_type

NAMES = st.text(alphabet="ab ,=\"'\t\n\réß", min_size=1, max_size=8)


def test_names_in_double_quotes_are_parsed_as_in_a_filter() -> None:
    assert parse_columns('"last, first"," unit ","say ""hi""",id') == ["last, first", " unit ", 'say "hi"', "id"]
    assert parse_columns('" unit ", id') == [" unit ", "id"]


def test_unquoted_names_are_unchanged_even_with_a_quote_inside() -> None:
    assert parse_columns(' carrier, arr delay ,say "hi"') == ["carrier", "arr delay", 'say "hi"']


@given(st.lists(NAMES, min_size=1, max_size=5, unique=True))
def test_every_list_of_quoted_names_is_parsed_back(names: list[str]) -> None:
    assert parse_columns(",".join(map(quoted_column, names))) == names


@given(NAMES, NAMES)
def test_every_pair_of_quoted_names_is_parsed_back(old: str, new: str) -> None:
    assert parse_rename(f"{quoted_column(old)}={quoted_column(new)}") == (old, new)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "not a list of different columns"),
        ("a,,b", "not a list of different columns"),
        ("a,", "not a list of different columns"),
        ("a,a", "not a list of different columns"),
        ('""', "not a list of different columns"),
        ('"a', "opens a name and does not close it"),
        ('"a"b,c', "'b,c' follows a name in double quotes"),
    ],
)
def test_an_invalid_list_of_columns_is_refused_with_the_reason(text: str, reason: str) -> None:
    with pytest.raises(UsageError, match=reason):
        parse_columns(text)


@pytest.mark.parametrize("text", ["", "a", "=b", "a=", "a=b=c", '""=b', '"a=b'])
def test_an_invalid_renaming_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match=r"is not OLD=NEW|does not close"):
        parse_rename(text)


def test_a_quoted_name_with_an_equals_sign_is_renamed() -> None:
    assert parse_rename('"a=b"=c') == ("a=b", "c")
    assert parse_rename("a = b ") == ("a", "b")


def test_long_lists_are_shortened_with_a_count() -> None:
    assert listed_columns(["id", "a,b"]) == 'id, "a,b"'
    assert listed_columns(f"c{number}" for number in range(32)).endswith("c29 and 2 more")


def test_a_suggested_type_for_a_plain_name_has_no_shell_quotes() -> None:
    assert column_type_option("zip") == "--column-type zip=string"


@given(NAMES)
def test_a_suggested_column_type_can_be_pasted_into_a_shell(name: str) -> None:
    option, word = shlex.split(column_type_option(name, "int64"))
    assert (option, parse_column_type(word)) == ("--column-type", (name, "int64"))


def test_the_first_name_that_occurs_twice_is_returned() -> None:
    assert first_duplicate(["a", "b", "c", "b", "a"]) == "a"
    assert first_duplicate(["", "a", ""]) == ""
    assert first_duplicate(iter("abc")) is None
