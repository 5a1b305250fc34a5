"""The rows of Arrow columns as NumPy arrays, made from ``to_pylist``: slow, and independent of buffers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa

from millrace.arrow import decoded, run_values
from millrace.training.columns import ColumnPlan


def expected_rows(array: Any, plan: ColumnPlan, fill: Any = np.nan) -> Any:
    """Return (rows, *shape) of the plan's dtype, with ``fill`` in place of nulls at any depth."""
    storage = np.dtype(np.int64) if plan.dtype.kind in "Mm" else plan.dtype
    rows = np.empty((len(array), *plan.shape), storage)
    for row, value in enumerate(plain_list(array)):
        _write(rows, (row,), value, fill)
    return rows.view(plan.dtype)


def plain_list(array: Any) -> list[Any]:
    """Return ``to_pylist`` with integers in place of dates, times and bytes."""
    types, type_ = pa.types, array.type
    if isinstance(array, pa.ExtensionArray):
        return plain_list(array.storage)
    if types.is_dictionary(type_):
        return plain_list(decoded(array))
    if types.is_run_end_encoded(type_):
        return plain_list(run_values(array))
    if types.is_fixed_size_list(type_):
        children = plain_list(array.values.slice(array.offset * type_.list_size, len(array) * type_.list_size))
        lists = [children[i * type_.list_size :][: type_.list_size] for i in range(len(array))]
        return [values if valid else None for values, valid in zip(lists, array.is_valid().to_pylist(), strict=True)]
    if types.is_temporal(type_):
        return array.view(pa.int32() if type_.bit_width == 32 else pa.int64()).to_pylist()  # type: ignore[no-any-return]
    return [list(value) if isinstance(value, bytes) else value for value in array.to_pylist()]


def _write(rows: Any, place: tuple[int, ...], value: Any, fill: Any) -> None:
    if not isinstance(value, list):
        rows[place] = fill if value is None else value
        return
    shape = rows[place].shape
    for number, inner in enumerate(value):
        # The list of a tensor has as many parts as the tensor has values.
        further = (number,) if len(value) == shape[0] else np.unravel_index(number, shape)
        _write(rows, (*place, *further), inner, fill)
