"""What is a null in a CSV: pyarrow's spellings, and what an export of this program writes for one."""

from __future__ import annotations

from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as compute
import pyarrow.csv as pc

__all__ = ["EMPTY_IS_NULL", "has_empty_text", "nulls_in_text", "with_nan"]

EMPTY_IS_NULL: Final = {"null_values": [""], "strings_can_be_null": True, "quoted_strings_can_be_null": False}
"""Options with which nothing at all is a null, and ``""`` the empty text."""

_NULL_SPELLINGS = pa.array(pc.ConvertOptions().null_values, pa.string())


def has_empty_text(column: Any) -> bool:
    """Whether there is an empty text, or a null that was read as one."""
    values = column.dictionary if pa.types.is_dictionary(column.type) else column
    if not (pa.types.is_string(values.type) or pa.types.is_large_string(values.type)):
        return False
    return bool(compute.any(compute.equal(values, "")).as_py())


def with_nan(column: pa.Array, spelled: pa.Array) -> pa.Array:
    """The column of floats with NaN where ``nan`` is written, which pyarrow reads as a null."""
    return compute.if_else(compute.equal(spelled, "nan"), float("nan"), column)


def nulls_in_text(batch: pa.RecordBatch, names: frozenset[str]) -> pa.RecordBatch:
    """The batch with pyarrow's default spellings of null as nulls in these columns where they are text.

    For columns that held nothing but nulls when the types were found: what was written for those rows is known no
    more, so the rows to come mean the same by it.
    """
    for number, field in enumerate(batch.schema):
        if field.name in names and pa.types.is_string(field.type):
            column = batch.column(number)
            spelled = compute.is_in(column, value_set=_NULL_SPELLINGS)
            batch = batch.set_column(number, field, compute.if_else(spelled, None, column))
    return batch
