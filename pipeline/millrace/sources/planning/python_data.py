"""Arrow data of a Python process as a source: copy a table, a stream or a data frame to a file that can be read twice.

A load reads its source once for the plan and once for the rows, and a repeated load compares it with the loaded
source. A stream can be read once only. So its batches are first copied into a temporary Arrow file, with at most two
of them in memory.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from errno import ENOSPC
from pathlib import Path
from typing import Any, Final, Protocol

import pyarrow as pa
import xxhash

from millrace.arrow import held_bytes
from millrace.errors import OutputError, SourceFormatError, SourceTypeError, UsageError
from millrace.sources.read import in_pieces
from millrace.sources.warnings import SourceWarning

_BLOCK_ROWS: Final = 65_536
"""Rows in one block of the copy, so that the copy depends on the values and not on the batches of the data."""
_BLOCK_BYTES: Final = 32_000_000


class ArrowStream(Protocol):
    """An object that exports an Arrow stream: a table, reader, data frame or relation."""

    def __arrow_c_stream__(self, requested_schema: Any = None) -> Any:
        """Return the stream as a PyCapsule."""
        ...


@dataclass(frozen=True, slots=True)
class ArrowCopy:
    """A temporary Arrow file, the name of its source, and warnings about the copied data."""

    path: str
    name: str
    warnings: tuple[SourceWarning, ...] = ()


def is_arrow(data: object) -> bool:
    """Return whether the object exports Arrow data."""
    return hasattr(type(data), "__arrow_c_stream__") or hasattr(type(data), "__arrow_c_array__")


def type_name(data: object) -> str:
    """Return the name of the object's type with that of its top-level package, as in ``pyarrow.Table``."""
    return f"{type(data).__module__.partition('.')[0]}.{type(data).__name__}"


@contextmanager
def copied(data: Any) -> Iterator[ArrowCopy]:
    """Copy ``data`` to a temporary file in ``TMPDIR``, which is removed at the end of the context.

    The copy's name is the data's type, as in ``python:pyarrow.Table``. Its modification time is a hash of its content,
    so that equal data is the same source. Raises ``UsageError`` for a single column, ``SourceTypeError`` or
    ``SourceFormatError`` for data that Arrow refuses, and ``OutputError`` when the disk is full.
    """
    name = type_name(data)
    with tempfile.TemporaryDirectory(prefix="millrace-") as folder:
        path = Path(folder) / name
        try:
            schema = _write(_reader(data, name), path, name)
        except OSError as error:
            if error.errno != ENOSPC:
                raise
            raise OutputError(
                f"{tempfile.gettempdir()} has no room for a copy of the {name}",
                hint="set TMPDIR to a folder with more room",
            ) from None
        _date_by_content(path)
        yield ArrowCopy(str(path), f"python:{name}", tuple(_index_warnings(data, schema)))


def _reader(data: Any, name: str) -> pa.RecordBatchReader:
    if isinstance(data, pa.RecordBatchReader):  # not exported again: errors of its Python code propagate unchanged
        return data
    try:
        if _is_pandas(data):
            # By default Arrow keeps or drops an index depending on its values, so the columns would depend on them.
            return pa.Table.from_pandas(data, preserve_index=not _is_default(data.index)).to_reader()
        if hasattr(type(data), "__arrow_c_stream__"):
            return pa.RecordBatchReader.from_stream(data)
        batch = pa.record_batch(data)
        return pa.RecordBatchReader.from_batches(batch.schema, [batch])
    except (pa.ArrowException, TypeError, ValueError) as error:
        if "non-struct" in str(error) or isinstance(data, pa.Array):
            raise UsageError(
                f"the {name} is one column and not a table", hint="give a table with named columns"
            ) from None
        raise SourceTypeError(
            f"the {name} is not a table for Arrow ({_one_line(error)})",
            hint="give each column one type, or a table with named columns",
        ) from None


def _write(reader: pa.RecordBatchReader, path: Path, name: str) -> pa.Schema:
    with path.open("xb") as file, pa.ipc.new_stream(file, reader.schema) as stream:
        for block in _blocks(_valid(reader, name)):
            for piece in in_pieces(block):
                stream.write_batch(piece)
    return reader.schema


def _valid(reader: pa.RecordBatchReader, name: str) -> Iterator[pa.RecordBatch]:
    try:
        for batch in reader:
            batch.validate()
            yield batch
    except pa.ArrowException as error:
        raise SourceFormatError(f"the {name} cannot be read to its end ({_one_line(error)})") from error


def _blocks(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """Yield the rows in blocks of ``_BLOCK_ROWS``, or of fewer where they reach ``_BLOCK_BYTES``."""
    waiting: list[pa.RecordBatch] = []
    rows = size = 0
    for batch in batches:
        offset = 0
        while offset < batch.num_rows:
            piece = batch.slice(offset, _BLOCK_ROWS - rows)
            offset += piece.num_rows
            waiting.append(piece)
            rows += piece.num_rows
            size += held_bytes(piece)
            if rows == _BLOCK_ROWS or size >= _BLOCK_BYTES:
                yield from _joined(waiting)
                waiting, rows, size = [], 0, 0
    yield from _joined(waiting)


def _joined(batches: list[pa.RecordBatch]) -> Iterable[pa.RecordBatch]:
    # The last batch may be of any size, so a large one is not copied to join it with the others.
    if not batches or held_bytes(batches[-1]) >= _BLOCK_BYTES:
        return batches
    try:
        # With the empty slice Arrow also copies a single batch. A slice would be written with bytes beyond its end.
        return [pa.concat_batches([*batches, batches[0].slice(0, 0)])]
    except pa.ArrowException:  # a type that Arrow cannot concatenate
        return batches


def _date_by_content(path: Path) -> None:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, xxhash.xxh3_64).digest()  # type: ignore[arg-type]  # it has ``update``
    # Nanoseconds since 1970, at most a date in 2006, which every filesystem can store.
    moment = int.from_bytes(digest) >> 4
    os.utime(path, ns=(moment, moment))


def _is_pandas(data: Any) -> bool:
    return type(data).__module__.partition(".")[0] == "pandas" and type(data).__name__ == "DataFrame"


def _is_default(index: Any) -> bool:
    """Return whether a pandas index only counts the rows from 0."""
    return type(index).__name__ == "RangeIndex" and (index.start, index.step, index.name) == (0, 1, None)


def _index_warnings(data: Any, schema: pa.Schema) -> Iterator[SourceWarning]:
    """Yield a warning when the index of a pandas data frame is loaded as a column."""
    if not _is_pandas(data) or _is_default(data.index):
        return
    columns = json.loads(schema.metadata[b"pandas"])["index_columns"]
    names = ", ".join(map(repr, columns))
    yield SourceWarning(
        "pandas_index",
        f"the index of the data frame is loaded as a column ({names}); reset_index(drop=True) leaves it out",
        column=columns[0],
    )


def _one_line(error: Exception) -> str:
    return " ".join(" ".join(map(str, error.args)).split())
