"""Reads CSV: blocks parsed on all cores, in order, widening what may widen and naming what may not."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import closing
from functools import partial

import pyarrow as pa

from millrace.errors import SourceFormatError, SourceTypeError
from millrace.sources.blocks import BLOCK_BYTES, Block, RecordCutter
from millrace.sources.csv_format import CsvParser, read_header, unnamed_warning
from millrace.sources.csv_nulls import nulls_in_text
from millrace.sources.model import SourceFile, SourceOptions, SourcePlan
from millrace.sources.parallel import in_order
from millrace.sources.streams import PlainOpener
from millrace.sources.text import TextFiles, not_utf8
from millrace.sources.types import given_types
from millrace.sources.warnings import SourceWarning
from millrace.sources.whole_numbers import Path, WholeNumbers, changed_row, refusal

__all__ = ["CsvReader", "Part"]

Part = tuple[int, int, int]
"""File index, first byte, byte after the last (-1: to the end)."""


class CsvReader:
    """Record batches of the given parts of some files, front to back.

    ``types`` are those of the plan; ``fixed`` names the columns whose type a person gave, which never widen. The
    batches have the types of ``self.types`` as they stood when the batch was made, which only ever widen.
    """

    def __init__(
        self,
        files: tuple[SourceFile, ...],
        options: SourceOptions,
        names: tuple[str, ...],
        types: dict[str, pa.DataType],
        fixed: frozenset[str],
        opener: PlainOpener,
    ) -> None:
        self.types = types
        self.warnings: tuple[SourceWarning, ...] = ()
        self._files = files
        self._options = options
        self._names = names
        self._fixed = fixed
        self._text = TextFiles(files, options, opener, options.delimiter or ",")
        self._parser = CsvParser(options)
        default_nulls = options.null_values is None
        self._were_null = frozenset(n for n, t in types.items() if default_nulls and pa.types.is_null(t))
        self._starts: dict[int, int] = {}
        self._whole_numbers = WholeNumbers(fixed)

    @classmethod
    def of_plan(cls, plan: SourcePlan, opener: PlainOpener) -> CsvReader:
        """A reader for all files of a plan, which begins with the plan's types."""
        types = {field.name: field.type for field in plan.source_schema}
        given = frozenset(given_types(plan.options, None))
        return cls(plan.files, plan.options, tuple(types), types, given, opener)

    def batches(self, parts: list[Part]) -> Iterator[tuple[pa.RecordBatch, int, int]]:
        """Batches with the file they come from and how much of it was read by then."""
        # The types a block was sent off with: a block that left before its elders widened one is parsed again.
        sent: dict[int, dict[str, pa.DataType]] = {}

        def attempt(item: tuple[Block, tuple[str, ...]]) -> tuple[pa.RecordBatch, bool]:
            block, order = item
            types = sent[id(block)] = self.types
            return self._whole_numbers.with_doubt(self._parser.parse(block.data, order, types, list(self._names)))

        pairs = in_order(attempt, self.blocks(parts), size_of=lambda item: len(item[0].data))
        with closing(pairs):
            for (block, order), future in pairs:
                error = future.exception()
                types = sent.pop(id(block), None)
                if error is not None and not isinstance(error, pa.ArrowInvalid):
                    raise error
                again = error is not None or types is not self.types
                batch, doubt = (self._again(block, order), True) if again else future.result()
                self._whole_numbers.check(batch, doubt, partial(self._changed, block, order))
                if self._were_null:
                    batch = nulls_in_text(batch, self._were_null)
                yield batch, block.file, block.position

    def blocks(
        self, parts: list[Part], block_bytes: int | None = None
    ) -> Generator[tuple[Block, tuple[str, ...]], None, None]:
        """Blocks of records (headers taken off) with the names of their columns in the file's order."""
        for number, start, stop in parts:
            stream = self._text.open(number, start, stop)
            with closing(stream):
                cutter = self._text.cutter(number, stream, start, block_bytes or BLOCK_BYTES)
                if start == 0:
                    order = self.header(number, cutter)
                    if not order:
                        continue
                elif len(self._files) == 1 and self._options.columns is None:
                    order = self._names
                else:
                    order = self.header_of(number)
                self._starts[number] = start
                for block in cutter.blocks():
                    yield block, order

    def header_of(self, number: int) -> tuple[str, ...]:
        """The column names of a file, none when it is empty."""
        with closing(self._text.open(number)) as stream:
            return self.header(number, self._text.cutter(number, stream, 0, 65_536))

    def header(self, number: int, cutter: RecordCutter) -> tuple[str, ...]:
        """The column names at the front of a file, checked against those of the source."""
        name = self._files[number].name
        header = read_header(cutter, self._options, name)
        cutter.put_back(header.row)
        if header.unnamed and not self.warnings:
            self.warnings = (unnamed_warning(header, name),)
        order = header.names
        missing = sorted(set(self._names) - set(order))
        # Who names columns asks for no others: they may differ from file to file.
        extra = sorted(set(order) - set(self._names)) if self._options.columns is None else []
        if order and self._names and (missing or extra):
            said = " and ".join(
                text
                for text, some in (
                    (f"lacks {', '.join(map(repr, missing[:5]))}", missing),
                    (f"has {', '.join(map(repr, extra[:5]))} besides", extra),
                )
                if some
            )
            raise SourceFormatError(
                f"{name} does not have the columns of {self._files[0].name}: it {said}",
                hint="load it as another dataset",
                file=name,
            )
        return order

    def _again(self, block: Block, order: tuple[str, ...]) -> pa.RecordBatch:
        """Parses a block that did not fit: widens nulls and integers, refuses everything else by name."""
        names = list(self._names)
        try:
            return self._parser.parse(block.data, order, self.types, names)
        except pa.ArrowInvalid:
            pass
        free = {
            name
            for name, kind in self.types.items()
            if name not in self._fixed and (pa.types.is_null(kind) or pa.types.is_int64(kind))
        }
        kept = {name: kind for name, kind in self.types.items() if name not in free}
        try:
            seen = self._parser.parse(block.data, order, kept, names).schema
        except pa.ArrowInvalid as error:
            raise self.refuse(block, order, error, self.types) from None
        wider = dict(self.types)
        for name in free:
            kind = seen.field(name).type
            if pa.types.is_binary(kind):
                raise self.refuse_text(block)
            if pa.types.is_null(self.types[name]) or pa.types.is_float64(kind):
                wider[name] = kind
        # An integer column that met anything but a double still stands as it was, and fails here.
        try:
            batch = self._parser.parse(block.data, order, wider, names)
        except pa.ArrowInvalid as error:
            raise self.refuse(block, order, error, wider) from None
        self.types = wider
        return batch

    def _changed(self, block: Block, order: tuple[str, ...], path: Path, values: pa.Array) -> SourceTypeError | None:
        """The error for the first number of a column that is not the one in the text of its block."""
        column = str(path[0])
        texts = self._parser.texts(block.data, order, [column]).column(0)
        row = changed_row(texts, values, given=column in self._fixed)
        if row is None:
            return None
        file = self._files[block.file].name
        line, _ = self._parser.locate(block, row, self._text.first_line(block.file, self._starts.get(block.file, 0)))
        # Of integers it is not known yet which numbers they will meet.
        others = [] if pa.types.is_integer(values.type) else texts.drop_null().to_pylist()
        return refusal(file, line, column, texts[row].as_py(), values.type, others)

    def refuse(
        self, block: Block, order: tuple[str, ...], error: pa.ArrowInvalid, types: dict[str, pa.DataType]
    ) -> SourceFormatError | SourceTypeError:
        """What is wrong with a block that cannot be parsed, with its line."""
        name = self._files[block.file].name
        line = self._text.first_line(block.file, self._starts.get(block.file, 0))
        if ragged := self._parser.ragged(block, order, name, line):
            return ragged
        failed = self._parser.failure(error, order)
        kind = types.get(failed.column or "", pa.null())
        if "invalid UTF8" in failed.message or not _is_utf8_where(kind, block):
            return self.refuse_text(block)
        return self._parser.type_error(block, failed, order, kind, name, line)

    def refuse_text(self, block: Block) -> SourceFormatError:
        """The error for a block that is not UTF-8, with the line of its first wrong byte."""
        line = self._text.first_line(block.file, self._starts.get(block.file, 0)) + block.lines_before
        return not_utf8(block.data, self._files[block.file].name, line)


def _is_utf8_where(kind: pa.DataType, block: Block) -> bool:
    """False when a text column failed in a block that is not UTF-8: then that is why."""
    if not (pa.types.is_string(kind) or pa.types.is_large_string(kind)):
        return True
    try:
        block.data.decode()
    except UnicodeDecodeError:
        return False
    return True
