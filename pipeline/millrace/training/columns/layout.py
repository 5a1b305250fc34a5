"""Recognize Arrow types whose rows all have one shape, and read their values as NumPy arrays."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import prod
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from millrace.arrow import decoded, is_valid, run_values, stored_dtype


@dataclass(frozen=True, slots=True)
class Layout:
    """The shape of the rows of a column, and the type of the values in it.

    ``axes`` is the order in which a tensor's axes are shown, as a permutation of ``shape`` (None: as stored).
    ``is_flat`` tells that a column's values are one buffer: no dictionary, no runs. ``nullable_parts`` tells that a
    value within a row may be null although the row is not.
    """

    leaf: pa.DataType
    shape: tuple[int, ...] = ()
    axes: tuple[int, ...] | None = None
    is_flat: bool = True
    nullable_parts: bool = False

    @property
    def width(self) -> int:
        """Return the number of values in a row."""
        return prod(self.shape)


def layout_of(type_: pa.DataType) -> Layout | None:
    """Return the layout of a type; None where rows differ in size, or hold values that NumPy has no type for."""
    types = pa.types
    if isinstance(type_, pa.FixedShapeTensorType):
        inner = layout_of(type_.storage_type)
        return inner and replace(inner, shape=tuple(type_.shape), axes=_axes(type_))
    if isinstance(type_, pa.BaseExtensionType):
        return layout_of(type_.storage_type)
    if types.is_dictionary(type_) or types.is_run_end_encoded(type_):
        inner = layout_of(type_.value_type)
        return inner and replace(inner, is_flat=False)
    if types.is_fixed_size_list(type_):
        return _layout_of_lists(type_)
    if types.is_fixed_size_binary(type_):
        return Layout(pa.uint8(), (type_.byte_width,)) if type_.byte_width else None
    is_plain = types.is_boolean(type_) or types.is_integer(type_) or types.is_floating(type_)
    return Layout(type_) if is_plain or (types.is_temporal(type_) and not types.is_interval(type_)) else None


def _axes(type_: Any) -> tuple[int, ...] | None:
    axes = None if type_.permutation is None else tuple(type_.permutation)
    return None if axes == tuple(range(len(type_.shape))) else axes


def _layout_of_lists(type_: Any) -> Layout | None:
    inner = layout_of(type_.value_type)
    if inner is None or not type_.list_size:
        return None
    return replace(
        inner,
        shape=(type_.list_size, *inner.shape),
        axes=None if inner.axes is None else (0, *(axis + 1 for axis in inner.axes)),
        nullable_parts=inner.nullable_parts or type_.value_field.nullable,
    )


class FixedValues(NamedTuple):
    """The values of rows of one shape: (rows, width), of the stored dtype.

    ``valid`` is (rows, width) or (rows, 1) booleans; None where no value is null. Values below nulls are undefined.
    """

    values: Any
    valid: Any


def fixed_values(array: Any) -> FixedValues:
    """Return the values of an array whose type has a layout; ``array`` is not empty.

    Numbers are views of Arrow's memory. Booleans, dictionaries and runs are decoded to a copy.
    """
    type_ = array.type
    if isinstance(array, pa.ExtensionArray):
        return fixed_values(array.storage)
    if pa.types.is_dictionary(type_):
        return fixed_values(decoded(array))
    if pa.types.is_run_end_encoded(type_):
        return fixed_values(run_values(array))
    valid = is_valid(array)[:, None] if array.null_count else None
    if pa.types.is_fixed_size_list(type_):
        return _values_of_lists(array, valid)
    data, offset, rows = array.buffers()[1], array.offset, len(array)
    if pa.types.is_boolean(type_):
        return FixedValues(_bits(data, offset, rows)[:, None], valid)
    dtype, width = (np.dtype(np.uint8), type_.byte_width) if pa.types.is_fixed_size_binary(type_) else (None, 1)
    dtype = dtype or stored_dtype(type_)
    values = np.frombuffer(data, dtype, rows * width, offset * width * dtype.itemsize)
    return FixedValues(values.reshape(rows, width), valid)


def has_nulls(array: Any) -> bool:
    """Return whether a row of an array of flat values (``Layout.is_flat``), or a value within a row, is null."""
    if isinstance(array, pa.ExtensionArray):
        return has_nulls(array.storage)
    if array.null_count or not pa.types.is_fixed_size_list(array.type):
        return bool(array.null_count)
    size = array.type.list_size
    return has_nulls(array.values.slice(array.offset * size, len(array) * size))


def _values_of_lists(array: Any, valid: Any) -> FixedValues:
    rows, size = len(array), array.type.list_size
    values, inner = fixed_values(array.values.slice(array.offset * size, rows * size))
    values = values.reshape(rows, -1)
    if inner is not None:
        inner = np.broadcast_to(inner, (rows * size, values.shape[1] // size)).reshape(rows, -1)
        valid = inner if valid is None else inner & valid
    return FixedValues(values, valid)


def _bits(data: pa.Buffer, offset: int, count: int) -> Any:
    first, skipped = divmod(offset, 8)
    bits = np.frombuffer(data, np.uint8, offset=first)
    return np.unpackbits(bits, count=skipped + count, bitorder="little")[skipped:].view(bool)
