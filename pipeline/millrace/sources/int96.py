"""INT96 of Parquet: a day and its nanoseconds, of which pyarrow makes timestamps of one unit for a whole file.

Nanoseconds in 64 bits end in the year 2262; beyond, pyarrow 25 counts on from 1677 and says nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from millrace.errors import SourceTypeError
from millrace.sources.parquet_text import leaf_names

__all__ = ["INT96_UNITS", "exact_units", "int96_columns", "one_unit", "planned_unit"]

INT96_UNITS = ("ns", "us", "ms", "s")
"""Units of timestamps, the usual one first."""
_BILLION = 1_000_000_000
_US_SECONDS_MAX = 2**63 // 1_000_000 - 1
_VALUES = 262_144
"""So many moments are looked at together."""


def int96_columns(parquet: pq.ParquetFile, wanted: Sequence[str] | None) -> dict[int, str]:
    """The stored columns that are INT96 by their number, with the column of the schema to which each belongs.

    Those within lists, maps and structs count; ``wanted`` are the columns that are read (None: all).
    """
    names = leaf_names(parquet.schema_arrow)
    found = {at: name for at, name in enumerate(names) if parquet.schema.column(at).physical_type == "INT96"}
    return {at: name for at, name in found.items() if wanted is None or name in wanted}


def exact_units(
    opened: Callable[[str], AbstractContextManager[pq.ParquetFile]], columns: dict[int, str]
) -> dict[str, set[str]]:
    """For each column the units that hold all of its moments exactly; ``opened(unit)`` is the file read in that unit.

    Read twice: seconds never wrap around, and what nanoseconds are more than them tells the rest.
    """
    units = {name: set(INT96_UNITS) for name in columns.values()}
    with opened("ns") as fine, opened("s") as coarse:
        for at, name in columns.items():
            for nanos, seconds in zip(_values(fine, at), _values(coarse, at), strict=True):
                for one, other in zip(_moments(nanos), _moments(seconds), strict=True):
                    units[name] &= _units_of(one, other)
    return units


def _values(parquet: pq.ParquetFile, column: int) -> Iterator[pa.Array]:
    for number in range(parquet.metadata.num_row_groups):
        group = parquet.metadata.row_group(number)
        # A few bytes may stand for many equal moments, and a row for many of them.
        rows = max(1, min(group.num_rows, _VALUES * group.num_rows // max(1, group.column(column).num_values)))
        batches = parquet.reader.iter_batches(rows, row_groups=[number], column_indices=[column], use_threads=False)
        yield from (batch.column(0) for batch in batches)


def _moments(array: pa.Array) -> Iterator[pa.Array]:
    """The timestamps in a column, without nulls."""
    types = pa.types
    if types.is_timestamp(array.type):
        yield array.drop_null()
    elif types.is_struct(array.type) or types.is_list(array.type) or types.is_large_list(array.type):
        children = array.flatten() if types.is_struct(array.type) else [array.flatten()]
        for child in children:
            yield from _moments(child)
    elif types.is_map(array.type):
        yield from _moments(array.keys)
        yield from _moments(array.items)


def _units_of(nanos: pa.Array, seconds: pa.Array) -> set[str]:
    import numpy as np

    ns, s = (np.asarray(array.cast(pa.int64())) for array in (nanos, seconds))
    # Wrapped around or not, both differ by the nanoseconds of the second.
    rest = ns - s * _BILLION
    found = {"ns"} if bool(np.all(ns // _BILLION == s)) else set()
    if not np.any(rest % 1_000) and bool(np.all(np.abs(s) < _US_SECONDS_MAX)):
        found.add("us")
    if not np.any(rest % 1_000_000):
        found.add("ms")
    return found if np.any(rest) else found | {"s"}


def one_unit(found: list[tuple[str, dict[str, set[str]]]]) -> str:
    """The first unit that holds all moments of all files (name, units of its columns).

    Raises ``SourceTypeError`` with the file and the column after which none is left.
    """
    left = set(INT96_UNITS)
    for name, columns in found:
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
    """The unit in which a file's INT96 was planned; ``leaves`` are the planned types in the order of its columns."""
    for at, leaf in zip(range(len(schema)), leaves, strict=False):
        if schema.column(at).physical_type == "INT96" and leaf is not None and pa.types.is_timestamp(leaf):
            return str(leaf.unit)
    return INT96_UNITS[0]
