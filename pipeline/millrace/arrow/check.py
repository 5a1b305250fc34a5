"""Validation of Arrow data from other programs before it is used."""

from __future__ import annotations

from typing import Any

import pyarrow as pa

from millrace.arrow.types import with_fields
from millrace.compat.pyarrow.types import fields_of, holds


def check_column(column: pa.Array) -> None:
    """Raise ``pa.ArrowInvalid`` for damaged data: offsets, indices, text that is not UTF-8, decimals.

    A time of day of 24:00 is valid: databases write it, and pyarrow reads it from Parquet unchecked. pyarrow's full
    validation refuses it, so times are then validated as plain integers.
    """
    try:
        column.validate(full=True)
    except pa.ArrowInvalid:
        if not holds(column.type, pa.types.is_time):
            raise
        column.validate()  # checks the lengths of the buffers but no values
        pa.array(_Lent(column)).validate(full=True)


class _Lent:
    """The buffers of a column under a type that accepts every value."""

    def __init__(self, column: pa.Array) -> None:
        self._column = column
        self._type = _numbers(column.type)

    def __arrow_c_array__(self, requested_schema: Any = None) -> tuple[Any, Any]:
        return self._type.__arrow_c_schema__(), self._column.__arrow_c_array__()[1]


def _numbers(kind: Any) -> pa.DataType:
    """Return the type with integers in place of times, and storage types in place of extensions."""
    types = pa.types
    if isinstance(kind, pa.BaseExtensionType):
        return _numbers(kind.storage_type)
    if not holds(kind, types.is_time) or types.is_run_end_encoded(kind):
        return kind  # pyarrow does not run-end encode times of 24:00 either
    if types.is_time(kind):
        return pa.int32() if kind.bit_width == 32 else pa.int64()
    if types.is_dictionary(kind):
        return pa.dictionary(kind.index_type, _numbers(kind.value_type), kind.ordered)
    return with_fields(kind, [field.with_type(_numbers(field.type)) for field in fields_of(kind)])
