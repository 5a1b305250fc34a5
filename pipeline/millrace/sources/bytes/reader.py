"""The format bytes: any file, or a whole folder, as rows with a path, an offset and the bytes there."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

import pyarrow as pa

from millrace.sources.io.source_checksum import ReadContent
from millrace.sources.io.streams import read_fully
from millrace.sources.model import FilePart, ReadBatch, SourcePlan

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


def read_bytes(plan: SourcePlan, parts: list[FilePart], content: ReadContent) -> Iterator[ReadBatch]:
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
    paths, offsets, data = zip(*rows, strict=True)
    return pa.RecordBatch.from_arrays(
        [pa.array(paths, pa.string()), pa.array(offsets, pa.int64()), pa.array(data, pa.binary())],
        schema=BYTES_SCHEMA,
    )
