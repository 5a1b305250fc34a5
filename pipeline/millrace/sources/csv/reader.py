"""Reader of CSV: blocks are parsed on all cores and returned in order.

Column types of nulls and integers widen where a block needs it. Any other mismatch raises an error with its line.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import closing
from dataclasses import replace

import pyarrow as pa

from millrace.errors import SourceFormatError
from millrace.sources.csv.header import read_header, unnamed_warning
from millrace.sources.csv.misfits import CsvRecordParser
from millrace.sources.csv.new_columns import NewColumns
from millrace.sources.csv.typed_parser import TypedCsvParser
from millrace.sources.io.byte_streams import Opener
from millrace.sources.io.source_checksum import ReadContent
from millrace.sources.model import FilePart, ReadBatch, SourceFile, SourcePlan
from millrace.sources.options import SourceOptions
from millrace.sources.reject_log import RejectLog
from millrace.sources.row_rules import Reaction, RejectKind
from millrace.sources.text.blocks import Block, RecordCutter
from millrace.sources.text.decoding import TextFiles
from millrace.sources.text.row_separator import RowSeparator
from millrace.sources.text.typed_blocks import TypedBlocks
from millrace.sources.types import given_types
from millrace.sources.warnings import SourceWarning

_HEADER_BYTES = 65_536
_LISTED_COLUMNS = 5


def read_csv(plan: SourcePlan, parts: list[FilePart], content: ReadContent, rejects: RejectLog) -> Iterator[ReadBatch]:
    """Yield batches of these parts of a plan, front to back.

    The types begin as those of the plan and only ever widen; those that the user gave never do, and with a contract
    that freezes or discards none does. Rows that do not fit are added to ``rejects`` if the plan's rules say so.
    """
    types = {field.name: field.type for field in plan.source_schema}
    types_given = given_types(plan.options, None)
    given = frozenset(types_given)
    may_differ = plan.may_lack_columns
    blocks = CsvBlocks(plan.files, plan.options, tuple(types), content.open_decompressed, may_differ=may_differ)
    blocks.text.add_lines(plan.splits)
    final = given | plan.fixed_columns
    parser = TypedCsvParser(blocks.text, plan.options, types, given, final, may_lack_columns=may_differ)
    parser.dropping_columns = NewColumns.of(plan, parser.parser, Reaction.DISCARD_ROW)
    left_out = NewColumns.of(plan, parser.parser, Reaction.DISCARD_VALUE)
    records = CsvRecordParser(parser.parser, plan.options, tuple(types), types_given, final)
    records.dropping_columns = parser.dropping_columns
    separator = RowSeparator(records, blocks.text, rejects) if plan.rules.sets_aside else None
    typed = TypedBlocks(parser, types, given, separator)
    for block, batch in typed.batches(blocks.of_parts(parts)):
        if left_out is not None:
            rejects.counts[RejectKind.DISCARDED_VALUE] += _count(left_out, block, records)
        yield ReadBatch(parser.with_nulls(batch), block.file, block.position - block.stream_start)


def _count(left_out: NewColumns, block: Block, records: CsvRecordParser) -> int:
    """Return the number of values that are left out, without those of broken records, which are set aside."""
    try:
        return left_out.count(block)
    except pa.ArrowInvalid:
        rest = records.divisible(block)
        return left_out.count(rest) if rest.data else 0


class CsvBlocks:
    """The blocks of CSV files that all have the columns ``names``; with no names any columns are accepted.

    With ``may_differ`` files may have other columns, in any order.
    """

    def __init__(
        self,
        files: tuple[SourceFile, ...],
        options: SourceOptions,
        names: tuple[str, ...],
        opener: Opener,
        *,
        may_differ: bool = False,
    ) -> None:
        self.text = TextFiles(files, options, opener, options.delimiter or ",")
        self.warnings: tuple[SourceWarning, ...] = ()
        self._files = files
        self._options = options
        self._names = names
        self._may_differ = may_differ

    def of_parts(self, parts: list[FilePart], block_bytes: int | None = None) -> Generator[Block, None, None]:
        """Yield blocks of records (without headers) with the names of their columns in the file's order."""
        for number, start, stop in parts:
            with closing(self.text.open(number, start, stop)) as stream:
                cutter = self.text.cutter(number, stream, start, block_bytes)
                if start == 0:
                    columns = self._header(number, cutter)
                    if not columns:
                        continue
                elif len(self._files) == 1 and self._options.columns is None and not self._may_differ:
                    columns = self._names
                else:
                    columns = self.columns_of(number)
                for block in cutter.blocks():
                    yield replace(block, columns=columns)

    def columns_of(self, number: int) -> tuple[str, ...]:
        """Return the column names of a file; an empty file has none."""
        with closing(self.text.open(number)) as stream:
            return self._header(number, self.text.cutter(number, stream, 0, _HEADER_BYTES))

    def _header(self, number: int, cutter: RecordCutter) -> tuple[str, ...]:
        """Return the column names at the front of a file.

        Raises ``SourceFormatError`` if they are not those of the source.
        """
        name = self._files[number].name
        header = read_header(cutter, self._options, name)
        cutter.put_back(header.row)
        if header.unnamed and not self.warnings:
            self.warnings = (unnamed_warning(header, name),)
        if self._may_differ:
            return header.names
        missing = sorted(set(self._names) - set(header.names))
        # With ``columns`` given, other columns are not read, so they may differ from file to file.
        extra = sorted(set(header.names) - set(self._names)) if self._options.columns is None else []
        if header.names and self._names and (missing or extra):
            lacks = f"lacks {_listed(missing)}" if missing else ""
            has = f"has {_listed(extra)} besides" if extra else ""
            difference = " and ".join(filter(None, (lacks, has)))
            raise SourceFormatError(
                f"{name} does not have the columns of {self._files[0].name}: it {difference}",
                hint="load it as another dataset",
                file=name,
            )
        return header.names


def _listed(columns: list[str]) -> str:
    return ", ".join(map(repr, columns[:_LISTED_COLUMNS]))
