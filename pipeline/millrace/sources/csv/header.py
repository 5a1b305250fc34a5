"""Column names of a CSV file, from its header or its first record."""

from __future__ import annotations

from dataclasses import dataclass

import pyarrow as pa
import pyarrow.csv as pc

from millrace.compat.pyarrow.csv import keep_mark
from millrace.errors import SourceFormatError
from millrace.names import first_duplicate
from millrace.sources.options import SourceOptions
from millrace.sources.text.blocks import RecordCutter
from millrace.sources.text.decoding import not_utf8
from millrace.sources.text.records import count_lines
from millrace.sources.warnings import SourceWarning

_LISTED_COLUMNS = 10
_GROUP_COLUMNS = 2_000
"""Names read in one call: pyarrow allocates 9 KB for each column."""


@dataclass(frozen=True)
class Header:
    """The column names of one file; an empty file has none.

    ``row`` contains the bytes that were read to find the names but are data, in a file without a header. ``unnamed``
    lists the positions (from 0) of columns without a name in the header. These get the names that they have without a
    header: ``f0`` and so on. ``line`` is the number of the header's line.
    """

    names: tuple[str, ...] = ()
    row: bytes = b""
    unnamed: tuple[int, ...] = ()
    line: int = 1


def read_header(cutter: RecordCutter, options: SourceOptions, name: str) -> Header:
    """Return the column names of a file.

    Raises ``SourceFormatError`` for a name that occurs twice, a name that is not UTF-8, and a line that is not CSV.
    """
    lines = cutter.lines_taken
    record = cutter.header()
    if not record:
        return Header()
    line = lines + 1 + count_lines(record[: len(record) - len(record.lstrip(b"\r\n"))])
    names = _names(record, options.delimiter or ",", name, line)
    if not options.header:
        return Header(tuple(f"f{number}" for number in range(len(names))), record, line=line)
    unnamed = tuple(number for number, column in enumerate(names) if not column.strip())
    if twice := first_duplicate(filter(str.strip, names)):
        raise SourceFormatError(
            f"{name}, line {line}: two columns are named {twice!r}",
            hint="rename one in the header, or give --no-header if the first line is data",
            file=name,
            line=line,
        )
    return Header(_all_named(names), b"", unnamed, line)


def _names(record: bytes, delimiter: str, name: str, line: int) -> tuple[str, ...]:
    # pyarrow ignores a single line without a line end.
    complete = keep_mark(record if record.endswith((b"\n", b"\r")) else record + b"\n")
    try:
        return _cells(complete, delimiter)
    except UnicodeDecodeError:
        raise not_utf8(record.lstrip(b"\r\n"), name, line) from None
    except pa.ArrowInvalid as error:
        reason = str(error).splitlines()[0]
        raise SourceFormatError(
            f"{name}, line {line}: this line is not CSV: {reason}", hint="check --delimiter", file=name, line=line
        ) from None


def _cells(line: bytes, delimiter: str) -> tuple[str, ...]:
    """Return the values of one line.

    Raises ``UnicodeDecodeError`` and ``pa.ArrowInvalid``.
    """
    cells: list[bytes] = []
    # Delimiters in quotes count, too, so there may be fewer cells. Each column that is asked for costs 5 us.
    most = line.count(delimiter.encode()) + 1
    while True:
        names = [f"f{number}" for number in range(len(cells), min(most, len(cells) + _GROUP_COLUMNS))]
        table = pc.read_csv(
            pa.BufferReader(line),
            read_options=pc.ReadOptions(use_threads=False, block_size=len(line) + 1, autogenerate_column_names=True),
            parse_options=pc.ParseOptions(delimiter=delimiter, newlines_in_values=True),
            convert_options=pc.ConvertOptions(
                include_columns=names, include_missing_columns=True, column_types=dict.fromkeys(names, pa.binary())
            ),
        )
        # A binary value is never null, a missing column is.
        group = [value for column in table.columns for value in column.to_pylist() if value is not None]
        cells += group
        if len(group) < len(names) or len(cells) == most:
            return tuple(cell.decode() for cell in cells)


def _all_named(names: tuple[str, ...]) -> tuple[str, ...]:
    """Return the names with ``f`` and the position for each empty one.

    If the header already has that name, underscores are appended.
    """
    used = set(names)
    unique = []
    for number, name in enumerate(names):
        if not name.strip():
            name = f"f{number}"
            while name in used:
                name += "_"
        unique.append(name)
    return tuple(unique)


def unnamed_warning(header: Header, file: str) -> SourceWarning:
    """Return the warning for columns that have no name in the header of a file."""
    names = [header.names[number] for number in header.unnamed[:_LISTED_COLUMNS]]
    listed = ", ".join(map(repr, names)) + (", ..." if len(header.unnamed) > len(names) else "")
    if len(header.unnamed) == 1:
        message = f"column {header.unnamed[0] + 1} has no name in the header: it is called {listed}"
    else:
        message = f"{len(header.unnamed):,} columns have no name in the header: they are called {listed}"
    return SourceWarning("unnamed_columns", f"{file}, line {header.line}: {message}", names[0], header.line, file)
