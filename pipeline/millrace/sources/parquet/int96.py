"""INT96 timestamps of Parquet: a day and its nanoseconds, which pyarrow converts to one unit for a whole file.

Nanoseconds in 64 bits end in the year 2262. For later dates pyarrow 25 wraps around to 1677 without an error.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from millrace.arrow import leaves
from millrace.errors import SourceTypeError
from millrace.sources.parquet.text import leaf_names

INT96_UNITS = ("ns", "us", "ms", "s")
"""Units of timestamps, the default one first."""
_BILLION = 1_000_000_000
_US_SECONDS_MAX = 2**63 // 1_000_000 - 1
_VALUES = 262_144
"""Number of timestamps that are checked together."""


def int96_columns(parquet: pq.ParquetFile, selected: Sequence[str] | None) -> dict[int, str]:
    """Return the numbers of the stored INT96 columns, each with the name of its column in the schema.

    Stored columns within lists, maps and structs are included. ``selected`` are the columns to be read (None: all).
    """
    names = leaf_names(parquet.schema_arrow)
    columns = {index: name for index, name in enumerate(names) if parquet.schema.column(index).physical_type == "INT96"}
    return {index: name for index, name in columns.items() if selected is None or name in selected}


def exact_units(
    open_file: Callable[[str], AbstractContextManager[pq.ParquetFile]], columns: dict[int, str]
) -> dict[str, set[str]]:
    """Return for each column the units that represent all of its timestamps exactly.

    ``open_file(unit)`` opens the file with that unit. Each column is read twice, in nanoseconds and in seconds. Seconds
    never wrap around, and the difference from them is the fraction of the second.
    """
    units = {name: set(INT96_UNITS) for name in columns.values()}
    with open_file("ns") as fine, open_file("s") as coarse:
        for index, name in columns.items():
            for nanos, seconds in zip(_values(fine, index), _values(coarse, index), strict=True):
                for (_, fine_leaf), (_, coarse_leaf) in zip(leaves(nanos, ()), leaves(seconds, ()), strict=True):
                    if pa.types.is_timestamp(fine_leaf.type):
                        units[name] &= _units_of(fine_leaf.drop_null(), coarse_leaf.drop_null())
    return units


def _values(parquet: pq.ParquetFile, column: int) -> Iterator[pa.Array]:
    for number in range(parquet.metadata.num_row_groups):
        group = parquet.metadata.row_group(number)
        # A few bytes may encode many equal timestamps, and one row may contain many of them.
        rows = max(1, min(group.num_rows, _VALUES * group.num_rows // max(1, group.column(column).num_values)))
        batches = parquet.reader.iter_batches(rows, row_groups=[number], column_indices=[column], use_threads=False)
        yield from (batch.column(0) for batch in batches)


def _units_of(nanos: pa.Array, seconds: pa.Array) -> set[str]:
    ns, s = (np.asarray(array.cast(pa.int64())) for array in (nanos, seconds))
    # The difference is the nanoseconds within the second, even after a wrap-around.
    rest = ns - s * _BILLION
    units = {"ns"} if bool(np.all(ns // _BILLION == s)) else set()
    if not np.any(rest % 1_000) and bool(np.all(np.abs(s) < _US_SECONDS_MAX)):
        units.add("us")
    if not np.any(rest % 1_000_000):
        units.add("ms")
    return units if np.any(rest) else units | {"s"}


def one_unit(files: list[tuple[str, dict[str, set[str]]]]) -> str:
    """Return the first unit that represents all timestamps of all files (name, units of its columns).

    Raises ``SourceTypeError`` with the file and the column after which no unit is left.
    """
    left = set(INT96_UNITS)
    for name, columns in files:
        for column, units in columns.items():
            left &= units
            if not left:
                raise SourceTypeError(
                    f"{name}: column {column!r} is INT96, and no unit of timestamps holds all of its moments and those "
                    "of the INT96 columns before it: some need nanoseconds, others are before 1677 or after 2262",
                    hint="write them as timestamps with a unit (INT64)",
                    file=name,
                    column=column,
                )
    return next(unit for unit in INT96_UNITS if unit in left)


def planned_unit(schema: pq.ParquetSchema, leaves: Sequence[Any]) -> str:
    """Return the unit in which a file's INT96 was planned.

    ``leaves`` are the planned types in the order of the file's stored columns.
    """
    for index, leaf in zip(range(len(schema)), leaves, strict=False):
        if schema.column(index).physical_type == "INT96" and leaf is not None and pa.types.is_timestamp(leaf):
            return str(leaf.unit)
    return INT96_UNITS[0]
