"""Detection of a source's format from the option, the files' names and their first bytes; all files share one."""

from __future__ import annotations

import codecs
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from typing import Final

from millrace.errors import SourceEmptyError, SourceFormatError, UsageError
from millrace.sources.format_options import ENDINGS, name_ending
from millrace.sources.formats import FORMATS
from millrace.sources.io.byte_streams import read_fully
from millrace.sources.io.compression import unmarked_compression
from millrace.sources.io.files import ListedFiles
from millrace.sources.io.foreign_kinds import foreign_refusal
from millrace.sources.io.path_lists import list_each, short_list
from millrace.sources.io.stdin import STANDARD_INPUT, standard_input
from millrace.sources.io.streams import open_decompressed
from millrace.sources.model import SourceFile
from millrace.sources.options import SourceOptions
from millrace.sources.source_format import Beginning, DetectedFormat, Doubt, Format
from millrace.sources.text.decoding import text_codec

_BYTES: Final = DetectedFormat("bytes")
_BEGINNING_BYTES: Final = 65_536
_LONG_LINE_BYTES: Final = 4 << 20


def detect_format(
    uri: str | Sequence[str], options: SourceOptions, listing: ListedFiles | None = None
) -> tuple[Format, ListedFiles, SourceOptions]:
    """Return the format, the listed files and the options in force (``.tsv`` means tabs).

    ``listing`` has the files of the source if they are listed already.

    Raises ``SourceFormatError`` that names two files of different formats. It is also raised for a file that is named
    like one format and contains another, for a file of an unsupported kind, and for a single line with commas. Raises
    ``SourceEmptyError`` if all files are empty and no name has a known ending.
    """
    if uri == STANDARD_INPUT:
        return _detect_input(options)
    if options.format is not None:
        listing = listing or list_each(uri, keep_all=options.format == "bytes", connection=options.connection)
        return FORMATS[options.format], listing, _in_force(options)
    listing = listing or list_each(uri, keep_all=False, connection=options.connection)
    name = _common_format(short_list(uri), [(file, _format_of(file, options)) for file in listing.files])
    tabs = all(name_ending(file.name) == ".tsv" for file in listing.files)
    if name == "bytes":
        listing = list_each(uri, keep_all=True, connection=options.connection)
    return FORMATS[name], listing, _in_force(options, delimiter="\t" if tabs else ",")


def _common_format(source: str, detected: list[tuple[SourceFile, DetectedFormat | None]]) -> str:
    """Return the name of the format that all files share, except empty files without a known ending."""
    first_files: dict[str, SourceFile] = {}
    for file, name in _decided(detected):
        for other, first in first_files.items():
            if other != name:
                raise SourceFormatError(
                    f"{source} has files of different formats: {first.name} is {other}, {file.name} is {name}",
                    hint="select one kind with a pattern like *.csv, or load all as they are with --format bytes",
                )
        first_files[name] = file
    if not first_files:
        raise SourceEmptyError(f"{source} is empty", hint="--format bytes stores it as it is")
    return next(iter(first_files))


def _decided(detected: list[tuple[SourceFile, DetectedFormat | None]]) -> Iterator[tuple[SourceFile, str]]:
    """Yield the files that have a format, with its name; the other files decide doubtful cases.

    A doubtful table and a file of an unsupported kind become bytes if another file is bytes. Otherwise the table is
    one, and the error for the file is raised. ``SourceFormatError`` is also raised if every file that is not
    empty is a single line with commas.
    """
    readable = [format_ for _, format_ in detected if format_ is not None and format_.refusal is None]
    # Beside files that are not a table, numbers below a word and lines with commas are not a table either.
    has_bytes = _BYTES in readable
    only_headers = {format_.doubt for format_ in readable} == {Doubt.HEADER}
    for file, format_ in detected:
        if format_ is None:
            continue
        if format_.refusal is not None and not has_bytes:
            raise format_.refusal
        if format_.doubt is Doubt.HEADER and only_headers:
            raise SourceFormatError(
                f"{file.name} is one line with commas: the header of a CSV without rows, or any text",
                hint="give --format csv, or store it as it is with --format bytes",
                file=file.name,
            )
        is_bytes = has_bytes and (format_.refusal is not None or format_.doubt is not None)
        yield file, "bytes" if is_bytes else format_.name


def _in_force(options: SourceOptions, *, delimiter: str = ",") -> SourceOptions:
    return replace(
        options,
        delimiter=delimiter if options.delimiter is None else options.delimiter,
        encoding="utf-8" if options.encoding is None else options.encoding,
    )


def _detect_input(options: SourceOptions) -> tuple[Format, ListedFiles, SourceOptions]:
    file = standard_input(new=True).file()
    listing = ListedFiles("file", (file,))
    if options.format is not None:
        return FORMATS[options.format], listing, _in_force(options)
    beginning = _beginning(file, options)
    if not beginning.data:
        raise SourceEmptyError("standard input is empty")
    if refusal := foreign_refusal(file, beginning.data):
        raise refusal
    detected = _format_of_bytes(file, beginning, options)
    if detected is not None and detected.refusal:
        raise detected.refusal
    if detected is None or detected.doubt is Doubt.HEADER:
        raise UsageError("the format of standard input cannot be detected", hint="give its --format")
    return FORMATS[detected.name], listing, _in_force(options)


def _format_of(file: SourceFile, options: SourceOptions) -> DetectedFormat | None:
    """Return the format of one file; None if it is empty and its name has no known ending."""
    named = FORMATS.get(ENDINGS.get(name_ending(file.name), ""))
    beginning = _beginning(file, options) if file.size_bytes or file.has_unknown_size else None
    if beginning is None or not beginning.data:
        return None if named is None else DetectedFormat(named.name)
    if refusal := foreign_refusal(file, beginning.data):
        return DetectedFormat("bytes", refusal=refusal)
    detected = _format_of_bytes(file, beginning, options)
    if named is not None:
        return _format_of_named(file, named, detected, beginning, options)
    if detected is None and (unmarked := unmarked_compression(file.name)):
        raise unmarked
    return detected or _BYTES


def _format_of_named(
    file: SourceFile,
    named: Format,
    detected: DetectedFormat | None,
    beginning: Beginning,
    options: SourceOptions,
) -> DetectedFormat:
    """Return the format of a file whose name has the ending of one; its bytes and the options may contradict it."""
    if detected is not None and detected.refusal and detected.is_certain:
        return detected
    if detected is not None and FORMATS[detected.name].magic and named.name != detected.name:
        raise SourceFormatError(
            f"{file.name} is named like {named.name} but has {detected.name} data",
            hint=f"rename it, or give --format {detected.name}",
        )
    if named.magic and not beginning.data.startswith(named.magic):
        raise SourceFormatError(
            f"{file.name} is named like {named.name} but does not have its first bytes", hint="give its --format"
        )
    # Options that only one format has (a delimiter, no header) take precedence over the name.
    if detected is None or named.magic or detected.name == named.name:
        return DetectedFormat(named.name)
    if options.changed() & FORMATS[detected.name].deciding_options:
        by_bytes = _format_of_bytes(file, beginning, SourceOptions(encoding=options.encoding))
        if by_bytes is None or by_bytes.name != named.name:
            return DetectedFormat(detected.name)
    return DetectedFormat(named.name)


def _format_of_bytes(file: SourceFile, beginning: Beginning, options: SourceOptions) -> DetectedFormat | None:
    """Return the format of the first bytes, where neither an option nor the name determines it; None for no table.

    A text is always the format that alone has one of the given options.
    """
    if beginning.text is None:
        for format_ in FORMATS.values():
            if format_.magic and beginning.data.startswith(format_.magic):
                return DetectedFormat(format_.name)
    given = options.changed()
    deciding = [format_ for format_ in FORMATS.values() if format_.deciding_options & given]
    for format_ in deciding or FORMATS.values():
        if format_.detect is not None and (detected := format_.detect(file, beginning, options)):
            return detected
    return None


def _beginning(file: SourceFile, options: SourceOptions) -> Beginning:
    """Return the first 64 KB, or up to 4 MB of text whose first two lines are longer."""
    size = _BEGINNING_BYTES
    with closing(open_decompressed(file)) as stream:
        data = read_fully(stream, size)
        while len(data) == size < _LONG_LINE_BYTES and data.count(b"\n") < 2 and b"\0" not in data:
            size *= 2
            data += read_fully(stream, size - len(data))
    return Beginning(data, len(data) < size, _text(data, options.encoding))


def _text(data: bytes, encoding: str | None) -> str | None:
    """Return the text without a byte order mark and leading white space; None where it is empty or not text."""
    try:
        # The last character may be incomplete. An incremental decoder keeps it without an error.
        text = codecs.getincrementaldecoder(text_codec(encoding))().decode(data)
    except UnicodeError:
        return None
    text = text.removeprefix("\ufeff").lstrip()
    return text if text and "\0" not in text else None
