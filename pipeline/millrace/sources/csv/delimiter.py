"""Detection of a CSV's delimiter from its first lines."""

from __future__ import annotations

from contextlib import closing
from typing import Final

import numpy as np

from millrace.errors import SourceFormatError
from millrace.sources.io.byte_streams import Opener
from millrace.sources.model import SourceFile
from millrace.sources.options import SourceOptions
from millrace.sources.text.decoding import TextFiles
from millrace.sources.text.records import offsets_outside, record_ends, record_starts, scan_quotes
from millrace.sources.warnings import SourceWarning

_CANDIDATES: Final = {",": "a comma", ";": "a semicolon", "\t": "a tab", "|": "|"}
_LOOK_BYTES: Final = 262_144
_LOOK_RECORDS: Final = 200


def detect_delimiter(
    files: tuple[SourceFile, ...], options: SourceOptions, opener: Opener
) -> tuple[str, SourceWarning]:
    """Return the delimiter that divides all of the first records into equally many fields, and a warning naming it.

    Candidates are a comma, a semicolon, a tab and ``|``; characters in quotes do not count. If none of them occurs,
    the delimiter is a comma. The given decimal point is the delimiter only if no other candidate fits. Raises
    ``SourceFormatError`` if more than one fits, or if some occur and none fits.
    """
    for number, file in enumerate(files):
        data, is_complete = _beginning(number, files, options, opener)
        if not data.strip():
            continue
        widths = {mark: _widths(data, mark, complete=is_complete) for mark in _CANDIDATES}
        fitting = [mark for mark, counts in widths.items() if len(counts) == 1 and counts != {1}]
        if len(fitting) > 1 and options.decimal in fitting:
            fitting.remove(options.decimal)
        if not fitting and all(counts == {1} for counts in widths.values()):
            fitting = [","]
        if len(fitting) == 1:
            message = f"{file.name}: the delimiter is {_CANDIDATES[fitting[0]]}, as its first lines show"
            return fitting[0], SourceWarning("delimiter_found", message, file=file.name)
        result = " and ".join(_CANDIDATES[mark] for mark in fitting) + " fit" if fitting else "no delimiter fits"
        raise SourceFormatError(
            f"{file.name}: {result} the first lines", hint="give the delimiter itself: --delimiter C", file=file.name
        )
    return ",", SourceWarning("delimiter_found", "the source is empty, and its delimiter is a comma")


def _beginning(
    number: int, files: tuple[SourceFile, ...], options: SourceOptions, opener: Opener
) -> tuple[bytes, bool]:
    """Return the first bytes after the skipped lines, and whether the file ends there."""
    text = TextFiles(files, options, opener, None)
    with closing(text.open(number)) as stream:
        data = text.cutter(number, stream).beginning(_LOOK_BYTES)
        return data, len(data) < _LOOK_BYTES


def _widths(data: bytes, delimiter: str, *, complete: bool) -> set[int]:
    """Return the different numbers of fields that the first whole records have."""
    scan = scan_quotes(data, delimiter)
    ends = record_ends(data, scan)
    stop = len(data) if complete or not len(ends) else int(ends[-1])
    starts = record_starts(data[:stop], scan)[: _LOOK_RECORDS + 1]
    offsets = offsets_outside(data, ord(delimiter), scan)
    if len(starts) > _LOOK_RECORDS:
        starts, stop = starts[:-1], int(starts[-1])
    counts = np.diff(np.searchsorted(offsets, np.append(starts, stop)))
    return {int(count) + 1 for count in counts}
