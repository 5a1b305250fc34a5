"""Checks for unexpected properties in the first bytes of a CSV. Each check returns warnings, or raises an error.

Warnings:

* integers with leading zeros, because the zeros are lost;
* a column that is text because of a single value;
* a header of one column that another delimiter would divide.

The error is raised for numbers with thousands separators, if a decimal point other than "." was given.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as compute

from millrace.display import shortened
from millrace.errors import SourceTypeError
from millrace.names import column_type_option
from millrace.sources.csv.block_errors import BlockErrors
from millrace.sources.csv.parser import CsvParser
from millrace.sources.model import SourceFile
from millrace.sources.options import SourceOptions
from millrace.sources.text.blocks import Block
from millrace.sources.text.records import count_lines, offsets_outside, record_starts, scan_quotes
from millrace.sources.warnings import SourceWarning

_TEXT_COLUMNS_MAX: Final = 1000
_FIRST_ROWS: Final = 2000
_UNSUCCESSFUL_BYTES_MAX: Final = 16_000_000
"""The search for leading zeros ends after this many bytes without another such column."""
_VALUE_CHARACTERS: Final = 40
_DATE: Final = r"^\d{4}-\d{2}-\d{2}([ T]\d{2}:\d{2}(:\d{2}(\.\d+)?)?(Z|[+-]\d{2}:?\d{2})?)?$"


class LeadingZeros:
    """A search of blocks for numbers like ``007``, which keeps the first of each column."""

    def __init__(self, delimiter: str, files: tuple[SourceFile, ...]) -> None:
        self._delimiter = delimiter
        self._files = files
        self._first: dict[str, tuple[str, int, str]] = {}
        self._unsuccessful_bytes = 0

    def over(self, sample: Iterable[Block]) -> Iterator[Block]:
        """Search the blocks of ``sample`` and yield them unchanged."""
        for block in sample:
            if self._unsuccessful_bytes < _UNSUCCESSFUL_BYTES_MAX:
                self._search(block)
            yield block

    def warnings(self, types: dict[str, pa.DataType]) -> list[SourceWarning]:
        """Return a warning for each column with leading zeros whose type is a 64-bit integer or a double."""
        warnings = []
        for name, kind in types.items():
            if (pa.types.is_int64(kind) or pa.types.is_float64(kind)) and name in self._first:
                file, line, value = self._first[name]
                message = (
                    f"{file}, line {line}: column {name!r} has numbers with leading zeros ({value!r}), which are lost "
                    f"in {'integers' if pa.types.is_int64(kind) else 'doubles'}: {column_type_option(name)} keeps them"
                )
                warnings.append(SourceWarning("leading_zeros", message, column=name, line=line, file=file))
        return warnings

    def _search(self, block: Block) -> None:
        self._unsuccessful_bytes += len(block.data)
        hits = _zeros(block.data, self._delimiter)
        if not len(hits):
            return
        scan = scan_quotes(block.data, self._delimiter)
        starts = record_starts(block.data, scan)
        delimiters = offsets_outside(block.data, ord(self._delimiter), scan)
        begins = starts[np.searchsorted(starts, hits, side="right") - 1]
        columns = np.searchsorted(delimiters, hits) - np.searchsorted(delimiters, begins)
        for column in np.unique(columns).tolist():
            if column < len(block.columns) and block.columns[column] not in self._first:
                offset = int(hits[columns == column][0])
                value = re.match(rb"[+-]?\d+", block.data[offset : offset + _VALUE_CHARACTERS])
                line = 1 + block.lines_before + count_lines(block.data[:offset])
                text = value[0].decode() if value else "0"
                self._first[block.columns[column]] = (self._files[block.file].name, line, text)
                self._unsuccessful_bytes = 0


def _zeros(block: bytes, delimiter: str) -> pa.Array:
    """Return the offsets at which a field begins with a zero, or a sign and a zero, and another digit."""
    data = np.frombuffer(block, dtype=np.uint8)
    begins, zeros = data == ord(delimiter), data == ord("0")
    for mark in b'\n\r"':
        begins |= data == mark
    signs = (data == ord("-")) | (data == ord("+"))
    unsigned = np.flatnonzero(begins[:-1] & zeros[1:]) + 1
    signed = np.flatnonzero(begins[:-2] & signs[1:-1] & zeros[2:]) + 1
    first = np.array([0] if zeros[:1].any() or (signs[:1].any() and zeros[1:2].any()) else [], dtype=np.int64)
    starts = np.sort(np.concatenate([first, unsigned, signed]))
    # Another digit must follow the zero, which may have a sign before it.
    after = starts + 1 + signs[starts]
    starts, after = starts[after < len(data)], after[after < len(data)]
    return starts[(data[after] >= ord("0")) & (data[after] <= ord("9"))]


def undivided_header(options: SourceOptions, types: dict[str, pa.DataType], name: str) -> list[SourceWarning]:
    """Return a warning if the only column is text and its name contains a possible delimiter."""
    if len(types) != 1 or options.columns is not None:
        return []
    (column, kind), *_ = types.items()
    if not (pa.types.is_string(kind) or pa.types.is_null(kind)):
        return []
    marks = {mark: label for mark, label in _MARKS.items() if mark in column and mark != options.delimiter}
    if not marks:
        return []
    message = (
        f"{name} has one column, {column[:_VALUE_CHARACTERS]!r}: if {' or '.join(marks.values())} divides it, "
        f"give --delimiter {' or '.join(_OPTION[mark] for mark in marks)}"
    )
    return [SourceWarning("one_column", message, column=column, file=name)]


_MARKS: Final = {";": "a semicolon", "\t": "a tab", "|": "|", ",": "a comma"}
_OPTION: Final = {";": "';'", "\t": "'\\t'", "|": "'|'", ",": ","}


@dataclass(slots=True)
class _Form:
    """A comparison of a text column's values with one form, ``pattern``.

    ``odd`` is the first value that does not match, and ``row`` its block and row. ``fits`` is set if any value
    matches, and ``failed`` if more than one different value does not.
    """

    pattern: str
    odd: str | None = None
    row: tuple[Block, int] | None = None
    fits: bool = False
    failed: bool = False

    def check(self, texts: pa.Array, block: Block) -> None:
        """Check more values against the form."""
        if self.failed:
            return
        values = texts.drop_null().unique()
        fitting = compute.match_substring_regex(values, self.pattern)
        self.fits = self.fits or bool(compute.any(fitting).as_py())
        odd = values.filter(compute.invert(fitting)).slice(0, 2).to_pylist()
        if odd and self.odd is None:
            self.odd, self.row = odd[0], (block, compute.index(texts, odd[0]).as_py())
        self.failed = len(odd) > 1 or bool(odd and odd[0] != self.odd)


class _Column:
    """A text column, and whether all its values except one are numbers, dates or numbers with thousands separators."""

    def __init__(self, name: str, decimal: str, *, dates: bool) -> None:
        mark = re.escape(decimal)
        number = rf"[+-]?(\d+({mark}\d*)?|{mark}\d+)([eE][+-]?\d+)?"
        grouped = rf"[+-]?[1-9]\d{{0,2}}(([., '\x{{a0}}\x{{202f}}])\d{{3}})+({mark}\d+)?"
        self.name = name
        self.numbers, self.dates = _Form(f"^({number})$"), _Form(_DATE, failed=not dates)
        self.grouped = _Form(f"^({number}|{grouped})$", failed=decimal == ".")

    @property
    def is_text(self) -> bool:
        """Return whether all three forms have failed, so that the column needs no more checks."""
        return self.numbers.failed and self.dates.failed and self.grouped.failed

    def check(self, texts: pa.Array, block: Block) -> None:
        """Check more values, the first rows before all: in most text columns these already exclude every form."""
        for form in (self.numbers, self.dates, self.grouped):
            form.check(texts.slice(0, _FIRST_ROWS), block)
            form.check(texts, block)

    def first_grouped(self, decimal: str) -> str | None:
        """Return the first number with thousands separators if all values of the column are numbers, else None.

        It counts only if another value is a plain number, or if it contains the decimal point itself.
        """
        first = self.numbers.odd
        is_number = not self.grouped.failed and self.grouped.odd is None
        return first if is_number and first and (self.numbers.fits or decimal in first) else None


def odd_values(
    sample: Iterable[Block], parser: CsvParser, errors: BlockErrors, names: Iterable[str], options: SourceOptions
) -> list[SourceWarning]:
    """Return a warning for each of these text columns that is text because of one value alone.

    Raises ``SourceTypeError`` for numbers with thousands separators if ``options`` give a decimal point other than ".".
    """
    left = [_Column(name, options.decimal, dates=not options.date_format) for name in list(names)[:_TEXT_COLUMNS_MAX]]
    for block in sample if left else ():
        try:
            batch = parser.texts(block, [column.name for column in left])
        except pa.ArrowInvalid:
            return []
        for column in left:
            column.check(batch.column(column.name), block)
        left = [column for column in left if not column.is_text]
        if not left:
            break
    warnings = []
    for column in left:
        if column.numbers.row and (value := column.first_grouped(options.decimal)):
            raise _thousands(column.name, value, *errors.location(*column.numbers.row))
        for form, label in ((column.numbers, "a number"), (column.dates, "a date")):
            if form.row and form.odd is not None and form.fits and not form.failed:
                warnings.append(_one_value(column.name, form.odd, label, *errors.location(*form.row)))
    return warnings


def _one_value(column: str, value: str, form: str, file: str, line: int) -> SourceWarning:
    message = (
        f"{file}, line {line}: column {column!r} is text because of one value, {shortened(value)!r}, which is not "
        f"{form} like all the others: correct it, or give --null-value where it means null"
    )
    return SourceWarning("text_for_one_value", message, column=column, line=line, file=file)


def _thousands(column: str, value: str, file: str, line: int) -> SourceTypeError:
    return SourceTypeError(
        f"{file}, line {line}: column {column!r} has {shortened(value)!r}, a number with thousands separators",
        hint=f"write it without them, or keep the column as text: {column_type_option(column)}",
        file=file,
        line=line,
        column=column,
    )
