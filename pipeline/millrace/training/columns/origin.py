"""The places in a chunk's batch from which the values of a column of batches come."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any, NamedTuple

import pyarrow as pa

from millrace.chunks import columns_of
from millrace.dataset import ColumnPlace


class Origin(NamedTuple):
    """A column of a chunk's batch, and the positions in its rows that are taken, in this order (None: whole rows)."""

    column: int
    positions: tuple[int, ...] | None = None


class Values(NamedTuple):
    """An array of a chunk, and the positions in its rows that are taken (None: whole rows)."""

    array: Any
    positions: tuple[int, ...] | None = None

    @property
    def source_width(self) -> int:
        """Return the number of values in a row of a matrix; 1 where whole rows are taken."""
        return 1 if self.positions is None else int(self.array.type.list_size)

    def slice(self, first_row: int, rows: int) -> Values:
        """Return some of the rows."""
        return Values(self.array.slice(first_row, rows), self.positions)

    def as_column(self) -> pa.Array:
        """Return the values as a column by itself; those of a matrix are copied."""
        return self.array if self.positions is None else columns_of(self.array, self.positions)[0]


def origins_of(names: Sequence[str], schema: pa.Schema, places: Mapping[str, ColumnPlace]) -> tuple[Origin, ...]:
    """Return where the batches of a chunk source with this schema and these places have columns, in their order."""
    own = (places.get(name) or ColumnPlace(schema.get_field_index(name)) for name in names)
    return tuple(_joined(list(own), schema))


def _joined(places: Sequence[ColumnPlace], schema: pa.Schema) -> Iterator[Origin]:
    """Yield neighbouring columns of a matrix as one origin."""
    for column, group in groupby(places, lambda place: place.column):
        positions = tuple(place.position for place in group if place.position is not None)
        if not positions or positions == tuple(range(schema.field(column).type.list_size)):
            yield Origin(column)
        else:
            yield Origin(column, positions)
