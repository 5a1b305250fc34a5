"""Keys of chunks in Redis, and the byte ranges of a value that a reader needs."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from millrace.store import ChunkRef


class RedisKeys:
    """The Redis keys of one keyspace of one cluster.

    The key of a chunk in the store is never reused. So a dataset created again under an old name never reads stale
    chunks, and an appended version finds the chunks of its parent.
    """

    def __init__(self, cluster: str, keyspace: str) -> None:
        self._prefix = f"millrace:{cluster}:{keyspace}"

    @property
    def entries(self) -> str:
        """Return the key of the hash of admitted versions."""
        return f"{self._prefix}:entries"

    def chunk(self, chunk: ChunkRef) -> str:
        """Return the key of one chunk."""
        return f"{self._prefix}:chunk:{chunk.dataset}:{chunk.attempt_id.hex}:{chunk.bucket}:{chunk.chunk}"

    def raw(self, chunk: ChunkRef, tile: int) -> str:
        """Return the key of the raw form of one tile."""
        return f"{self._prefix}:raw:{chunk.dataset}:{chunk.attempt_id.hex}:{chunk.bucket}:{chunk.chunk}:{tile}"

    def all_raw(self, dataset: str) -> str:
        """Return the pattern of all keys of tiles in raw form of a dataset."""
        return f"{_literal(self._prefix)}:raw:{dataset}:*"

    def all_chunks(self, dataset: str) -> str:
        """Return the pattern of all chunk keys of a dataset; a dataset name has no special character of patterns."""
        return f"{_literal(self._prefix)}:chunk:{dataset}:*"


def _literal(text: str) -> str:
    return "".join(f"\\{letter}" if letter in "*?[]\\" else letter for letter in text)


def byte_ranges(sizes: Sequence[int], tiles: Sequence[int]) -> list[tuple[int, int]]:
    """Return ``(start, end)`` of the bytes of these ascending tiles; ends are exclusive, adjacent ranges are joined."""
    ranges: list[tuple[int, int]] = []
    starts = [0, *accumulate(sizes)]
    for tile in tiles:
        start, end = starts[tile], starts[tile + 1]
        if ranges and ranges[-1][1] == start:
            ranges[-1] = (ranges[-1][0], end)
        else:
            ranges.append((start, end))
    return ranges
