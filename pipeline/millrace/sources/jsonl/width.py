"""Limits on the width of JSON lines: every row gets a value or a null for every key that any line has."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pyarrow as pa

from millrace.errors import SourceTooLargeError
from millrace.names import column_type_option
from millrace.sources.model import SourceFile
from millrace.sources.text.blocks import Block
from millrace.sources.text.records import count_lines, record_starts

_PIECE_CELLS = 2_000_000
"""Rows times keys in a block that is parsed at once, including nulls: 9 to 16 bytes each while they are parsed."""
_LEAVES_MAX = 50_000
"""Columns, including those within objects; reading a source with this many was measured to stay below 400 MB."""
_CELLS_MAX = 16_000_000
_CELLS_PER_BYTE = 100
"""Above both limits nearly every value is a null that no line has: the keys are identifiers, not columns."""


def leaf_count(type_: pa.DataType) -> int:
    """Return the number of value arrays (leaves) of a type."""
    if pa.types.is_struct(type_):
        return sum(leaf_count(field.type) for field in type_.fields)
    return leaf_count(type_.value_type) if pa.types.is_list(type_) else 1


def narrow_pieces(block: Block, width: int | None = None) -> Iterator[Block]:
    """Yield the block in pieces of whole lines, each with at most ``_PIECE_CELLS`` cells unless it is one line.

    ``width`` is the number of keys where it is known. Otherwise the number of colons in the piece is the upper bound.
    """
    keys = block.data.count(b":") if width is None else width
    if block.data.count(b"{") * keys <= _PIECE_CELLS:
        yield block
        return
    starts = record_starts(block.data, None)
    if len(starts) < 2:
        yield block
        return
    middle = int(starts[len(starts) // 2])
    first, second = block.data[:middle], block.data[middle:]
    yield from narrow_pieces(replace(block, data=first), width)
    lines_before = block.lines_before + count_lines(first)
    yield from narrow_pieces(
        replace(block, data=second, offset=block.offset + middle, lines_before=lines_before), width
    )


def refuse_width(
    types: dict[str, pa.DataType],
    rows: int,
    data_bytes: int,
    file: SourceFile,
    *,
    leaves_max: int = _LEAVES_MAX,
) -> None:
    """Raise ``SourceTooLargeError`` when the first ``rows`` lines, of ``data_bytes``, have too many different keys."""
    leaves = {name: leaf_count(kind) for name, kind in types.items()}
    total = sum(leaves.values())
    cells = rows * total
    if total <= leaves_max and (cells <= _CELLS_MAX or cells <= _CELLS_PER_BYTE * data_bytes):
        return
    column = max(leaves, key=lambda name: leaves[name])
    if 2 * leaves[column] > total:
        problem = f"column {column!r} has {leaves[column]:,} different keys in the first {rows:,} lines"
        hint = f"keep it as text: {column_type_option(column)}"
    else:
        column, problem = "", f"the first {rows:,} lines have {total:,} different keys"
        hint = "make a row of each key (jq -c 'to_entries[]'), or put them into one column that is kept as text"
    limit = f"at most {leaves_max:,} are columns, and fewer where most lines lack them"
    raise SourceTooLargeError(f"{file.name}: {problem}; {limit}", hint=hint, file=file.name, column=column or None)
