"""Show an object in a notebook as a small table of HTML in which everything is escaped."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape

from millrace.display.text import shortened

_COLUMNS_MAX = 100
_TEXT_MAX = 300


def html_table(title: str, facts: Iterable[tuple[str, object]], columns: Sequence[tuple[str, object]] = ()) -> str:
    """Return a table with a line for each fact, and below them one for each column of data (at most 100)."""
    rows = [f"<th colspan=2>{_cell(title)}</th>"]
    rows += [f"<td>{_cell(name)}</td><td>{_cell(value)}</td>" for name, value in facts]
    if columns:
        rows.append("<th>column</th><th>type</th>")
    rows += [f"<td>{_cell(name)}</td><td>{_cell(kind)}</td>" for name, kind in columns[:_COLUMNS_MAX]]
    if len(columns) > _COLUMNS_MAX:
        rows.append(f"<td colspan=2>and {len(columns) - _COLUMNS_MAX:,} more columns</td>")
    return f"<table>{''.join(f'<tr>{row}</tr>' for row in rows)}</table>"


def _cell(value: object) -> str:
    text = f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)
    text = shortened(text, _TEXT_MAX)
    # A name may hold half of a surrogate pair, which no page can be encoded with.
    return escape(text.encode(errors="backslashreplace").decode())
