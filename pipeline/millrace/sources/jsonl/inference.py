"""Inference of the types of JSON lines, as ``pyarrow.json.read_json`` infers them for a whole file."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import closing

from millrace.sources.jsonl.block_errors import block_error
from millrace.sources.jsonl.reader import narrow_blocks
from millrace.sources.jsonl.typed_parser import ERRORS, TypedLineParser
from millrace.sources.jsonl.width import refuse_width
from millrace.sources.text.blocks import Block
from millrace.sources.text.decoding import TextFiles
from millrace.sources.text.parsing import parse_in_order
from millrace.sources.text.typed_blocks import Types


def infer_types(blocks: Iterable[Block], parser: TypedLineParser, text: TextFiles) -> Types:
    """Return the types that fit all of ``blocks``, with the columns in order of appearance.

    Given columns that do not appear come last. Raises the error of ``block_error`` for a block that does not fit.
    """
    types: Types = {}
    rows = data_bytes = 0
    parsed_blocks = parse_in_order(lambda block: parser.fields(block.data), narrow_blocks(blocks))
    with closing(parsed_blocks):
        for block, future in parsed_blocks:
            error = future.exception()
            if error is not None and not isinstance(error, ERRORS):
                raise error
            fields, block_rows = ([], 0) if error is not None else future.result()
            wider = None if error is not None else parser.widen(types, fields, grow=True)
            if wider is None:
                raise block_error(block, types, parser, text, grow=True)
            types, rows, data_bytes = wider, rows + block_rows, data_bytes + len(block.data)
            refuse_width(types, rows, data_bytes, text.files[block.file])
    return {**types, **{name: kind for name, kind in parser.given.items() if name not in types}}
