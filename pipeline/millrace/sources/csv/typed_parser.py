"""Parsing of CSV blocks with the types of their columns, which widen from null and from integers."""

from __future__ import annotations

import pyarrow as pa

from millrace.arrow import Path
from millrace.errors import SourceTypeError
from millrace.sources.csv.block_errors import BlockErrors
from millrace.sources.csv.new_columns import NewColumns
from millrace.sources.csv.nulls import nulls_in_text
from millrace.sources.csv.parser import CsvParser
from millrace.sources.options import SourceOptions
from millrace.sources.text.blocks import Block
from millrace.sources.text.decoding import TextFiles
from millrace.sources.text.row_separator import Types
from millrace.sources.text.typed_blocks import UnfitBlockError
from millrace.sources.text.whole_numbers import changed_row, refusal


class TypedCsvParser:
    """The ``BlockParser`` of CSV; columns of the ``given`` names may be rounded, and those of ``final`` never widen.

    With ``may_lack_columns`` a column that a file lacks is null.
    """

    errors = (pa.ArrowInvalid,)

    def __init__(
        self,
        text: TextFiles,
        options: SourceOptions,
        types: Types,
        given: frozenset[str],
        final: frozenset[str] | None = None,
        *,
        may_lack_columns: bool = False,
    ) -> None:
        self.parser = CsvParser(options, may_lack_columns=may_lack_columns)
        self.block_errors = BlockErrors(self.parser, text, options.delimiter or ",")
        self._text = text
        self._given = given
        self._final = given if final is None else final
        self._columns = tuple(types)
        self.dropping_columns: NewColumns | None = None
        default_nulls = options.null_values is None
        self._planned_nulls = frozenset(n for n, kind in types.items() if default_nulls and pa.types.is_null(kind))

    def parse(self, block: Block, types: Types) -> pa.RecordBatch:
        """Return the rows of a block with these types; raises ``pa.ArrowInvalid`` for a value that does not fit.

        A value in one of ``dropping_columns`` does not fit, because its row is dropped.
        """
        if self.dropping_columns and self.dropping_columns.rows(block):
            raise pa.ArrowInvalid("a value in a column that the dataset does not have")
        return self.parser.parse(block, types, self._columns)

    def parse_wider(self, block: Block, types: Types) -> tuple[pa.RecordBatch, Types]:
        """Return the rows and the types; columns of nulls and integers widen where the block does not fit."""
        try:
            return self.parse(block, types), types
        except pa.ArrowInvalid:
            wider = self._wider(block, types)
        # Integers widen to doubles only: an integer column with other values keeps its type, and this parse fails.
        try:
            return self.parse(block, wider), wider
        except pa.ArrowInvalid as error:
            raise self._unfit(block, error, wider) from None

    def _unfit(self, block: Block, error: pa.ArrowInvalid, types: Types) -> UnfitBlockError:
        return UnfitBlockError(lambda: self.block_errors.unparsed(block, error, types))

    def _wider(self, block: Block, types: Types) -> Types:
        """Return the types with those of nulls and integers as this block alone shows them."""
        narrow = {
            name
            for name, kind in types.items()
            if name not in self._final and (pa.types.is_null(kind) or pa.types.is_int64(kind))
        }
        try:
            inferred = self.parse(block, {name: kind for name, kind in types.items() if name not in narrow}).schema
        except pa.ArrowInvalid as error:
            raise self._unfit(block, error, types) from None
        wider = dict(types)
        for name in narrow:
            kind = inferred.field(name).type
            if pa.types.is_binary(kind):
                raise UnfitBlockError(lambda: self.block_errors.not_utf8(block))
            if pa.types.is_null(types[name]) or pa.types.is_float64(kind):
                wider[name] = kind
        return wider

    def with_nulls(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """Return the batch with spelled nulls as nulls in text columns that had only nulls when they were planned."""
        return nulls_in_text(batch, self._planned_nulls) if self._planned_nulls else batch

    def changed_number(self, block: Block, path: Path, values: pa.Array) -> SourceTypeError | None:
        """Return the error for the first number of a column that differs from the text of its block, or None."""
        column = str(path[0])
        texts = self.parser.texts(block, [column]).column(0)
        row = changed_row(texts, values, given=column in self._given)
        if row is None:
            return None
        file = self._text.files[block.file].name
        # The column of integers becomes doubles in a later block, whose numbers are not known yet.
        others = [] if pa.types.is_integer(values.type) else texts.drop_null().to_pylist()
        line = self.block_errors.line_of(block, row)
        return refusal(file, line, column, texts[row].as_py(), values.type, others)
