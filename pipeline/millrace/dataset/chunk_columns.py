"""The columns of the batches of a chunk source: each by itself, or those of a matrix together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import pyarrow as pa

from millrace.arrow import nulls_of
from millrace.chunks import TileLayout, matrix_field, matrix_of
from millrace.errors import UsageError


class ColumnPlace(NamedTuple):
    """The place of a version's column in a batch: a column, and its position in the rows of a matrix.

    ``position`` is None for a column by itself.
    """

    column: int
    position: int | None = None


@dataclass(frozen=True, slots=True)
class ChunkColumns:
    """The requested columns of a version, by index: ``single`` by themselves, then the matrices of some tiles."""

    single: tuple[int, ...]
    matrices: Mapping[int, tuple[int, ...]]
    """The columns of each matrix, by the index of its tile."""

    @classmethod
    def of(cls, schema: pa.Schema, layout: TileLayout, columns: Sequence[int] | None) -> ChunkColumns:
        """Return the requested columns (None: all), with those of a matrix together."""
        wanted = range(len(schema)) if columns is None else columns
        tile_of = {column: tile for tile in layout.matrices for column in layout.columns[tile]}
        single = tuple(column for column in wanted if column not in tile_of)
        tiles = sorted({tile_of[column] for column in wanted if column in tile_of})
        return cls(single, {tile: layout.columns[tile] for tile in tiles})

    def schema(self, schema: pa.Schema) -> pa.Schema:
        """Return the schema of the batches of a version with this schema."""
        matrices = [matrix_field(schema.field(columns[0]).type, len(columns)) for columns in self.matrices.values()]
        return pa.schema([*(schema.field(column) for column in self.single), *matrices], schema.metadata)

    def matrix_arrays(
        self, tiles: Mapping[int, pa.RecordBatch], schema: pa.Schema, rows: int
    ) -> list[pa.FixedSizeListArray]:
        """Return the matrices in the types of ``schema`` from decoded tiles; they are nulls where a chunk has no tile.

        They are not copied, unless a column has widened since.
        """
        matrices = []
        for tile, columns in self.matrices.items():
            type_ = schema.field(columns[0]).type
            if tile in tiles:
                matrices.append(_widened(matrix_of(tiles[tile], len(columns), tile), type_))
            else:
                numbers = nulls_of(rows * len(columns), type_)
                matrices.append(pa.FixedSizeListArray.from_arrays(numbers, len(columns)))
        return matrices

    def places(self, schema: pa.Schema) -> dict[str, ColumnPlace]:
        """Return the place of each column by its name; raise ``UsageError`` if two have the same one."""
        places = {schema.field(column).name: ColumnPlace(number) for number, column in enumerate(self.single)}
        for number, columns in enumerate(self.matrices.values(), len(self.single)):
            places |= {schema.field(column).name: ColumnPlace(number, at) for at, column in enumerate(columns)}
        if len(places) != len(self.single) + sum(map(len, self.matrices.values())):
            raise UsageError("two columns have the same name", hint="name each column once in columns=")
        return places


def _widened(matrix: Any, type_: pa.DataType) -> pa.FixedSizeListArray:
    if matrix.type.value_type == type_:
        return matrix
    width = matrix.type.list_size
    numbers = matrix.values.slice(matrix.offset * width, len(matrix) * width)
    return pa.FixedSizeListArray.from_arrays(numbers.cast(type_, safe=False), width)
