"""The types and values that Parquet, CSV and JSON lines can hold."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from millrace.arrow import holds
from millrace.dataset.exports.text_types import csv_type, is_bytes, is_extension


def parquet_holds(kind: pa.DataType) -> bool:
    """Return whether Parquet can hold values of the type."""
    if holds(kind, _is_unwritable_dictionary):
        return False
    try:
        with pq.ParquetWriter(pa.BufferOutputStream(), pa.schema([("x", kind)]), version="2.6"):
            return True
    except (pa.ArrowException, OSError):
        return False


def narrowed_type(kind: pa.DataType) -> pa.DataType | None:
    """Return the type that Parquet stores in place of ``kind``, or None if it stores ``kind`` itself.

    pyarrow 25 writes another value where that type is too narrow.
    """
    if pa.types.is_date64(kind):
        return pa.date32()
    return pa.timestamp("ms", kind.tz) if pa.types.is_timestamp(kind) and kind.unit == "s" else None


def beyond_parquet(array: Any) -> pa.DataType | None:
    """Return the type of the first date or time in the array that Parquet cannot hold, or None."""
    kind, narrow = array.type, narrowed_type(array.type)
    if narrow is not None:
        try:
            array.cast(narrow)
        except pa.ArrowInvalid:
            return kind
        return None
    if not holds(kind, narrowed_type):
        return None
    return next((beyond for child in _children(array) if (beyond := beyond_parquet(child))), None)


def _children(array: Any) -> list[pa.Array]:
    """Return the arrays of the values within an extension, dictionary, struct, map or list array."""
    kind = array.type
    if isinstance(array, pa.ExtensionArray):
        return [array.storage]
    if pa.types.is_dictionary(kind):
        return [array.dictionary]
    if pa.types.is_struct(kind):
        return list(array.flatten())
    return [array.keys, array.items] if pa.types.is_map(kind) else [array.flatten()]


def _is_unwritable_dictionary(kind: pa.DataType) -> bool:
    """Return whether the type is a dictionary that Parquet cannot hold, or an extension of a dictionary.

    pyarrow refuses to write the former only at the first rows. It writes the latter, but reading it with pyarrow 25
    ends the process.
    """
    if is_extension(kind):
        return holds(kind.storage_type, pa.types.is_dictionary)
    if not pa.types.is_dictionary(kind):
        return False
    views = (pa.types.is_string_view, pa.types.is_binary_view, pa.types.is_nested, is_extension)
    return any(check(kind.value_type) for check in views)


def csv_holds(kind: pa.DataType) -> bool:
    """Return whether CSV can hold values of the type as text that loads again."""
    kind = csv_type(kind)
    checks = (is_extension, pa.types.is_nested, pa.types.is_run_end_encoded, pa.types.is_interval, is_bytes)
    return not any(check(kind) for check in checks)


def json_holds(kind: pa.DataType) -> bool:
    """Return whether JSON lines can hold values of the type."""
    refused = (
        is_extension,
        pa.types.is_union,
        pa.types.is_run_end_encoded,
        pa.types.is_interval,
        pa.types.is_list_view,
        pa.types.is_large_list_view,
        is_bytes,
        lambda t: pa.types.is_dictionary(t) and pa.types.is_nested(t.value_type),
    )
    return not any(holds(kind, check) for check in refused)


def has_equal_fields(kind: pa.DataType) -> bool:
    """Return whether the type is a struct in which a field name occurs twice."""
    return bool(pa.types.is_struct(kind)) and len({field.name for field in kind}) < kind.num_fields


def has_null_of_fixed_size(array: pa.Array) -> bool:
    """Return whether there is a null in place of a list of fixed size, or at a level above one.

    Parquet refuses dictionaries of such lists by their type.
    """
    if not holds(array.type, pa.types.is_fixed_size_list):
        return False
    return array.null_count > 0 or any(map(has_null_of_fixed_size, _children(array)))
