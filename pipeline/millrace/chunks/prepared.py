"""Tiles and row groups of prepared training data: features of one type in a matrix, and chunks of one split."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby, pairwise
from typing import Any, Final, NamedTuple

import numpy as np
import pyarrow as pa

from millrace.arrow import CELL_BYTES, OFFSET_TYPES, cumulative_row_bytes
from millrace.chunks.grouper import RowGrouper
from millrace.chunks.layout import TILES_MAX, TileLayout
from millrace.chunks.matrix import is_matrix_type
from millrace.chunks.settings import ChunkSettings

PREPARED_CHUNK_BYTES: Final = (4_000_000, 8_000_000)
"""The decoded bytes of a chunk at least and at most; the last chunk of a split may be smaller."""
_ROW_GROUP_BYTES: Final = 4_400_000
_HEADER_BYTES: Final = 500
"""Arrow's headers of a column in a tile of its own."""
_MATRICES_MAX: Final = TILES_MAX // 2 - 1
"""With so many matrices there is room for a tile between each two of them."""


def prepared_row_group_bytes(schema: pa.Schema) -> int:
    """Return the ``row_group_bytes`` of a version with this schema for ``prepared_grouper``: decoded bytes.

    The rows of such a group fit into one chunk of ``CHUNK_BYTES_MAX``, also if no codec makes them smaller and nulls
    need bitmaps. So no chunk is halved, and each decodes to 4 to 8 MB.
    """
    least, _ = PREPARED_CHUNK_BYTES
    return max(least + 1, _ROW_GROUP_BYTES - _HEADER_BYTES * len(schema))


def prepared_grouper(settings: ChunkSettings, schema: pa.Schema) -> RowGrouper:
    """Return a grouper for the rows of one split, which counts their decoded bytes in the types of ``schema``.

    A grouper for each split makes row groups, and thus chunks, none of which has rows of two splits.
    """
    surplus = _surplus_bytes(schema)

    def decoded_row_bytes(batch: pa.RecordBatch) -> Any:
        sums = cumulative_row_bytes(batch)
        return sums - surplus * np.arange(len(sums))

    return RowGrouper(settings, measure=decoded_row_bytes)


def _surplus_bytes(schema: pa.Schema) -> int:
    """Return the bytes of each row that ``cumulative_row_bytes`` counts in addition to its decoded bytes."""
    surplus = 0.0
    for type_ in schema.types:
        if type_ in OFFSET_TYPES:
            surplus += CELL_BYTES - np.dtype(OFFSET_TYPES[type_]).itemsize
        elif pa.types.is_primitive(type_):
            surplus += max(0, CELL_BYTES - type_.bit_width / 8)
        elif pa.types.is_fixed_size_list(type_) and pa.types.is_primitive(type_.value_type):
            row = pa.FixedSizeListArray.from_arrays(pa.nulls(type_.list_size, type_.value_type), type_.list_size)
            counted = int(cumulative_row_bytes(pa.record_batch([row], ["x"]))[-1])
            surplus += max(0, counted - type_.list_size * type_.value_type.bit_width / 8)
    return int(surplus)


class _Run(NamedTuple):
    """Neighbouring columns: features of one type, or others."""

    first: int
    width: int
    is_matrix: bool


def prepared_layout(schema: pa.Schema, features: Sequence[str]) -> TileLayout:
    """Return the layout of a version of training data: each run of features of one type of numbers is a matrix.

    A run has at least two neighbouring columns. Every other column has a tile of its own, as far as 64 tiles allow.
    """
    runs = _runs(schema, set(features))
    widest = sorted((run for run in runs if run.is_matrix), key=lambda run: -run.width)[:_MATRICES_MAX]
    runs = list(_joined([_Run(run.first, run.width, run in widest) for run in runs]))
    others = [run.width for run in runs if not run.is_matrix]
    room = TILES_MAX - len(widest)
    together = next(count for count in range(1, len(schema) + 2) if sum(-(-n // count) for n in others) <= room)
    tiles: list[tuple[int, ...]] = []
    matrices = []
    for run in runs:
        if run.is_matrix:
            matrices.append(len(tiles))
        tiles += _cut(run, 1 if run.is_matrix else -(-run.width // together))
    return TileLayout(tuple(tiles), frozenset(matrices)) if tiles else TileLayout.for_schema(schema)


def _runs(schema: pa.Schema, features: set[str]) -> list[_Run]:
    def kind(column: int) -> pa.DataType | None:
        field = schema.field(column)
        return field.type if field.name in features and is_matrix_type(field.type) else None

    groups = [(kind_, list(columns)) for kind_, columns in groupby(range(len(schema)), kind)]
    return [_Run(columns[0], len(columns), kind_ is not None and len(columns) > 1) for kind_, columns in groups]


def _joined(runs: Sequence[_Run]) -> Iterator[_Run]:
    """Yield the matrices, and neighbouring runs of other columns as one run."""
    for is_matrix, group in groupby(runs, lambda run: run.is_matrix):
        neighbours = list(group)
        if is_matrix:
            yield from neighbours
        else:
            yield _Run(neighbours[0].first, sum(run.width for run in neighbours), False)


def _cut(run: _Run, tiles: int) -> list[tuple[int, ...]]:
    edges = [run.first + run.width * tile // tiles for tile in range(tiles + 1)]
    return [tuple(range(low, high)) for low, high in pairwise(edges)]
