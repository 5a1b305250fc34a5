"""Detection of a source's format from the option, the files' names and their first bytes; all files share one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import replace

from millrace.errors import SourceEmptyError, SourceFormatError, UsageError
from millrace.sources.detection.looks import (
    COLUMN,
    HEADER,
    begins_like,
    format_of_bytes,
    read_begin,
    says_csv,
)
from millrace.sources.io.compression import name_inside, unmarked_compression
from millrace.sources.io.files import Listing
from millrace.sources.io.foreign_kinds import foreign_refusal
from millrace.sources.io.path_lists import list_each, shown
from millrace.sources.io.stdin import STANDARD_INPUT, standard_input
from millrace.sources.io.streams import open_plain
from millrace.sources.jsonl.arrays import JsonArray, json_refusal
from millrace.sources.model import SourceFile
from millrace.sources.options import SourceOptions

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
Verdict = str | SourceFormatError | None
"""A format, ``COLUMN``, ``HEADER``, the error for a file of an unsupported kind, or None for an empty file."""


def detect_format(uri: str | Sequence[str], options: SourceOptions) -> tuple[str, Listing, SourceOptions]:
    """Return the format, the listing of the files and the options in force (``.tsv`` means tabs).

    Raises ``SourceFormatError`` that names two files of different formats. It is also raised for a file that is named
    like one format and contains another, for a file of an unsupported kind, and for a single line with commas. Raises
    ``SourceEmptyError`` if all files are empty and no name has a known ending.
    """
    if uri == STANDARD_INPUT:
        return _detect_input(options)
    if options.format is not None:
        return options.format, list_each(uri, keep_all=options.format == "bytes"), _in_force(options)
    listing = list_each(uri, keep_all=False)
    files = listing.files
    found: dict[str, SourceFile] = {}
    for file, format_ in _settled([(file, format_of(file, options)) for file in files]):
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
    tabs = all(_ending(file) == ".tsv" for file in files)
    return format_, listing, _in_force(options, delimiter="\t" if tabs else ",")


def _settled(verdicts: list[tuple[SourceFile, Verdict]]) -> Iterator[tuple[SourceFile, str]]:
    """Yield the files whose format is known, with that format; the other files decide doubtful cases.

    ``COLUMN`` and ``HEADER`` become bytes if another file is bytes, otherwise CSV. A file of an unsupported kind
    becomes bytes if another file is bytes; otherwise its error is raised. ``SourceFormatError`` is also raised if
    ``HEADER`` is the only verdict.
    """
    formats = {format_ for _, format_ in verdicts if isinstance(format_, str)}
    # Beside files that are not a table, numbers below a word and lines with commas are not a table either.
    doubtful = "bytes" if "bytes" in formats else "csv"
    for file, format_ in verdicts:
        if isinstance(format_, SourceFormatError):
            if doubtful != "bytes":
                raise format_
            yield file, "bytes"
        elif format_ == HEADER and formats == {HEADER}:
            raise SourceFormatError(
                f"{file.name} is one line with commas: the header of a CSV without rows, or any text",
                hint="give --format csv, or store it as it is with --format bytes",
                file=file.name,
            )
        elif format_ is not None:
            yield file, doubtful if format_ in (COLUMN, HEADER) else format_


def _in_force(options: SourceOptions, *, delimiter: str = ",") -> SourceOptions:
    if options.delimiter is None:
        options = replace(options, delimiter=delimiter)
    return replace(options, encoding="utf-8") if options.encoding is None else options


def _detect_input(options: SourceOptions) -> tuple[str, Listing, SourceOptions]:
    file = standard_input(new=True).file()
    listing = Listing("file", (file,))
    if options.format is not None:
        return options.format, listing, _in_force(options)
    with closing(open_plain(file)) as stream:
        begin, whole = read_begin(stream)
    if not begin:
        raise SourceEmptyError("standard input is empty")
    if refused := foreign_refusal(file, begin):
        raise refused
    format_ = format_of_bytes(begin, options, whole=whole)
    if isinstance(format_, JsonArray):
        raise json_refusal(file, format_)
    format_ = "csv" if format_ == COLUMN else format_
    if format_ is None or format_ == HEADER:
        raise UsageError("standard input does not show what it is", hint="give its --format")
    return format_, listing, _in_force(options)


def format_of(file: SourceFile, options: SourceOptions) -> Verdict:
    """Return the format of one file; None if it is empty and its name has no known ending."""
    named = _ENDINGS.get(_ending(file))
    if file.size_bytes == 0:
        return named
    with closing(open_plain(file)) as stream:
        begin, whole = read_begin(stream)
    if not begin:
        return named
    if refused := foreign_refusal(file, begin):
        return refused
    held = format_of_bytes(begin, options, whole=whole)
    # A line of a CSV is rarely a JSON array as well, and never an array of objects.
    if isinstance(held, JsonArray) and (held is JsonArray.OF_OBJECTS or named is None):
        return json_refusal(file, held)
    if named is None:
        if held is None and (refused := unmarked_compression(file.name)):
            raise refused
        return held if isinstance(held, str) else "bytes"
    if held in ("parquet", "arrow") and named != held:
        raise SourceFormatError(
            f"{file.name} is named like {named} but holds {held} data", hint=f"rename it, or give --format {held}"
        )
    if named in ("parquet", "arrow") and begins_like(begin) != named:
        raise SourceFormatError(
            f"{file.name} is named like {named} but does not begin like it", hint="give its --format"
        )
    # Options that only CSV has (a delimiter, no header) take precedence over the name.
    if named == "jsonl" and held == "csv" and says_csv(options):
        by_itself = format_of_bytes(begin, SourceOptions(encoding=options.encoding), whole=whole)
        return "jsonl" if by_itself == "jsonl" else "csv"
    return named


def _ending(file: SourceFile) -> str:
    name = name_inside(file.name).lower()
    return name[name.rfind(".") :] if "." in name.rpartition("/")[2] else ""
