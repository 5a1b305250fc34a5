"""Print the first rows of a table with as many columns as fit the terminal."""

from __future__ import annotations

import shutil
import sys
from typing import Any, Final

import pyarrow as pa

from millrace.cli.output import print_table, say, visible
from millrace.dataset import as_text
from millrace.names import listed_columns

CELL_MAX: Final = 200
"""Most characters of a cell; ``read --output -`` writes all of them."""
WIDE: Final = 40
"""Largest width that counts for a column when the columns that fit are chosen; longer cells fold."""
GAP: Final = 3


def print_preview(table: pa.Table) -> None:
    """Print the rows; on a terminal only the columns that fit, with the names of the others below.

    Piped output has all columns. A cell is cut at ``CELL_MAX`` characters, and a line names the columns of such cells.
    """
    columns = [_cells(table, index) for index in range(table.num_columns)]
    names = [visible(name) for name in table.schema.names]
    fitting = len(columns)
    if sys.stdout.isatty():
        fitting = _fitting(names, columns, shutil.get_terminal_size().columns)
    right = [names[i] for i in range(fitting) if _is_number(table.schema.field(i).type)]
    print_table(names[:fitting], list(zip(*columns[:fitting], strict=True)), right=right, folding=names[:fitting])
    cut = [
        name
        for name, column in zip(names[:fitting], columns, strict=False)
        if any(isinstance(cell, _Cut) for cell in column)
    ]
    if cut:
        say(f"cut at {CELL_MAX} characters: {listed_columns(cut)} (whole with --output - --format csv, or jsonl)")
    if fitting < len(names):
        say(f"not shown: {listed_columns(names[fitting:])} (--columns A,B)")


class _Cut(str):
    """The beginning of a value that is too long for a table."""

    __slots__ = ()


def _cells(table: pa.Table, index: int) -> list[Any]:
    from rich.text import Text

    cells: list[Any] = []
    for chunk in table.column(index).chunks:
        for value in as_text(chunk):
            if value is None:
                cells.append(Text("null", style="dim italic"))
                continue
            shown = visible(value)
            cells.append(shown if len(shown) <= CELL_MAX else _Cut(shown[: CELL_MAX - 1] + "…"))
    return cells


def _fitting(names: list[str], columns: list[list[Any]], width: int) -> int:
    """Return the number of columns that fit beside each other; at least one."""
    from rich.cells import cell_len

    used = 0
    for index, (name, cells) in enumerate(zip(names, columns, strict=True)):
        used += min(WIDE, max([cell_len(name), *(cell_len(str(cell)) for cell in cells)])) + GAP
        if used > width and index:
            return index
    return len(names)


def _is_number(kind: Any) -> bool:
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind))
