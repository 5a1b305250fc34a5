"""Arrow IPC files that pyarrow writes wrongly."""

from __future__ import annotations

import pyarrow as pa


def appendable_dictionary(values: pa.Array) -> pa.Array:
    """Return a dictionary to which later batches of a file can append: a null in place of no values.

    After an empty dictionary pyarrow 25 makes a replacement instead of a delta. A file cannot have one, so it raises.
    """
    return values if len(values) or pa.types.is_null(values.type) else pa.nulls(1, values.type)
