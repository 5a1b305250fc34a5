"""Convert filters to expressions, and find the columns that they use."""

from __future__ import annotations

from typing import Any, TypeAlias

import pyarrow as pa
import pyarrow.compute as pc

from millrace.compat.pyarrow.expressions import Column, read_expression, walk
from millrace.errors import UsageError

Filter: TypeAlias = "str | pc.Expression"


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


def columns_for(condition: pc.Expression, schema: pa.Schema) -> list[int] | None:
    """Return the columns that a condition uses, or None where that is unknown because it names a column by position.

    Raises pyarrow's error for a condition that is not valid for the schema.
    """
    pa.Table.from_batches([], schema=schema).filter(condition)
    expression = read_expression(condition)
    if expression is None:
        return None
    names = {node.path[0] for node in walk(expression) if isinstance(node, Column)}
    return [index for index, name in enumerate(schema.names) if name in names]
