"""References to the chunks and pages of a version, as manifest pages and version rows hold them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple
from uuid import UUID

import pyarrow as pa

from millrace.chunks import Allocate, decode_raw_tile, decode_tile, inflate_tile


class TileRef(NamedTuple):
    """The manifest's entry for one tile: its codec, sizes in bytes and checksums."""

    codec: str
    raw_bytes: int
    stored_bytes: int
    stored_checksum: bytes
    raw_checksum: bytes

    def decode(self, stored: Any, where: Mapping[str, Any], allocate: Allocate = pa.allocate_buffer) -> pa.RecordBatch:
        """Return the tile's columns, verified against the sizes and checksums in the manifest.

        ``allocate`` returns the memory for the raw bytes. Raises like ``decode_tile``.
        """
        return decode_tile(
            stored,
            codec=self.codec,
            raw_bytes=self.raw_bytes,
            stored_checksum=self.stored_checksum,
            raw_checksum=self.raw_checksum,
            where=where,
            allocate=allocate,
        )

    def decode_raw(self, raw: Any, where: Mapping[str, Any]) -> pa.RecordBatch:
        """Return the tile's columns from its raw bytes, which are verified and not copied; raise like ``decode``."""
        return decode_raw_tile(raw, raw_checksum=self.raw_checksum, where=where)

    def inflate(self, stored: Any, where: Mapping[str, Any]) -> pa.Buffer:
        """Return the verified raw bytes of the tile; raise like ``decode``."""
        return inflate_tile(
            stored,
            codec=self.codec,
            raw_bytes=self.raw_bytes,
            stored_checksum=self.stored_checksum,
            raw_checksum=self.raw_checksum,
            where=where,
        )


@dataclass(frozen=True, slots=True)
class ChunkRef:
    """A chunk's key (dataset, attempt, bucket, chunk number), its number of rows and its tiles in order."""

    dataset: str
    attempt_id: UUID
    bucket: int
    chunk: int
    rows: int
    tiles: tuple[TileRef, ...]

    @property
    def stored_bytes(self) -> int:
        """Stored bytes of all tiles."""
        return sum(tile.stored_bytes for tile in self.tiles)

    @property
    def raw_bytes(self) -> int:
        """Decoded bytes of all tiles."""
        return sum(tile.raw_bytes for tile in self.tiles)

    def __str__(self) -> str:
        return f"{self.dataset}/{self.attempt_id.hex[:12]}/{self.bucket}/{self.chunk}"


@dataclass(frozen=True, slots=True)
class PageRef:
    """The key of a page and the sums over its chunks; a version's row is a list of these.

    ``added_by`` is the label of the version that added the page. Concurrent appends are merged by it.
    """

    attempt_id: UUID
    page: int
    chunks: int
    rows: int
    raw_bytes: int
    stored_bytes: int
    checksum: bytes
    added_by: str = ""

    @property
    def is_journal(self) -> bool:
        """Whether this is a journal page, which only a resumed load inherits."""
        return self.page < 0

    def to_json(self) -> list[Any]:
        """Return a short list, for version rows and task results."""
        return [
            self.attempt_id.hex,
            self.page,
            self.chunks,
            self.rows,
            self.raw_bytes,
            self.stored_bytes,
            self.checksum.hex(),
            self.added_by,
        ]

    @classmethod
    def from_json(cls, value: Sequence[Any]) -> PageRef:
        """Return the page reference that ``to_json`` encoded."""
        attempt_id, page, chunks, rows, raw_bytes, stored_bytes, checksum, added_by = value
        return cls(UUID(hex=attempt_id), page, chunks, rows, raw_bytes, stored_bytes, bytes.fromhex(checksum), added_by)


def journal_number(position: int) -> int:
    """Return the page number of an attempt's journal page at this position: -1 for the first, -2 for the second."""
    return -1 - position
