"""Nulls in a CSV: pyarrow's spellings, and the spelling in exports of this program."""

from __future__ import annotations

from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as compute
import pyarrow.csv as pc

EMPTY_IS_NULL: Final = {"null_values": [""], "strings_can_be_null": True, "quoted_strings_can_be_null": False}
"""Options with which an empty field is a null, and a quoted empty field (``""``) the empty text."""

_NULL_SPELLINGS = pa.array(pc.ConvertOptions().null_values, pa.string())


def has_empty_text(column: Any) -> bool:
    """Return whether the column contains an empty text, which may have been written for a null."""
    values = column.dictionary if pa.types.is_dictionary(column.type) else column
    if not (pa.types.is_string(values.type) or pa.types.is_large_string(values.type)):
        return False
    return bool(compute.any(compute.equal(values, "")).as_py())


def with_nan(column: pa.Array, spelled: pa.Array) -> pa.Array:
    """Return the column of floats with NaN where the text is ``nan``, which pyarrow reads as a null."""
    return compute.if_else(compute.equal(spelled, "nan"), float("nan"), column)


def nulls_in_text(batch: pa.RecordBatch, names: frozenset[str]) -> pa.RecordBatch:
    """Return the batch with pyarrow's default spellings of null as nulls in those of these columns that are text.

    This also serves columns that contained only nulls when the types were inferred. The spellings in those rows are no
    longer known, so later rows are read with the same spellings.
    """
    for number, field in enumerate(batch.schema):
        if field.name in names and pa.types.is_string(field.type):
            column = batch.column(number)
            spelled = compute.is_in(column, value_set=_NULL_SPELLINGS)
            batch = batch.set_column(number, field, compute.if_else(spelled, None, column))
    return batch
