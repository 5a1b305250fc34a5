"""Read the values of chunks from Redis, whole or in part, and cut them into tiles."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from redis import Redis


class Form(StrEnum):
    """The form of a cached chunk.

    Stored: one value, the chunk's stored tiles one after another. Raw: a value for each tile, its uncompressed Arrow
    stream.
    """

    STORED = "stored"
    RAW = "raw"


def get_ranges(redis: Redis, key: str, ranges: Sequence[tuple[int, int]]) -> list[Any]:
    """Return these ranges of bytes of a value, by one request."""
    if len(ranges) == 1:
        return [redis.getrange(key, ranges[0][0], ranges[0][1] - 1)]
    pipeline = redis.pipeline(transaction=False)
    for start, end in ranges:
        pipeline.getrange(key, start, end - 1)
    return list(pipeline.execute())


def pipelined(redis: Redis, command: str, keys: Sequence[str]) -> list[Any]:
    """Return the reply of a command for each key, by one request."""
    pipeline = redis.pipeline(transaction=False)
    for key in keys:
        getattr(pipeline, command)(key)
    return list(pipeline.execute())


def cut_tiles(parts: Sequence[Any], sizes: Sequence[int]) -> list[memoryview]:
    """Split parts into tiles: each part is a concatenation of whole tiles."""
    tiles: list[memoryview] = []
    remaining = iter(parts)
    rest = memoryview(b"")
    for size in sizes:
        if not rest:
            rest = memoryview(next(remaining, b""))
        tiles.append(rest[:size])
        rest = rest[size:]
    return tiles
