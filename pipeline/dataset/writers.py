"""Record batches into Parquet, CSV, Arrow or JSON lines, one batch in memory at a time.

Every writer takes the schema first and refuses, by name, the columns that its format cannot hold.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, Protocol

import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq

from pipeline.arrow_types import holds
from pipeline.dataset.plain import (
    cast_plain,
    converted,
    flat_type,
    is_bytes,
    is_extension,
    plain_type,
)
from pipeline.errors import UsageError

__all__ = ["WRITERS", "BatchWriter", "as_text"]

_JSON_ROWS = 4096


class BatchWriter(Protocol):
    """Writes batches of one schema; nothing is complete before ``close``."""

    def write(self, batch: pa.RecordBatch) -> None:
        """Append the rows of a batch."""

    def close(self) -> None:
        """Write what belongs at the end; the sink stays open."""

    def abandon(self) -> None:
        """Write nothing more, so that what is incomplete does not look complete."""


class _Arrow:
    """Arrow IPC, the file format: every type, value and null exactly, with the schema's metadata."""

    def __init__(self, sink: Any, schema: pa.Schema) -> None:
        options = pa.ipc.IpcWriteOptions(emit_dictionary_deltas=True)
        self._unify = any(holds(field.type, pa.types.is_dictionary) for field in schema)
        self._writer = self._open(sink, schema, options)
        self._last: pa.RecordBatch | None = None

    @staticmethod
    def _open(sink: Any, schema: pa.Schema, options: Any) -> Any:
        return pa.ipc.new_file(sink, schema, options=options)

    def write(self, batch: pa.RecordBatch) -> None:
        if batch.num_rows:
            self._writer.write_batch(self._unified(batch) if self._unify else batch)

    def _unified(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """The batch with a dictionary that begins with everything written so far: a file holds one per column."""
        if self._last is not None:
            # One row keeps the dictionary; unifying appends what is new to it and leaves the rest in its place.
            batch = pa.Table.from_batches([self._last, batch]).unify_dictionaries().to_batches()[-1]
        self._last = batch.slice(0, 1)
        return batch

    def close(self) -> None:
        self._writer.close()

    def abandon(self) -> None:
        """An unclosed file has no footer and is refused by every reader."""


class _ArrowStream(_Arrow):
    """Arrow IPC, the stream format, for pipes."""

    @staticmethod
    def _open(sink: Any, schema: pa.Schema, options: Any) -> Any:
        return pa.ipc.new_stream(sink, schema, options=options)


class _Parquet:
    """Parquet, one row group a batch, with the Arrow schema kept; zstd, as most readers know it."""

    def __init__(self, sink: Any, schema: pa.Schema) -> None:
        _check(schema, "Parquet", _parquet_holds)
        self._fixed = [i for i, f in enumerate(schema) if holds(f.type, pa.types.is_fixed_size_list)]
        self._names = schema.names
        self._writer = pq.ParquetWriter(sink, schema, version="2.6", compression="zstd", store_schema=True)

    def write(self, batch: pa.RecordBatch) -> None:
        for index in self._fixed:
            if _has_null(batch.column(index)):
                # Written without a word, and then no reader accepts it.
                raise _refused(self._names[index], "a null in a list of fixed size", "Parquet")
        self._writer.write_batch(batch)

    def close(self) -> None:
        self._writer.close()

    def abandon(self) -> None:
        self._writer.is_open = False  # else its __del__ would write the footer


class _Csv:
    """CSV as ``pyarrow.csv`` writes it: a header, text in quotes, null as nothing at all between two commas."""

    def __init__(self, sink: Any, schema: pa.Schema) -> None:
        _check(schema, "CSV", _csv_holds)
        self._schema = pa.schema([pa.field(f.name, flat_type(f.type), f.nullable) for f in schema])
        self._writer = pa_csv.CSVWriter(sink, self._schema)

    def write(self, batch: pa.RecordBatch) -> None:
        self._writer.write_batch(cast_plain(batch, self._schema))

    def close(self) -> None:
        self._writer.close()

    def abandon(self) -> None:
        """What is written is written."""


class _JsonLines:
    """JSON lines: one object a row; times, dates and decimals as text, so that none of their digits is lost."""

    def __init__(self, sink: Any, schema: pa.Schema) -> None:
        for name in schema.names:
            if schema.names.count(name) > 1:
                raise _refused(name, "a name that stands twice", "JSON lines")
        _check(schema, "JSON lines", _json_holds)
        self._schema = pa.schema([pa.field(f.name, plain_type(f.type), f.nullable) for f in schema])
        self._sink = sink
        self._encode = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode

    def write(self, batch: pa.RecordBatch) -> None:
        plain = cast_plain(batch, self._schema)
        for start in range(0, plain.num_rows, _JSON_ROWS):
            rows = plain.slice(start, _JSON_ROWS)
            try:
                lines = [self._encode(row) for row in rows.to_pylist()]
            except ValueError:
                raise _refused(self._not_finite(rows), "NaN or infinity", "JSON") from None
            self._sink.write(("\n".join(lines) + "\n").encode())

    def _not_finite(self, rows: pa.RecordBatch) -> str:
        for name, column in zip(rows.schema.names, rows.columns, strict=True):
            try:
                self._encode(column.to_pylist())
            except ValueError:
                return str(name)
        return str(rows.schema.names[0])

    def close(self) -> None:
        """Every line is written already."""

    def abandon(self) -> None:
        """What is written is written."""


WRITERS: dict[str, Callable[[Any, pa.Schema], BatchWriter]] = {
    "parquet": _Parquet,
    "csv": _Csv,
    "arrow": _Arrow,
    "arrows": _ArrowStream,
    "jsonl": _JsonLines,
}
"""By format's name: makes a writer on an open binary sink; raises ``UsageError`` for what it cannot hold."""


def as_text(column: pa.Array) -> list[str | None]:
    """The values for a person to read, None where there is none; never raises for a type."""
    try:
        values = converted(column, plain_type(column.type)).to_pylist()
    except (pa.ArrowException, ValueError, TypeError, OverflowError):
        # An extension's storage may be of a type that Python does not know.
        rows = (column.slice(row, 1) for row in range(len(column)))
        values = [None if row.null_count else " ".join(row.to_string().split()) for row in rows]
    return [None if value is None else value if isinstance(value, str) else str(value) for value in values]


def _check(schema: pa.Schema, what: str, holds: Callable[[pa.DataType], bool]) -> None:
    for field in schema:
        if not holds(field.type):
            raise _refused(field.name, str(field.type), what)


def _refused(column: str, kind: str, what: str) -> UsageError:
    return UsageError(
        f"{what} cannot hold column {column!r}: {kind}",
        hint="write an .arrow file, which holds everything, or leave the column out with --columns",
        column=column,
        actual=kind,
    )


def _parquet_holds(kind: pa.DataType) -> bool:
    if holds(kind, _is_odd_dictionary):
        return False
    try:
        with pq.ParquetWriter(pa.BufferOutputStream(), pa.schema([("x", kind)]), version="2.6"):
            return True
    except (pa.ArrowException, OSError):
        return False


def _is_odd_dictionary(kind: pa.DataType) -> bool:
    """One of values that Parquet cannot write, which shows only with the first rows, or an extension of one.

    The latter is written, and ends the process of whoever reads it with pyarrow 25.
    """
    if is_extension(kind):
        return holds(kind.storage_type, pa.types.is_dictionary)
    if not pa.types.is_dictionary(kind):
        return False
    held = kind.value_type
    views = (pa.types.is_string_view, pa.types.is_binary_view, pa.types.is_nested, is_extension)
    return any(check(held) for check in views)


def _csv_holds(kind: pa.DataType) -> bool:
    flat = flat_type(kind)
    if is_extension(flat):
        return False
    if pa.types.is_nested(flat) or pa.types.is_run_end_encoded(flat) or pa.types.is_interval(flat):
        return False
    return not is_bytes(flat)


def _json_holds(kind: pa.DataType) -> bool:
    odd = (
        is_extension,
        pa.types.is_union,
        pa.types.is_run_end_encoded,
        pa.types.is_interval,
        pa.types.is_list_view,
        pa.types.is_large_list_view,
        is_bytes,
        lambda t: pa.types.is_dictionary(t) and pa.types.is_nested(t.value_type),
    )
    return not any(holds(kind, each) for each in odd)


def _has_null(array: pa.Array) -> bool:
    """A null on the way down to, or in the place of, a list of fixed size."""
    kind = array.type
    if not holds(kind, pa.types.is_fixed_size_list):
        return False
    if array.null_count:
        return True
    if isinstance(array, pa.ExtensionArray):
        return _has_null(array.storage)
    if pa.types.is_struct(kind):
        return any(_has_null(child) for child in array.flatten())
    if pa.types.is_map(kind):
        return _has_null(array.keys) or _has_null(array.items)
    return not pa.types.is_dictionary(kind) and _has_null(array.flatten())
