"""Parsing of CSV: the column names of a file, and the conversion of one block of records into a record batch."""

from __future__ import annotations

import codecs
import re
from dataclasses import dataclass
from functools import partial
from typing import Any

import pyarrow as pa
import pyarrow.csv as pc

from millrace.errors import SourceFormatError, SourceTypeError, UsageError
from millrace.names import column_type_option
from millrace.sources.csv.nulls import EMPTY_IS_NULL, has_empty_text, nulls_in_text, with_nan
from millrace.sources.date_formats import DateFormats
from millrace.sources.first_wrong import first_wrong
from millrace.sources.given_types import csv_type, made
from millrace.sources.options import SourceOptions
from millrace.sources.text.blocks import Block, RecordCutter
from millrace.sources.text.decoding import not_utf8
from millrace.sources.text.records import count_lines, record_starts, scan_quotes
from millrace.sources.types import written_columns
from millrace.sources.warnings import SourceWarning

__all__ = ["CsvParser", "Header", "read_header", "unnamed_warning"]

_SHOWN_COLUMNS = 10
_GROUP_COLUMNS = 2_000
"""Columns converted in one call: pyarrow allocates 9 KB for each of them, independent of the number of rows."""
_COLUMN = re.compile(r"In CSV column #(\d+): ")
_ROW = re.compile(r"Row #(\d+): ")


@dataclass(frozen=True)
class Header:
    """The column names of one file; an empty file has none.

    ``row`` contains the bytes that were read to find the names but are data, in a file without a header. ``unnamed``
    lists the positions (from 0) of columns without a name in the header. These get the names that they have without a
    header: ``f0`` and so on. ``line`` is the number of the header's line.
    """

    names: tuple[str, ...] = ()
    row: bytes = b""
    unnamed: tuple[int, ...] = ()
    line: int = 1


def read_header(cutter: RecordCutter, options: SourceOptions, name: str) -> Header:
    """Return the column names of a file.

    Raises ``SourceFormatError`` for a name that occurs twice, a name that is not UTF-8, and a line that is not CSV.
    """
    lines = cutter.lines_taken
    first = cutter.header()
    if not first:
        return Header()
    line = lines + 1 + count_lines(first[: len(first) - len(first.lstrip(b"\r\n"))])
    # pyarrow ignores a single line without a line end.
    whole = _as_it_is(first if first.endswith((b"\n", b"\r")) else first + b"\n")
    try:
        names = _cells(whole, options.delimiter or ",")
    except UnicodeDecodeError:
        raise not_utf8(first.lstrip(b"\r\n"), name, line) from None
    except pa.ArrowInvalid as error:
        reason = str(error).splitlines()[0]
        raise SourceFormatError(
            f"{name}, line {line}: this is no line of a CSV: {reason}", hint="check --delimiter", file=name, line=line
        ) from None
    if not options.header:
        return Header(tuple(f"f{number}" for number in range(len(names))), first, line=line)
    unnamed = tuple(number for number, column in enumerate(names) if not column.strip())
    seen: set[str] = set()
    for column in filter(str.strip, names):
        if column in seen:
            raise SourceFormatError(
                f"{name}, line {line}: two columns are named {column!r}",
                hint="rename one in the header, or give --no-header if the first line is data",
                file=name,
                line=line,
            )
        seen.add(column)
    return Header(_all_named(names), b"", unnamed, line)


def _cells(line: bytes, delimiter: str) -> tuple[str, ...]:
    """Return the values of one line.

    Raises ``UnicodeDecodeError`` and ``pa.ArrowInvalid``.
    """
    cells: list[bytes] = []
    while True:
        names = [f"f{number}" for number in range(len(cells), len(cells) + _GROUP_COLUMNS)]
        table = pc.read_csv(
            pa.BufferReader(line),
            read_options=pc.ReadOptions(use_threads=False, block_size=len(line) + 1, autogenerate_column_names=True),
            parse_options=pc.ParseOptions(delimiter=delimiter, newlines_in_values=True),
            convert_options=pc.ConvertOptions(
                include_columns=names, include_missing_columns=True, column_types=dict.fromkeys(names, pa.binary())
            ),
        )
        # A binary value is never null, a missing column is.
        found = [value for column in table.columns for value in column.to_pylist() if value is not None]
        cells += found
        if len(found) < _GROUP_COLUMNS:
            return tuple(cell.decode() for cell in cells)


def _all_named(names: tuple[str, ...]) -> tuple[str, ...]:
    """Return the names with ``f`` and the position for each empty one.

    If the header already has that name, underscores are appended.
    """
    taken = set(names)
    given = []
    for number, name in enumerate(names):
        if not name.strip():
            name = f"f{number}"
            while name in taken:
                name += "_"
        given.append(name)
    return tuple(given)


def unnamed_warning(header: Header, file: str) -> SourceWarning:
    """Return the warning for columns that have no name in the header of a file."""
    called = [header.names[number] for number in header.unnamed[:_SHOWN_COLUMNS]]
    shown = ", ".join(map(repr, called)) + (", ..." if len(header.unnamed) > len(called) else "")
    if len(header.unnamed) == 1:
        said = f"column {header.unnamed[0] + 1} has no name in the header: it is called {shown}"
    else:
        said = f"{len(header.unnamed):,} columns have no name in the header: they are called {shown}"
    return SourceWarning("unnamed_columns", f"{file}, line {header.line}: {said}", called[0], header.line, file)


@dataclass(frozen=True)
class Failure:
    """The reason why a block did not parse, with the column's name and the row's number in the block where known."""

    column: str | None
    row: int | None
    message: str


class CsvParser:
    """A parser of blocks with the options of one source; safe to use from several threads."""

    def __init__(self, options: SourceOptions) -> None:
        self._delimiter = options.delimiter or ","
        self._parse = pc.ParseOptions(delimiter=self._delimiter)
        self._convert = _convert_options(options)
        self._dates = DateFormats(options.date_format)
        self._default_nulls = options.null_values is None
        self._written = written_columns(options) if self._default_nulls else frozenset()

    def parse(
        self,
        data: bytes,
        names: tuple[str, ...],
        types: dict[str, pa.DataType],
        include: list[str] | None = None,
    ) -> pa.RecordBatch:
        """Return one batch with the columns ``include`` (default: all, in the file's order).

        Types that are not given are inferred. Errors of pyarrow are raised unchanged; ``failure`` extracts the column
        and the row from their message.
        """
        dated = {name: kind for name, kind in types.items() if self._dates.reads(kind)}
        read = {name: pa.string() if name in dated else csv_type(kind) for name, kind in types.items()}
        batch = self._plain(data, names, read, include)
        if self._written:
            batch = self._as_written(batch, data, names, read)
        if dated:
            batch = self._with_dates(batch, dated, names)
        return self._made(batch, types, names)

    def _as_written(
        self, batch: pa.RecordBatch, data: bytes, names: tuple[str, ...], types: dict[str, pa.DataType]
    ) -> pa.RecordBatch:
        """Return the batch with null distinguished from empty text and from NaN, as ``read --output`` writes them."""
        columns = {field.name: batch.column(field.name) for field in batch.schema if field.name in self._written}
        texts = [name for name, column in columns.items() if has_empty_text(column)]
        told = self._plain(data, names, types, texts, EMPTY_IS_NULL) if texts else {}
        for name, column in columns.items():
            if name in texts:
                batch = batch.set_column(batch.schema.get_field_index(name), name, told[name])
            elif pa.types.is_floating(column.type) and column.null_count and b"nan" in data:
                spelled = self._plain(data, names, {name: pa.string()}, [name]).column(0)
                batch = batch.set_column(batch.schema.get_field_index(name), name, with_nan(column, spelled))
        return batch

    def _made(self, batch: pa.RecordBatch, types: dict[str, pa.DataType], names: tuple[str, ...]) -> pa.RecordBatch:
        """Return the batch converted to the types that pyarrow does not read itself.

        Raises ``pa.ArrowInvalid`` with the column and the row in the message, in pyarrow's own form.
        """
        for number, field in enumerate(batch.schema):
            kind = types.get(field.name, field.type)
            if field.type.equals(kind):
                continue
            if self._default_nulls and pa.types.is_string(field.type) and pa.types.is_decimal(kind):
                batch = nulls_in_text(batch, frozenset([field.name]))
            column = batch.column(number)
            try:
                batch = batch.set_column(number, field.with_type(kind), made(column, kind))
            except pa.ArrowInvalid as error:
                row = first_wrong(column, partial(made, kind=kind))
                where = f"In CSV column #{names.index(field.name)}: Row #{row + 1}: "
                raise pa.ArrowInvalid(f"{where}CSV conversion error to {kind}: {error}") from None
        return batch

    def texts(self, data: bytes, names: tuple[str, ...], include: list[str]) -> pa.RecordBatch:
        """Return the columns ``include`` as unparsed text, with null for its spellings.

        Errors of pyarrow are raised unchanged.
        """
        batch = self._plain(data, names, dict.fromkeys(include, pa.string()), include)
        return nulls_in_text(batch, frozenset(include)) if self._default_nulls else batch

    def _with_dates(
        self, batch: pa.RecordBatch, dated: dict[str, pa.DataType], names: tuple[str, ...]
    ) -> pa.RecordBatch:
        """Return the batch with dates and times parsed from their texts.

        Raises ``pa.ArrowInvalid`` with the column and the row in the message, in pyarrow's own form.
        """
        if self._default_nulls:
            batch = nulls_in_text(batch, frozenset(dated))
        for number, field in enumerate(batch.schema):
            kind = dated.get(field.name)
            if kind is None:
                continue
            texts = batch.column(number)
            try:
                values = self._dates.read(texts, kind)
            except pa.ArrowInvalid:
                row = self._dates.first_wrong(texts, kind)
                where = f"In CSV column #{names.index(field.name)}: Row #{row + 1}: "
                raise pa.ArrowInvalid(f"{where}CSV conversion error to {kind}") from None
            batch = batch.set_column(number, field.with_type(kind), values)
        return batch

    def _plain(
        self,
        data: bytes,
        names: tuple[str, ...],
        types: dict[str, pa.DataType],
        include: list[str] | None,
        nulls: dict[str, Any] | None = None,
    ) -> pa.RecordBatch:
        data, wanted = _as_it_is(data), list(names) if include is None else include
        if len(wanted) <= _GROUP_COLUMNS:
            return self._group(data, names, types, wanted, nulls)
        columns: list[pa.Array] = []
        for at in range(0, len(wanted), _GROUP_COLUMNS):
            group = wanted[at : at + _GROUP_COLUMNS]
            said = {name: types[name] for name in group if name in types}
            columns += self._group(data, names, said, group, nulls).columns
        return pa.RecordBatch.from_arrays(columns, names=wanted)

    def _group(
        self,
        data: bytes,
        names: tuple[str, ...],
        types: dict[str, pa.DataType],
        include: list[str],
        nulls: dict[str, Any] | None,
    ) -> pa.RecordBatch:
        table = pc.read_csv(
            pa.BufferReader(data),
            read_options=pc.ReadOptions(use_threads=False, block_size=len(data) + 1, column_names=names),
            parse_options=self._parse,
            convert_options=pc.ConvertOptions(
                column_types=types, include_columns=include, **{**self._convert, **(nulls or {})}
            ),
        )
        batches = table.to_batches()
        if len(batches) == 1:
            return batches[0]
        return table.combine_chunks().to_batches()[0] if batches else _no_rows(table.schema)

    def failure(self, error: pa.ArrowInvalid, names: tuple[str, ...]) -> Failure:
        """Return the column and the row that pyarrow's message names.

        The message counts columns in the file, and rows without blank lines.
        """
        text = str(error)
        column, row = _COLUMN.search(text), _ROW.search(text)
        return Failure(names[int(column[1])] if column else None, int(row[1]) - 1 if row else None, text)

    def ragged(self, block: Block, names: tuple[str, ...], name: str, first_line: int) -> SourceFormatError | None:
        """Return the error for the first row with too few or too many columns, or None if there is none."""
        found: list[pc.InvalidRow] = []

        def keep(row: pc.InvalidRow) -> str:
            found.append(row)
            return "error"

        data = _as_it_is(block.data)
        try:
            pc.read_csv(
                pa.BufferReader(data),
                read_options=pc.ReadOptions(use_threads=False, block_size=len(data) + 1, column_names=names),
                parse_options=pc.ParseOptions(delimiter=self._delimiter, invalid_row_handler=keep),
                convert_options=pc.ConvertOptions(column_types=dict.fromkeys(names, pa.binary())),
            )
        except pa.ArrowInvalid:
            if not found:
                return None
        if not found:
            return None
        row = found[0]
        line, _ = self.locate(block, (row.number or 1) - 1, first_line)
        return SourceFormatError(
            f"{name}, line {line}: {row.actual_columns} columns where there should be {row.expected_columns}",
            hint="mend that line, or check --delimiter",
            file=name,
            line=line,
        )

    def locate(self, block: Block, row: int, first_line: int) -> tuple[int, bytes]:
        """Return the line in which a row of the block begins, and the row's bytes."""
        scan = scan_quotes(block.data, self._delimiter)
        starts = record_starts(block.data, scan)
        start = int(starts[row])
        stop = int(starts[row + 1]) if row + 1 < len(starts) else len(block.data)
        line = first_line + block.lines_before + count_lines(block.data[:start])
        return line, block.data[start:stop]

    def type_error(
        self, block: Block, failed: Failure, names: tuple[str, ...], kind: pa.DataType, name: str, first_line: int
    ) -> SourceTypeError:
        """Return the error for a value that does not have its column's type.

        It names the line, both types, and the option that fixes it.
        """
        line, new = first_line + block.lines_before, "something else"
        column = failed.column or "?"
        if failed.row is not None and failed.column is not None:
            line, record = self.locate(block, failed.row, first_line)
            value = self.parse(record, names, {failed.column: pa.binary()}, [column])[0][0].as_py()
            inferred = self.parse(record, names, {}, [column]).schema[0].type
            shown = (value or b"").decode("utf-8", "replace")
            shown = shown if len(shown) <= 40 else shown[:40] + "..."
            new = f"{shown!r} ({inferred})"
        return SourceTypeError(
            f"{name}, line {line}: column {column!r} was {kind} and is {new} here",
            hint=f"give its type: {column_type_option(column)}",
            file=name,
            line=line,
            column=column,
            expected=str(kind),
        )


def _convert_options(options: SourceOptions) -> dict[str, Any]:
    said: dict[str, Any] = {"decimal_point": options.decimal}
    if options.null_values is not None:
        said |= {"null_values": options.null_values, "strings_can_be_null": True}
    if options.true_value:
        said["true_values"] = options.true_value
    if options.false_value:
        said["false_values"] = options.false_value
    return said


def check_types(types: dict[str, pa.DataType]) -> None:
    """Raise ``UsageError`` for a type to which CSV text cannot be converted, before any data is read."""
    for column, kind in types.items():
        try:
            pc.read_csv(
                pa.BufferReader(b"\n"),
                read_options=pc.ReadOptions(column_names=["a"], use_threads=False),
                convert_options=pc.ConvertOptions(column_types={"a": csv_type(kind)}),
            )
        except pa.ArrowNotImplementedError:
            raise UsageError(f"column {column!r} of a CSV cannot be read as {kind}") from None
        except pa.ArrowInvalid:
            continue


def _as_it_is(data: bytes) -> bytes:
    """Return ``data`` with a second byte order mark if it begins with one, so that pyarrow keeps the first.

    pyarrow removes a byte order mark from the front of every block. ``open_decoded`` has already removed the file's
    own mark, so a remaining one is a character of a value or a name.
    """
    return codecs.BOM_UTF8 + data if data.startswith(codecs.BOM_UTF8) else data


def _no_rows(schema: pa.Schema) -> pa.RecordBatch:
    return pa.RecordBatch.from_arrays([pa.array([], field.type) for field in schema], schema=schema)
