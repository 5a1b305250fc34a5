"""Give each dictionary field of an Arrow file one dictionary, joined from the dictionaries of its batches.

Values of later batches are appended, and their indices are changed accordingly.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa

from millrace.arrow import (
    holds,
    is_text,
    is_view,
    list_children,
    list_ranges,
    list_values,
    lists_of,
    run_ends,
    runs_of,
    same_values,
    taken,
    union_of,
    union_parts,
    views_of,
)
from millrace.compat.pyarrow.ipc import appendable_dictionary
from millrace.dataset.exports.text_types import is_bytes


class DictionaryError(ValueError):
    """Values that cannot share one dictionary; ``args[0]`` is the column's name, ``args[1]`` the reason."""


class Dictionaries:
    """The dictionaries of a schema, one for each dictionary field, with all values of the batches so far."""

    def __init__(self) -> None:
        self._dictionaries: list[_Dictionary] = []
        self._next = 0
        self._more = False

    def joined(self, batch: pa.RecordBatch, *, more: bool = False) -> pa.RecordBatch:
        """Return the batch with dictionaries that begin with those of the batch before it.

        Values are appended and never moved, as the file format requires. Every value stays the same, to the bit. With
        ``more`` batches to come no dictionary stays empty (``appendable_dictionary``). Raises ``DictionaryError`` where
        that is impossible; the object must not be used afterwards.
        """
        self._next, self._more = 0, more
        columns = []
        for name, column in zip(batch.schema.names, batch.columns, strict=True):
            try:
                columns.append(self._walk(column))
            except (pa.ArrowNotImplementedError, pa.ArrowInvalid, _CannotJoinError) as error:
                raise DictionaryError(name, str(error)) from error
        return pa.RecordBatch.from_arrays(columns, schema=batch.schema)

    def _walk(self, array: Any) -> pa.Array:
        """Return the array with joined dictionaries; each is visited, even if no row uses it."""
        kind = array.type
        if not holds(kind, pa.types.is_dictionary):
            return array
        if isinstance(array, pa.ExtensionArray):
            return pa.ExtensionArray.from_storage(kind, self._walk(array.storage))
        if pa.types.is_dictionary(kind):
            if self._next == len(self._dictionaries):
                self._dictionaries.append(_Dictionary())
            self._next += 1
            return self._dictionaries[self._next - 1].joined(array, more=self._more)
        if pa.types.is_union(kind):
            codes, offsets = union_parts(array)
            return union_of(kind, codes, offsets, [self._walk(array.field(i)) for i in range(kind.num_fields)])
        if pa.types.is_run_end_encoded(kind):
            return self._runs(array)
        mask = array.is_null() if array.null_count else None
        if pa.types.is_struct(kind):
            children = [self._walk(array.field(i)) for i in range(kind.num_fields)]
            return pa.StructArray.from_arrays(children, fields=list(kind), mask=mask)
        return self._lists(array, mask)

    def _runs(self, array: Any) -> pa.Array:
        start, count = (array.find_physical_offset(), array.find_physical_length()) if len(array) else (0, 0)
        ends = run_ends(array)[start : start + count]
        if count:
            ends[-1] = len(array)
        return runs_of(array.type, ends, self._walk(array.values.slice(start, count)))

    def _lists(self, array: Any, mask: pa.Array | None) -> pa.Array:
        kind = array.type
        starts, sizes = list_ranges(array)
        if is_view(kind):
            # Several views may share values, which stay shared.
            return views_of(kind, np.where(sizes > 0, starts, 0), sizes, self._walk(array.values), mask)
        children = [self._walk(list_values(child, starts, sizes)) for child in list_children(array)]
        return lists_of(kind, sizes, children, mask)


class _CannotJoinError(ValueError):
    """The reason why two dictionaries cannot become one."""


@dataclass(slots=True)
class _Dictionary:
    """The values of the batches so far in one dictionary field, and the position of each value."""

    values: pa.Array | None = None
    positions: dict[Any, int] = field(default_factory=dict)

    def joined(self, array: Any, *, more: bool) -> pa.Array:
        """Return the same array with a dictionary that begins with ``values``, and append new values to ``values``."""
        kind, new = array.type, array.dictionary
        if self.values is None:
            self.values = appendable_dictionary(new) if more else new
        if len(new) <= len(self.values) and same_values(self.values.slice(0, len(new)), new):
            return pa.DictionaryArray.from_arrays(array.indices, self.values, ordered=kind.ordered)
        if pa.types.is_null(kind.value_type):
            nothing = pa.nulls(len(array), kind.index_type)
            return pa.DictionaryArray.from_arrays(nothing, self.values, ordered=kind.ordered)
        if holds(kind.value_type, pa.types.is_dictionary):
            raise _CannotJoinError("its dictionaries hold dictionaries, and differ")
        moved = pa.array(self._appended(self.values, new), pa.int64())
        if len(self.values) > 2 ** (kind.index_type.bit_width - pa.types.is_signed_integer(kind.index_type)):
            count = len(self.values)
            raise _CannotJoinError(f"{count:,} different values are more than indices of {kind.index_type} count")
        indices = moved.take(array.indices).cast(kind.index_type)
        return pa.DictionaryArray.from_arrays(indices, self.values, ordered=kind.ordered)

    def _appended(self, before: pa.Array, new: pa.Array) -> list[int]:
        """Append the missing values of ``new`` to those ``before``; return the position of each value of ``new``."""
        if not self.positions:
            for row, key in enumerate(_keys(before)):
                self.positions.setdefault(key, row)
        moved: list[int] = []
        added: list[int] = []
        for row, key in enumerate(_keys(new)):
            position = self.positions.setdefault(key, len(before) + len(added))
            if position == len(before) + len(added):
                added.append(row)
            moved.append(position)
        self.values = pa.concat_arrays([before, taken(new, added)]) if added else before
        return moved


def _keys(values: Any) -> list[Any]:
    """Return an object for each value; equal objects mean the same value, to the bit."""
    kind = values.type
    if isinstance(values, pa.ExtensionArray):
        return _keys(values.storage)
    if pa.types.is_floating(kind) or (pa.types.is_temporal(kind) and not pa.types.is_interval(kind)):
        bits = {16: pa.int16(), 32: pa.int32(), 64: pa.int64()}
        return list(values.view(bits[kind.bit_width]).to_pylist())
    if pa.types.is_primitive(kind) or is_text(kind) or is_bytes(kind):
        return list(values.to_pylist())
    rows = (pa.record_batch([taken(values, [row])], ["x"]) for row in range(len(values)))
    return [row.serialize().to_pybytes() for row in rows]
