"""Which columns lie in which tile."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Self

import pyarrow as pa

from millrace.errors import ChunkFormatError

__all__ = ["TILES_MAX", "TileLayout"]

TILES_MAX = 64
_FEW_TILES = 8
_COLUMNS_A_TILE = 3


@dataclass(frozen=True, slots=True)
class TileLayout:
    """The columns of each tile, by index: neighbours together, every column in exactly one tile.

    The same for all chunks of a load, so that two columns of 200 cost two tiles of each chunk, and recorded with
    the version, so that a reader needs nothing else to know what to fetch.
    """

    columns: tuple[tuple[int, ...], ...]

    def __post_init__(self) -> None:
        seen = [column for tile in self.columns for column in tile]
        if not self.columns or sorted(seen) != list(range(len(seen))):
            raise ChunkFormatError(f"a tile layout must hold every column once, this one holds {self.columns}")

    @classmethod
    def for_schema(cls, schema: pa.Schema) -> Self:
        """One column a tile up to 8 columns, 8 tiles up to 24, then 3 columns a tile, and 64 tiles at most."""
        count = len(schema)
        tiles = max(1, min(count, _FEW_TILES), min(-(-count // _COLUMNS_A_TILE), TILES_MAX))
        edges = [count * tile // tiles for tile in range(tiles + 1)]
        return cls(tuple(tuple(range(low, high)) for low, high in pairwise(edges)))

    @property
    def column_count(self) -> int:
        """How many columns the layout is for."""
        return sum(len(tile) for tile in self.columns)

    def tiles_of(self, columns: Iterable[int] | None) -> tuple[int, ...]:
        """The tiles that hold these columns, ascending; all for None, the first (for its row count) for none."""
        if columns is None:
            return tuple(range(len(self.columns)))
        wanted = set(columns)
        unknown = wanted - set(range(self.column_count))
        if unknown:
            raise ChunkFormatError(f"the tile layout has no column {min(unknown)}", columns=self.column_count)
        return tuple(tile for tile, held in enumerate(self.columns) if wanted & set(held)) or (0,)

    def to_json(self) -> list[list[int]]:
        """A list of lists of column indices."""
        return [list(tile) for tile in self.columns]

    @classmethod
    def from_json(cls, value: Sequence[Sequence[int]]) -> Self:
        """The inverse of ``to_json``."""
        return cls(tuple(tuple(tile) for tile in value))
