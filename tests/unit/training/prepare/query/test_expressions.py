"""Expressions of an entry: one value per row, over known columns."""

from __future__ import annotations

import pytest

from millrace.errors import UsageError
from millrace.training.prepare.query import expression_columns

COLUMNS = ["time_hour", "arr_delay", "s", "l", "Mixed"]


@pytest.mark.parametrize(
    ("text", "used"),
    [
        ("arr_delay > 15", {"arr_delay"}),
        ("time_hour - INTERVAL 2 HOUR", {"time_hour"}),
        ("case when s.x = 1 then 'a;b' else '--' end", {"s"}),
        ("list_sum(list_transform(l, lambda x: x + 1)) > arr_delay", {"l", "arr_delay"}),
        ("ARR_DELAY", {"arr_delay"}),
        ("mixed is null", {"Mixed"}),
        ("arr_delay.abs()", {"arr_delay"}),
        ("s->'$.a' = 1", {"s"}),
        ("true", set()),
        ("extract(hour from time_hour) in (1, 2)", {"time_hour"}),
    ],
)
def test_the_columns_of_an_expression(text: str, used: set[str]) -> None:
    assert expression_columns(text, COLUMNS, "target") == used


@pytest.mark.parametrize(
    "text",
    [
        "", "-- nothing", "arr_delay -- end", "arr_delay /* end */", "arr_delay; drop table x", "arr_delay;",
        "arr_delay) + (1", "arr_delay, 1", "arr_delay AS x", "arr_delay x", "arr_delay FROM x", "DISTINCT arr_delay",
        "arr_delay LIMIT 1", "arr_delay UNION SELECT 1", "1 WHERE true", "(SELECT 1)", "EXISTS (SELECT 1)",
        "arr_delay IN (SELECT 1)", "*", "s.*", "COLUMNS('a')", "sum(arr_delay)", "geomean(arr_delay)",
        "row_number() OVER ()", "sum(arr_delay) OVER ()", "unnest(l)", "#1", "?", "$1", "random()", "uuid()", "now()",
        "current_date", "getvariable('x')", "arr_dely", "t.arr_delay", "list_transform(l, lambda s: s + 1)",
        "'open", "arr_delay >", "read_text('x')",
    ],
)  # fmt: skip
def test_anything_else_is_refused_in_one_line(text: str) -> None:
    with pytest.raises(UsageError, match="target") as raised:
        expression_columns(text, COLUMNS, "target")
    assert "\n" not in str(raised.value)


def test_a_column_with_an_alias_is_refused_with_the_name_alone() -> None:
    with pytest.raises(UsageError, match="write arr_delay without f, because an expression has the columns of the"):
        expression_columns("f.arr_delay > 15", COLUMNS, "target")


def test_a_syntax_error_has_the_column_within_the_expression() -> None:
    with pytest.raises(UsageError, match="line 1, column 14"):
        expression_columns("arr_delay > (]", COLUMNS, "target")
