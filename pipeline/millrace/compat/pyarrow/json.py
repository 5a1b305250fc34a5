"""JSON lines that pyarrow parses into invalid arrays."""

from __future__ import annotations

import pyarrow as pa


def with_complete_lists(batch: pa.RecordBatch) -> pa.RecordBatch:
    """Return the same rows with lists of nulls as long as their offsets; pyarrow 25 makes one null for each list.

    While it infers types, pyarrow also gives other lists too few nulls. That cannot be repaired here.
    """
    if not any(map(_holds_lists_of_nulls, batch.schema.types)):
        return batch
    return pa.RecordBatch.from_arrays(list(map(_completed, batch.columns)), schema=batch.schema)


def _completed(array: pa.Array) -> pa.Array:
    type_ = array.type
    if not len(array) or not _holds_lists_of_nulls(type_):
        return array
    mask = array.is_null() if array.null_count else None
    if pa.types.is_struct(type_):
        children = [_completed(array.field(number)) for number in range(type_.num_fields)]
        return pa.StructArray.from_arrays(children, fields=list(type_), mask=mask)
    only_nulls = pa.types.is_null(type_.value_type)
    values = pa.nulls(array.offsets[-1].as_py()) if only_nulls else _completed(array.values)
    return pa.ListArray.from_arrays(array.offsets, values, type=type_, mask=mask)


def _holds_lists_of_nulls(type_: pa.DataType) -> bool:
    if pa.types.is_list(type_):
        return bool(pa.types.is_null(type_.value_type) or _holds_lists_of_nulls(type_.value_type))
    return pa.types.is_struct(type_) and any(_holds_lists_of_nulls(field.type) for field in type_)
