"""Parquet: row groups read page by page, so that memory follows the batch and not the row group."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline.errors import SourceCorruptError, SourceTooLargeError
from pipeline.sources.files import check_unchanged
from pipeline.sources.model import SourceFile
from pipeline.sources.stdin import STANDARD_INPUT
from pipeline.sources.streams import open_seekable
from pipeline.sources.types import check_names

__all__ = ["read_parquet", "row_groups"]

BATCH_BYTES = 4_000_000
_BATCH_ROWS = 65_536
_BUFFER_BYTES = 65_536


def row_groups(file: SourceFile, max_unit_bytes: int) -> tuple[pa.Schema, list[tuple[int, int]]]:
    """The schema, and for each row group its stored bytes and rows.

    Raises ``SourceTooLargeError`` for a row group above the limit and ``SourceCorruptError``.
    """
    with open_seekable(file) as raw, _opened(raw, file.name, ()) as parquet:
        found = []
        for number in range(parquet.metadata.num_row_groups):
            group = parquet.metadata.row_group(number)
            if group.total_byte_size > max_unit_bytes:
                raise SourceTooLargeError(
                    f"{file.name}: row group {number} has {group.total_byte_size:,} bytes when decompressed; "
                    f"at most {max_unit_bytes:,} are read at once",
                    hint=f"give --max-unit-bytes {group.total_byte_size}, or write smaller row groups",
                    file=file.name,
                    size_bytes=group.total_byte_size,
                )
            stored = sum(group.column(at).total_compressed_size for at in range(group.num_columns))
            found.append((stored, group.num_rows))
        check_names(parquet.schema_arrow)
        return parquet.schema_arrow, found


def read_parquet(file: SourceFile, start: int = 0, stop: int = -1) -> Iterator[tuple[pa.RecordBatch, int]]:
    """Batches of the row groups ``start`` to ``stop`` (-1: the last), with the stored bytes read for them so far."""
    with open_seekable(file) as raw:
        with _opened(raw, file.name, ()) as parquet:
            schema, metadata = parquet.schema_arrow, parquet.metadata
            texts = _dictionary_columns(metadata, schema)
        with _opened(raw, file.name, texts) as parquet:
            done = 0
            for number in range(start, metadata.num_row_groups if stop < 0 else stop):
                group = metadata.row_group(number)
                stored = sum(group.column(at).total_compressed_size for at in range(group.num_columns))
                rows, seen = max(1, group.num_rows), 0
                batches = parquet.iter_batches(batch_size=_rows_at_once(group, schema), row_groups=[number])
                for batch in batches:
                    seen += batch.num_rows
                    for piece in _plain(batch, schema):
                        yield piece, done + stored * seen // rows
                done += stored
    if file.uri != STANDARD_INPUT:
        check_unchanged(file)


@contextmanager
def _opened(raw: IO[bytes], name: str, texts: tuple[str, ...]) -> Iterator[pq.ParquetFile]:
    try:
        yield pq.ParquetFile(
            pa.PythonFile(raw, mode="r"),
            read_dictionary=list(texts),
            pre_buffer=False,
            buffer_size=_BUFFER_BYTES,
            page_checksum_verification=True,
        )
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        first = str(error).split("\n")[0]
        raise SourceCorruptError(
            f"{name} is damaged Parquet data: {first}", hint="write or copy it again", file=name
        ) from error


def _dictionary_columns(metadata: pq.FileMetaData, schema: pa.Schema) -> tuple[str, ...]:
    """Text columns that are stored as dictionaries and shall come as plain text.

    They are read as dictionaries first: a few stored bytes may stand for a long text in every row, and only so can
    the batch be cut before it grows. Where the stored values are long anyway, a dictionary would only cost time.
    """
    plain = {
        field.name
        for field in schema
        if pa.types.is_string(field.type)
        or pa.types.is_large_string(field.type)
        or pa.types.is_binary(field.type)
        or pa.types.is_large_binary(field.type)
    }
    found = set()
    for number in range(metadata.num_row_groups):
        group = metadata.row_group(number)
        for at in range(group.num_columns):
            column = group.column(at)
            if column.path_in_schema in plain and "RLE_DICTIONARY" in column.encodings:
                found.add(column.path_in_schema)
    return tuple(sorted(found))


def _rows_at_once(group: pq.RowGroupMetaData, schema: pa.Schema) -> int:
    width: int = max(group.total_byte_size // max(1, group.num_rows), 8 * len(schema), 1)
    return max(1, min(_BATCH_ROWS, BATCH_BYTES // width))


def _plain(batch: pa.RecordBatch, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    """The batch with the file's own types, in pieces of about 4 MB of the text that dictionaries become."""
    encoded = [
        number
        for number, field in enumerate(schema)
        if pa.types.is_dictionary(batch.column(number).type) and not pa.types.is_dictionary(field.type)
    ]
    for start, stop in _text_pieces(batch, encoded):
        piece = batch.slice(start, stop - start)
        columns = [
            column.dictionary_decode().cast(schema.field(number).type) if number in encoded else column
            for number, column in enumerate(piece.columns)
        ]
        yield pa.RecordBatch.from_arrays(columns, schema=schema)


def _text_pieces(batch: pa.RecordBatch, encoded: list[int]) -> Iterator[tuple[int, int]]:
    import numpy as np

    sizes = np.zeros(batch.num_rows, dtype=np.int64)
    for number in encoded:
        column = batch.column(number)
        lengths = pc.cast(pc.binary_length(column.dictionary), pa.int64()).take(column.indices)
        sizes += pc.fill_null(lengths, 0).to_numpy(zero_copy_only=False)
    total, start = np.cumsum(sizes), 0
    while start < batch.num_rows:
        before = int(total[start - 1]) if start else 0
        stop = int(np.searchsorted(total, before + BATCH_BYTES, side="right"))
        stop = max(start + 1, stop)
        yield start, stop
        start = stop
