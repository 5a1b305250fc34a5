"""The values of arrays of numbers as NumPy arrays, and arrays of such values."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa


def stored_dtype(leaf: pa.DataType) -> np.dtype[Any]:
    """Return the dtype of the values in Arrow's memory: integers for dates and times, one byte for a bool."""
    if pa.types.is_boolean(leaf):
        return np.dtype(np.bool_)
    kinds = {"f": pa.types.is_floating(leaf), "u": pa.types.is_unsigned_integer(leaf)}
    kind = next((kind for kind, matches in kinds.items() if matches), "i")
    return np.dtype(f"{kind}{leaf.bit_width // 8}")  # ``to_pandas_dtype`` would import pandas


def stored_values(array: pa.Array) -> Any:
    """Return the values of an array of integers or floats as a view; values below nulls are undefined."""
    dtype = stored_dtype(array.type)
    return np.frombuffer(array.buffers()[1] or b"", dtype, len(array), array.offset * dtype.itemsize)


def array_of_values(type_: pa.DataType, values: Any, valid: Any = None) -> pa.Array:
    """Return the array of these contiguous values, which are not copied; ``valid`` has booleans (None: no null)."""
    nulls = 0 if valid is None else len(valid) - int(np.count_nonzero(valid))
    bits = pa.py_buffer(np.packbits(valid, bitorder="little")) if nulls else None
    return pa.Array.from_buffers(type_, len(values), [bits, pa.py_buffer(values)], nulls)
