"""JSON lines as a format of sources: its detection, and the plan of its columns, types and splits."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from typing import Final

import pyarrow as pa

from millrace.errors import SourceEmptyError
from millrace.sources.agreement import Agreement
from millrace.sources.io.streams import open_decompressed
from millrace.sources.jsonl.arrays import JsonArray, json_array, json_refusal
from millrace.sources.jsonl.block_errors import block_error
from millrace.sources.jsonl.misfits import LineRecordParser
from millrace.sources.jsonl.parser import check_types
from millrace.sources.jsonl.reader import blocks_of_lines, narrow_blocks, read_jsonl
from millrace.sources.jsonl.typed_parser import ERRORS, TypedLineParser
from millrace.sources.jsonl.width import refuse_width
from millrace.sources.model import SourceFile, SourcePlan
from millrace.sources.options import SourceOptions
from millrace.sources.row_rules import RowRules
from millrace.sources.source_format import Beginning, DetectedFormat, Format
from millrace.sources.splits import Unit, plan_of_units
from millrace.sources.table_columns import read_columns
from millrace.sources.text.agreed_types import agreed_types, planned_schema
from millrace.sources.text.blocks import Block
from millrace.sources.text.decoding import TextFiles
from millrace.sources.text.row_separator import Types
from millrace.sources.text.sample import first_blocks, text_units
from millrace.sources.text.typed_blocks import parse_in_order
from millrace.sources.types import given_types
from millrace.sources.warnings import SourceWarning

_OBJECT: Final = re.compile(r'\{\s*(?:["}]|$)')


def _plan(
    uri: str, files: tuple[SourceFile, ...], options: SourceOptions, rules: RowRules, agreement: Agreement | None
) -> SourcePlan:
    """Plan JSON lines files."""
    text = TextFiles(files, options, open_decompressed, None)
    return plan_lines("jsonl", uri, text, options, text_units(files, options, None), rules, agreement)


def plan_lines(
    name: str,
    uri: str,
    text: TextFiles,
    options: SourceOptions,
    units: Sequence[Unit],
    rules: RowRules,
    agreement: Agreement | None,
) -> SourcePlan:
    """Plan the lines of ``text``, which can be read in ``units``, as a source of the format ``name``."""
    given = given_types(options, None)
    check_types(given)
    if agreement is not None:
        given = agreement.given(given)

    def sample() -> Iterator[Block]:
        return first_blocks(text.files, options, lambda parts, size: blocks_of_lines(text, parts, size), None)

    def parse(block: Block, types: Types) -> pa.RecordBatch:
        return TypedLineParser(None, types).parse(block.data, types, "ignore" if types else "infer")

    agreed = agreed_types(agreement, given, sample, parse, ERRORS, check_types)
    parser = TypedLineParser(options.columns, {**agreed, **given})
    types = _infer_types(sample(), parser, text, rules)
    appeared = [*types, *parser.left_out]
    types |= {column: kind for column, kind in parser.given.items() if column not in types}
    if not types and not parser.left_out:
        raise SourceEmptyError(f"{uri} is empty", hint="JSON needs at least one object with a name in it")
    names = read_columns(options, {**types, **parser.left_out}, uri)
    warnings: tuple[SourceWarning, ...] = ()
    missing: tuple[str, ...] = ()
    if agreement is not None:
        missing = agreement.missing(appeared)
        warnings = agreement.warnings([(f"{uri} (its beginning)", appeared)], options.columns)
        names = agreement.planned_columns(names, uri)
        types |= {column: pa.null() for column in names if column not in types}
    schema = planned_schema(agreement, {column: types[column] for column in names}, missing, uri)
    return replace(plan_of_units(name, uri, text.files, options, schema, units, "bytes"), warnings=warnings)


def _infer_types(blocks: Iterable[Block], parser: TypedLineParser, text: TextFiles, rules: RowRules) -> Types:
    """Return the types that fit all of ``blocks``, with the columns in order of appearance.

    These are the types that ``pyarrow.json.read_json`` infers for a whole file. Raises the error of ``block_error`` for
    a block that does not fit, unless the rules set bad lines aside; these have no influence on the types.
    """
    types: Types = {}
    rows = data_bytes = 0
    parsed_blocks = parse_in_order(lambda block: parser.fields(block.data), narrow_blocks(blocks), ERRORS)
    with closing(parsed_blocks):
        for block, parsed in parsed_blocks:
            wider = None if parsed is None else parser.widen(types, parsed[0], grow=True)
            if (parsed is None or wider is None) and not rules.sets_aside:
                raise block_error(block, types, parser, text, grow=True)
            if parsed is None or wider is None:
                records, misfits, types, _ = LineRecordParser(parser, widens=True, grow=True).misfits(block, types, ())
                block_rows = len(records) - len(misfits)
            else:
                types, block_rows = wider, parsed[1]
            rows, data_bytes = rows + block_rows, data_bytes + len(block.data)
            refuse_width(types, rows, data_bytes, text.files[block.file])
    return types


def _detect(file: SourceFile, beginning: Beginning, options: SourceOptions) -> DetectedFormat | None:
    """Return JSON lines for a text that begins with an object, and with a refusal for one that begins with an array."""
    text = beginning.text
    if text is None:
        return None
    if _OBJECT.match(text):
        return DetectedFormat("jsonl")
    array = json_array(text, complete=beginning.is_complete) if text.startswith("[") else None
    if array is None:
        return None
    # A line of a CSV is rarely a JSON array as well, and never an array of objects.
    return DetectedFormat("jsonl", refusal=json_refusal(file, array), is_certain=array is JsonArray.OF_OBJECTS)


JSONL: Final = Format(
    "jsonl",
    "JSON lines",
    _plan,
    read_jsonl,
    detect=_detect,
)
