"""The format bytes: any file, or a whole folder, as rows with a path, an offset and the bytes there."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

import pyarrow as pa

from millrace.sources.io.streams import PlainOpener, read_fully
from millrace.sources.model import FilePart, SourceFile

__all__ = ["BYTES_SCHEMA", "read_pieces"]

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


def read_pieces(
    files: tuple[SourceFile, ...], parts: list[FilePart], piece_bytes: int, opener: PlainOpener
) -> Iterator[tuple[pa.RecordBatch, int, int]]:
    """Yield batches of at most about 4 MB, each with the index of its last file and the offset reached in it.

    Pieces come in the order of the files.
    """
    rows: list[tuple[str, int, bytes]] = []
    held, number, at = 0, 0, 0
    for number, start, stop in parts:
        file, at = files[number], start
        if file.name.endswith("/"):
            rows.append((file.name, 0, b""))
        else:
            with closing(opener(file, start, None if stop < 0 else stop)) as stream:
                while piece := read_fully(stream, piece_bytes):
                    rows.append((file.name, at, piece))
                    at += len(piece)
                    held += len(piece)
                    if held >= _BATCH_BYTES:
                        yield _batch(rows), number, at
                        rows, held = [], 0
            if at == 0:
                rows.append((file.name, 0, b""))
        if len(rows) >= _BATCH_ROWS:
            yield _batch(rows), number, at
            rows, held = [], 0
    if rows:
        yield _batch(rows), number, at


def _batch(rows: list[tuple[str, int, bytes]]) -> pa.RecordBatch:
    paths, offsets, data = zip(*rows, strict=True)
    return pa.RecordBatch.from_arrays(
        [pa.array(paths, pa.string()), pa.array(offsets, pa.int64()), pa.array(data, pa.binary())],
        schema=BYTES_SCHEMA,
    )
