"""JSON lines as a format of sources: its detection, and the plan of its columns, types and splits."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from contextlib import closing
from typing import Final

import pyarrow as pa

from millrace.errors import SourceEmptyError
from millrace.sources.io.streams import open_decompressed
from millrace.sources.jsonl.arrays import JsonArray, json_array, json_refusal
from millrace.sources.jsonl.block_errors import block_error
from millrace.sources.jsonl.parser import check_types
from millrace.sources.jsonl.reader import blocks_of_lines, narrow_blocks, read_jsonl
from millrace.sources.jsonl.typed_parser import ERRORS, TypedLineParser
from millrace.sources.jsonl.width import refuse_width
from millrace.sources.model import SourceFile, SourcePlan
from millrace.sources.options import SourceOptions
from millrace.sources.source_format import TEXT_OPTIONS, Beginning, DetectedFormat, Format
from millrace.sources.splits import Unit, plan_of_units
from millrace.sources.table_columns import read_columns
from millrace.sources.text.blocks import Block
from millrace.sources.text.decoding import TextFiles
from millrace.sources.text.sample import first_blocks, text_units
from millrace.sources.text.typed_blocks import Types, parse_in_order
from millrace.sources.types import given_types

_OBJECT: Final = re.compile(r'\{\s*(?:["}]|$)')


def _plan(uri: str, files: tuple[SourceFile, ...], options: SourceOptions) -> SourcePlan:
    """Plan JSON lines files."""
    text = TextFiles(files, options, open_decompressed, None)
    return plan_lines("jsonl", uri, text, options, text_units(files, options, None))


def plan_lines(name: str, uri: str, text: TextFiles, options: SourceOptions, units: Sequence[Unit]) -> SourcePlan:
    """Plan the lines of ``text``, which can be read in ``units``, as a source of the format ``name``."""
    given = given_types(options, None)
    check_types(given)
    parser = TypedLineParser(options, given)
    sample = first_blocks(text.files, options, lambda parts, size: blocks_of_lines(text, parts, size), None)
    types = _infer_types(sample, parser, text)
    if types or parser.left_out:
        types = {name: types[name] for name in read_columns(options, {**types, **parser.left_out}, uri)}
    if not types:
        raise SourceEmptyError(f"{uri} is empty", hint="JSON needs at least one object with a name in it")
    schema = pa.schema(list(types.items()))
    return plan_of_units(name, uri, text.files, options, schema, units, "bytes")


def _infer_types(blocks: Iterable[Block], parser: TypedLineParser, text: TextFiles) -> Types:
    """Return the types that fit all of ``blocks``, with the columns in order of appearance.

    These are the types that ``pyarrow.json.read_json`` infers for a whole file. Given
    columns that do not appear come last. Raises the error of ``block_error`` for a block that does not fit.
    """
    types: Types = {}
    rows = data_bytes = 0
    parsed_blocks = parse_in_order(lambda block: parser.fields(block.data), narrow_blocks(blocks), ERRORS)
    with closing(parsed_blocks):
        for block, parsed in parsed_blocks:
            wider = None if parsed is None else parser.widen(types, parsed[0], grow=True)
            if parsed is None or wider is None:
                raise block_error(block, types, parser, text, grow=True)
            types, rows, data_bytes = wider, rows + parsed[1], data_bytes + len(block.data)
            refuse_width(types, rows, data_bytes, text.files[block.file])
    return {**types, **{name: kind for name, kind in parser.given.items() if name not in types}}


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
    options=TEXT_OPTIONS,
    endings=(".jsonl", ".ndjson", ".json"),
    detect=_detect,
)
