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
        self.prefix = f"millrace:{cluster}:{keyspace}"

    def ledger(self, kind: str) -> str:
        """Return the key of one kind of records of the ledger, which ``scripts`` lists."""
        return f"{self.prefix}:{kind}"

    def value(self, key: str) -> str:
        """Return the name of a value in the ledger: the rest of its key after the prefix."""
        return key.removeprefix(f"{self.prefix}:")

    def all_values(self, dataset: str | None = None) -> list[str]:
        """Return the patterns of the keys of all values, of one dataset or of all.

        A dataset name has no special character of patterns.
        """
        return [f"{_literal(self.prefix)}:{kind}:{dataset or '*'}:*" for kind in ("chunk", "raw")]

    def chunk(self, chunk: ChunkRef) -> str:
        """Return the key of one chunk."""
        return f"{self.prefix}:chunk:{chunk.dataset}:{chunk.attempt_id.hex}:{chunk.bucket}:{chunk.chunk}"

    def raw(self, chunk: ChunkRef, tile: int) -> str:
        """Return the key of the raw form of one tile."""
        return f"{self.prefix}:raw:{chunk.dataset}:{chunk.attempt_id.hex}:{chunk.bucket}:{chunk.chunk}:{tile}"


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
