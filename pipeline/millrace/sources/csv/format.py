"""CSV as a format of sources: its detection, and the plan of its columns, types, warnings and splits."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from typing import Any, Final

import pyarrow as pa
import pyarrow.csv as pc

from millrace.errors import SourceEmptyError, SourceFormatError, SourceTypeError
from millrace.sources.agreement import Agreement
from millrace.sources.csv.delimiter import detect_delimiter
from millrace.sources.csv.inference import infer_types
from millrace.sources.csv.misfits import CsvRecordParser
from millrace.sources.csv.option_types import types_by_options
from millrace.sources.csv.parser import CsvParser, check_types
from millrace.sources.csv.reader import CsvBlocks, read_csv
from millrace.sources.csv.surprises import LeadingZeros, odd_values, undivided_header
from millrace.sources.csv.typed_parser import TypedCsvParser
from millrace.sources.format_options import CSV_OPTIONS
from millrace.sources.io.streams import open_decompressed
from millrace.sources.model import SourceFile, SourcePlan
from millrace.sources.options import AUTO, SourceOptions
from millrace.sources.row_rules import RowRules
from millrace.sources.source_format import Beginning, DetectedFormat, Doubt, Format
from millrace.sources.splits import plan_of_units
from millrace.sources.table_columns import read_columns
from millrace.sources.text.agreed_types import agreed_types, planned_schema
from millrace.sources.text.blocks import Block
from millrace.sources.text.row_separator import Types
from millrace.sources.text.sample import first_blocks, text_units
from millrace.sources.types import given_types
from millrace.sources.warnings import SourceWarning, distinct


def _detect(file: SourceFile, beginning: Beginning, options: SourceOptions) -> DetectedFormat | None:
    """Return CSV for text with a delimiter in every line, and for any data with an option that only a CSV has."""
    if options.encoding or CSV_OPTIONS & options.changed():
        return DetectedFormat("csv")
    if beginning.text is None:
        return None
    text = beginning.text if beginning.is_complete else beginning.text[: beginning.text.rfind("\n") + 1]
    data = text.encode()
    try:
        # One column is converted, because pyarrow takes 9 KB for each, whatever the number of rows: 12,000 took 100 MB.
        with suppress(KeyError):
            rows = _read(data, autogenerate_column_names=True, columns=["f1"]).num_rows
            return DetectedFormat("csv", None if rows > 1 else Doubt.HEADER)
        table = _read(data)
    except pa.ArrowInvalid:
        return None
    # One column of text could be any text. A table has a delimiter in every line, or numbers below a name.
    is_number = pa.types.is_integer(table.schema.types[0]) or pa.types.is_floating(table.schema.types[0])
    is_column = table.num_rows and is_number and table.column_names[0].isidentifier()
    return DetectedFormat("csv", Doubt.COLUMN) if is_column else None


def _read(data: bytes, *, columns: list[str] | None = None, **options: Any) -> pa.Table:
    return pc.read_csv(
        pa.BufferReader(data),
        read_options=pc.ReadOptions(use_threads=False, block_size=len(data) + 1, **options),
        parse_options=pc.ParseOptions(newlines_in_values=True),
        convert_options=pc.ConvertOptions(include_columns=columns),
    )


def _plan(
    uri: str, files: tuple[SourceFile, ...], options: SourceOptions, rules: RowRules, agreement: Agreement | None
) -> SourcePlan:
    """Plan CSV files, which must all have the same column names."""
    warnings: list[SourceWarning] = []
    if options.delimiter == AUTO:
        delimiter, warning = detect_delimiter(files, options, open_decompressed)
        options, warnings = replace(options, delimiter=delimiter), [warning]
    names, given, header_warnings, missing = _columns(uri, files, options, agreement)
    check_types(given)
    types, surprises = _types(files, options, names, given, rules, agreement)
    warnings += [*header_warnings, *surprises, *undivided_header(options, types, files[0].name)]
    schema = planned_schema(agreement, {name: types[name] for name in names}, missing, uri)
    plan = plan_of_units("csv", uri, files, options, schema, text_units(files, options, options.delimiter), "bytes")
    return replace(plan, warnings=distinct(warnings))


def _columns(
    uri: str, files: tuple[SourceFile, ...], options: SourceOptions, agreement: Agreement | None
) -> tuple[tuple[str, ...], dict[str, pa.DataType], tuple[SourceWarning, ...], frozenset[str]]:
    """Return the columns to be read, the types given for them, warnings, and the columns that a file lacks.

    Reads the header of every file.
    """
    every: dict[str, None] = {}
    names: tuple[str, ...] = ()
    headers: list[tuple[str, tuple[str, ...]]] = []
    warnings: tuple[SourceWarning, ...] = ()
    for number, file in enumerate(files):
        blocks = CsvBlocks(files, options, names, open_decompressed, may_differ=agreement is not None)
        columns = blocks.columns_of(number)
        warnings = warnings or blocks.warnings
        if not columns:
            continue
        headers.append((file.name, columns))
        if agreement is not None or not every:
            every |= dict.fromkeys(columns)
        if agreement is None and not names:
            names = read_columns(options, columns, file.name)
    if not every:
        skipped = f" after the first {options.skip_rows:,} lines" if options.skip_rows else ""
        raise SourceEmptyError(f"{uri} is empty{skipped}", hint="a CSV needs at least its header line")
    if agreement is not None:
        names = agreement.planned_columns(read_columns(options, [*every, *agreement.missing(every)], uri), uri)
        warnings = (*warnings, *agreement.warnings(headers, options.columns))
    given = given_types(options, (*every, *names) if agreement is not None else tuple(every))
    given = {name: kind for name, kind in given.items() if name in names}
    missing = frozenset(name for name in names if any(name not in columns for _, columns in headers))
    return names, given if agreement is None else agreement.given(given), warnings, missing


def _types(
    files: tuple[SourceFile, ...],
    options: SourceOptions,
    names: tuple[str, ...],
    given: dict[str, pa.DataType],
    rules: RowRules,
    agreement: Agreement | None,
) -> tuple[dict[str, pa.DataType], list[SourceWarning]]:
    """Return the type of each column, and warnings about values in the first blocks.

    Records that the rules set aside have no influence, if they cannot be divided into the columns or do not fit a given
    type.
    """
    may_differ = agreement is not None
    parser = CsvParser(options, may_lack_columns=may_differ)
    blocks = CsvBlocks(files, options, names, open_decompressed, may_differ=may_differ)

    def sample() -> Iterator[Block]:
        return first_blocks(files, options, blocks.of_parts, options.delimiter or ",")

    def parse(block: Block, types: Types) -> pa.RecordBatch:
        return parser.parse(block, types, list(types))

    agreed = agreed_types(agreement, given, sample, parse, TypedCsvParser.errors, check_types)
    given = {**agreed, **given}
    if rules.sets_aside and all(name in given for name in names):
        return given, []  # nothing is inferred, and rows that do not fit are set aside when they are loaded
    try:
        return _inferred(files, options, names, given, lambda block: block, may_differ=may_differ)
    except (SourceFormatError, SourceTypeError):
        if not rules.sets_aside:
            raise
    records = CsvRecordParser(parser, options, names, given, given)
    return _inferred(files, options, names, given, records.without_misfits, may_differ=may_differ)


def _inferred(
    files: tuple[SourceFile, ...],
    options: SourceOptions,
    names: tuple[str, ...],
    given: dict[str, pa.DataType],
    prepared: Callable[[Block], Block],
    *,
    may_differ: bool,
) -> tuple[dict[str, pa.DataType], list[SourceWarning]]:
    """Return the result of ``_types`` for the first blocks, each as ``prepared`` returns it."""
    blocks = CsvBlocks(files, options, names, open_decompressed, may_differ=may_differ)
    nulls = dict.fromkeys(names, pa.null())
    typed = TypedCsvParser(blocks.text, options, nulls, frozenset(given), may_lack_columns=may_differ)
    parser, errors = typed.parser, typed.block_errors

    def sample() -> Iterator[Block]:
        return map(prepared, first_blocks(files, options, blocks.of_parts, options.delimiter or ","))

    free = [name for name in names if name not in given]
    by_options, warnings = types_by_options(sample(), parser, errors, free, options)
    zeros = LeadingZeros(options.delimiter or ",", files)
    types = infer_types(lambda: zeros.over(sample()), parser, errors, names, {**by_options, **given})
    inferred = {name: types[name] for name in free if name not in by_options}
    texts = [name for name, kind in inferred.items() if pa.types.is_string(kind)]
    return types, [*warnings, *zeros.warnings(inferred), *odd_values(sample(), parser, errors, texts, options)]


CSV: Final = Format(
    "csv",
    "CSV",
    _plan,
    read_csv,
    deciding_options=CSV_OPTIONS,
    detect=_detect,
)
