"""Tiles: a few columns of one chunk as a complete Arrow IPC stream, compressed and checksummed.

The raw bytes are a stream: the dictionary batches, if there are any, then one record batch. They have no IPC
compression. The
schema's own metadata is left out, because the version keeps it. ``gzip -d`` and any Arrow reader open a tile.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import xxhash

from millrace.chunks.encoding.codecs import CODECS, Allocate, known_codecs
from millrace.chunks.encoding.gzip_member import crc_and_size
from millrace.errors import ChecksumMismatchError, ChunkFormatError

TILE_RAW_BYTES_MAX = 1 << 30
_WORTHWHILE = 0.95
"""A codec that saves less than 5 % costs every reader time without a benefit. (A limit of 30 % was tried: flights x20
take 5 % more space and 6 % less CPU time of a reader, which is no gain on a real network.)"""


@dataclass(frozen=True, slots=True)
class Tile:
    """A tile as it is stored: ``stored`` is the output of ``codec`` for ``raw_bytes`` bytes of Arrow IPC stream.

    ``stored_checksum`` is the XXH3-128 digest of the stored bytes (16 bytes, big-endian, as xxhash prints it).
    ``raw_checksum`` is the 8-byte trailer of a gzip member of the raw bytes: CRC-32 and size, little-endian. It is the
    same for every codec.
    """

    index: int
    codec: str
    stored: bytes
    raw_bytes: int
    stored_checksum: bytes
    raw_checksum: bytes

    @property
    def stored_bytes(self) -> int:
        """Return the size of the stored bytes."""
        return len(self.stored)


def encode_tile(batch: pa.RecordBatch, index: int, codec: str, level: int) -> Tile:
    """Encode these columns as a tile; use codec ``none`` where the given codec saves less than 5 %.

    Raises ``ChunkFormatError`` when Arrow cannot write the columns or they are larger than 1 GiB.
    """
    raw = write_stream(batch)
    raw_bytes = sum(map(len, raw))
    if raw_bytes > TILE_RAW_BYTES_MAX:
        raise ChunkFormatError(f"a tile of {raw_bytes:,} bytes is larger than {TILE_RAW_BYTES_MAX:,}")
    stored = CODECS[codec].compress(raw, level)
    if len(stored) > _WORTHWHILE * raw_bytes:
        codec, stored = "none", CODECS["none"].compress(raw, 0)
    return Tile(
        index=index,
        codec=codec,
        stored=stored,
        raw_bytes=raw_bytes,
        stored_checksum=xxhash.xxh3_128_digest(stored),
        raw_checksum=CODECS[codec].raw_checksum(stored, raw),
    )


class _Buffers(list[Any]):
    """A file that collects the buffers that Arrow writes: the batch's own, not copied, and short headers in between."""

    closed = False

    def write(self, buffer: Any) -> int:
        self.append(buffer)
        return len(buffer)

    def flush(self) -> None:
        """Do nothing: no byte is buffered."""


def write_stream(batch: pa.RecordBatch) -> Sequence[Any]:
    """Return the buffers of an Arrow IPC stream of the columns.

    Raises ``ChunkFormatError`` if Arrow cannot write a column.
    """
    buffers = _Buffers()
    try:
        with pa.ipc.new_stream(buffers, batch.schema.remove_metadata()) as stream:
            stream.write_batch(batch)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise ChunkFormatError(f"Arrow cannot write the columns {', '.join(batch.schema.names)}: {error}") from None
    return buffers


def decode_tile(
    stored: Any,
    *,
    codec: str,
    raw_bytes: int,
    stored_checksum: bytes,
    raw_checksum: bytes,
    where: Mapping[str, Any],
    allocate: Allocate = pa.allocate_buffer,
) -> pa.RecordBatch:
    """Decode the columns of a tile; never return other columns or allocate more memory than recorded.

    The stored bytes are verified before they are decompressed. The output is bounded by ``raw_bytes`` and goes into
    memory of ``allocate``. The raw bytes are verified before Arrow reads them. ``where`` (dataset, version, chunk,
    tile, node, ...) goes into the error's message and context. Raises ``ChecksumMismatchError`` (``stage`` is "stored"
    or "raw") and ``ChunkFormatError``.
    """
    raw = inflate_tile(
        stored,
        codec=codec,
        raw_bytes=raw_bytes,
        stored_checksum=stored_checksum,
        raw_checksum=raw_checksum,
        where=where,
        allocate=allocate,
    )
    return _open(raw, where)


def decode_raw_tile(raw: Any, *, raw_checksum: bytes, where: Mapping[str, Any]) -> pa.RecordBatch:
    """Decode the columns of a tile from its raw bytes, which are verified and not copied; raise as ``decode_tile``."""
    _verify("raw", crc_and_size([raw]), raw_checksum, where)
    return _open(pa.py_buffer(raw), where)


def inflate_tile(
    stored: Any,
    *,
    codec: str,
    raw_bytes: int,
    stored_checksum: bytes,
    raw_checksum: bytes,
    where: Mapping[str, Any],
    allocate: Allocate = pa.allocate_buffer,
) -> pa.Buffer:
    """Return the verified raw bytes of a tile; arguments and errors are those of ``decode_tile``."""
    _verify("stored", xxhash.xxh3_128_digest(stored), stored_checksum, where)
    coder = CODECS.get(codec)
    try:
        if coder is None:
            raise ChunkFormatError(f"unknown codec {codec!r}, this version reads {known_codecs()}")
        if not 0 < raw_bytes <= TILE_RAW_BYTES_MAX:
            raise ChunkFormatError(f"a raw size of {raw_bytes:,} bytes is not from 1 to {TILE_RAW_BYTES_MAX:,}")
        raw = coder.decompress(stored, raw_bytes, allocate)
        if raw.size != raw_bytes:
            raise ChunkFormatError(f"{raw.size:,} bytes instead of {raw_bytes:,}")
    except ChunkFormatError as error:
        raise ChunkFormatError(f"{_name(where)}: {error.message}", **dict(where)) from None
    _verify("raw", coder.raw_checksum(stored, [raw]), raw_checksum, where)
    return raw


def _open(raw: pa.Buffer, where: Mapping[str, Any]) -> pa.RecordBatch:
    try:
        return read_stream(raw)
    except (pa.ArrowException, OSError, StopIteration, ValueError) as error:
        raise ChunkFormatError(f"{_name(where)}: not an Arrow stream of one batch ({error})", **dict(where)) from None


def read_stream(raw: pa.Buffer) -> pa.RecordBatch:
    """Return the only batch of an Arrow IPC stream; raise an error of Arrow or ``ValueError`` for anything else."""
    source = pa.BufferReader(raw)
    with pa.ipc.open_stream(source) as stream:
        batch = stream.read_next_batch()
        if next(stream, None) is not None or source.tell() != raw.size:
            raise ValueError("more than one batch, or bytes after the end")
    batch.validate()
    return batch


def _verify(stage: str, actual: bytes, expected: bytes, where: Mapping[str, Any]) -> None:
    if actual != expected:
        raise ChecksumMismatchError(
            f"{_name(where)}: its {stage} bytes are not the ones that were written "
            f"(expected {expected.hex()}, found {actual.hex()})",
            stage=stage,
            expected=expected.hex(),
            actual=actual.hex(),
            **{key: value for key, value in where.items() if key not in ("stage", "expected", "actual")},
        )


def _name(where: Mapping[str, Any]) -> str:
    return " ".join(f"{key} {value}" for key, value in where.items() if value is not None) or "a tile"
