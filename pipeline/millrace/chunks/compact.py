"""Remove data that rows do not use: a slice must not be stored with the dictionary values or text of other rows."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa

from millrace.arrow import VIEWS, holds, is_dense_union, is_valid, is_view, taken, with_children


def compact_batch(batch: pa.RecordBatch, *, always: bool = False) -> pa.RecordBatch:
    """Return the same rows without unused data.

    Dictionaries with more values than rows (all dictionaries if ``always``) keep the used values only. The order, index
    type and ``ordered`` of a dictionary stay. Text and binary views, list views and dense unions keep the values of
    their rows only. Arrow's writer writes the whole buffers that they point into, so half of the rows would be as large
    as all rows. For every other type the writer itself leaves out unused data.
    """
    originals = batch.columns
    columns = [_compact(column, always) for column in originals]
    if all(new is old for new, old in zip(columns, originals, strict=True)):
        return batch
    return pa.RecordBatch.from_arrays(columns, schema=batch.schema)


def _compact(array: pa.Array, always: bool) -> pa.Array:
    type_ = array.type
    if not holds(type_, _may_hold_unused_data):
        return array
    if isinstance(array, pa.ExtensionArray):
        return pa.ExtensionArray.from_storage(type_, _compact(array.storage, always))
    if pa.types.is_dictionary(type_):
        return _compact_dictionary(array, always)
    if type_ in VIEWS:
        return array.cast(VIEWS[type_]).cast(type_)
    return with_children(array, type_, lambda child, _: _compact(child, always))


def _may_hold_unused_data(type_: pa.DataType) -> bool:
    return bool(pa.types.is_dictionary(type_) or type_ in VIEWS or is_view(type_) or is_dense_union(type_))


def _compact_dictionary(array: Any, always: bool) -> pa.Array:
    if not always and len(array.dictionary) <= len(array):
        return array
    valid = is_valid(array.indices)
    indices = np.asarray(array.indices.fill_null(0))
    used = np.unique(indices[valid])
    if len(used) == len(array.dictionary):
        return array
    moved = np.searchsorted(used, indices).astype(indices.dtype)
    moved[~valid] = 0
    return pa.DictionaryArray.from_arrays(
        pa.array(moved, array.type.index_type, mask=~valid if array.indices.null_count else None),
        _compact(taken(array.dictionary, used), always),
        ordered=array.type.ordered,
    )
