"""The format bytes: any file, or a whole folder, as rows with a path, an offset and the bytes at this offset."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from typing import Final

import pyarrow as pa

from millrace.errors import SourceFormatError
from millrace.sources.agreement import Agreement
from millrace.sources.io.byte_streams import read_fully
from millrace.sources.io.source_checksum import ReadContent
from millrace.sources.model import FilePart, ReadBatch, SourceFile, SourcePlan
from millrace.sources.options import SourceOptions
from millrace.sources.reject_log import RejectLog
from millrace.sources.row_rules import RowRules
from millrace.sources.source_format import Format
from millrace.sources.splits import Unit, plan_of_units

BYTES_SCHEMA = pa.schema(
    [
        pa.field("path", pa.string(), nullable=False),
        pa.field("offset", pa.int64(), nullable=False),
        pa.field("data", pa.binary(), nullable=False),
    ]
)
"""``path`` is relative ("/" separated); ``offset`` and ``data`` refer to the file as it is, never decompressed.

An empty file is one row with empty ``data``. So is an empty folder, whose path ends in "/".
"""

_BATCH_BYTES = 4_000_000
_BATCH_ROWS = 10_000


def _read(plan: SourcePlan, parts: list[FilePart], content: ReadContent, _: RejectLog) -> Iterator[ReadBatch]:
    """Yield the pieces of these parts in batches of at most about 4 MB, in the order of the files."""
    rows: list[tuple[str, int, bytes]] = []
    rows_bytes, number, start, offset = 0, 0, 0, 0
    for number, start, stop in parts:
        file, offset = plan.files[number], start
        if file.name.endswith("/"):
            rows.append((file.name, 0, b""))
        else:
            with closing(content.open_bytes(file, start, None if stop < 0 else stop)) as stream:
                while piece := read_fully(stream, plan.options.piece_bytes):
                    rows.append((file.name, offset, piece))
                    offset += len(piece)
                    rows_bytes += len(piece)
                    if rows_bytes >= _BATCH_BYTES:
                        yield ReadBatch(_batch(rows), number, offset - start)
                        rows, rows_bytes = [], 0
            if offset == 0:
                rows.append((file.name, 0, b""))
        if len(rows) >= _BATCH_ROWS:
            yield ReadBatch(_batch(rows), number, offset - start)
            rows, rows_bytes = [], 0
    if rows:
        yield ReadBatch(_batch(rows), number, offset - start)


def _batch(rows: list[tuple[str, int, bytes]]) -> pa.RecordBatch:
    return pa.record_batch(list(zip(*rows, strict=True)), schema=BYTES_SCHEMA)


def _plan(
    uri: str, files: tuple[SourceFile, ...], options: SourceOptions, _: RowRules, agreement: Agreement | None
) -> SourcePlan:
    """Plan files of any kind; each unit but the last of a file is a multiple of ``piece_bytes``.

    Raises ``SourceFormatError`` for a file that a web server sends with a ``Content-Encoding``, because its bytes are
    not those of the file.
    """
    if encoded := next((file for file in files if file.encoding), None):
        raise SourceFormatError(
            f"{encoded.name} has the Content-Encoding {encoded.encoding}, which is not decoded for the format bytes",
            hint="load it as a table, or let the server send it as it is",
            file=encoded.name,
        )
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


BYTES: Final = Format("bytes", "bytes", _plan, _read)
