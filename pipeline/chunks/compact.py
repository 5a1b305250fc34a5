"""Rows without what they do not use: a slice must not carry the dictionary or the text of the rows beside it."""

from __future__ import annotations

from typing import Any

import pyarrow as pa

__all__ = ["compact_batch"]


def compact_batch(batch: pa.RecordBatch, *, always: bool = False) -> pa.RecordBatch:
    """The same rows; dictionaries with more values than rows (all dictionaries if ``always``) keep used values only.

    Order, index type and ``ordered`` of a dictionary stay. Text and binary views keep their own bytes only. Arrow's
    writer does the same for every other type.
    """
    held = batch.columns
    columns = [_compact(column, always) for column in held]
    if all(new is old for new, old in zip(columns, held, strict=True)):
        return batch
    return pa.RecordBatch.from_arrays(columns, schema=batch.schema)


def _compact(array: pa.Array, always: bool) -> pa.Array:
    if not _needs(array.type):
        return array
    type_ = array.type
    if isinstance(array, pa.ExtensionArray):
        return pa.ExtensionArray.from_storage(type_, _compact(array.storage, always))
    if pa.types.is_dictionary(type_):
        return _compact_dictionary(array, always)
    if pa.types.is_string_view(type_):
        return array.cast(pa.large_string()).cast(type_)
    if pa.types.is_binary_view(type_):
        return array.cast(pa.large_binary()).cast(type_)
    return _compact_children(array, always)


def _needs(type_: pa.DataType) -> bool:
    if isinstance(type_, pa.BaseExtensionType):
        return _needs(type_.storage_type)
    types = pa.types
    if types.is_dictionary(type_) or types.is_string_view(type_) or types.is_binary_view(type_):
        return True
    return any(_needs(type_.field(i).type) for i in range(type_.num_fields))


def _compact_dictionary(array: Any, always: bool) -> pa.Array:
    import numpy as np

    if not always and len(array.dictionary) <= len(array):
        return array
    valid = array.indices.is_valid().to_numpy(zero_copy_only=False)
    indices = np.asarray(array.indices.fill_null(0))
    used = np.unique(indices[valid])
    if len(used) == len(array.dictionary):
        return array
    moved = np.searchsorted(used, indices).astype(indices.dtype)
    moved[~valid] = 0
    return pa.DictionaryArray.from_arrays(
        pa.array(moved, array.type.index_type, mask=~valid if array.indices.null_count else None),
        array.dictionary.take(pa.array(used, pa.int64())),
        ordered=array.type.ordered,
    )


def _compact_children(array: Any, always: bool) -> pa.Array:
    types, type_ = pa.types, array.type
    mask = array.is_null() if array.null_count else None
    if types.is_struct(type_):
        children = [_compact(array.field(i), always) for i in range(type_.num_fields)]
        return pa.StructArray.from_arrays(children, fields=list(type_), mask=mask)
    if types.is_fixed_size_list(type_):
        size = type_.list_size
        values = array.values.slice(array.offset * size, len(array) * size)
        return pa.FixedSizeListArray.from_arrays(_compact(values, always), type=type_, mask=mask)
    if types.is_list(type_) or types.is_large_list(type_) or types.is_map(type_):
        return _compact_list(array, always, mask)
    return array  # unions, list views and run ends keep what they hold: correct, only larger


def _compact_list(array: Any, always: bool, mask: Any) -> pa.Array:
    import numpy as np

    offsets = np.asarray(array.offsets)
    first, length = int(offsets[0]), int(offsets[-1] - offsets[0])
    moved = pa.array(offsets - first)
    if pa.types.is_map(array.type):
        keys, items = (_compact(child.slice(first, length), always) for child in (array.keys, array.items))
        return pa.MapArray.from_arrays(moved, keys, items, type=array.type, mask=mask)
    values = _compact(array.values.slice(first, length), always)
    return type(array).from_arrays(moved, values, type=array.type, mask=mask)
