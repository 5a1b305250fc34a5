"""The bytes of decoded values by their types."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pyarrow as pa

from millrace.arrow import OFFSET_TYPES
from millrace.chunks import DICTIONARY_VALUE_BYTES_MAX, TileLayout

_TEXT_BYTES = 8 + DICTIONARY_VALUE_BYTES_MAX
"""A text's offset, and the longest text of a dictionary."""


def is_fixed(type_: pa.DataType) -> bool:
    """Return whether every value of the type takes the same number of bits."""
    kinds = pa.types
    return bool(kinds.is_primitive(type_) or kinds.is_decimal(type_) or kinds.is_fixed_size_binary(type_))


def fixed_bytes(type_: pa.DataType) -> int:
    """Return the bytes of a decoded value, without the bytes of text and of lists that differ in size."""
    if pa.types.is_fixed_size_list(type_):
        return int(type_.list_size) * fixed_bytes(type_.value_type)
    try:
        return int(type_.bit_width) // 8
    except ValueError:
        return 4


def copied_bytes(schema: pa.Schema, layout: TileLayout, columns: Sequence[int]) -> Iterator[int]:
    """Yield the bytes of a value of each column that is copied from a matrix, and not counted by ``cast_bytes``."""
    of_matrices = {column for tile in layout.matrices for column in layout.columns[tile]}
    for column in columns:
        type_ = schema.field(column).type
        if column in of_matrices and not cast_bytes(type_):
            yield fixed_bytes(type_)


def cast_bytes(type_: pa.DataType) -> int:
    """Return the bytes of a value whose type may be narrower in a chunk; 0 for a value that is used as it is stored."""
    kinds = pa.types
    if kinds.is_integer(type_) or kinds.is_float64(type_):
        return int(type_.bit_width) // 8
    return _TEXT_BYTES if type_ in OFFSET_TYPES else 0
