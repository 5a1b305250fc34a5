"""Convert filters to expressions, and find the columns that they use."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Final, TypeAlias

import pyarrow as pa
import pyarrow.compute as pc

from millrace.errors import UsageError

__all__ = ["Filter", "as_condition", "columns_for", "names_positions"]

Filter: TypeAlias = "str | pc.Expression"

_POSITION: Final = "FieldPath"
"""Arrow's text for ``pc.field(0)``: a position, which means another column in any other set of columns."""

_BOUND_MAX: Final = 100
"""Maximum number of columns that are left out one by one to test whether a condition needs them.

The time grows with the square of this number."""


def as_condition(filter: Any, schema: pa.Schema) -> pc.Expression:
    """Return the expression for a text or an expression; raise ``UsageError`` for anything else."""
    if isinstance(filter, pc.Expression):
        return filter
    if not isinstance(filter, str):
        raise UsageError(
            f"a {type(filter).__name__} is not a filter",
            hint="give the text of a condition, such as 'month = 1', or an expression of pyarrow.compute",
        )
    from millrace.dataset.filters.parser import parse_filter

    return parse_filter(filter, schema)


def names_positions(condition: pc.Expression) -> bool:
    """Return whether the condition may name columns by position."""
    return _POSITION in str(condition)


def columns_for(condition: pc.Expression, schema: pa.Schema) -> list[int]:
    """Return the columns that a condition uses, rarely more.

    An Expression does not list its columns, so they are found through its text and by binding it to fewer columns.
    """
    empty = pa.Table.from_batches([], schema=schema)
    empty.filter(condition)
    said = str(condition)
    if _POSITION in said:
        return list(range(len(schema)))
    named = _named_in(said, schema.names)
    try:
        few = empty.select(named)
        few.filter(condition)
    except (pa.ArrowInvalid, KeyError):
        return list(range(len(schema)))  # the text spells a column's name in another way
    if len(named) > _BOUND_MAX:
        return named
    return [index for place, index in enumerate(named) if not _binds(few.remove_column(place), condition)]


def _named_in(said: str, names: Sequence[str]) -> list[int]:
    """Return the columns whose names occur in the text of an expression, even if only within a literal."""
    words = set(re.findall(r"\w+", said))
    # Words are compared first: to search each of 10,000 names in a text of 1,000 conditions would take a second.
    return [i for i, name in enumerate(names) if words.issuperset(re.findall(r"\w+", name)) and name in said]


def _binds(table: pa.Table, condition: pc.Expression) -> bool:
    try:
        table.filter(condition)
    except (pa.ArrowInvalid, KeyError):
        return False
    return True
