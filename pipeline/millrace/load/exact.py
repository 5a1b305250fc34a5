"""Check that doubles represent all integers of a column exactly, before the column widens to doubles.

The bounds of chunks prove it for most columns. Otherwise the values are read: for numbers beyond 2^53, and for numbers
in lists and structs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pyarrow as pa

from millrace.arrow import decoded_type, holds, holds_pair
from millrace.chunks import TileLayout, assemble_as_stored, cast_stored_numbers
from millrace.errors import SourceTypeError
from millrace.names import column_type_option
from millrace.sources import WHOLE_MAX, rounded
from millrace.store import Catalogue, ChunkReader, ChunkRef, PageRef


def check_exact(
    catalogue: Catalogue,
    dataset: str,
    pages: Callable[[], Sequence[PageRef]],
    layout: TileLayout,
    have: pa.Schema,
    wide: pa.Schema,
    subject: str,
) -> None:
    """Raise ``SourceTypeError`` for an integer that a double would change.

    The columns of ``pages()`` have the types of ``have`` and become ``wide`` (by name). Only chunks whose bounds leave
    it open are read. ``subject`` names the rows in the message.
    """
    doubtful = [at for at, field in enumerate(have) if _rounds(field.type, wide.field(field.name).type)]
    if not doubtful:
        return
    reader = ChunkReader(catalogue.reader.cassandra)
    for ref in pages():
        page = catalogue.pages.page(dataset, ref)
        stats = page.stats_batch()
        # A chunk that is older than a column has no statistics of it: all its values are null.
        for column in (number for number in doubtful if number < stats.num_columns):
            field = have.field(column)
            rows = [row for row, bounds in enumerate(stats.column(column)) if not _are_small(bounds, field.type)]
            for chunk in page.refs(rows):
                _check_chunk(_column(reader, chunk, layout, have, column), field, wide.field(field.name).type, subject)


def _rounds(narrow: pa.DataType, wide: pa.DataType) -> bool:
    """Return whether integers of 64 bits, which may need more than 53, become doubles anywhere in the type."""
    return holds_pair(
        narrow,
        wide,
        lambda stored, target: pa.types.is_integer(stored) and pa.types.is_floating(target) and stored.bit_width > 32,
    )


def _are_small(bounds: Any, kind: pa.DataType) -> bool:
    """Return whether the statistics of a chunk alone prove that its numbers are exact as doubles."""
    if not pa.types.is_integer(decoded_type(kind)):
        return False
    low, high = bounds["min"], bounds["max"]
    return bool(low.is_valid and high.is_valid and low.as_py() >= -WHOLE_MAX and high.as_py() <= WHOLE_MAX)


def _column(reader: ChunkReader, chunk: ChunkRef, layout: TileLayout, have: pa.Schema, column: int) -> pa.Array:
    numbers = layout.tiles_of([column])
    context = {"dataset": chunk.dataset, "chunk": str(chunk)}
    stored = zip(numbers, reader.fetch(chunk, numbers), strict=True)
    tiles = [chunk.tiles[number].decode(data, {**context, "tile": number}) for number, data in stored]
    batch = assemble_as_stored(tiles, layout, have, [column])
    return cast_stored_numbers(batch, pa.schema([have.field(column)])).column(0)


def _check_chunk(array: pa.Array, field: pa.Field, wide: pa.DataType, subject: str) -> None:
    for numbers in _whole_numbers(array, wide):
        if (number := rounded(numbers)) is not None:
            raise SourceTypeError(
                f"{subject}: column {field.name!r} is {field.type} and would become {wide}, "
                f"which changes whole numbers like {number}",
                hint="load it as another dataset, or load the whole dataset again with "
                f"{column_type_option(field.name)} (CSV, JSON lines)",
                column=field.name,
                expected=str(field.type),
                actual=str(wide),
            )


def _whole_numbers(array: Any, wide: pa.DataType) -> Iterator[pa.Array]:
    """Yield the integers in an array that become floating, each array of them without nulls."""
    wide = decoded_type(wide)
    if pa.types.is_dictionary(array.type):
        array = array.dictionary_decode()
    if pa.types.is_integer(array.type):
        if pa.types.is_floating(wide) and array.type.bit_width > 32:
            yield array.drop_null()
    elif pa.types.is_struct(array.type):
        for number, child in enumerate(array.flatten()):
            yield from _whole_numbers(child, wide.field(number).type)
    elif pa.types.is_map(array.type):
        # Keys and items of the entries, limited to the rows of this array, which may be a slice.
        entries = pa.ListArray.from_arrays(
            array.offsets, pa.StructArray.from_arrays([array.keys, array.items], ["k", "v"])
        )
        yield from _whole_numbers(entries.flatten(), wide.field(0).type)
    elif pa.types.is_nested(array.type) and holds(array.type, pa.types.is_integer):
        yield from _whole_numbers(array.flatten(), wide.field(0).type)
