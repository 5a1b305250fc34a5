"""Planning of CSV and JSON lines: the columns, their types inferred from the first bytes, and split boundaries."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from dataclasses import replace

import pyarrow as pa

from millrace.errors import SourceEmptyError
from millrace.sources.csv.delimiter import found_delimiter
from millrace.sources.csv.inference import infer_types
from millrace.sources.csv.option_types import said_types
from millrace.sources.csv.parser import CsvParser
from millrace.sources.csv.parser import check_types as check_csv_types
from millrace.sources.csv.reader import CsvReader
from millrace.sources.csv.surprises import LeadingZeros, odd_values, undivided_header
from millrace.sources.io.streams import can_be_split, open_plain, read_fully
from millrace.sources.jsonl.parser import check_types as check_json_types
from millrace.sources.jsonl.reader import JsonlReader
from millrace.sources.model import SourceFile, SourcePlan
from millrace.sources.options import AUTO, SourceOptions
from millrace.sources.splits import Unit, group_units
from millrace.sources.table_options import read_columns, refuse_csv_options
from millrace.sources.text.blocks import BLOCK_BYTES, Block
from millrace.sources.text.decoding import TextFiles, can_be_cut
from millrace.sources.text.records import record_ends, scan_quotes
from millrace.sources.types import given_types, refuse_nulls
from millrace.sources.warnings import SourceWarning, distinct

__all__ = ["plan_csv", "plan_jsonl"]

Item = tuple[Block, tuple[str, ...]]
BlocksOf = Callable[[list[tuple[int, int, int]], int], Generator[Item, None, None]]


def plan_csv(uri: str, files: tuple[SourceFile, ...], options: SourceOptions) -> SourcePlan:
    """Plan CSV files, which must all have the same column names."""
    warnings: list[SourceWarning] = []
    if options.delimiter == AUTO:
        delimiter, warning = found_delimiter(files, options, open_plain)
        options, warnings = replace(options, delimiter=delimiter), [warning]
    names, given, unnamed = _csv_columns(uri, files, options)
    check_csv_types(given)
    reader, parser = CsvReader(files, options, names, {}, frozenset(given), open_plain), CsvParser(options)

    def sample() -> Iterator[Item]:
        return first_blocks(files, options, reader.blocks, options.delimiter or ",")

    free = [name for name in names if name not in given]
    said, taken = said_types(sample(), parser, free, options, files)
    zeros = LeadingZeros(options.delimiter or ",", files)
    types = infer_types(
        lambda: zeros.over(sample()),
        parser,
        names,
        {**said, **given},
        reader.refuse,
        reader.refuse_text,
    )
    schema = pa.schema([(name, types[name]) for name in names])
    found = {name: types[name] for name in free if name not in said}
    texts = [name for name, kind in found.items() if pa.types.is_string(kind)]
    warnings += [*unnamed, *taken, *zeros.warnings(found), *odd_values(sample(), parser, texts, options, files)]
    warnings += undivided_header(options, types, files[0].name)
    plan = _plan("csv", uri, files, options, schema, options.delimiter)
    return replace(plan, warnings=distinct(warnings))


def _csv_columns(
    uri: str, files: tuple[SourceFile, ...], options: SourceOptions
) -> tuple[tuple[str, ...], dict[str, pa.DataType], tuple[SourceWarning, ...]]:
    """Return the columns to be read, the types given for them, and warnings; reads the header of every file."""
    every: tuple[str, ...] = ()
    names: tuple[str, ...] = ()
    warnings: tuple[SourceWarning, ...] = ()
    for number in range(len(files)):
        reader = CsvReader(files, options, names, {}, frozenset(), open_plain)
        found = reader.header_of(number)
        warnings = warnings or reader.warnings
        if found and not every:
            every, names = found, read_columns(options, found, files[number].name)
    if not names:
        skipped = f" behind the first {options.skip_rows:,} lines" if options.skip_rows else ""
        raise SourceEmptyError(f"{uri} is empty{skipped}", hint="a CSV needs at least its header line")
    given = given_types(options, every)
    return names, {name: kind for name, kind in given.items() if name in names}, warnings


def plan_jsonl(uri: str, files: tuple[SourceFile, ...], options: SourceOptions) -> SourcePlan:
    """Plan JSON lines files."""
    refuse_nulls(options, "JSON lines")
    refuse_csv_options(options, "JSON lines")
    given = given_types(options, None)
    check_json_types(given)
    reader = JsonlReader(files, options, {}, given, open_plain)
    types = reader.infer(first_blocks(files, options, reader.blocks, None))
    if types or reader.left_out:
        types = {name: types[name] for name in read_columns(options, {**types, **reader.left_out}, uri)}
    if not types:
        raise SourceEmptyError(f"{uri} is empty", hint="JSON lines need at least one object with a name in it")
    return _plan("jsonl", uri, files, options, pa.schema(list(types.items())), None)


def _plan(
    format_: str,
    uri: str,
    files: tuple[SourceFile, ...],
    options: SourceOptions,
    schema: pa.Schema,
    delimiter: str | None,
) -> SourcePlan:
    units = [unit for number in range(len(files)) for unit in _units(number, files, options, delimiter)]
    splits = group_units(units, files, split_bytes=options.split_bytes, max_splits=options.max_splits, what="bytes")
    total = sum(file.size_bytes for file in files)
    return SourcePlan(uri, format_, "table", schema, files, splits, total, None, options)


def first_blocks(
    files: tuple[SourceFile, ...], options: SourceOptions, blocks_of: BlocksOf, delimiter: str | None
) -> Iterator[Item]:
    """Yield blocks of the whole records within the first ``infer_bytes``, which all files share; at least one each."""
    left = options.infer_bytes
    for number in range(len(files)):
        share, taken = left // (len(files) - number), 0
        with closing(blocks_of([(number, 0, -1)], min(BLOCK_BYTES, max(share, 1)))) as blocks:
            for block, order in blocks:
                data = _within(block.data, share - taken, delimiter, keep_one=taken == 0)
                if data:
                    yield replace(block, data=data), order
                taken += len(block.data)
                if taken >= share or len(data) < len(block.data):
                    break
        left -= min(taken, share)


def _within(data: bytes, limit: int, delimiter: str | None, *, keep_one: bool) -> bytes:
    """Return the records of ``data`` that end within ``limit`` bytes; with ``keep_one`` at least the first one."""
    if len(data) <= limit:
        return data
    scan = None if delimiter is None else scan_quotes(data, delimiter)
    ends = record_ends(data, scan)
    fitting = ends[ends <= limit]
    if len(fitting):
        return data[: int(fitting[-1])]
    if not keep_one:
        return b""
    return data[: int(ends[0])] if len(ends) else data


def _units(number: int, files: tuple[SourceFile, ...], options: SourceOptions, delimiter: str | None) -> Iterator[Unit]:
    """Yield a file's ranges of whole records, or the whole file where it is small, compressed or cannot be cut."""
    file = files[number]
    if (
        options.max_splits == 1
        or file.size_bytes <= options.split_bytes
        or not can_be_cut(options)
        or not can_be_split(file)
    ):
        yield Unit(number, 0, -1, file.size_bytes)
        return
    at = 0
    with closing(open_plain(file)) as stream:
        # A byte order mark before the first quote would hide that this quote opens a field.
        mark = 3 if read_fully(stream, 3) == b"\xef\xbb\xbf" else 0
    with closing(open_plain(file, mark, file.size_bytes)) as stream:
        cutter = TextFiles(files, options, open_plain, delimiter).cutter(
            number, stream, 0, min(BLOCK_BYTES, options.split_bytes)
        )
        for block in cutter.blocks():
            end = mark + block.offset + len(block.data)
            yield Unit(number, at, end, end - at)
            at = end
    if at < file.size_bytes:
        yield Unit(number, at, file.size_bytes, file.size_bytes - at)
