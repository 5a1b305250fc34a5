"""Parquet that pyarrow reads or writes wrongly, or that ends the process."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from millrace.compat.pyarrow.types import holds, is_extension


def begin_read(parquet: pq.ParquetFile, group: int, columns: Sequence[int]) -> None:
    """Raise ``OSError`` where the metadata of one of these columns of a row group is invalid.

    pyarrow 25 ends the process when it is asked for the metadata of such a column. Starting a read creates the same
    objects and raises their error.
    """
    # A batch of no rows reads nothing of the file. With an extension type of dictionaries it would end the process.
    rows = int(any(holds(kind, _is_extension_of_dictionaries) for kind in parquet.schema_arrow.types))
    if rows <= parquet.metadata.row_group(group).num_rows:
        next(parquet.reader.iter_batches(rows, row_groups=[group], column_indices=columns, use_threads=False), None)


def row_group_batches(parquet: pq.ParquetFile, group: int, batch_rows: int) -> Iterator[pa.RecordBatch]:
    """Yield the batches of a row group; fewer rows than its metadata has are no error.

    No batch beyond the last is requested: with an extension type of dictionaries pyarrow 25 would end the process.
    """
    missing_rows = parquet.metadata.row_group(group).num_rows
    batches = parquet.iter_batches(batch_size=batch_rows, row_groups=[group])
    while missing_rows > 0 and (batch := next(batches, None)) is not None:
        missing_rows -= batch.num_rows
        yield batch


class AbandonableSink(io.RawIOBase):
    """A sink that ignores all data once it is abandoned.

    ``ParquetWriter`` writes a footer when it is closed or destroyed, and has no method to leave it out.
    """

    is_abandoned = False

    def __init__(self, sink: Any) -> None:
        self._sink = sink

    def writable(self) -> bool:
        """Return that the sink can be written to."""
        return True

    def write(self, data: Any) -> int:
        """Pass the data on, or ignore it."""
        if not self.is_abandoned:
            self._sink.write(data)
        return len(data)


def is_writable(kind: pa.DataType) -> bool:
    """Return whether pyarrow writes values of the type to Parquet, and can read them again."""
    if holds(kind, _is_unwritable_dictionary):
        return False
    try:
        with pq.ParquetWriter(pa.BufferOutputStream(), pa.schema([("x", kind)]), version="2.6"):
            return True
    except (pa.ArrowException, OSError):
        return False


def narrowed_type(kind: pa.DataType) -> pa.DataType | None:
    """Return the type that Parquet stores in place of ``kind``, or None if it stores ``kind`` itself.

    pyarrow 25 writes another value where that type is too narrow.
    """
    if pa.types.is_date64(kind):
        return pa.date32()
    return pa.timestamp("ms", kind.tz) if pa.types.is_timestamp(kind) and kind.unit == "s" else None


def unwritable_type(array: Any) -> pa.DataType | None:
    """Return the type of the first date or time in the array that Parquet cannot hold, or None."""
    kind, narrow = array.type, narrowed_type(array.type)
    if narrow is not None:
        try:
            array.cast(narrow)
        except pa.ArrowInvalid:
            return kind
        return None
    if not holds(kind, narrowed_type):
        return None
    parts = [array.dictionary] if pa.types.is_dictionary(kind) else _parts(array)
    return next((type_ for part in parts if (type_ := unwritable_type(part))), None)


def has_null_of_fixed_size(array: Any) -> bool:
    """Return whether there is a null in place of a list of fixed size, or at a level above one.

    pyarrow 25 writes it without an error, but no reader accepts the file.
    """
    if not holds(array.type, pa.types.is_fixed_size_list):
        return False
    if array.null_count or pa.types.is_dictionary(array.type):
        return bool(array.null_count)
    return any(map(has_null_of_fixed_size, _parts(array)))


def _parts(array: Any) -> list[pa.Array]:
    """Return the arrays within an extension array, structs, maps or lists."""
    if is_extension(array.type):
        return [array.storage]
    if pa.types.is_struct(array.type):
        return list(array.flatten())
    return [array.keys, array.items] if pa.types.is_map(array.type) else [array.flatten()]


def _is_extension_of_dictionaries(kind: pa.DataType) -> bool:
    return is_extension(kind) and holds(kind.storage_type, pa.types.is_dictionary)


def _is_unwritable_dictionary(kind: pa.DataType) -> bool:
    """Return whether the type is a dictionary that Parquet cannot hold, or an extension of a dictionary.

    pyarrow refuses to write the former only at the first rows. It writes the latter, but reading it with pyarrow 25
    ends the process.
    """
    if not pa.types.is_dictionary(kind):
        return _is_extension_of_dictionaries(kind)
    views = (pa.types.is_string_view, pa.types.is_binary_view, pa.types.is_nested, is_extension)
    return any(check(kind.value_type) for check in views)
