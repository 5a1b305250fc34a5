"""Detection of a file's format by its first bytes, where neither an option nor its name determines it."""

from __future__ import annotations

import codecs
import re
from contextlib import suppress
from typing import Any

import pyarrow as pa
import pyarrow.csv as pc

from millrace.sources.io.streams import ByteStream, read_fully
from millrace.sources.jsonl.arrays import JsonArray, json_array
from millrace.sources.options import SourceOptions
from millrace.sources.table_options import csv_only
from millrace.sources.text.decoding import text_codec

__all__ = [
    "COLUMN",
    "HEADER",
    "begins_like",
    "format_of_bytes",
    "read_begin",
    "says_csv",
]

COLUMN = "column"
"""One column of numbers below a word: a CSV, unless other files of the source are not tables."""
HEADER = "header"
"""One line with commas: the header of a CSV without rows, or any text; other files of the source decide."""

_LOOK_BYTES = 65_536
_LONG_LOOK_BYTES = 4 << 20
_OBJECT = re.compile(r'\{\s*(?:["}]|$)')


def read_begin(stream: ByteStream) -> tuple[bytes, bool]:
    """Return the first 64 KB, or up to 4 MB of text whose first two lines are longer, and whether the stream ended."""
    size = _LOOK_BYTES
    begin = read_fully(stream, size)
    while len(begin) == size < _LONG_LOOK_BYTES and begin.count(b"\n") < 2 and b"\0" not in begin:
        size *= 2
        begin += read_fully(stream, size - len(begin))
    return begin, len(begin) < size


def begins_like(begin: bytes) -> str | None:
    """Return ``parquet`` or ``arrow`` for a file that begins like one, which a text may do as well."""
    # "PARE" begins a file with an encrypted footer. Planning refuses it with that reason.
    if begin.startswith((b"PAR1", b"PARE")):
        return "parquet"
    return "arrow" if begin.startswith((b"ARROW1", b"\xff\xff\xff\xff")) else None


def says_csv(options: SourceOptions) -> bool:
    """Return whether an option is given that only a CSV has."""
    return bool(options.delimiter or not options.header or csv_only(options))


def format_of_bytes(begin: bytes, options: SourceOptions, *, whole: bool) -> str | JsonArray | None:
    """Return a format or one of the constants above; None where the bytes are no table.

    A text is always ``csv`` with an option that only a CSV has. With that option or an encoding, data of no other
    format is ``csv`` as well.
    """
    said_csv = says_csv(options)
    text = _text(begin, options.encoding)
    if text is None:
        return begins_like(begin) or ("csv" if said_csv or options.encoding else None)
    if said_csv:
        return "csv"
    if _OBJECT.match(text):
        return "jsonl"
    if text.startswith("[") and (array := json_array(text, complete=whole)):
        return array
    return "csv" if options.encoding else _table_of(text if whole else text[: text.rfind("\n") + 1])


def _text(begin: bytes, encoding: str | None) -> str | None:
    """Return the text without a byte order mark and leading white space; None where it is empty or not text."""
    try:
        # The last character may be incomplete. An incremental decoder keeps it without an error.
        text = codecs.getincrementaldecoder(text_codec(encoding))().decode(begin)
    except UnicodeError:
        return None
    text = text.removeprefix("\ufeff").lstrip()
    return text if text and "\0" not in text else None


def _table_of(text: str) -> str | None:
    data = text.encode()
    try:
        # One column is converted, because pyarrow takes 9 KB for each, whatever the number of rows: 12,000 took 100 MB.
        with suppress(KeyError):
            rows = _read(data, autogenerate_column_names=True, columns=["f1"]).num_rows
            return "csv" if rows > 1 else HEADER
        table = _read(data)
    except pa.ArrowInvalid:
        return None
    # One column of text could be any text. A table has a delimiter in every line, or numbers below a name.
    is_number = pa.types.is_integer(table.schema.types[0]) or pa.types.is_floating(table.schema.types[0])
    return COLUMN if table.num_rows and is_number and table.column_names[0].isidentifier() else None


def _read(data: bytes, *, columns: list[str] | None = None, **options: Any) -> pa.Table:
    return pc.read_csv(
        pa.BufferReader(data),
        read_options=pc.ReadOptions(use_threads=False, block_size=len(data) + 1, **options),
        parse_options=pc.ParseOptions(newlines_in_values=True),
        convert_options=pc.ConvertOptions(include_columns=columns),
    )
