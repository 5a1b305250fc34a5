"""Nested arrays that pyarrow's own functions build wrongly or not at all."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from millrace.compat.pyarrow.types import fields_of


def is_dense_union(kind: pa.DataType) -> bool:
    """Return whether the type is a union whose rows refer to their values by an offset into a child.

    pyarrow 25 assumes that no two rows share an offset. If two do, ``nbytes`` reads past the end of a child, which may
    end the process.
    """
    return bool(pa.types.is_union(kind) and kind.mode == "dense")


def union_parts(array: Any) -> tuple[Any, Any]:
    """Return the type code of each row, and the position of its value in its child.

    In a sparse union the position is the row's own number. ``array.type_codes`` and ``array.offsets`` of a slice begin
    at the unsliced array's start in pyarrow 25.
    """
    if not len(array):
        return np.zeros(0, np.int8), np.zeros(0, np.int32)
    codes = np.frombuffer(array.buffers()[1], np.int8, len(array), array.offset)
    if array.type.mode != "dense":
        return codes, np.arange(len(array))
    return codes, np.frombuffer(array.buffers()[2], np.int32, len(array), array.offset * 4)


def union_of(type_: pa.DataType, codes: Any, offsets: Any, children: Sequence[pa.Array]) -> pa.Array:
    """Build the union from buffers: ``from_dense`` and ``from_sparse`` lose its fields' nullability and metadata."""
    parts = [codes, offsets] if type_.mode == "dense" else [codes]
    buffers = [None, *(pa.py_buffer(np.ascontiguousarray(part)) for part in parts)]
    return pa.Array.from_buffers(type_, len(codes), buffers, children=list(children))


def fixed_size_lists(type_: pa.DataType, length: int, values: pa.Array, mask: pa.Array | None) -> pa.Array:
    """Build lists of a fixed size, which may be 0; ``mask`` is true for nulls.

    ``from_arrays`` of pyarrow 25 derives their number from their values, divides by 0 and ends the process.
    """
    if type_.list_size:
        return pa.FixedSizeListArray.from_arrays(values, type=type_, mask=mask)
    validity = None if mask is None else pc.invert(mask).buffers()[1]
    return pa.Array.from_buffers(type_, length, [validity], children=[values.slice(0, 0)])


def nulls_of(length: int, type_: pa.DataType) -> pa.Array:
    """Return ``pa.nulls``, valid for every type.

    pyarrow 25 gives run-end encoded arrays below a list or struct nulls of their own, which that layout cannot have.
    """
    if pa.types.is_run_end_encoded(type_):
        ends = pa.array([length] if length else [], type_.run_end_type)
        return pa.RunEndEncodedArray.from_arrays(ends, nulls_of(len(ends), type_.value_type), type=type_)
    array = pa.nulls(length, type_)
    if not _has_runs_below(type_):
        return array
    by_field = pa.types.is_struct(type_) or pa.types.is_union(type_)
    parts = [array.field(number) for number in range(type_.num_fields)] if by_field else [array.values]
    children = [nulls_of(len(part), field.type) for part, field in zip(parts, fields_of(type_), strict=True)]
    return pa.Array.from_buffers(type_, length, array.buffers()[: type_.num_buffers], children=children)


def _has_runs_below(type_: pa.DataType) -> bool:
    kinds = [field.type for field in fields_of(type_)]
    return any(pa.types.is_run_end_encoded(kind) or _has_runs_below(kind) for kind in kinds)
