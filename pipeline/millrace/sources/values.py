"""Checks of the values of typed formats, and the search for the first wrong value of an array.

pyarrow returns invalid arrays for a damaged file, which must not be used.
"""

from __future__ import annotations

from collections.abc import Callable

import pyarrow as pa

from millrace.arrow import check_column, holds, is_dense_union
from millrace.errors import SourceCorruptError, SourceFormatError


def check_values(
    batch: pa.RecordBatch, name: str, first_row: int, damaged: Callable[[str, str], SourceCorruptError]
) -> None:
    """Check every offset, index and text of a batch of the file ``name``.

    ``first_row`` is the number of rows of the file before the batch. Raises ``SourceFormatError`` for text that is not
    UTF-8, and the error ``damaged(name, reason)`` for any other invalid value.
    """
    for field, column in zip(batch.schema, batch.columns, strict=True):
        try:
            check_column(column)
        except pa.ArrowInvalid as error:
            if "UTF8" not in str(error):
                first = str(error).split("\n")[0]
                raise damaged(name, f"column {field.name!r}: {first[:1].lower()}{first[1:]}") from error
            row = _first_bad_row(column)
            location = name if row is None else f"{name}, row {first_row + row + 1:,}"
            raise SourceFormatError(
                f"{location}: column {field.name!r} has text that is not UTF-8",
                hint="write that text as UTF-8, or the column as binary",
                file=name,
                column=field.name,
            ) from None


def _first_bad_row(column: pa.Array) -> int | None:
    """Return the first row with text that is not UTF-8; None for types whose rows may share values."""
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    if holds(column.type, _is_shared):
        return None
    # Checking a slice of lists checks the values of all lists. A copy has only its own values.
    return first_invalid(column, lambda part: check_column(pa.concat_arrays([part])))


def _is_shared(kind: pa.DataType) -> bool:
    types = pa.types
    views = types.is_list_view(kind) or types.is_large_list_view(kind)
    return bool(types.is_dictionary(kind) or views or is_dense_union(kind) or types.is_run_end_encoded(kind))


def first_invalid(array: pa.Array, read: Callable[[pa.Array], object]) -> int:
    """Return the number of the first value for which ``read`` raises ``pa.ArrowInvalid``, found by bisection.

    The array must contain such a value.
    """
    start, stop = 0, len(array)
    while stop - start > 1:
        middle = (start + stop) // 2
        try:
            read(array.slice(start, middle - start))
            start = middle
        except pa.ArrowInvalid:
            stop = middle
    return start
