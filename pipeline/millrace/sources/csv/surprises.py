"""Checks for surprises in the first bytes of a CSV; each returns warnings, or raises an error for wrong data.

Warnings are for integers with leading zeros (which are lost), for a column that is text because of one value, and for
a header that another delimiter would divide. The error is for numbers with thousands separators in a source for which
a decimal point was given.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

import pyarrow as pa
import pyarrow.compute as compute

from millrace.errors import SourceTypeError
from millrace.names import column_type_option
from millrace.sources.csv.parser import CsvParser
from millrace.sources.model import SourceFile
from millrace.sources.options import SourceOptions
from millrace.sources.text.blocks import Block
from millrace.sources.text.records import count_lines, record_starts, scan_quotes
from millrace.sources.warnings import SourceWarning

__all__ = ["LeadingZeros", "odd_values", "undivided_header"]

Sample = Iterable[tuple[Block, tuple[str, ...]]]

_TEXT_COLUMNS_MAX: Final = 1000
_FIRST_ROWS: Final = 2000
_QUIET_BYTES: Final = 16_000_000
"""The search for leading zeros ends after this many bytes without another such column."""
_SHOWN_MAX: Final = 40
_DATE: Final = r"^\d{4}-\d{2}-\d{2}([ T]\d{2}:\d{2}(:\d{2}(\.\d+)?)?(Z|[+-]\d{2}:?\d{2})?)?$"


class LeadingZeros:
    """A search of blocks for numbers like ``007``, which keeps the first of each column."""

    def __init__(self, delimiter: str, files: tuple[SourceFile, ...]) -> None:
        self._delimiter = delimiter
        self._files = files
        self._found: dict[str, tuple[str, int, str]] = {}
        self._quiet = 0

    def over(self, sample: Sample) -> Iterator[tuple[Block, tuple[str, ...]]]:
        """Search the blocks of ``sample`` and yield them unchanged."""
        for block, order in sample:
            if self._quiet < _QUIET_BYTES:
                self._look(block, order)
            yield block, order

    def warnings(self, types: dict[str, pa.DataType]) -> list[SourceWarning]:
        """Return a warning for each column with leading zeros whose type is a 64-bit integer or a double."""
        made = []
        for name, kind in types.items():
            if (pa.types.is_int64(kind) or pa.types.is_float64(kind)) and name in self._found:
                file, line, value = self._found[name]
                said = (
                    f"{file}, line {line}: column {name!r} has numbers with leading zeros ({value!r}), which are lost "
                    f"in {'integers' if pa.types.is_int64(kind) else 'doubles'}: {column_type_option(name)} keeps them"
                )
                made.append(SourceWarning("leading_zeros", said, column=name, line=line, file=file))
        return made

    def _look(self, block: Block, order: tuple[str, ...]) -> None:
        import numpy as np

        self._quiet += len(block.data)
        hits = _zeros(block.data, self._delimiter)
        if not len(hits):
            return
        scan = scan_quotes(block.data, self._delimiter)
        starts = record_starts(block.data, scan)
        data = np.frombuffer(block.data, dtype=np.uint8)
        delimiters = np.flatnonzero(data == ord(self._delimiter))
        if scan is not None:
            delimiters = delimiters[scan.outside_at(delimiters)]
        begins = starts[np.searchsorted(starts, hits, side="right") - 1]
        columns = np.searchsorted(delimiters, hits) - np.searchsorted(delimiters, begins)
        for column in np.unique(columns).tolist():
            if column < len(order) and order[column] not in self._found:
                place = int(hits[columns == column][0])
                value = re.match(rb"[+-]?\d+", block.data[place : place + _SHOWN_MAX])
                line = 1 + block.lines_before + count_lines(block.data[:place])
                said = value[0].decode() if value else "0"
                self._found[order[column]] = (self._files[block.file].name, line, said)
                self._quiet = 0


def _zeros(block: bytes, delimiter: str) -> pa.Array:
    """Return the offsets at which a field begins with a zero, or a sign and a zero, and another digit."""
    import numpy as np

    data = np.frombuffer(block, dtype=np.uint8)
    begins, zeros = data == ord(delimiter), data == ord("0")
    for mark in b'\n\r"':
        begins |= data == mark
    signs = (data == ord("-")) | (data == ord("+"))
    plain = np.flatnonzero(begins[:-1] & zeros[1:]) + 1
    signed = np.flatnonzero(begins[:-2] & signs[1:-1] & zeros[2:]) + 1
    first = np.array([0] if zeros[:1].any() or (signs[:1].any() and zeros[1:2].any()) else [], dtype=np.int64)
    found = np.sort(np.concatenate([first, plain, signed]))
    # Another digit must follow the zero, which may have a sign before it.
    after = found + 1 + signs[found]
    found, after = found[after < len(data)], after[after < len(data)]
    return found[(data[after] >= ord("0")) & (data[after] <= ord("9"))]


def undivided_header(options: SourceOptions, types: dict[str, pa.DataType], name: str) -> list[SourceWarning]:
    """Return a warning if the only column is text and its name contains a possible delimiter."""
    if len(types) != 1 or options.columns is not None:
        return []
    (column, kind), *_ = types.items()
    if not (pa.types.is_string(kind) or pa.types.is_null(kind)):
        return []
    marks = {each: shown for each, shown in _MARKS.items() if each in column and each != options.delimiter}
    if not marks:
        return []
    said = (
        f"{name} has one column, {column[:_SHOWN_MAX]!r}: if {' or '.join(marks.values())} divides it, "
        f"give --delimiter {' or '.join(_OPTION[each] for each in marks)}"
    )
    return [SourceWarning("one_column", said, column=column, file=name)]


_MARKS: Final = {";": "a semicolon", "\t": "a tab", "|": "|", ",": "a comma"}
_OPTION: Final = {";": "';'", "\t": "'\\t'", "|": "'|'", ",": ","}


@dataclass(slots=True)
class _Seen:
    """A comparison of a text column's values with one form, ``pattern``.

    ``odd`` is the first value that does not match, and ``place`` its block and row. ``fits`` is set if any value
    matches, and ``failed`` if more than one different value does not.
    """

    pattern: str
    odd: str | None = None
    place: tuple[Block, int] | None = None
    fits: bool = False
    failed: bool = False

    def take(self, texts: pa.Array, block: Block) -> None:
        """Check more values against the form."""
        if self.failed:
            return
        values = texts.drop_null().unique()
        fitting = compute.match_substring_regex(values, self.pattern)
        self.fits = self.fits or bool(compute.any(fitting).as_py())
        odd = values.filter(compute.invert(fitting)).slice(0, 2).to_pylist()
        if odd and self.odd is None:
            self.odd, self.place = odd[0], (block, compute.index(texts, odd[0]).as_py())
        self.failed = len(odd) > 1 or bool(odd and odd[0] != self.odd)


class _Column:
    """A text column, and whether all its values except one are numbers, dates or numbers with thousands separators."""

    def __init__(self, name: str, decimal: str, *, dates: bool) -> None:
        mark = re.escape(decimal)
        number = rf"[+-]?(\d+({mark}\d*)?|{mark}\d+)([eE][+-]?\d+)?"
        grouped = rf"[+-]?[1-9]\d{{0,2}}(([., '\x{{a0}}\x{{202f}}])\d{{3}})+({mark}\d+)?"
        self.name = name
        self.numbers, self.dates = _Seen(f"^({number})$"), _Seen(_DATE, failed=not dates)
        self.grouped = _Seen(f"^({number}|{grouped})$", failed=decimal == ".")

    @property
    def is_text(self) -> bool:
        """Return whether all three forms have failed, so that the column needs no more checks."""
        return self.numbers.failed and self.dates.failed and self.grouped.failed

    def take(self, texts: pa.Array, block: Block) -> None:
        """Check more values, the first rows before all: in most text columns these already exclude every form."""
        for seen in (self.numbers, self.dates, self.grouped):
            seen.take(texts.slice(0, _FIRST_ROWS), block)
            seen.take(texts, block)

    def first_grouped(self, decimal: str) -> str | None:
        """Return the first number with thousands separators if all values of the column are numbers, else None.

        It counts only if another value is a plain number, or if it contains the decimal point itself.
        """
        first = self.numbers.odd
        is_number = not self.grouped.failed and self.grouped.odd is None
        return first if is_number and first and (self.numbers.fits or decimal in first) else None


def odd_values(
    sample: Sample, parser: CsvParser, names: Iterable[str], options: SourceOptions, files: tuple[SourceFile, ...]
) -> list[SourceWarning]:
    """Return a warning for each of these text columns that is text because of one value alone.

    Raises ``SourceTypeError`` for numbers with thousands separators if ``options`` give a decimal point other than ".".
    """
    left = [_Column(name, options.decimal, dates=not options.date_format) for name in list(names)[:_TEXT_COLUMNS_MAX]]
    for block, order in sample if left else ():
        try:
            batch = parser.texts(block.data, order, [column.name for column in left])
        except pa.ArrowInvalid:
            return []
        for column in left:
            column.take(batch.column(column.name), block)
        left = [column for column in left if not column.is_text]
        if not left:
            break
    made = []
    for column in left:
        if column.numbers.place and (value := column.first_grouped(options.decimal)):
            raise _thousands(column.name, value, *_line(parser, column.numbers.place, files))
        for seen, form in ((column.numbers, "a number"), (column.dates, "a date")):
            if seen.place and seen.odd is not None and seen.fits and not seen.failed:
                made.append(_one_value(column.name, seen.odd, form, *_line(parser, seen.place, files)))
    return made


def _line(parser: CsvParser, place: tuple[Block, int], files: tuple[SourceFile, ...]) -> tuple[str, int]:
    block, row = place
    line, _ = parser.locate(block, row, 1)
    return files[block.file].name, line


def _shown(value: str) -> str:
    return repr(value if len(value) <= _SHOWN_MAX else value[:_SHOWN_MAX] + "...")


def _one_value(column: str, value: str, form: str, file: str, line: int) -> SourceWarning:
    said = (
        f"{file}, line {line}: column {column!r} is text because of one value, {_shown(value)}, which is not {form} "
        "like all the others: mend it, or give --null-value where it means null"
    )
    return SourceWarning("text_for_one_value", said, column=column, line=line, file=file)


def _thousands(column: str, value: str, file: str, line: int) -> SourceTypeError:
    return SourceTypeError(
        f"{file}, line {line}: column {column!r} has {_shown(value)}, a number with thousands separators",
        hint=f"write it without them, or keep the column as text: {column_type_option(column)}",
        file=file,
        line=line,
        column=column,
    )
