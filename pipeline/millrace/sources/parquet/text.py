"""Text in Parquet at any depth of a column: read as dictionaries, and cut into pieces before it is decoded.

A few stored bytes may encode a long text in every row.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

_CODED = {"RLE_DICTIONARY", "PLAIN_DICTIONARY"}
"""The encodings of dictionary pages; the second one is that of files of format 1.0."""


def dictionary_columns(metadata: pq.FileMetaData, schema: pa.Schema, groups: Iterable[int]) -> tuple[str, ...]:
    """Return the paths of text columns that these row groups store as dictionaries and the schema has as plain text.

    Other text columns are not read as dictionaries: where no stored value is repeated, that would only take time.
    """
    leaves = [leaf for field in schema for leaf in leaf_types(field.type)]
    paths = set()
    for number in groups:
        group = metadata.row_group(number)
        for at, leaf in zip(range(group.num_columns), leaves, strict=False):
            if leaf is not None and _is_text(leaf) and _CODED & set(group.column(at).encodings):
                # The path is the schema's: a damaged column chunk may have another one, and pyarrow accepts no other.
                paths.add(metadata.schema.column(at).path)
    return tuple(sorted(paths))


def leaf_types(type_: pa.DataType) -> Iterator[pa.DataType | None]:
    """Yield the types of a column's leaves in the order of Parquet's columns; None for leaves kept as they are read."""
    if isinstance(type_, pa.BaseExtensionType):
        yield from (None for _ in leaf_types(type_.storage_type))
    elif pa.types.is_struct(type_) or pa.types.is_map(type_) or _is_list(type_):
        for number in range(type_.num_fields):
            yield from leaf_types(type_.field(number).type)
    elif type_.num_fields:
        yield from (None for number in range(type_.num_fields) for _ in leaf_types(type_.field(number).type))
    else:
        yield type_


def leaf_names(schema: pa.Schema) -> list[str]:
    """Return for each of Parquet's columns, in their order, the column of the schema that it is a part of."""
    return [field.name for field in schema for _ in leaf_types(field.type)]


def _is_text(type_: pa.DataType) -> bool:
    types = pa.types
    texts = (types.is_string, types.is_binary, types.is_large_string, types.is_large_binary)
    return any(check(type_) for check in (*texts, types.is_string_view, types.is_binary_view))


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
    import numpy as np

    sizes = np.zeros(batch.num_rows, dtype=np.int64)
    for column, field in zip(batch.columns, schema, strict=True):
        sizes += _text_bytes(column, field.type)
    total, start = np.cumsum(sizes), 0
    while start < batch.num_rows:
        before = int(total[start - 1]) if start else 0
        stop = int(np.searchsorted(total, before + piece_bytes, side="right"))
        stop = max(start + 1, stop)
        yield start, stop
        start = stop


def _text_bytes(array: Any, kind: pa.DataType) -> Any:
    """Return for each value the bytes of text that its dictionaries decode to; 0 where there are no dictionaries."""
    import numpy as np

    if array.type.equals(kind):
        return 0
    if pa.types.is_dictionary(array.type):
        lengths = pc.cast(pc.binary_length(array.dictionary), pa.int64()).take(array.indices)
        return pc.fill_null(lengths, 0).to_numpy(zero_copy_only=False)
    if pa.types.is_struct(kind):
        return sum(_text_bytes(array.field(i), kind.field(i).type) for i in range(kind.num_fields))
    values, offsets = _within(array)
    sums = np.zeros(int(offsets[-1]) + 1, dtype=np.int64)
    for child, child_kind in zip(values, _child_types(kind), strict=True):
        sums[1:] += _text_bytes(child, child_kind)
    return np.diff(np.cumsum(sums)[offsets])


def _decoded(array: Any, kind: pa.DataType) -> pa.Array:
    if array.type.equals(kind):
        return array
    if pa.types.is_dictionary(array.type):
        return array.dictionary_decode().cast(kind)
    mask = array.is_null() if array.null_count else None
    if pa.types.is_struct(kind):
        parts = [_decoded(array.field(i), kind.field(i).type) for i in range(kind.num_fields)]
        return pa.StructArray.from_arrays(parts, fields=list(kind), mask=mask)
    values, ends = _within(array)
    children = [_decoded(child, child_kind) for child, child_kind in zip(values, _child_types(kind), strict=True)]
    if pa.types.is_fixed_size_list(kind):
        return pa.FixedSizeListArray.from_arrays(*children, type=kind, mask=mask)
    offsets = pa.array(ends, pa.int64() if pa.types.is_large_list(kind) else pa.int32())
    if pa.types.is_map(kind):
        return pa.MapArray.from_arrays(offsets, *children, type=kind, mask=mask)
    list_class = pa.LargeListArray if pa.types.is_large_list(kind) else pa.ListArray
    return list_class.from_arrays(offsets, *children, type=kind, mask=mask)


def _within(array: Any) -> tuple[list[pa.Array], Any]:
    """Return the child arrays of an array's lists or maps, and the offset of each list and of the last one's end."""
    import numpy as np

    if pa.types.is_fixed_size_list(array.type):
        size = array.type.list_size
        return [array.values.slice(array.offset * size, len(array) * size)], np.arange(len(array) + 1) * size
    offsets = np.asarray(array.offsets)
    first, length = int(offsets[0]), int(offsets[-1] - offsets[0])
    children = (array.keys, array.items) if pa.types.is_map(array.type) else (array.values,)
    return [child.slice(first, length) for child in children], offsets - first


def _child_types(type_: pa.DataType) -> tuple[pa.DataType, ...]:
    return (type_.key_type, type_.item_type) if pa.types.is_map(type_) else (type_.value_type,)
