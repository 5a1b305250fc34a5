"""Bound the decoded size of columns by the manifest alone, before any chunk is read."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pyarrow as pa

from millrace.arrow import OFFSET_TYPES
from millrace.chunks import DICTIONARY_VALUE_BYTES_MAX, TileLayout
from millrace.store import ChunkRef

_PLACE_BYTES = 16
"""The offset and size of a list, or a view of a text, at most."""


class DecodedSizes:
    """The bytes of some columns of a chunk at most, decoded to ``types``, which has them by their index.

    The raw bytes of a tile bound text that is stored as it is. Text that is stored as a dictionary takes as many bytes
    a row as its longest value.
    """

    def __init__(self, layout: TileLayout, types: Mapping[int, pa.DataType]) -> None:
        chosen = [[types[column] for column in columns if column in types] for columns in layout.columns]
        self._row_bits = sum(map(_row_bits, (type_ for of_tile in chosen for type_ in of_tile)))
        varying = {
            tile: [type_ for type_ in of_tile if _width_bits(type_) is None] for tile, of_tile in enumerate(chosen)
        }
        self._text_bytes = {
            tile: [DICTIONARY_VALUE_BYTES_MAX * (type_ in OFFSET_TYPES) for type_ in of_tile]
            for tile, of_tile in varying.items()
            if of_tile
        }
        """For each tile with columns whose values differ in size, the longest value of a dictionary of each; else 0."""

    def bytes_max(self, ref: ChunkRef, rows: int) -> int:
        """Return the bytes of any ``rows`` rows of a chunk at most; columns that it lacks have no values."""
        total = -(-rows * self._row_bits // 8)
        for tile, row_bytes in self._text_bytes.items():
            if tile < len(ref.tiles):
                # All columns that are stored as they are share the raw bytes; each of the others is a dictionary.
                least = min(row_bytes)
                total += max(ref.tiles[tile].raw_bytes, rows * least) + rows * (sum(row_bytes) - least)
        return total


def _row_bits(type_: pa.DataType) -> int:
    """Return the bits of a value with its validity, or of its place where values differ in size or are nested."""
    width = _width_bits(type_)
    if width is None:
        width = 8 * (np.dtype(OFFSET_TYPES[type_]).itemsize if type_ in OFFSET_TYPES else _PLACE_BYTES)
    return 1 + width


def _width_bits(type_: pa.DataType) -> int | None:
    try:
        return int(type_.bit_width)
    except ValueError:
        return None
