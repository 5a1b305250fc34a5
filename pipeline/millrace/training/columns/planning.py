"""Decide how batches hold each column, before any chunk is read."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from millrace.arrow import nulls_of, stored_dtype
from millrace.chunks import cast_batch
from millrace.errors import ChunkFormatError, UsageError
from millrace.names import listed_columns
from millrace.training.columns.batch_format import BatchFormat
from millrace.training.columns.fill import fill_number, fill_scalar
from millrace.training.columns.layout import Layout, layout_of
from millrace.training.columns.plan import ColumnPlan, nulls_refused
from millrace.training.columns.ragged import RaggedPlan, plain_type
from millrace.training.columns.refusals import refused_type
from millrace.training.columns.scale import scale_of

Plan = ColumnPlan | RaggedPlan


class _Column(NamedTuple):
    """A column, and the wishes of the caller for it; ``fill`` and ``scale`` hold at most one value."""

    field: pa.Field
    format: BatchFormat
    null_count: int | None
    fill: tuple[Any, ...]
    scale: tuple[Any, ...]


def plan_columns(
    schema: pa.Schema,
    null_counts: Mapping[str, int | None],
    *,
    columns: Sequence[str] | None = None,
    nulls: Mapping[str, Any] | None = None,
    normalize: Mapping[str, Any] | None = None,
    format: str = BatchFormat.NUMPY,
) -> list[Plan]:
    """Return the plan of each column of the batches, in the order of ``columns`` (None: all of the schema).

    ``null_counts`` has the number of nulls of each column, None or no entry where it is not known. Nulls become the
    value in ``nulls``, else NaN in floats. In Arrow batches they stay nulls, unless the column is in ``nulls`` or
    ``normalize``. ``normalize`` has (mean, std) of columns of numbers. Raises ``UsageError`` for a column, a value or a
    format that is not possible.
    """
    names, batch_format = _chosen(schema, columns), _batch_format(format)
    fills, scales = dict(nulls or {}), dict(normalize or {})
    check_names(fills, names, "nulls= names a column that is not read")
    check_names(scales, names, "normalize= names a column that is not read")
    plans = []
    for name in names:
        field, count = schema.field(name), null_counts.get(name)
        fill, scale = ((options[name],) if name in options else () for options in (fills, scales))
        plans.append(_plan(_Column(field, batch_format, count if field.nullable else 0, fill, scale)))
    return plans


def _chosen(schema: pa.Schema, columns: Sequence[str] | None) -> list[str]:
    names = list(schema.names if columns is None else columns)
    if repeated := [name for name, count in Counter([*names]).items() if count > 1 or schema.names.count(name) > 1]:
        raise UsageError(f"a batch can hold one column named {repeated[0]!r}", hint="name each column once in columns=")
    check_names(names, schema.names, "columns= names a column that does not exist")
    if not names:
        raise UsageError("a batch has no columns", hint="name at least one in columns=")
    return names


def check_names(names: Iterable[str], existing: Sequence[str], problem: str) -> None:
    """Raise ``UsageError`` with the names that exist for the first that does not."""
    for name in names:
        if name not in existing:
            raise UsageError(f"{problem}: {name!r}", hint=f"the columns are {listed_columns(existing)}", column=name)


def _batch_format(name: str) -> BatchFormat:
    try:
        return BatchFormat(name)
    except ValueError:
        formats = ", ".join(repr(format.value) for format in BatchFormat)
        raise UsageError(f"format={name!r} does not exist", hint=f"use one of {formats}") from None


def _plan(column: _Column) -> Plan:
    layout = layout_of(column.field.type)
    if column.scale and (layout is None or pa.types.is_temporal(layout.leaf)):
        raise UsageError(
            f"normalize= takes columns of numbers, and {column.field.name!r} is of type {column.field.type}",
            hint="leave it out of normalize=",
            column=column.field.name,
        )
    if column.format is BatchFormat.ARROW and not (layout and _is_view(column, layout)):
        return _ragged(column)
    if layout is None or (column.format is BatchFormat.TORCH and pa.types.is_temporal(layout.leaf)):
        raise refused_type(column.field, column.format)
    return _fixed(column, layout)


def _is_view(column: _Column, layout: Layout) -> bool:
    """Return whether an Arrow batch can hold the column as a view of an array of rows, without nulls."""
    never_null = column.null_count == 0 and not layout.nullable_parts
    return bool(column.scale) or (layout.is_flat and (never_null or bool(column.fill)))


def _ragged(column: _Column) -> RaggedPlan:
    name, type_ = column.field.name, plain_type(column.field.type)
    try:
        cast_batch(pa.record_batch([nulls_of(0, column.field.type)], [name]), pa.schema([pa.field(name, type_)]))
    except ChunkFormatError:
        raise refused_type(column.field, column.format) from None
    return RaggedPlan(name, type_, fill_scalar(name, column.fill[0], type_) if column.fill else None)


def _fixed(column: _Column, layout: Layout) -> ColumnPlan:
    name, leaf = column.field.name, layout.leaf
    dtype = _scaled_dtype(leaf) if column.scale else _dtype(leaf, column.format)
    fill = fill_number(name, column.fill[0], leaf) if column.fill else None
    if fill is None and dtype.kind == "f":
        fill = np.nan
    if fill is None and column.null_count:
        raise nulls_refused(name, column.field.type, f"{column.null_count:,} nulls")
    is_copy = layout.is_flat and not column.scale and stored_dtype(leaf).itemsize == dtype.itemsize
    return ColumnPlan(
        name=name,
        type=_scaled_type(column.field.type, layout, dtype) if column.scale else column.field.type,
        dtype=dtype,
        is_copy=is_copy and dtype.kind != "b",
        shape=layout.shape,
        axes=layout.axes,
        fill=fill,
        scale=scale_of(name, column.scale[0], layout) if column.scale else None,
    )


def _dtype(leaf: pa.DataType, format: BatchFormat) -> np.dtype[Any]:
    """Return the dtype in batches: NumPy's dates and times, which count in their own units; else as stored."""
    types = pa.types
    if format is BatchFormat.ARROW or not types.is_temporal(leaf):
        return stored_dtype(leaf)
    if types.is_date(leaf):
        return np.dtype("M8[D]" if types.is_date32(leaf) else "M8[ms]")
    return np.dtype(f"{'M8' if types.is_timestamp(leaf) else 'm8'}[{leaf.unit}]")


def _scaled_dtype(leaf: pa.DataType) -> np.dtype[Any]:
    return np.dtype(np.float64 if leaf == pa.float64() else np.float32)


def _scaled_type(type_: pa.DataType, layout: Layout, dtype: np.dtype[Any]) -> pa.DataType:
    """Return the Arrow type of floats of the same shape."""
    floats: pa.DataType = pa.from_numpy_dtype(dtype)
    if isinstance(type_, pa.FixedShapeTensorType):
        return pa.fixed_shape_tensor(floats, type_.shape, type_.dim_names, type_.permutation)
    for size in reversed(layout.shape):
        floats = pa.list_(floats, size)
    return floats
