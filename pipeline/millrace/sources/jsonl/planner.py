"""Planning of JSON lines: the columns with their types, inferred from the first bytes, and split boundaries."""

from __future__ import annotations

import pyarrow as pa

from millrace.errors import SourceEmptyError
from millrace.sources.io.streams import open_plain
from millrace.sources.jsonl.inference import infer_types
from millrace.sources.jsonl.parser import check_types
from millrace.sources.jsonl.reader import blocks_of_lines
from millrace.sources.jsonl.typed_parser import TypedLineParser
from millrace.sources.model import SourceFile, SourcePlan
from millrace.sources.options import SourceOptions
from millrace.sources.splits import plan_of_units
from millrace.sources.table_options import read_columns, refuse_csv_options
from millrace.sources.text.decoding import TextFiles
from millrace.sources.text.sample import first_blocks, text_units
from millrace.sources.types import given_types, refuse_nulls

__all__ = ["plan_jsonl"]


def plan_jsonl(uri: str, files: tuple[SourceFile, ...], options: SourceOptions) -> SourcePlan:
    """Plan JSON lines files."""
    refuse_nulls(options, "JSON lines")
    refuse_csv_options(options, "JSON lines")
    given = given_types(options, None)
    check_types(given)
    text, parser = TextFiles(files, options, open_plain, None), TypedLineParser(options, given)
    sample = first_blocks(files, options, lambda parts, size: blocks_of_lines(text, parts, size), None)
    types = infer_types(sample, parser, text)
    if types or parser.left_out:
        types = {name: types[name] for name in read_columns(options, {**types, **parser.left_out}, uri)}
    if not types:
        raise SourceEmptyError(f"{uri} is empty", hint="JSON lines need at least one object with a name in it")
    schema = pa.schema(list(types.items()))
    return plan_of_units("jsonl", uri, files, options, schema, text_units(files, options, None), "bytes")
