"""Files as they are, as a format of sources."""

from __future__ import annotations

from typing import Final

from millrace.sources.bytes.reader import BYTES_SCHEMA, read_bytes
from millrace.sources.model import SourceFile, SourcePlan
from millrace.sources.options import SourceOptions
from millrace.sources.source_format import Format
from millrace.sources.splits import Unit, plan_of_units


def _plan(uri: str, files: tuple[SourceFile, ...], options: SourceOptions) -> SourcePlan:
    """Plan files of any kind; each unit but the last of a file is a multiple of ``piece_bytes``."""
    units: list[Unit] = []
    step = max(options.piece_bytes, options.split_bytes // options.piece_bytes * options.piece_bytes)
    for number, file in enumerate(files):
        if file.size_bytes <= step or options.max_splits == 1:
            units.append(Unit(number, 0, -1, file.size_bytes))
            continue
        for start in range(0, file.size_bytes, step):
            stop = min(start + step, file.size_bytes)
            units.append(Unit(number, start, stop, stop - start))
    return plan_of_units("bytes", uri, files, options, BYTES_SCHEMA, units, "bytes", "bytes")


BYTES: Final = Format("bytes", "bytes", _plan, read_bytes)
