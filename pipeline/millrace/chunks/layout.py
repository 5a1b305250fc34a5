"""The assignment of columns to tiles."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Self

import pyarrow as pa

from millrace.errors import ChunkFormatError, SourceTypeError

TILES_MAX = 64
"""Tiles of the layout of a new dataset."""
EXTENDED_TILES_MAX = 128
"""Tiles of a layout to which later loads added columns."""
_FEW_TILES = 8
_COLUMNS_A_TILE = 3


@dataclass(frozen=True, slots=True)
class TileLayout:
    """The columns of each tile, by index: neighbours together, every column in exactly one tile.

    The layout is the same for all chunks of a load, so a read of 2 of 200 columns fetches at most two tiles of each
    chunk. It is recorded with the version, so that a reader needs nothing else to know which tiles to fetch. A chunk
    that is older than a column has only the first tiles of the layout. Its other columns are null.

    ``matrices`` has the indices of the tiles that hold their columns as one matrix (``to_matrix``).
    """

    columns: tuple[tuple[int, ...], ...]
    matrices: frozenset[int] = frozenset()

    def __post_init__(self) -> None:
        seen = [column for tile in self.columns for column in tile]
        if not self.columns or sorted(seen) != list(range(len(seen))):
            raise ChunkFormatError(f"a tile layout must hold every column once, this one holds {self.columns}")
        if any(not (0 <= tile < len(self.columns) and self.columns[tile]) for tile in self.matrices):
            raise ChunkFormatError(f"a matrix is a tile with columns, but the matrices are {sorted(self.matrices)}")

    @classmethod
    def for_schema(cls, schema: pa.Schema) -> Self:
        """Use one column a tile up to 8 columns, 8 tiles up to 24, then 3 columns a tile, and at most 64 tiles."""
        return cls(_tiles(0, len(schema), TILES_MAX))

    def extended(self, column_count: int) -> Self:
        """Return the layout with new tiles for the columns from ``self.column_count`` to ``column_count``.

        Raises ``SourceTypeError`` if it has no room for another tile.
        """
        new = column_count - self.column_count
        room = EXTENDED_TILES_MAX - len(self.columns)
        if new <= 0:
            return self
        if room <= 0:
            raise SourceTypeError(
                f"a dataset to which columns were added has at most {EXTENDED_TILES_MAX} tiles a chunk",
                hint="load all of its data again with the mode replace",
            )
        return type(self)((*self.columns, *_tiles(self.column_count, new, min(room, TILES_MAX))), self.matrices)

    def begins_with(self, other: TileLayout) -> bool:
        """Return whether the first tiles are those of the other layout, so that its chunks can be read by this one."""
        own = {tile for tile in self.matrices if tile < len(other.columns)}
        return self.columns[: len(other.columns)] == other.columns and own == other.matrices

    @property
    def column_count(self) -> int:
        """Return the number of columns in all tiles."""
        return sum(len(tile) for tile in self.columns)

    def tiles_of(self, columns: Iterable[int] | None, *, tile_count: int | None = None) -> tuple[int, ...]:
        """Return the tiles that hold these columns, ascending.

        None means all columns. For no columns it is the first tile, for its row count. A chunk that is older than a
        column has only the first ``tile_count`` tiles; of such a chunk the result may be empty.
        """
        if tile_count is not None:
            return tuple(tile for tile in self.tiles_of(columns) if tile < tile_count)
        if columns is None:
            return tuple(range(len(self.columns)))
        requested = set(columns)
        unknown = requested - set(range(self.column_count))
        if unknown:
            raise ChunkFormatError(f"the tile layout has no column {min(unknown)}", columns=self.column_count)
        return tuple(tile for tile, tile_columns in enumerate(self.columns) if requested & set(tile_columns)) or (0,)

    def to_json(self) -> list[list[int]]:
        """Return a list of lists of column indices, without the matrices."""
        return [list(tile) for tile in self.columns]

    @classmethod
    def from_json(cls, value: Sequence[Sequence[int]], matrices: Iterable[int] = ()) -> Self:
        """Make a layout from the result of ``to_json``, and the indices of its matrices."""
        return cls(tuple(tuple(tile) for tile in value), frozenset(matrices))


def _tiles(first: int, count: int, tiles_max: int) -> tuple[tuple[int, ...], ...]:
    """Return the tiles of ``count`` neighbouring columns from ``first`` on."""
    tiles = max(1, min(count, _FEW_TILES), -(-count // _COLUMNS_A_TILE))
    tiles = min(tiles, tiles_max)
    edges = [first + count * tile // tiles for tile in range(tiles + 1)]
    return tuple(tuple(range(low, high)) for low, high in pairwise(edges))
