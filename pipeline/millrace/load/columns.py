"""Describe the columns of a version for a report, bounded in size for any number of columns and any types."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

import pyarrow as pa

from millrace.names import quoted_column

ReportedColumns = tuple[tuple[str, str], ...]
"""Pairs of name and Arrow type."""

_CHARS_MAX: Final = 64_000
"""Bounded because Airflow's database stores the report."""
_LINE_COLUMNS_MAX: Final = 20
_LINE_TEXT_MAX: Final = 60


def reported_columns(
    schema: pa.Schema,
    *,
    size_max: int = _CHARS_MAX,
    size_of: Callable[[str], int] = len,
    to_text: Callable[[object], str] = str,
) -> ReportedColumns:
    """Return name and type of the first columns, as many as have room in ``size_max`` (64,000 characters)."""
    pairs: list[tuple[str, str]] = []
    for column in schema:
        pair = to_text(column.name), to_text(column.type)
        size_max -= size_of(pair[0]) + size_of(pair[1])
        if size_max < 0:
            break
        pairs.append(pair)
    return tuple(pairs)


def columns_line(columns: Sequence[tuple[str, str]], total: int) -> str:
    """Return the columns in one line: ``a int64, b string``, the first 20 and how many more there are."""
    shown = [f"{_cut(quoted_column(name))} {_cut(kind)}" for name, kind in columns[:_LINE_COLUMNS_MAX]]
    more = total - len(shown)
    return ", ".join(shown) + (f"{', ...' if shown else ''} and {more:,} more" if more > 0 else "")


def _cut(text: str) -> str:
    return text if len(text) <= _LINE_TEXT_MAX else text[: _LINE_TEXT_MAX - 3] + "..."
