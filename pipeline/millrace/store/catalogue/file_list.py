"""The list of the files that the versions of one line have loaded, in pages that versions share.

A page of the list is an Arrow IPC stream of one record batch, gzip-compressed, one row per file (docs/format.md). A
full page never changes, so an append references the full pages of its parent and rewrites only the last one.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Final, NamedTuple

import pyarrow as pa

from millrace.errors import ChunkFormatError
from millrace.store.catalogue.page import checked_stream, encode_stream
from millrace.store.catalogue.page_list import ListRef

LIST_FILES: Final = 2048
"""Number of files in a full page, about 90 KB. An append rewrites one page."""
_RAW_BYTES_MAX: Final = 900_000
"""Raw bytes of a page, for long names. Stored bytes that do not shrink are then below 1 MB."""
_FIXED_BYTES: Final = 64

_SCHEMA: Final = pa.schema(
    [
        pa.field("uri", pa.string(), nullable=False),
        pa.field("size_bytes", pa.int64(), nullable=False),
        pa.field("modified_ns", pa.int64(), nullable=False),
        pa.field("change_id", pa.string(), nullable=False),
        pa.field("crc32", pa.uint32()),
        pa.field("added_by", pa.string(), nullable=False),
    ]
)


class LoadedFile(NamedTuple):
    """One file as a version has loaded it. ``added_by`` is the label of this version.

    ``crc32`` is that of the stored bytes of the file; None if not all of them were read.
    """

    uri: str
    size_bytes: int
    modified_ns: int
    change_id: str
    crc32: int | None
    added_by: str


def files_in_pages(files: Sequence[LoadedFile]) -> Iterator[Sequence[LoadedFile]]:
    """Yield the files of one page after another; every page but the last one is full."""
    start = raw_bytes = 0
    for end, file in enumerate(files):
        size = len(file.uri.encode()) + len(file.change_id) + _FIXED_BYTES
        if end - start == LIST_FILES or (raw_bytes + size > _RAW_BYTES_MAX and end > start):
            yield files[start:end]
            start, raw_bytes = end, 0
        raw_bytes += size
    if start < len(files):
        yield files[start:]


def encode_files(files: Iterable[LoadedFile]) -> bytes:
    """Return the stored bytes of one page of the list."""
    columns = [pa.array(values, field.type) for values, field in zip(zip(*files, strict=True), _SCHEMA, strict=True)]
    return encode_stream(pa.RecordBatch.from_arrays(columns, schema=_SCHEMA))


def decode_files(dataset: str, ref: ListRef, stored: bytes) -> tuple[LoadedFile, ...]:
    """Return the files of the page that ``ref`` names; raises like ``decode_page`` when its bytes are not those."""
    batch = checked_stream(dataset, ref.attempt_id, ref.page, ref.checksum, stored)
    if batch.num_rows != ref.entries:
        raise ChunkFormatError(f"a list of {dataset} has {batch.num_rows} files, not {ref.entries}", dataset=dataset)
    return tuple(map(LoadedFile, *(batch.column(name).to_pylist() for name in _SCHEMA.names)))
