"""Statistics of a chunk's columns, by which a filter skips the chunk without fetching it.

A chunk's statistics are one row. It has ``struct<nulls: int64, min: T, max: T>`` for each column of the dataset, at the
same position and under the same name. The rows of many chunks are concatenated into one table. If a chunk has narrower
types than the version, ``cast_batch(stats, stats_schema(schema))`` casts its row to the types of the version.

Bounds are exact values. A column without values has no bounds. Text and bytes over 64 bytes are not used as bounds.
Types without an order (nested, null, interval, extension) have none, and their T is null. A float column with NaN has
no bounds either. NaN satisfies some predicates that no value within the bounds satisfies (``!=``, ``not (x > 1)``), so
its rows would be skipped. The bounds of a dictionary are those of the values that its rows use.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from millrace.arrow import BYTES, OFFSET_TYPES, TEXTS, VIEWS, taken
from millrace.chunks.cast import cast_batch
from millrace.chunks.statistics.text_bounds import text_bounds

BOUND_BYTES_MAX = 64


@dataclass(frozen=True, slots=True)
class ColumnStats:
    """Statistics of one column of one chunk: the null count, and bounds over the values that are not null.

    None means "no bound known", never a null.
    """

    nulls: int
    minimum: Any
    maximum: Any


def stats_schema(schema: pa.Schema) -> pa.Schema:
    """Return the schema of the statistics of chunks with this schema."""
    bounds = [(field.name, _bound_type(field.type)) for field in schema]
    return pa.schema(
        [(name, pa.struct([("nulls", pa.int64()), ("min", bound), ("max", bound)])) for name, bound in bounds]
    )


def _bound_type(type_: pa.DataType) -> pa.DataType:
    types = pa.types
    if types.is_dictionary(type_):
        return _bound_type(type_.value_type)
    if type_ in TEXTS or type_ in BYTES:
        return pa.string() if type_ in TEXTS else pa.binary()
    if types.is_fixed_size_binary(type_):
        return type_ if type_.byte_width <= BOUND_BYTES_MAX else pa.null()
    ordered = types.is_primitive(type_) or types.is_decimal(type_)
    return type_ if ordered and not types.is_interval(type_) else pa.null()


def selected_stats(
    stats: pa.RecordBatch, columns: Sequence[int], schema: pa.Schema, rows: Sequence[int]
) -> pa.RecordBatch:
    """Return the statistics of the columns with these indices, which become the columns of ``schema``.

    A column behind the last one of ``stats`` is missing in the chunks, which are older: all of its values are null.
    ``rows`` holds the number of rows that each entry describes.
    """
    target = stats_schema(schema)
    arrays = [
        stats.column(column) if column < stats.num_columns else _all_null(field.type, rows)
        for column, field in zip(columns, target, strict=True)
    ]
    return cast_batch(pa.RecordBatch.from_arrays(arrays, names=target.names), target)


def _all_null(type_: pa.StructType, rows: Sequence[int]) -> pa.Array:
    bounds = [pa.nulls(len(rows), type_.field(name).type) for name in ("min", "max")]
    return pa.StructArray.from_arrays([pa.array(rows, pa.int64()), *bounds], fields=list(type_))


def compute_stats(batch: pa.RecordBatch, rows: pa.Schema | None = None) -> pa.RecordBatch:
    """Return the statistics of ``batch`` as one row of ``stats_schema(rows)`` (default: the batch's own schema).

    ``rows`` is the schema that the rows had before ``narrow_batch`` made ``batch`` of them.
    """
    schema = stats_schema(batch.schema)
    if not len(schema):
        return pa.RecordBatch.from_struct_array(pa.array([{}], pa.struct([])))
    columns = []
    for index, (column, field) in enumerate(zip(batch.columns, schema, strict=True)):
        # Every value of a dictionary that narrowing made is used by a row.
        all_used = rows is not None and not pa.types.is_dictionary(rows.field(index).type)
        columns.append(_column(column, field.type, all_used))
    stats = pa.RecordBatch.from_arrays(columns, schema=schema)
    return stats if rows is None else cast_batch(stats, stats_schema(rows))


def _column(array: pa.Array, type_: pa.StructType, all_used: bool) -> pa.Array:
    bound = type_.field("min").type
    nulls = array.null_count
    low, high = None, None
    if not pa.types.is_null(bound) and nulls < len(array):
        if pa.types.is_dictionary(array.type):
            used = array.dictionary
            array = used if all_used else taken(used, pc.unique(array.indices).drop_null())
        low, high = _bounds(array, bound)
    return _entry(type_, nulls, low, high)


def merge_stats(stats: pa.RecordBatch, rows: Sequence[int]) -> pa.RecordBatch:
    """Return one row of the same schema that covers all chunks described by the rows of ``stats``.

    ``rows`` holds the number of rows that each entry describes. A bound that is unknown in one entry is unknown in the
    result, unless that entry has no values at all.
    """
    if not stats.num_columns:
        return pa.RecordBatch.from_struct_array(pa.array([{}], pa.struct([])))
    counts = pa.array(rows, pa.int64())
    columns = []
    for column in stats.columns:
        nulls, lows, highs = column.flatten()
        bound = lows.type
        low, high = None, None
        without_values = pc.fill_null(pc.equal(nulls, counts), fill_value=False)
        if not pa.types.is_null(bound) and pc.all(pc.or_(without_values, lows.is_valid())).as_py():
            low, high = _bounds(lows, bound)[0], _bounds(highs, bound)[1]
        # The total is unknown if one null count is unknown.
        total = None if nulls.null_count else pc.sum(nulls).as_py()
        columns.append(_entry(column.type, total, low, high))
    return pa.RecordBatch.from_arrays(columns, schema=stats.schema)


def without_bounds(stats: pa.RecordBatch) -> pa.RecordBatch:
    """Return the statistics with all bounds unknown, to save space. A filter then skips no chunk."""
    columns = []
    for column in stats.columns:
        bounds = [pa.nulls(len(column), column.type.field(name).type) for name in ("min", "max")]
        columns.append(pa.StructArray.from_arrays([column.field("nulls"), *bounds], fields=list(column.type)))
    return pa.RecordBatch.from_arrays(columns, schema=stats.schema)


def _entry(type_: pa.StructType, nulls: int | None, low: pa.Scalar | None, high: pa.Scalar | None) -> pa.Array:
    bound = type_.field("min").type
    bounds = [pa.nulls(1, bound) if value is None else pa.array([value.cast(bound)], bound) for value in (low, high)]
    return pa.StructArray.from_arrays([pa.array([nulls], pa.int64()), *bounds], fields=list(type_))


def _bounds(array: pa.Array, bound: pa.DataType) -> tuple[pa.Scalar | None, pa.Scalar | None]:
    comparable = _comparable(array)
    if pa.types.is_floating(comparable.type) and pc.any(pc.is_nan(comparable)).as_py():
        return None, None
    if comparable.type in OFFSET_TYPES:
        low, high = text_bounds(comparable)
    else:
        bounds = pc.min_max(comparable)
        low, high = bounds["min"], bounds["max"]
    return _back(_usable(low), array.type), _back(_usable(high), array.type)


def _comparable(array: pa.Array) -> pa.Array:
    """Return values in the same order, in a type for which Arrow has a kernel."""
    types, type_ = pa.types, array.type
    if types.is_float16(type_):
        return array.cast(pa.float32())
    if types.is_duration(type_):
        return array.cast(pa.int64())
    if type_ in VIEWS:
        return array.cast(VIEWS[type_])
    if types.is_decimal32(type_) or types.is_decimal64(type_):
        return array.cast(pa.decimal128(type_.precision, type_.scale))
    return array


def _back(value: pa.Scalar | None, type_: pa.DataType) -> pa.Scalar | None:
    converted = pa.types.is_float16(type_) or pa.types.is_duration(type_) or pa.types.is_decimal(type_)
    return value.cast(type_) if value is not None and converted and value.type != type_ else value


def _usable(value: pa.Scalar) -> pa.Scalar | None:
    if not value.is_valid:
        return None
    if isinstance(value, pa.StringScalar | pa.BinaryScalar):
        return value if value.as_buffer().size <= BOUND_BYTES_MAX else None
    return value


def column_stats(stats: pa.RecordBatch | pa.Table, row: int) -> tuple[ColumnStats, ...]:
    """Return the statistics of one chunk as Python values, one for each column, in order.

    Bounds of times, timestamps and durations in nanoseconds stay Arrow scalars, because Python's types lose their last
    three digits. Dates and timestamps outside of Python's calendar stay Arrow scalars, too.
    """
    columns = []
    for index in range(stats.num_columns):
        scalar = stats.column(index)[row]
        low, high = (_python(scalar[side]) for side in ("min", "max"))
        columns.append(ColumnStats(scalar["nulls"].as_py(), low, high))
    return tuple(columns)


def _python(value: pa.Scalar) -> Any:
    if value.is_valid and pa.types.is_temporal(value.type) and getattr(value.type, "unit", "") == "ns":
        return value
    try:
        return value.as_py()
    except (OverflowError, ValueError):
        return value
