"""The chunks, tiles and bytes that a read fetches, from the manifest alone."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from millrace.dataset.chunk_decoder import ChunkDecoder
from millrace.store import ChunkRef


@dataclass(frozen=True, slots=True)
class ReadCost:
    """The chunks that a read fetches, their needed tiles, all their tiles, and the stored bytes of the needed tiles."""

    chunks: int = 0
    tiles: int = 0
    tiles_of_all: int = 0
    stored_bytes: int = 0


def read_cost(refs: Iterable[ChunkRef], decoder: ChunkDecoder) -> ReadCost:
    """Return the cost of reading these chunks by a decoder."""
    chunks = tiles = tiles_of_all = stored_bytes = 0
    for ref in refs:
        chunks += 1
        tiles += len(decoder.tiles_of(ref))
        tiles_of_all += len(ref.tiles)
        stored_bytes += decoder.stored_bytes(ref)
    return ReadCost(chunks, tiles, tiles_of_all, stored_bytes)
