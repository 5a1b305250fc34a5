"""Bound the decoded size of columns by the manifest alone, before any chunk is read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pyarrow as pa

from millrace.arrow import OFFSET_TYPES
from millrace.chunks import DICTIONARY_VALUE_BYTES_MAX, TileLayout
from millrace.store import ChunkRef

_PLACE_BYTES = 16
"""The offset and size of a list, or a view of a text, at most."""


def decoded_bytes_max(ref: ChunkRef, layout: TileLayout, types: Mapping[int, pa.DataType], rows: int) -> int:
    """Return the bytes that the columns of ``types`` take at most, of any ``rows`` rows of a chunk.

    ``types`` are those of the decoded columns, by their index. The raw bytes of a tile bound text that is stored as it
    is. Text that is stored as a dictionary takes as many bytes a row as its longest value.
    """
    sizes = [tile.raw_bytes for tile in ref.tiles]
    sizes += [0] * (len(layout.columns) - len(sizes))  # an older chunk: its other columns are null
    decoded = [[types[column] for column in columns if column in types] for columns in layout.columns]
    return sum(_tile_bytes(rows, raw_bytes, chosen) for raw_bytes, chosen in zip(sizes, decoded, strict=True))


def _tile_bytes(rows: int, raw_bytes: int, types: Sequence[pa.DataType]) -> int:
    fixed_bytes = -(-rows * sum(1 + (_width_bits(type_) or _place_bits(type_)) for type_ in types) // 8)
    varying = [type_ for type_ in types if _width_bits(type_) is None]
    if not varying or not raw_bytes:
        return fixed_bytes
    dictionaries = [rows * DICTIONARY_VALUE_BYTES_MAX * (type_ in OFFSET_TYPES) for type_ in varying]
    # All columns that are stored as they are share the raw bytes; each of the others is a dictionary.
    return fixed_bytes + max(raw_bytes, min(dictionaries)) + sum(dictionaries) - min(dictionaries)


def _width_bits(type_: pa.DataType) -> int | None:
    """Return the bits of a value, or None where values differ in size or are nested."""
    try:
        return int(type_.bit_width)
    except ValueError:
        return None


def _place_bits(type_: pa.DataType) -> int:
    return 8 * (np.dtype(OFFSET_TYPES[type_]).itemsize if type_ in OFFSET_TYPES else _PLACE_BYTES)
