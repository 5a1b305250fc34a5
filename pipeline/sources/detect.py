"""What a source is: by the option, by the files' names, by their first bytes; one format for all its files."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace

import pyarrow as pa
import pyarrow.csv as pc

from pipeline.errors import SourceEmptyError, SourceFormatError, UsageError
from pipeline.sources.compression import name_inside, unmarked_compression
from pipeline.sources.files import Listing
from pipeline.sources.model import SourceFile, SourceOptions
from pipeline.sources.path_lists import list_each, shown
from pipeline.sources.stdin import STANDARD_INPUT, standard_input
from pipeline.sources.streams import open_plain, read_fully

__all__ = ["detect_format"]

_ENDINGS = {
    ".csv": "csv",
    ".tsv": "csv",
    ".parquet": "parquet",
    ".pq": "parquet",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "jsonl",
    ".arrow": "arrow",
    ".arrows": "arrow",
    ".feather": "arrow",
    ".ipc": "arrow",
}
_LOOK_BYTES = 65_536
_COLUMN = "column"
"""One column of numbers below a word: a CSV unless other files of the source are no table."""


def detect_format(uri: str | Sequence[str], options: SourceOptions) -> tuple[str, Listing, SourceOptions]:
    """Format, listing of the files and the options in force (``.tsv`` means tabs).

    Raises ``SourceFormatError`` naming two files when they are of different formats, or when a file named like
    one format holds another; ``SourceEmptyError`` when nothing tells.
    """
    if uri == STANDARD_INPUT:
        return _detect_input(options)
    if options.format is not None:
        return options.format, list_each(uri, keep_all=options.format == "bytes"), options
    listing = list_each(uri, keep_all=False)
    files = listing.files
    found: dict[str, SourceFile] = {}
    # Beside files that are no table, numbers below a word are no table either.
    formats = [(file, format_of(file)) for file in files]
    column = "bytes" if any(format_ == "bytes" for _, format_ in formats) else "csv"
    for file, format_ in formats:
        if format_ is None:
            continue
        format_ = column if format_ == _COLUMN else format_
        for other, first in found.items():
            if other != format_:
                raise SourceFormatError(
                    f"{shown(uri)} holds different formats: {first.name} is {other}, {file.name} is {format_}",
                    hint="name one kind with a pattern like *.csv, or take all as they are with --format bytes",
                )
        found[format_] = file
    if not found:
        raise SourceEmptyError(f"{shown(uri)} is empty", hint="--format bytes stores it as it is")
    format_ = next(iter(found))
    if format_ == "bytes":
        listing = list_each(uri, keep_all=True)
    if all(_ending(file) == ".tsv" for file in files) and options.delimiter == ",":
        options = replace(options, delimiter="\t")
    return format_, listing, options


def _detect_input(options: SourceOptions) -> tuple[str, Listing, SourceOptions]:
    file = standard_input(new=True).file()
    listing = Listing("file", (file,))
    if options.format is not None:
        return options.format, listing, options
    with closing(open_plain(file)) as stream:
        begin = read_fully(stream, _LOOK_BYTES)
    if not begin:
        raise SourceEmptyError("standard input is empty")
    format_ = format_of_bytes(begin)
    format_ = "csv" if format_ == _COLUMN else format_
    if format_ is None:
        raise UsageError("standard input does not show what it is", hint="give its --format")
    return format_, listing, options


def format_of(file: SourceFile) -> str | None:
    """The format of one file; None when it is empty and its name says nothing."""
    named = _ENDINGS.get(_ending(file))
    if file.size_bytes == 0:
        return named
    with closing(open_plain(file)) as stream:
        begin = read_fully(stream, _LOOK_BYTES)
    if not begin:
        return named
    held = format_of_bytes(begin)
    if named is None:
        if held is None and (refused := unmarked_compression(file.name)):
            raise refused
        return held or "bytes"
    if held in ("parquet", "arrow") and named != held:
        raise SourceFormatError(
            f"{file.name} is named like {named} but holds {held} data", hint=f"rename it, or give --format {held}"
        )
    if named in ("parquet", "arrow") and held != named:
        raise SourceFormatError(
            f"{file.name} is named like {named} but does not begin like it", hint="give its --format"
        )
    return named


def format_of_bytes(begin: bytes) -> str | None:
    """The format (or ``_COLUMN``) that the first 64 KB of a file speak for, None when they speak for no table."""
    # The second is a file whose footer is encrypted, too: it is refused for that.
    if begin.startswith((b"PAR1", b"PARE")):
        return "parquet"
    if begin.startswith((b"ARROW1", b"\xff\xff\xff\xff")):
        return "arrow"
    text = begin.removeprefix(b"\xef\xbb\xbf").lstrip()
    if b"\0" in text or not text:
        return None
    complete = text[: text.rfind(b"\n") + 1] if len(begin) >= _LOOK_BYTES else text
    try:
        complete.decode()
    except UnicodeDecodeError:
        return None
    if text.startswith(b"{"):
        return "jsonl"
    try:
        table = pc.read_csv(pa.BufferReader(complete), parse_options=pc.ParseOptions(newlines_in_values=True))
    except pa.ArrowInvalid:
        return None
    # One column of text could be any text: a delimiter that every line has makes a table, or numbers below a name.
    is_number = pa.types.is_integer(table.schema.types[0]) or pa.types.is_floating(table.schema.types[0])
    is_column = table.num_rows > 0 and is_number and table.column_names[0].isidentifier()
    return "csv" if table.num_columns > 1 else _COLUMN if is_column else None


def _ending(file: SourceFile) -> str:
    name = name_inside(file.name).lower()
    return name[name.rfind(".") :] if "." in name.rpartition("/")[2] else ""
