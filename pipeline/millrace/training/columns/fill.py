"""The values that replace nulls."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from millrace.errors import UsageError
from millrace.training.columns.layout import fixed_values

_ARROW_ERRORS = (pa.ArrowException, TypeError, ValueError, OverflowError)


def fill_number(name: str, value: Any, leaf: pa.DataType) -> Any:
    """Return the value of ``nulls={name: value}`` as a NumPy scalar of the stored dtype.

    NumPy's NaT is allowed for dates and times. Raises ``UsageError`` for a value that the type cannot hold.
    """
    if isinstance(value, np.datetime64 | np.timedelta64) and np.isnat(value) and pa.types.is_temporal(leaf):
        return np.int64(np.iinfo(np.int64).min)
    return fixed_values(pa.repeat(fill_scalar(name, value, leaf), 1)).values[0, 0]


def fill_scalar(name: str, value: Any, type_: pa.DataType) -> pa.Scalar:
    """Return the value of ``nulls={name: value}`` as an Arrow scalar of the type, or raise ``UsageError``."""
    try:
        scalar = pa.scalar(value)
        scalar = scalar if scalar.type.equals(type_) else scalar.cast(type_)
        if scalar.is_valid and pc.fill_null(pa.nulls(1, type_), scalar).null_count == 0:
            return scalar
        reason = "it is null"
    except _ARROW_ERRORS as error:
        reason = str(error).splitlines()[0]
    raise UsageError(
        f"nulls= of column {name!r}: {value!r} is no value of type {type_}: {reason}",
        hint="give a value of the column's type, or leave the column out with columns=[...]",
        column=name,
    )
