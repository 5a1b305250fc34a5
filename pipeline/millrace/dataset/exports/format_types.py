"""The types that CSV and JSON lines can hold."""

from __future__ import annotations

import pyarrow as pa

from millrace.arrow import holds, is_extension
from millrace.dataset.exports.text_types import csv_type, is_bytes


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
