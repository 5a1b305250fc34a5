"""Columns whose rows differ in size, or may be null: they stay Arrow arrays, for batches in Arrow's format only."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from millrace.arrow import fields_of, holds, taken, with_fields
from millrace.chunks import cast_batch
from millrace.errors import UsageError


@dataclass(frozen=True, slots=True)
class RaggedPlan:
    """A column that batches hold as an Arrow array.

    ``type`` is the Arrow type of the column in batches: dictionaries are decoded, because those of different chunks
    have no common index. ``fill`` replaces nulls of rows (None: they stay).
    """

    name: str
    type: pa.DataType
    fill: pa.Scalar | None = None

    def collect(self, values: pa.Array, first_row: int, rows: int) -> pa.Array:
        """Return rows of a chunk as a piece with memory of its own, so that the memory of ``values`` may be reused."""
        batch = pa.record_batch([values.slice(first_row, rows)], [self.name])
        schema = pa.schema([pa.field(self.name, self.type)])
        cast = cast_batch(batch, schema)
        column = cast.column(0) if self.fill is None else pc.fill_null(cast.column(0), self.fill)
        stored = pa.record_batch([column], schema).serialize()
        return pa.ipc.read_record_batch(stored, schema).column(0)

    def take(self, pieces: list[pa.Array], positions: Any) -> pa.Array:
        """Return the rows of all pieces of a window; row i of the pieces, one after another, is at ``positions[i]``.

        The list of pieces is emptied, so that two copies of the rows are in memory at a time. Raises ``UsageError``
        where one array cannot hold the values of a window.
        """
        rows = np.empty(len(positions), np.int64)
        rows[positions] = np.arange(len(positions))
        try:
            joined = pa.concat_arrays(pieces)
            pieces.clear()
            return taken(joined, rows)
        except pa.ArrowInvalid as error:
            raise UsageError(
                f"one array cannot hold column {self.name!r} of a window: {str(error).splitlines()[0]}",
                hint="choose a smaller window_chunks, or leave the column out with columns=[...]",
                column=self.name,
            ) from None


def plain_type(type_: pa.DataType) -> pa.DataType:
    """Return the type with the types of values in place of dictionaries, at any depth."""
    types = pa.types
    if not holds(type_, types.is_dictionary):
        return type_
    if types.is_dictionary(type_):
        return plain_type(type_.value_type)
    if types.is_run_end_encoded(type_):
        return pa.run_end_encoded(type_.run_end_type, plain_type(type_.value_type))
    if isinstance(type_, pa.BaseExtensionType):
        return plain_type(type_.storage_type)
    return with_fields(type_, [field.with_type(plain_type(field.type)) for field in fields_of(type_)])
