"""Search for the lines of JSON lines that do not fit their types, and the widening of types beside them."""

from __future__ import annotations

import json
import re
from collections.abc import Container, Iterator
from contextlib import suppress
from typing import Final

import pyarrow as pa

from millrace.arrow import Path
from millrace.display import shortened
from millrace.sources.jsonl.alike import lines_alike, offset_named
from millrace.sources.jsonl.block_errors import reason_of, type_change
from millrace.sources.jsonl.parser import lines_of
from millrace.sources.jsonl.typed_parser import ERRORS, TypedLineParser
from millrace.sources.row_rules import NEW_COLUMN_REASON
from millrace.sources.text.blocks import Block
from millrace.sources.text.misfits import Failure, Misfit, Records, search
from millrace.sources.text.records import record_starts
from millrace.sources.text.row_separator import Separated, Types
from millrace.sources.text.whole_numbers import change_reason, changed_lines

_ROW: Final = re.compile(r" in row (\d+)$")
_CHANGE: Final = re.compile(r"Column\(/([^/]+)\) changed from (null|boolean|number|string|array|object) to (\w+) in")
_KINDS: Final[dict[str, tuple[type, ...]]] = {
    "boolean": (bool,),
    "number": (int, float),
    "string": (str,),
    "array": (list,),
    "object": (dict,),
    "null": (),
}
_UNKNOWN: Final = Failure(None, "", "", is_value=False)


class LineRecordParser:
    """The ``RecordParser`` of JSON lines; types may widen with ``widens``, and new columns may appear with ``grow``.

    Numbers of the columns ``may_round`` may be rounded to their type (None: those with a given type).
    """

    def __init__(
        self, parser: TypedLineParser, *, widens: bool, grow: bool = False, may_round: Container[str] | None = None
    ) -> None:
        self.given: Container[str] = parser.given if may_round is None else may_round
        self._parser = parser
        self._widens = widens
        self._grow = grow

    def misfits(self, block: Block, types: Types, exact: Container[str]) -> Separated:
        """Return the records, those that do not fit, and the types, widened line by line where that is allowed."""
        starts = record_starts(block.data, None)
        lines = lines_of(block.data, starts.tolist())
        records = Records.of(block, starts).only(row for row, line in enumerate(lines) if line.strip())
        pieces = _Pieces(self._parser, types, exact, widens=self._widens, grow=self._grow)
        misfits = self._misfits(records, pieces)
        # The search ends with all lines that fit, parsed together, unless types were widened for them.
        batch, types = pieces.batch, pieces.types
        is_all = batch.num_rows == len(records) - len(misfits) and batch.schema.types == list(types.values())
        return Separated(records, misfits, types, batch if is_all else None)

    def _misfits(self, records: Records, pieces: _Pieces) -> list[Misfit]:
        """Return the lines that do not fit: first those that are alike, then those that only a search finds."""
        misfits: list[Misfit] = []
        while len(records) and not pieces.fits(records.part(0, len(records)).data):
            alike = lines_alike(records, pieces.types, pieces.message, given=self._parser.given, may_widen=self._widens)
            if not alike:
                return sorted([*misfits, *search(records, pieces.attempt)])
            misfits += alike
            records = records.without(misfit.row for misfit in alike)
        return sorted(misfits)

    def parse_records(self, block: Block, types: Types) -> pa.RecordBatch:
        """Return the rows of a block whose records all fit the types."""
        return self._parser.parse(block.data, types)

    def changed_values(self, block: Block, path: Path, values: pa.Array) -> Iterator[tuple[int, str]]:
        """Yield row and reason for each number at ``path`` that differs from the text of its line."""
        lines = lines_of(block.data, record_starts(block.data, None).tolist())
        for row, number in changed_lines(lines, path, values.type, given=str(path[0]) in self.given):
            yield row, change_reason(str(number), values.type)

    def parse_partly(self, block: Block, types: Types, without: Container[str]) -> pa.RecordBatch | Failure:
        """Return the row of a block of one line with nulls in the columns ``without``, or the next failure."""
        kept = {name: kind for name, kind in types.items() if name not in without}
        try:
            row = self._parser.parse(block.data, kept, "ignore")
            names = self._parser.parse(block.data, {}, "infer").schema.names
        except ERRORS:
            return line_failure(block.data, kept, self._parser, self._widens)
        if unknown := [name for name in names if name not in types and name not in without]:
            return Failure(0, unknown[0], NEW_COLUMN_REASON, is_value=True)
        columns = [row.column(name) if name in kept else pa.nulls(1, kind) for name, kind in types.items()]
        return pa.RecordBatch.from_arrays(columns, names=list(types))


class _Pieces:
    """Attempts to parse pieces of one block from front to back, with ``types`` that may widen from piece to piece.

    ``batch`` has the rows of the last piece that fit.
    """

    def __init__(
        self, parser: TypedLineParser, types: Types, exact: Container[str], *, widens: bool, grow: bool
    ) -> None:
        self.types = types
        self.batch = pa.RecordBatch.from_pylist([])
        self._parser = parser
        self._exact = exact
        self._widens = widens
        self._grow = grow
        self.message = ""
        """The error of the last piece that did not fit."""

    def attempt(self, piece: Block, rows: int) -> Failure | None:
        """Return None if all lines fit the types, which may widen for that."""
        if self.fits(piece.data):
            return None
        if rows > 1 and (failure := self._named_failure(piece.data)):
            return failure
        row = 0 if rows == 1 else self._row_of_error(piece.data)
        if row is None:
            return None if self._widen_for(piece.data) else _UNKNOWN
        line = piece.data if rows == 1 else self._line(piece.data, row)
        before = self.types
        if not self._widen_for(line):
            return line_failure(line, self.types, self._parser, self._widens, row=row)
        # A line that fits without wider types is not the one that failed.
        return _UNKNOWN if self.types is before else self.attempt(piece, rows)

    def fits(self, data: bytes) -> bool:
        """Return whether all lines fit the types as they are."""
        try:
            self.batch = self._parser.parse(data, self.types)
        except ERRORS as error:
            self.message = str(error)
            return False
        return True

    def _named_failure(self, data: bytes) -> Failure | None:
        """Return the failure that the last error names, if Python's parser confirms it; else None.

        This is so for most lines that do not fit, and saves several calls of pyarrow's parser for each.
        """
        row = _ROW.search(self.message)
        if row is None:
            return None
        try:
            values = json.loads(self._line(data, int(row[1])))
        except (ValueError, RecursionError):
            return Failure(int(row[1]), "", reason_of(ValueError(self.message)), is_value=False)
        change = _CHANGE.search(self.message)
        if change is None or not isinstance(values, dict):
            return None
        column, before, after = change.groups()
        if before == "null" or column not in self.types or not isinstance(values.get(column), _KINDS[after]):
            return None
        reason = f"{shortened(json.dumps(values[column]))} is not {self.types[column]}"
        return Failure(int(row[1]), column, reason, is_value=True)

    def _row_of_error(self, data: bytes) -> int | None:
        """Return the row that the last error names, or the first one with the value that it names."""
        if row := _ROW.search(self.message):
            return int(row[1])
        offset = offset_named(data, self.message)
        return None if offset is None else int((record_starts(data, None) <= offset).sum()) - 1

    @staticmethod
    def _line(data: bytes, row: int) -> bytes:
        lines = list(lines_of(data, record_starts(data, None).tolist()))
        return lines[min(row, len(lines) - 1)]

    def _widen_for(self, data: bytes) -> bool:
        """Widen the types so that they hold these lines too; return False where that is not allowed."""
        if not self._widens:
            return self.fits(data)
        wider = self._parser.wider_types(data, self.types, grow=self._grow)
        if wider is None or any(wider[name] != self.types[name] for name in self.types if name in self._exact):
            return False
        if wider != self.types:
            self.types = wider
        return True


def line_failure(line: bytes, types: Types, parser: TypedLineParser, widens: bool, *, row: int = 0) -> Failure:
    """Return the failure of one line that does not fit the types; ``row`` is its row."""
    try:
        inferred = parser.infer(line)
    except UnicodeDecodeError:
        return Failure(row, "", "invalid UTF-8", is_value=False)
    except ERRORS as error:
        column = _misfit_column(line, parser.given, parser)
        reason = reason_of(error) if isinstance(error, Exception) else ""
        return Failure(row, column, reason, is_value=bool(column))
    if widens and (change := type_change(types, inferred, grow=False)):
        return Failure(row, *change, is_value=True)
    unknown = [name for name in inferred.schema.names if name not in types]
    other = {f.name: types[f.name] for f in inferred.schema if f.name in types and f.type != types[f.name]}
    column = _misfit_column(line, other, parser) or next(iter(unknown), "") or _column_of_new_field(line, types, parser)
    if column in types:
        value = inferred.column(column)[0]
        return Failure(row, column, f"{shortened(repr(value.as_py()))} is not {types[column]}", is_value=True)
    return Failure(row, column, NEW_COLUMN_REASON, is_value=bool(column))


def _column_of_new_field(line: bytes, types: Types, parser: TypedLineParser) -> str:
    """Return the column with a struct that has a field that its type lacks, or an empty text."""
    for field in parser.parse(line, {}, "infer").schema:
        if pa.types.is_nested(types.get(field.name)):
            with suppress(*ERRORS):
                parser.parse(line, {**types, field.name: field.type})
                return str(field.name)
    return ""


def _misfit_column(line: bytes, types: Types, parser: TypedLineParser) -> str:
    """Return the first of these columns whose value does not fit its type, or an empty text."""
    for name, kind in types.items():
        try:
            parser.parse(line, {name: kind}, "ignore")
        except ERRORS:
            with suppress(*ERRORS):
                parser.parse(line, {}, "infer")
                return name
    return ""
