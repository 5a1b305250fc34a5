"""Parquet: row groups read page by page, so that memory follows the batch and not the row group."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.errors import SourceCorruptError, SourceTooLargeError
from pipeline.sources.files import check_unchanged
from pipeline.sources.model import SourceFile
from pipeline.sources.parquet_text import dictionary_columns, plain_pieces
from pipeline.sources.stdin import STANDARD_INPUT
from pipeline.sources.streams import open_seekable
from pipeline.sources.types import check_names

__all__ = ["read_parquet", "row_groups"]

BATCH_BYTES = 4_000_000
_BATCH_ROWS = 65_536
_BUFFER_BYTES = 65_536
_VALUE_BYTES = 8
"""What a value takes at most when read, but for text and for what has a length of its own."""


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
            texts = dictionary_columns(metadata, schema)
        with _opened(raw, file.name, texts) as parquet:
            done = 0
            for number in range(start, metadata.num_row_groups if stop < 0 else stop):
                group = metadata.row_group(number)
                stored = sum(group.column(at).total_compressed_size for at in range(group.num_columns))
                batches = parquet.iter_batches(batch_size=_rows_at_once(metadata, group), row_groups=[number])
                seen = 0
                # Asked for more than there is, pyarrow 25 ends the process over an extension of dictionaries.
                while seen < group.num_rows and (batch := next(batches, None)) is not None:
                    seen += batch.num_rows
                    for piece in plain_pieces(batch, schema, BATCH_BYTES):
                        yield piece, done + stored * seen // group.num_rows
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


def _rows_at_once(metadata: pq.FileMetaData, group: pq.RowGroupMetaData) -> int:
    """So many rows that a batch takes about 4 MB: a run of equal values is stored as one, and read as all of them."""
    size_bytes = 0
    for at in range(group.num_columns):
        column = group.column(at)
        value_bytes = max(_VALUE_BYTES, metadata.schema.column(at).length)
        size_bytes += max(column.total_uncompressed_size, value_bytes * column.num_values)
    rows: int = BATCH_BYTES * group.num_rows // max(1, size_bytes)
    return max(1, min(_BATCH_ROWS, rows))
