"""Make RecordBatches that share the memory of NumPy arrays."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from millrace.training.columns import Plan, RaggedPlan


def record_batch_maker(plans: Sequence[Plan]) -> Callable[[Mapping[str, Any]], pa.RecordBatch]:
    """Return the function that makes a RecordBatch from the arrays of its columns, by name."""
    schema = pa.schema([pa.field(plan.name, plan.type) for plan in plans])

    def record_batch(columns: Mapping[str, Any]) -> pa.RecordBatch:
        arrays = [_array(plan, columns[plan.name]) for plan in plans]
        return pa.RecordBatch.from_arrays(arrays, schema=schema)

    return record_batch


def _array(plan: Plan, column: Any) -> pa.Array:
    if isinstance(plan, RaggedPlan):
        return column
    return array_of(plan.type, column.reshape(-1), len(column))


def array_of(type_: pa.DataType, values: Any, rows: int) -> pa.Array:
    """Return an Arrow array without nulls whose values are those of a flat NumPy array; booleans are packed to bits."""
    if isinstance(type_, pa.BaseExtensionType):
        return pa.ExtensionArray.from_storage(type_, array_of(type_.storage_type, values, rows))
    if pa.types.is_fixed_size_list(type_):
        children = array_of(type_.value_type, values, rows * type_.list_size)
        return pa.FixedSizeListArray.from_arrays(children, type=type_)
    data = np.packbits(values, bitorder="little") if pa.types.is_boolean(type_) else values
    return pa.Array.from_buffers(type_, rows, [None, pa.py_buffer(data)], null_count=0)
