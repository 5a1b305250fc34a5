"""Text in Parquet at any depth of a column: read as dictionaries, and cut into pieces before it is decoded.

A few stored bytes may encode a long text in every row.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from millrace.arrow import (
    BYTES,
    TEXTS,
    fields_of,
    is_extension,
    list_children,
    list_ranges,
    list_types,
    list_values,
    with_children,
)

_CODED = {"RLE_DICTIONARY", "PLAIN_DICTIONARY"}
"""The encodings of dictionary pages; the second one is that of files of format 1.0."""


def dictionary_columns(metadata: pq.FileMetaData, schema: pa.Schema, groups: Iterable[int]) -> tuple[str, ...]:
    """Return the paths of text columns that these row groups store as dictionaries and the schema has as plain text.

    Other text columns are not read as dictionaries: where no stored value is repeated, that would only take time.
    """
    leaves = [leaf for field in schema for leaf in leaf_types(field.type)]
    # The path is the schema's: a damaged column chunk may have another one, and pyarrow accepts no other.
    paths = {
        metadata.schema.column(index).path
        for group in map(metadata.row_group, groups)
        for index, leaf in zip(range(group.num_columns), leaves, strict=False)
        if leaf is not None and leaf in TEXTS + BYTES and _CODED & set(group.column(index).encodings)
    }
    return tuple(sorted(paths))


def leaf_types(type_: pa.DataType) -> Iterator[pa.DataType | None]:
    """Yield the types of a column's leaves in the order of Parquet's columns; None for leaves kept as they are read."""
    is_taken_apart = pa.types.is_struct(type_) or pa.types.is_map(type_) or _is_list(type_)
    children = [type_.storage_type] if is_extension(type_) else [field.type for field in fields_of(type_)]
    if not children and not is_taken_apart:
        yield type_
    for child in children:
        yield from (leaf if is_taken_apart else None for leaf in leaf_types(child))


def leaf_names(schema: pa.Schema) -> list[str]:
    """Return for each of Parquet's columns, in their order, the column of the schema that it is a part of."""
    return [field.name for field in schema for _ in leaf_types(field.type)]


def _is_list(type_: pa.DataType) -> bool:
    if pa.types.is_fixed_size_list(type_):
        return bool(type_.list_size)
    return bool(pa.types.is_list(type_) or pa.types.is_large_list(type_))


def decoded_pieces(batch: pa.RecordBatch, schema: pa.Schema, piece_bytes: int) -> Iterator[pa.RecordBatch]:
    """Yield the batch with the file's own types, in pieces of about ``piece_bytes`` of decoded dictionary text."""
    for start, stop in _cuts(batch, schema, piece_bytes):
        columns = batch.slice(start, stop - start).columns
        decoded = [_decoded(column, field.type) for column, field in zip(columns, schema, strict=True)]
        yield pa.RecordBatch.from_arrays(decoded, schema=schema)


def _cuts(batch: pa.RecordBatch, schema: pa.Schema, piece_bytes: int) -> Iterator[tuple[int, int]]:
    sizes = np.zeros(batch.num_rows + 1, dtype=np.int64)
    for column, field in zip(batch.columns, schema, strict=True):
        sizes[1:] += _text_bytes(column, field.type)
    sums, start = np.cumsum(sizes), 0
    while start < batch.num_rows:
        stop = max(start + 1, int(np.searchsorted(sums, sums[start] + piece_bytes, side="right")) - 1)
        yield start, stop
        start = stop


def _text_bytes(array: Any, kind: pa.DataType) -> Any:
    """Return for each value the bytes of text that its dictionaries decode to; 0 where there are no dictionaries."""
    if array.type.equals(kind):
        return 0
    if pa.types.is_dictionary(array.type):
        lengths = pc.cast(pc.binary_length(array.dictionary), pa.int64()).take(array.indices)
        return pc.fill_null(lengths, 0).to_numpy(zero_copy_only=False)
    if pa.types.is_struct(kind):
        return sum(_text_bytes(array.field(i), kind.field(i).type) for i in range(kind.num_fields))
    starts, sizes = list_ranges(array)
    sums = np.zeros(int(sizes.sum()) + 1, dtype=np.int64)
    for child, child_kind in zip(list_children(array), list_types(kind), strict=True):
        sums[1:] += _text_bytes(list_values(child, starts, sizes), child_kind)
    return np.diff(np.cumsum(sums)[np.append(0, np.cumsum(sizes))])


def _decoded(array: Any, kind: pa.DataType) -> pa.Array:
    if array.type.equals(kind):
        return array
    if pa.types.is_dictionary(array.type):
        return array.dictionary_decode().cast(kind)
    return with_children(array, kind, _decoded)
