"""Write record batches as Parquet, CSV, Arrow or JSON lines, with one batch in memory at a time.

Every writer checks the schema first and refuses, by name, the columns that its format cannot hold.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable
from typing import Any, Final

import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq

from millrace.arrow import Change, holds, is_text
from millrace.compat.pyarrow.parquet import (
    AbandonableSink,
    has_null_of_fixed_size,
    is_writable,
    narrowed_type,
    unwritable_type,
)
from millrace.dataset.exports.dictionaries import Dictionaries, DictionaryError
from millrace.dataset.exports.format_types import csv_holds, has_equal_fields, json_holds
from millrace.dataset.exports.temporal_text import BeyondTextError
from millrace.dataset.exports.text_types import convert, convert_for_csv, csv_type, json_type
from millrace.errors import UsageError

_JSON_ROWS = 4096
_NO_HEADER: Final = pa_csv.WriteOptions(include_header=False)
_BLANK_LINE: Final = re.compile(rb"^\n", re.MULTILINE)
_ARROW_HINT: Final = "write an .arrow file, which holds everything, or leave the column out with --columns"
_STREAM_HINT: Final = "write an .arrows file, a stream, which may hold several dictionaries one after another"
_ONLY_HINT: Final = "write an .arrow file, which holds everything, or a second column with it"


class BatchWriter:
    """A writer of batches of one schema to an open binary sink; its output is incomplete before ``close``.

    The constructors of its classes raise ``UsageError`` for columns that the format cannot hold.
    """

    def write(self, batch: pa.RecordBatch) -> None:
        """Append the rows of a batch."""
        raise NotImplementedError

    def close(self) -> None:
        """Write the end of the output, if the format has one; the sink stays open."""

    def abandon(self) -> None:
        """Write nothing more, so that an incomplete output does not look complete; the rows written so far stay."""


class _Arrow(BatchWriter):
    """A writer of the Arrow IPC file format: every type, value and null exactly, with the schema's metadata.

    A file that is not closed has no footer, and every reader refuses it.
    """

    _open: Callable[..., Any] = staticmethod(pa.ipc.new_file)

    def __init__(self, sink: Any, schema: pa.Schema) -> None:
        options = pa.ipc.IpcWriteOptions(emit_dictionary_deltas=True)
        self._dictionaries = Dictionaries() if any(holds(f.type, pa.types.is_dictionary) for f in schema) else None
        self._previous: pa.RecordBatch | None = None
        self._writer = self._open(sink, schema, options=options)

    def write(self, batch: pa.RecordBatch) -> None:
        if not batch.num_rows:
            return
        if self._dictionaries is None:
            self._writer.write_batch(batch)
            return
        # Writing is one batch behind, because joining dictionaries depends on whether more batches follow.
        previous, self._previous = self._previous, batch
        if previous is not None:
            self._writer.write_batch(self._joined(self._dictionaries, previous, more=True))

    def _joined(self, dictionaries: Dictionaries, batch: pa.RecordBatch, *, more: bool) -> pa.RecordBatch:
        """Join the dictionaries: a file holds one dictionary for each dictionary field."""
        try:
            return dictionaries.joined(batch, more=more)
        except DictionaryError as error:
            column, reason = error.args
            raise _refused(column, reason, "an .arrow file", hint=_STREAM_HINT) from error

    def close(self) -> None:
        if self._previous is not None and self._dictionaries is not None:
            self._writer.write_batch(self._joined(self._dictionaries, self._previous, more=False))
        self._writer.close()


class _ArrowStream(_Arrow):
    """A writer of the Arrow IPC stream format, for pipes."""

    _open = staticmethod(pa.ipc.new_stream)

    def _joined(self, dictionaries: Dictionaries, batch: pa.RecordBatch, *, more: bool) -> pa.RecordBatch:
        """Join the dictionaries, or start new ones where they cannot be joined: a stream may replace dictionaries."""
        try:
            return dictionaries.joined(batch)
        except DictionaryError:
            self._dictionaries = Dictionaries()
            return self._dictionaries.joined(batch)


class _Parquet(BatchWriter):
    """A writer of Parquet: one row group a batch, with the Arrow schema; zstd, which most readers support."""

    def __init__(self, sink: Any, schema: pa.Schema) -> None:
        _check(schema, "Parquet", is_writable)
        self._fixed = [i for i, f in enumerate(schema) if holds(f.type, pa.types.is_fixed_size_list)]
        self._narrowed = [i for i, f in enumerate(schema) if holds(f.type, narrowed_type)]
        self._names = schema.names
        self._sink = AbandonableSink(sink)
        self._writer = pq.ParquetWriter(self._sink, schema, version="2.6", compression="zstd", store_schema=True)

    def write(self, batch: pa.RecordBatch) -> None:
        for index in self._fixed:
            if has_null_of_fixed_size(batch.column(index)):
                raise _refused(self._names[index], "a null in a list of fixed size", "Parquet")
        for index in self._narrowed:
            if kind := unwritable_type(batch.column(index)):
                raise _refused(self._names[index], f"{kind} is out of range", "Parquet")
        self._writer.write_batch(batch)

    def close(self) -> None:
        self._writer.close()

    def abandon(self) -> None:
        self._sink.is_abandoned = True


class _Csv(BatchWriter):
    """A writer of CSV in the form of ``pyarrow.csv``: a header, text in quotes, null as an empty unquoted field."""

    def __init__(self, sink: Any, schema: pa.Schema) -> None:
        _check(schema, "CSV", csv_holds)
        self._sink = sink
        self._schema = pa.schema([pa.field(f.name, csv_type(f.type)) for f in schema])
        pa_csv.write_csv(self._schema.empty_table(), sink)

    def write(self, batch: pa.RecordBatch) -> None:
        columns = _columns(batch, self._schema, "CSV", convert_for_csv)
        only = columns[0] if len(columns) == 1 and columns[0].null_count else None
        if only is not None and is_text(only.type):
            raise _refused(self._schema.names[0], "a null in an only column of text", "CSV", hint=_ONLY_HINT)
        rows = pa.RecordBatch.from_arrays(columns, names=self._schema.names)
        sink = self._sink if only is None else pa.BufferOutputStream()
        pa_csv.write_csv(rows, sink, _NO_HEADER)
        if only is not None:
            # A row of a single null would be a blank line, which readers skip.
            self._sink.write(_BLANK_LINE.sub(b'""\n', sink.getvalue().to_pybytes()))


class _JsonLines(BatchWriter):
    """A writer of JSON lines: one object a row; times, dates and decimals as text, so that no digit is lost."""

    def __init__(self, sink: Any, schema: pa.Schema) -> None:
        if repeated := [name for name, count in Counter(schema.names).items() if count > 1]:
            raise _refused(repeated[0], "a name that occurs twice", "JSON lines")
        _check(schema, "JSON lines", json_holds)
        for field in schema:
            if holds(field.type, has_equal_fields):
                raise _refused(field.name, "a struct in which a field name occurs twice", "JSON lines")
        self._schema = pa.schema([pa.field(f.name, json_type(f.type)) for f in schema])
        self._sink = sink
        self._encode = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode

    def write(self, batch: pa.RecordBatch) -> None:
        names = self._schema.names
        for start in range(0, batch.num_rows, _JSON_ROWS):
            converted = _columns(batch.slice(start, _JSON_ROWS), self._schema, "JSON lines", convert)
            columns = [self._values(name, column) for name, column in zip(names, converted, strict=True)]
            try:
                lines = [self._encode(dict(zip(names, row, strict=True))) for row in zip(*columns, strict=True)]
            except ValueError:
                raise self._not_finite(columns) from None
            self._sink.write(("\n".join(lines) + "\n").encode())

    @staticmethod
    def _values(name: str, column: pa.Array) -> list[Any]:
        try:
            return list(column.to_pylist())
        except UnicodeDecodeError:
            raise _refused(name, "text that is not UTF-8", "JSON") from None

    def _not_finite(self, columns: list[list[Any]]) -> UsageError:
        for name, values in zip(self._schema.names, columns, strict=True):
            try:
                self._encode(values)
            except ValueError:
                return _refused(name, "NaN or infinity", "JSON")
        raise AssertionError("no column failed by itself")


WRITERS: dict[str, Callable[[Any, pa.Schema], BatchWriter]] = {
    "parquet": _Parquet,
    "csv": _Csv,
    "arrow": _Arrow,
    "arrows": _ArrowStream,
    "jsonl": _JsonLines,
}
"""The class of the writer by format name."""


def _columns(batch: pa.RecordBatch, schema: pa.Schema, format_name: str, change: Change) -> list[pa.Array]:
    """Return the columns, each converted by ``change`` to its type in ``schema``."""
    columns = []
    for column, field in zip(batch.columns, schema, strict=True):
        try:
            columns.append(change(column, field.type))
        except BeyondTextError as error:
            raise _refused(field.name, f"no text represents {error}", format_name) from None
    return columns


def _check(schema: pa.Schema, format_name: str, is_held: Callable[[pa.DataType], bool]) -> None:
    for field in schema:
        if not is_held(field.type):
            raise _refused(field.name, str(field.type), format_name)


def _refused(column: str, reason: str, format_name: str, *, hint: str = _ARROW_HINT) -> UsageError:
    return UsageError(f"{format_name} cannot hold column {column!r}: {reason}", hint=hint, column=column, actual=reason)
