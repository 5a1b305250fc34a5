"""Parquet: row groups are read page by page, so that memory depends on the batch and not on the row group."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import IO

import pyarrow as pa
import pyarrow.parquet as pq

from millrace.compat.pyarrow.parquet import begin_read, row_group_batches
from millrace.errors import SourceCorruptError, SourceFormatError, SourceTooLargeError
from millrace.sources.io.files import check_unchanged
from millrace.sources.io.streams import open_seekable
from millrace.sources.model import SourceFile
from millrace.sources.parquet.int96 import exact_units, int96_columns, planned_unit
from millrace.sources.parquet.text import decoded_pieces, dictionary_columns, leaf_names, leaf_types
from millrace.sources.types import check_names
from millrace.sources.values import check_values

BATCH_BYTES = 4_000_000
_BATCH_ROWS = 65_536
_BUFFER_BYTES = 65_536
_CRYPT = re.compile("decrypt|encrypt")
_ROW_VALUES_MAX = 16_000_000
"""Equal values in a list take almost no space in a file, and up to 20 bytes each while they are read."""
_VALUE_BYTES = 8
"""Largest size of a value when read, except text and values of a fixed length."""


@dataclass(frozen=True, slots=True)
class ParquetFacts:
    """The facts of a file that planning needs: its schema, and for each row group its stored bytes and rows.

    ``int96`` has, for each column with INT96, the timestamp units that represent all its values exactly.
    """

    schema: pa.Schema
    groups: list[tuple[int, int]]
    int96: dict[str, set[str]]


def parquet_facts(file: SourceFile, max_unit_bytes: int, selected: Sequence[str] | None) -> ParquetFacts:
    """Read the footer of a file, and the values of the ``selected`` columns (None: all) that are INT96.

    Raises ``SourceTooLargeError`` for a row group above the limit, ``SourceFormatError`` for an encrypted file and
    ``SourceCorruptError``.
    """
    with open_seekable(file) as raw, _opened(raw, file.name, ()) as parquet:
        groups = []
        for number in range(parquet.metadata.num_row_groups):
            _check_columns(parquet, number, file.name)
            group = parquet.metadata.row_group(number)
            _check_size(group, f"{file.name}: row group {number}", file.name, max_unit_bytes)
            groups.append((_stored_bytes(group), group.num_rows))
        check_names(parquet.schema_arrow)
        columns = int96_columns(parquet, selected)
        units = exact_units(partial(_opened, raw, file.name, ()), columns) if columns else {}
        return ParquetFacts(parquet.schema_arrow, groups, units)


def _check_size(group: pq.RowGroupMetaData, label: str, name: str, max_unit_bytes: int) -> None:
    if group.total_byte_size > max_unit_bytes:
        raise SourceTooLargeError(
            f"{label} has {group.total_byte_size:,} bytes when decompressed; "
            f"at most {max_unit_bytes:,} are read at once",
            hint=f"give --max-unit-bytes {group.total_byte_size}, or write smaller row groups",
            file=name,
            size_bytes=group.total_byte_size,
        )
    longest = max((group.column(index).num_values for index in range(group.num_columns)), default=0)
    if longest > _ROW_VALUES_MAX * max(1, group.num_rows):
        raise SourceTooLargeError(
            f"{label} has {longest // max(1, group.num_rows):,} values in a row of one column; "
            f"at most {_ROW_VALUES_MAX:,} are read at once",
            hint="write them in more rows",
            file=name,
        )


def parquet_schema(file: SourceFile, unit: str) -> pa.Schema:
    """Return the schema of a file with its INT96 columns as timestamps of that unit."""
    with open_seekable(file) as raw, _opened(raw, file.name, (), unit) as parquet:
        return parquet.schema_arrow


def rows_before(file: SourceFile, group: int) -> int:
    """Return the number of rows of a file before a row group."""
    with open_seekable(file) as raw, _opened(raw, file.name, ()) as parquet:
        return sum(parquet.metadata.row_group(number).num_rows for number in range(group))


def read_parquet(
    file: SourceFile, planned: pa.Schema, start: int = 0, stop: int = -1
) -> Iterator[tuple[pa.RecordBatch, int]]:
    """Yield batches of the row groups ``start`` to ``stop`` (exclusive; -1: the end) with the stored bytes read so far.

    INT96 has the unit of the ``planned`` schema. All other columns have the file's own types.
    """
    with open_seekable(file) as raw:
        with _opened(raw, file.name, ()) as parquet:
            unit = _planned_unit(parquet, planned)
        with _opened(raw, file.name, (), unit) as parquet:
            schema, metadata = parquet.schema_arrow, parquet.metadata
            groups = range(start, metadata.num_row_groups if stop < 0 else stop)
            for number in groups:
                _check_columns(parquet, number, file.name)
            texts = dictionary_columns(metadata, schema, groups)
        with _opened(raw, file.name, texts, unit) as parquet:
            done_bytes = 0
            rows = sum(metadata.row_group(number).num_rows for number in range(start))
            for number in groups:
                group = metadata.row_group(number)
                stored = _stored_bytes(group)
                for piece, group_rows in _pieces(parquet, number, schema, file.name, rows):
                    yield piece, done_bytes + stored * group_rows // group.num_rows
                done_bytes += stored
                rows += group.num_rows
    if file.has_ranges:
        check_unchanged(file)


def _pieces(
    parquet: pq.ParquetFile, number: int, schema: pa.Schema, name: str, first_row: int
) -> Iterator[tuple[pa.RecordBatch, int]]:
    """Yield the rows of a row group, each piece with the number of the group's rows read so far."""
    group, rows = parquet.metadata.row_group(number), 0
    for batch in row_group_batches(parquet, number, _rows_at_once(parquet.metadata, group)):
        check_values(batch, name, first_row + rows, _damaged)
        rows += batch.num_rows
        for piece in decoded_pieces(batch, schema, BATCH_BYTES):
            yield piece, rows
    if rows != group.num_rows:
        raise _damaged(name, f"row group {number} has {rows:,} rows of {group.num_rows:,}")


@contextmanager
def _opened(raw: IO[bytes], name: str, texts: tuple[str, ...], unit: str = "ns") -> Iterator[pq.ParquetFile]:
    try:
        yield pq.ParquetFile(
            pa.PythonFile(raw, mode="r"),
            read_dictionary=list(texts),
            coerce_int96_timestamp_unit=unit,
            pre_buffer=False,
            buffer_size=_BUFFER_BYTES,
            page_checksum_verification=True,
        )
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        if "encrypted metadata" in str(error):
            raise _encrypted(name, "") from None
        raise _damaged(name, str(error).split("\n")[0]) from error


def _planned_unit(parquet: pq.ParquetFile, planned: pa.Schema) -> str:
    leaves: list[pa.DataType | None] = []
    for field in parquet.schema_arrow:
        is_planned = field.name in planned.names
        kind = planned.field(field.name).type if is_planned else field.type
        leaves += [leaf if is_planned else None for leaf in leaf_types(kind)]
    return planned_unit(parquet.schema, leaves)


def _check_columns(parquet: pq.ParquetFile, group: int, name: str) -> None:
    """Raise ``OSError`` where the metadata of a column of the row group is invalid, and refuse an encrypted column."""
    columns = range(len(parquet.schema))
    try:
        begin_read(parquet, group, columns)
    except OSError as error:
        if not _CRYPT.search(str(error)):
            raise
        named = zip(columns, leaf_names(parquet.schema_arrow), strict=False)
        hidden = dict.fromkeys(column for index, column in named if _is_encrypted(parquet, group, index))
        raise _encrypted(name, ", ".join(map(repr, list(hidden)[:5]))) from None


def _is_encrypted(parquet: pq.ParquetFile, group: int, column: int) -> bool:
    try:
        begin_read(parquet, group, [column])
    except OSError as error:
        return bool(_CRYPT.search(str(error)))
    return False


def _encrypted(name: str, columns: str) -> SourceFormatError:
    part = f"its column {columns}" if columns else "the file"
    return SourceFormatError(
        f"{name} cannot be loaded: {part} is encrypted",
        hint="load a copy that was written without encryption",
        file=name,
    )


def _damaged(name: str, reason: str) -> SourceCorruptError:
    return SourceCorruptError(f"{name} is damaged Parquet data: {reason}", hint="write or copy it again", file=name)


def _stored_bytes(group: pq.RowGroupMetaData) -> int:
    return sum(group.column(index).total_compressed_size for index in range(group.num_columns))


def _rows_at_once(metadata: pq.FileMetaData, group: pq.RowGroupMetaData) -> int:
    """Return the number of rows of a batch of about 4 MB.

    The size counts values and not only stored bytes, because a run of equal values is stored once and read as many.
    """
    size_bytes = 0
    for index in range(group.num_columns):
        column = group.column(index)
        value_bytes = max(_VALUE_BYTES, metadata.schema.column(index).length)
        size_bytes += max(column.total_uncompressed_size, value_bytes * column.num_values)
    rows: int = BATCH_BYTES * group.num_rows // max(1, size_bytes)
    return max(1, min(_BATCH_ROWS, rows))
