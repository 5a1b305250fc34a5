"""Parsing of CSV: the conversion of one block of records into a record batch."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import pyarrow as pa
import pyarrow.csv as pc

from millrace.compat.pyarrow.csv import keep_mark
from millrace.errors import UsageError
from millrace.sources.csv.nulls import EMPTY_IS_NULL, has_empty_text, nulls_in_text, with_nan
from millrace.sources.date_formats import DateFormats
from millrace.sources.options import SourceOptions
from millrace.sources.text.blocks import Block
from millrace.sources.type_conversion import check_decimals, converted, csv_type
from millrace.sources.types import written_columns
from millrace.sources.values import first_invalid

_GROUP_COLUMNS = 2_000
"""Columns converted in one call: pyarrow allocates 9 KB for each of them, independent of the number of rows."""


class CsvParser:
    """A parser of blocks with the options of one source; safe to use from several threads.

    With ``may_lack_columns`` a column that a block lacks is null.
    """

    def __init__(self, options: SourceOptions, *, may_lack_columns: bool = False) -> None:
        self._parse = pc.ParseOptions(delimiter=options.delimiter or ",")
        self._convert = {**_convert_options(options), "include_missing_columns": may_lack_columns}
        self._dates = DateFormats(options.date_format)
        self._default_nulls = options.null_values is None
        self._written = written_columns(options) if self._default_nulls else frozenset()

    def parse(
        self, block: Block, types: dict[str, pa.DataType], include: Sequence[str] | None = None
    ) -> pa.RecordBatch:
        """Return one batch with the columns ``include`` (default: all, in the file's order).

        Types that are not given are inferred. Errors of pyarrow are raised unchanged; ``BlockErrors`` extracts the
        column and the row from their message.
        """
        native = {name: pa.string() if self._dates.reads(kind) else csv_type(kind) for name, kind in types.items()}
        batch = self._read(block, native, include)
        if self._written:
            batch = self._as_written(batch, block, native)
        return self._converted(batch, types, block.columns)

    def _as_written(self, batch: pa.RecordBatch, block: Block, types: dict[str, pa.DataType]) -> pa.RecordBatch:
        """Return the batch with null distinguished from empty text and from NaN, as ``read --output`` writes them."""
        columns = {field.name: batch.column(field.name) for field in batch.schema if field.name in self._written}
        texts = [name for name, column in columns.items() if has_empty_text(column)]
        distinguished = self._read(block, types, texts, EMPTY_IS_NULL) if texts else {}
        for name, column in columns.items():
            if name in texts:
                batch = batch.set_column(batch.schema.get_field_index(name), name, distinguished[name])
            elif pa.types.is_floating(column.type) and column.null_count and b"nan" in block.data:
                spelled = self._read(block, {name: pa.string()}, [name]).column(0)
                batch = batch.set_column(batch.schema.get_field_index(name), name, with_nan(column, spelled))
        return batch

    def _converted(
        self, batch: pa.RecordBatch, types: dict[str, pa.DataType], names: tuple[str, ...]
    ) -> pa.RecordBatch:
        """Return the batch converted to the types that pyarrow does not read itself, or not in the given formats.

        Raises ``pa.ArrowInvalid`` with the column and the row in the message, in pyarrow's own form.
        """
        for number, field in enumerate(batch.schema):
            kind = types.get(field.name, field.type)
            if field.type.equals(kind) and not pa.types.is_decimal(kind):
                continue
            is_date = self._dates.reads(kind)
            if self._default_nulls and pa.types.is_string(field.type) and (is_date or pa.types.is_decimal(kind)):
                batch = nulls_in_text(batch, frozenset([field.name]))
            column = batch.column(number)
            convert = partial(self._dates.read if is_date else _checked, kind=kind)
            try:
                batch = batch.set_column(number, field.with_type(kind), convert(column))
            except pa.ArrowInvalid as error:
                row = first_invalid(column, convert)
                position = f"In CSV column #{names.index(field.name)}: Row #{row + 1}: "
                raise pa.ArrowInvalid(f"{position}CSV conversion error to {kind}: {error}") from None
        return batch

    def texts(self, block: Block, include: list[str]) -> pa.RecordBatch:
        """Return the columns ``include`` as unparsed text, with null for its spellings.

        Errors of pyarrow are raised unchanged.
        """
        batch = self._read(block, dict.fromkeys(include, pa.string()), include)
        return nulls_in_text(batch, frozenset(include)) if self._default_nulls else batch

    def _read(
        self,
        block: Block,
        types: dict[str, pa.DataType],
        include: Sequence[str] | None,
        nulls: dict[str, Any] | None = None,
    ) -> pa.RecordBatch:
        """Return the columns ``include`` in types that pyarrow reads itself."""
        data, columns = keep_mark(block.data), block.columns if include is None else include
        if len(columns) <= _GROUP_COLUMNS:
            return self._read_group(data, block.columns, types, columns, nulls)
        arrays: list[pa.Array] = []
        for start in range(0, len(columns), _GROUP_COLUMNS):
            group = columns[start : start + _GROUP_COLUMNS]
            group_types = {name: types[name] for name in group if name in types}
            arrays += self._read_group(data, block.columns, group_types, group, nulls).columns
        return pa.RecordBatch.from_arrays(arrays, names=list(columns))

    def _read_group(
        self,
        data: bytes,
        names: tuple[str, ...],
        types: dict[str, pa.DataType],
        include: Sequence[str],
        nulls: dict[str, Any] | None,
    ) -> pa.RecordBatch:
        table = pc.read_csv(
            pa.BufferReader(data),
            read_options=pc.ReadOptions(use_threads=False, block_size=len(data) + 1, column_names=names),
            parse_options=self._parse,
            convert_options=pc.ConvertOptions(
                column_types=types, include_columns=list(include), **{**self._convert, **(nulls or {})}
            ),
        )
        batches = table.to_batches()
        if len(batches) == 1:
            return batches[0]
        return table.combine_chunks().to_batches()[0] if batches else pa.RecordBatch.from_pylist([], table.schema)


def _checked(column: pa.Array, kind: pa.DataType) -> pa.Array:
    check_decimals(column)
    return converted(column, kind)


def _convert_options(options: SourceOptions) -> dict[str, Any]:
    convert: dict[str, Any] = {"decimal_point": options.decimal}
    if options.null_values is not None:
        convert |= {"null_values": options.null_values, "strings_can_be_null": True}
    if options.true_value:
        convert["true_values"] = options.true_value
    if options.false_value:
        convert["false_values"] = options.false_value
    return convert


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
