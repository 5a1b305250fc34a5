"""Where a chunk lies in Redis, and what of its value a reader needs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol
from uuid import UUID

__all__ = ["Keys", "Place", "byte_ranges"]


class Place(Protocol):
    """A chunk's place in the store; a ``ChunkRef`` of a manifest is one."""

    @property
    def dataset(self) -> str:
        """The dataset's name."""
        ...

    @property
    def writer(self) -> UUID:
        """The attempt that wrote the chunk."""
        ...

    @property
    def bucket(self) -> int:
        """Its bucket."""
        ...

    @property
    def chunk(self) -> int:
        """Its number."""
        ...


class Keys:
    """The names of one keyspace of one cluster.

    A place is used once and for ever, so a dataset made again under an old name never finds stale chunks, and an
    appended version finds those of its parent.
    """

    def __init__(self, cluster: str, keyspace: str) -> None:
        self._prefix = f"millrace:{cluster}:{keyspace}"

    @property
    def entries(self) -> str:
        """The hash of what was admitted."""
        return f"{self._prefix}:entries"

    def chunk(self, place: Place) -> str:
        """The key of one chunk."""
        return f"{self._prefix}:chunk:{place.dataset}:{place.writer.hex}:{place.bucket}:{place.chunk}"

    def all_chunks(self, dataset: str) -> str:
        """The pattern of all chunks of a dataset; dataset names hold no character that a pattern would interpret."""
        return f"{_literal(self._prefix)}:chunk:{dataset}:*"


def _literal(text: str) -> str:
    return "".join(f"\\{letter}" if letter in "*?[]\\" else letter for letter in text)


def byte_ranges(sizes: Sequence[int], tiles: Sequence[int]) -> list[tuple[int, int]]:
    """``(start, end)`` of the bytes that hold these tiles, end exclusive, neighbours joined; ``tiles`` ascend."""
    ranges: list[tuple[int, int]] = []
    starts = [0]
    for size in sizes:
        starts.append(starts[-1] + size)
    for tile in tiles:
        start, end = starts[tile], starts[tile + 1]
        if ranges and ranges[-1][1] == start:
            ranges[-1] = (ranges[-1][0], end)
        else:
            ranges.append((start, end))
    return ranges
