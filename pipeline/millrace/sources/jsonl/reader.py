"""Reader of JSON lines: parses blocks on all cores and returns record batches in order.

Types are widened where that is allowed. An error names the file, line and column of any other type change.
"""

from __future__ import annotations

from collections.abc import Container, Generator, Iterable, Iterator
from contextlib import closing, suppress

import pyarrow as pa

from millrace.arrow import Path
from millrace.errors import SourceTypeError
from millrace.sources.io.source_checksum import ReadContent
from millrace.sources.jsonl.block_errors import block_error
from millrace.sources.jsonl.misfits import LineRecordParser
from millrace.sources.jsonl.parser import lines_of
from millrace.sources.jsonl.typed_parser import ERRORS, TypedLineParser
from millrace.sources.jsonl.width import leaf_count, narrow_pieces
from millrace.sources.model import FilePart, ReadBatch, SourcePlan
from millrace.sources.reject_log import RejectLog
from millrace.sources.row_rules import Reaction
from millrace.sources.text.blocks import Block
from millrace.sources.text.decoding import TextFiles
from millrace.sources.text.records import record_starts
from millrace.sources.text.row_separator import RowSeparator, Types
from millrace.sources.text.typed_blocks import TypedBlocks, UnfitBlockError
from millrace.sources.text.whole_numbers import changed_line, numbers_at, refusal
from millrace.sources.types import given_types


def read_jsonl(
    plan: SourcePlan, parts: list[FilePart], content: ReadContent, rejects: RejectLog
) -> Iterator[ReadBatch]:
    """Yield batches of these parts of a plan, front to back; the types begin as those of the plan and only widen.

    Rows that do not fit are added to ``rejects`` if the plan's rules say so.
    """
    return read_lines(plan, parts, TextFiles(plan.files, plan.options, content.open_decompressed, None), rejects)


def read_lines(plan: SourcePlan, parts: list[FilePart], text: TextFiles, rejects: RejectLog) -> Iterator[ReadBatch]:
    """Yield batches of these parts of a plan whose lines ``text`` opens."""
    types = {field.name: field.type for field in plan.source_schema}
    given = given_types(plan.options, None)
    text.add_lines(plan.splits)
    lines = TypedLineParser(_only_columns(plan), {**_agreed_types(plan, types), **given})
    # Agreed columns that may not widen are among the given ones of the parser; new columns may widen.
    widens = plan.rules.widens or plan.agreed < len(types)
    parser = _BlockParser(lines, text, given, widens=widens)
    records = LineRecordParser(lines, widens=widens, may_round=given)
    separator = RowSeparator(records, text, rejects) if plan.rules.sets_aside else None
    blocks = narrow_blocks(blocks_of_lines(text, parts), sum(map(leaf_count, types.values())))
    for block, batch in TypedBlocks(parser, types, given, separator).batches(blocks):
        yield ReadBatch(batch, block.file, block.position - block.stream_start)


def _agreed_types(plan: SourcePlan, types: Types) -> Types:
    """Return the types of the agreed columns that do not widen while rows are read."""
    agreed = {name: types[name] for name in plan.source_schema.names[: plan.agreed]}
    if not plan.rules.widens:
        return agreed
    return {name: kind for name, kind in agreed.items() if not _may_widen(kind)}


def _may_widen(kind: pa.DataType) -> bool:
    return bool(pa.types.is_null(kind) or pa.types.is_int64(kind) or pa.types.is_nested(kind))


def _only_columns(plan: SourcePlan) -> tuple[str, ...] | None:
    """Return the columns to be read if other ones are ignored, else None."""
    if plan.rules.columns is Reaction.DISCARD_VALUE:
        return tuple(plan.source_schema.names)
    return plan.options.columns


def blocks_of_lines(
    text: TextFiles, parts: list[FilePart], block_bytes: int | None = None
) -> Generator[Block, None, None]:
    """Yield the lines of these parts in blocks of about ``block_bytes`` (None: the usual size)."""
    for number, start, stop in parts:
        with closing(text.open(number, start, stop)) as stream:
            yield from text.cutter(number, stream, start, block_bytes).blocks()


def narrow_blocks(blocks: Iterable[Block], width: int | None = None) -> Generator[Block, None, None]:
    """Yield the blocks, those with many keys split into smaller ones; ``width`` is the number of keys if known."""
    for block in blocks:
        yield from narrow_pieces(block, width)


class _BlockParser:
    """The ``BlockParser`` of JSON lines."""

    errors = ERRORS

    def __init__(self, parser: TypedLineParser, text: TextFiles, given: Container[str], *, widens: bool = True) -> None:
        self._widens = widens
        self._parser = parser
        self._text = text
        self._given = given

    def parse(self, block: Block, types: Types) -> pa.RecordBatch:
        """Return the rows of a block, or raise one of ``ERRORS`` for a value that ``parse_wider`` may still read."""
        return self._parser.parse_fast(block.data, types)

    def parse_wider(self, block: Block, types: Types) -> tuple[pa.RecordBatch, Types]:
        """Return the rows and the types, which widen from null, from integers and from dates."""
        with suppress(*ERRORS):
            return self._parser.parse(block.data, types), types
        with suppress(*ERRORS):
            wider = self._parser.widen(types, self._parser.infer(block.data).schema, grow=False)
            if wider is not None and self._widens:
                return self._parser.parse(block.data, wider), wider
        raise UnfitBlockError(lambda: block_error(block, types, self._parser, self._text, grow=False))

    def changed_number(self, block: Block, path: Path, values: pa.Array) -> SourceTypeError | None:
        """Return the error for the first number of a block at ``path`` that its parsed value does not equal.

        Returns None where every number was parsed exactly.
        """
        column, starts = str(path[0]), record_starts(block.data, None).tolist()
        lines = list(lines_of(block.data, starts))
        change = changed_line(lines, path, values.type, given=column in self._given)
        if change is None:
            return None
        row, number = change
        # The hint offers a decimal type only where it is known to fit all numbers. For an integer column the later
        # numbers are not known yet, and a nested value can only be kept as text.
        only_text = pa.types.is_integer(values.type) or len(path) > 1
        others = [] if only_text else [str(value) for line in lines for value in numbers_at(line, path)]
        name, line = self._text.files[block.file].name, self._text.line_of(block, starts[row])
        return refusal(name, line, column, str(number), values.type, others)
