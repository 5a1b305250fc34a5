"""Parsing of ``COLUMN=TYPE``."""

from __future__ import annotations

import pytest

from millrace.errors import UsageError
from millrace.sources.types import parse_column_type


@pytest.mark.parametrize(
    ("text", "column", "spelling"),
    [
        ("delay=int64", "delay", "int64"),
        ("seen=timestamp[us, tz=UTC]", "seen", "timestamp[us, tz=UTC]"),
        ("a=b=string", "a=b", "string"),
        ("a=b=timestamp[s, tz=UTC]", "a=b", "timestamp[s, tz=UTC]"),
        ("int64=string=int64", "int64=string", "int64"),
        ("==string", "=", "string"),
        ("tz=UTC]=list<timestamp[us, tz=Europe/Berlin]>", "tz=UTC]", "list<timestamp[us, tz=Europe/Berlin]>"),
        ("a=decimal128(10, 2)", "a", "decimal128(10, 2)"),
        (" a b = int8 ", " a b ", "int8"),
        ("price=", None, None),
        ("=int64", None, None),
        ("int64", None, None),
        ("", None, None),
        ("a=b=strin", None, None),
    ],
)
def test_the_name_of_a_column_ends_at_the_equals_sign_before_a_valid_type(
    text: str, column: str | None, spelling: str | None
) -> None:
    if column is not None:
        assert parse_column_type(text) == (column, spelling)
        return
    with pytest.raises(UsageError, match="is not COLUMN=TYPE"):
        parse_column_type(text)


def test_an_unknown_type_is_named() -> None:
    with pytest.raises(UsageError, match="unknown column type 'strin'"):
        parse_column_type("a=strin")
