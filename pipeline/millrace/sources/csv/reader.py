"""Reader of CSV: blocks are parsed on all cores and returned in order.

Column types of nulls and integers widen where a block needs it. Any other mismatch raises an error with its line.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import closing
from functools import partial

import pyarrow as pa

from millrace.arrow import Path
from millrace.errors import SourceFormatError, SourceTypeError
from millrace.sources.csv.nulls import nulls_in_text
from millrace.sources.csv.parser import CsvParser, read_header, unnamed_warning
from millrace.sources.io.streams import PlainOpener
from millrace.sources.model import SourceFile, SourcePlan
from millrace.sources.options import SourceOptions
from millrace.sources.text.blocks import BLOCK_BYTES, Block, RecordCutter
from millrace.sources.text.decoding import TextFiles, not_utf8
from millrace.sources.text.parsing import parse_in_order
from millrace.sources.text.whole_numbers import WholeNumbers, changed_row, refusal
from millrace.sources.types import given_types
from millrace.sources.warnings import SourceWarning

__all__ = ["CsvReader", "Part"]

Part = tuple[int, int, int]
"""Index of the file, first byte, byte after the last (-1: to the end)."""


class CsvReader:
    """A reader of record batches from parts of some files, front to back.

    ``types`` are those of the plan. ``fixed`` names the columns whose type the user gave; these never widen. Each
    batch has the types that ``self.types`` contains when the batch is returned. These types only ever widen.
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
        """Return a reader for all files of a plan, which begins with the plan's types."""
        types = {field.name: field.type for field in plan.source_schema}
        given = frozenset(given_types(plan.options, None))
        return cls(plan.files, plan.options, tuple(types), types, given, opener)

    def batches(self, parts: list[Part]) -> Iterator[tuple[pa.RecordBatch, int, int]]:
        """Yield batches, each with the index of its file and the position in that file up to which it was read."""
        # The types that each block was submitted with. If an earlier block widens a type, later ones are parsed again.
        sent: dict[int, dict[str, pa.DataType]] = {}

        def attempt(item: tuple[Block, tuple[str, ...]]) -> tuple[pa.RecordBatch, bool]:
            block, order = item
            types = sent[id(block)] = self.types
            return self._whole_numbers.with_doubt(self._parser.parse(block.data, order, types, list(self._names)))

        pairs = parse_in_order(attempt, self.blocks(parts))
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
        """Yield blocks of records (without headers) with the names of their columns in the file's order."""
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
        """Return the column names of a file; an empty file has none."""
        with closing(self._text.open(number)) as stream:
            return self.header(number, self._text.cutter(number, stream, 0, 65_536))

    def header(self, number: int, cutter: RecordCutter) -> tuple[str, ...]:
        """Return the column names at the front of a file.

        Raises ``SourceFormatError`` if they are not those of the source.
        """
        name = self._files[number].name
        header = read_header(cutter, self._options, name)
        cutter.put_back(header.row)
        if header.unnamed and not self.warnings:
            self.warnings = (unnamed_warning(header, name),)
        order = header.names
        missing = sorted(set(self._names) - set(order))
        # With ``columns`` given, other columns are not read, so they may differ from file to file.
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
        """Parse a block again with the current types.

        If it does not fit, columns of nulls and integers are widened. Any other mismatch raises an error.
        """
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
        # Integers widen to doubles only: an integer column with other values keeps its type, and this parse fails.
        try:
            batch = self._parser.parse(block.data, order, wider, names)
        except pa.ArrowInvalid as error:
            raise self.refuse(block, order, error, wider) from None
        self.types = wider
        return batch

    def _changed(self, block: Block, order: tuple[str, ...], path: Path, values: pa.Array) -> SourceTypeError | None:
        """Return the error for the first number of a column that differs from the text of its block, or None."""
        column = str(path[0])
        texts = self._parser.texts(block.data, order, [column]).column(0)
        row = changed_row(texts, values, given=column in self._fixed)
        if row is None:
            return None
        file = self._files[block.file].name
        line, _ = self._parser.locate(block, row, self._text.first_line(block.file, self._starts.get(block.file, 0)))
        # The column of integers becomes doubles in a later block, whose numbers are not known yet.
        others = [] if pa.types.is_integer(values.type) else texts.drop_null().to_pylist()
        return refusal(file, line, column, texts[row].as_py(), values.type, others)

    def refuse(
        self, block: Block, order: tuple[str, ...], error: pa.ArrowInvalid, types: dict[str, pa.DataType]
    ) -> SourceFormatError | SourceTypeError:
        """Return the error for a block that cannot be parsed, with its line."""
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
        """Return the error for a block that is not UTF-8, with the line of its first wrong byte."""
        line = self._text.first_line(block.file, self._starts.get(block.file, 0)) + block.lines_before
        return not_utf8(block.data, self._files[block.file].name, line)


def _is_utf8_where(kind: pa.DataType, block: Block) -> bool:
    """Return False if a text column failed in a block that is not UTF-8, which is then the cause."""
    if not (pa.types.is_string(kind) or pa.types.is_large_string(kind)):
        return True
    try:
        block.data.decode()
    except UnicodeDecodeError:
        return False
    return True
